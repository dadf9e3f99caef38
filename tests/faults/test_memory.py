"""Memory: the peak of a process, against what docs/reliability.md states."""

import resource
from pathlib import Path

import psutil
import pytest
import torch
from mmengine.config import Config
from torch import nn

from refconv_mm import fuse, refocus
from refconv_mm.checkpoints.fusing import fuse_checkpoint, read_checkpoint, write_fused
from refconv_mm.openmmlab.models import build_model

from tests.faults.processes import Forked

GIB = 2**30


def peak(function, log: Path) -> float:
    """The peak memory of a forked process that runs a function, less that of one that does nothing, in bytes."""

    peaks = []
    for work, file in ((function, log), (lambda: None, log.with_name('idle'))):
        process = Forked(lambda work=work: (work(), print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)), file)
        assert process.wait(1200) == 0, process.said[-3000:]
        peaks.append(1024 * int(process.said.split()[-1]))
    return peaks[0] - peaks[1]


def step(conv: nn.Conv2d) -> None:
    """Refocuses a layer, trains it a step, and fuses it."""
    model = nn.Sequential(conv)
    refocus(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1, momentum=0.9)
    model(torch.ones(1, conv.in_channels, 4, 4)).sum().backward()
    optimizer.step()
    fuse(model)


@pytest.mark.parametrize(
    ('groups', 'most'),
    [(8192, 0.1), pytest.param(8, 3.0, marks=pytest.mark.faults)],
)
def test_a_layer_of_8192_channels(groups, most, tmp_path):
    """Depthwise: a kernel of 0.3 MiB. In 8 groups: 288 MiB, and with update, gradient and momentum 1.1 GiB."""
    used = peak(lambda: step(nn.Conv2d(8192, 8192, 3, padding=1, groups=groups, bias=False)), tmp_path / 'log')
    print(f'{groups} groups: {used / GIB:.2f} GiB')
    assert used < most * GIB


@pytest.mark.faults
@pytest.mark.parametrize('width', [160, 320], ids=['0.5 GiB', '2 GiB'])
def test_a_large_checkpoint_to_fuse(width, tmp_path):
    """The peak is a multiple of the checkpoint: it is held with the refocused, the fused and the plain model."""
    if psutil.virtual_memory().available < 10 * GIB * (width / 320) ** 2:
        pytest.skip('not enough free memory')
    backbone = dict(type='mmpretrain.ResNet', depth=18, base_channels=width, stem_channels=width)
    backbone['conv_cfg'] = dict(type='RefConv')
    head = dict(type='LinearClsHead', num_classes=10, in_channels=8 * width)
    cfg = Config(dict(default_scope='mmpretrain', model=dict(type='ImageClassifier', backbone=backbone, head=head)))
    cfg.model.neck = dict(type='GlobalAveragePooling')
    path = tmp_path / 'large.pth'
    torch.save(dict(state_dict=build_model(cfg).state_dict(), meta={}), path)
    size = path.stat().st_size

    def run() -> None:
        write_fused(fuse_checkpoint(cfg, read_checkpoint(path), shape=(32, 32)), tmp_path / 'out')

    used = peak(run, tmp_path / 'log')
    print(f'a checkpoint of {size / GIB:.2f} GiB: {used / GIB:.2f} GiB, {used / size:.2f} times its size')
    assert size > 1.9 * GIB * (width / 320) ** 2
    assert used < 4 * size
