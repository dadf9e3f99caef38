"""Each upstream fault exists without its entry and is gone with it."""

import inspect
import subprocess
import sys

import mmdet.models
import numpy as np
import pytest
import torch
from mmcv.cnn import get_model_complexity_info
from mmengine.dist import utils as dist_utils
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner import checkpoint
from torch.hub import load_state_dict_from_url

from refconv_mm import refocus
from refconv_mm.files import unpickling
from refconv_mm.openmmlab import compat


def test_ssd_head_gets_loss_cls(monkeypatch):
    head = mmdet.models.dense_heads.ssd_head.SSDHead
    if 'loss_cls' in vars(head):
        monkeypatch.delattr(head, 'loss_cls')
    assert not hasattr(head, 'loss_cls')  # the fault; remove the entry when upstream is repaired
    compat.prepare()
    assert head.loss_cls is None


def test_mmcv_counts_the_flops_of_refocused_layers():
    model = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, groups=4), torch.nn.Conv2d(4, 2, 1))
    script = (
        'import torch, refconv_mm; from mmcv.cnn import get_model_complexity_info as count; '
        'model = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, groups=4)); refconv_mm.refocus(model); '
        "assert not count(model, (4, 8, 8), False, False)[0], 'the entry can go'"
    )
    subprocess.run([sys.executable, '-W', 'ignore', '-c', script], check=True)
    compat.prepare()
    flops = get_model_complexity_info(model, (4, 8, 8), False, False)
    refocus(model)
    assert get_model_complexity_info(model, (4, 8, 8), False, False) == flops


@pytest.mark.parametrize('folder', ['VOC2007', 'mine'])
def test_voc_metric_prints_the_names_of_the_data_set(folder, monkeypatch):
    from mmdet.evaluation import VOCMetric
    from mmengine.logging import MMLogger

    original = getattr(VOCMetric.compute_metrics, 'refconv_original', VOCMetric.compute_metrics)
    truth = dict(bboxes=np.array([[0.0, 0, 9, 9]]), labels=np.array([1]), bboxes_ignore=np.zeros((0, 4)),
                 labels_ignore=np.zeros(0, int))  # fmt: skip
    found = [np.zeros((0, 5)), np.array([[0.0, 0, 9, 9, 0.8]])]

    def said(compute, classes):
        metric, lines = VOCMetric(), []
        metric.dataset_meta = dict(classes=classes, dataset_type=folder)
        monkeypatch.setattr(MMLogger.get_current_instance(), 'handle', lambda record: lines.append(record.getMessage()))
        assert compute(metric, [(truth, found)])['mAP'] == 1
        return ' '.join(lines)

    assert ('aeroplane' in said(original, ('cell', 'cut'))) == (folder == 'VOC2007')  # the fault
    compat.prepare()
    assert 'cell' in said(VOCMetric.compute_metrics, ('cell', 'cut'))
    assert 'aeroplane' not in said(VOCMetric.compute_metrics, ('cell', 'cut'))


@pytest.mark.skipif(not unpickling.takes_allow_list(), reason='torch before 2.6 unpickles anything by default')
def test_mmengine_alone_cannot_load_its_log_buffers(tmp_path):
    """In a process of its own: the allow-list is global."""
    torch.save(dict(hub=HistoryBuffer([1.0, 2.0], [1, 1])), tmp_path / 'x.pth')
    script = f"""
import pickle, torch
try:
    torch.load({str(tmp_path / 'x.pth')!r})
    raise SystemExit('mmengine loads its buffers now: the entry can go')
except pickle.UnpicklingError:
    pass
import refconv_mm
refconv_mm.openmmlab.prepare()
assert torch.load({str(tmp_path / 'x.pth')!r})['hub'].mean() == 1.5
"""
    subprocess.run([sys.executable, '-W', 'ignore', '-c', script], check=True)


@pytest.mark.skipif(sys.platform == 'win32', reason='the script limits the size of files as POSIX does')
def test_mmengine_alone_leaves_half_a_file_where_it_cannot_write(tmp_path):
    """In a process of its own, whose files may have 1,000 bytes."""
    script = f"""
import resource, signal
from pathlib import Path
from mmengine.fileio import LocalBackend
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path({str(tmp_path / 'x.pth')!r})

def left():
    path.write_bytes(b'old')
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    try:
        LocalBackend().put(b'new' * 1000, str(path))
    except OSError as error:
        assert 'File too large' in str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    return path.read_bytes()

if left() == b'old':
    raise SystemExit('mmengine writes whole files now: the entry can go')
import refconv_mm
refconv_mm.openmmlab.prepare()
assert left() == b'old'
assert list(path.parent.iterdir()) == [path]
"""
    subprocess.run([sys.executable, '-W', 'ignore', '-c', script], check=True)


def test_mmengine_alone_unpickles_downloads():
    """The default of torch.hub, which mmengine does not change."""
    weights_only = inspect.signature(load_state_dict_from_url).parameters.get('weights_only')
    assert weights_only is None or weights_only.default is False
    script = 'from mmengine.runner import checkpoint; from torch import hub; ' \
        'assert checkpoint.load_url is hub.load_state_dict_from_url, "the entry can go"'  # fmt: skip
    subprocess.run([sys.executable, '-W', 'ignore', '-c', script], check=True)
    compat.prepare()
    assert checkpoint.load_url is not load_state_dict_from_url


@pytest.mark.skipif(torch.cuda.is_available(), reason='the fault shows where there is no GPU')
def test_gloo_starts_without_a_gpu(monkeypatch, tmp_path):
    compat.prepare()
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setenv('RANK', '0')
    options = dict(backend='gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    with pytest.raises((RuntimeError, AssertionError)):
        dist_utils._init_dist_pytorch.refconv_original(**options)
    dist_utils._init_dist_pytorch(**options)
    assert torch.distributed.is_initialized()
    torch.distributed.destroy_process_group()
