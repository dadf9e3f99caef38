"""Settings of runs, and runners for training and testing."""

import argparse
import os

import pytest
import torch
from mmengine.config import Config
from torch import nn

from refconv_mm.checkpoints.fusing import fuse_checkpoint, read_checkpoint, write_fused
from refconv_mm.commands.test import metrics_table
from refconv_mm.files.errors import CheckpointError
from refconv_mm.running import settings as run_settings
from refconv_mm.running.runner import build_runner, check_start, runner_for_checkpoint
from refconv_mm.running.settings import (
    set_amp,
    set_auto_scale_lr,
    set_init,
    set_launcher,
    set_resume,
    set_work_dir,
)
from refconv_mm.surgery import named_refconvs
from tests.conftest import segmenter


@pytest.fixture(scope='module')
def fused_files(seg_run, tmp_path_factory):
    fused = fuse_checkpoint(seg_run['cfg'], read_checkpoint(seg_run['last']), source='here')
    return write_fused(fused, tmp_path_factory.mktemp('fused'))


def score(cfg, path, **options):
    runner, what = runner_for_checkpoint(cfg, str(path), **options)
    assert not named_refconvs(runner.model)  # the tested model is plain
    return runner.test()['mIoU'], what


def test_refocused_and_fused_checkpoints_give_the_same_metrics(seg_run, fused_files, city):
    cfg, (fused, fused_cfg) = seg_run['cfg'], fused_files
    in_memory, what = score(cfg, seg_run['last'])
    assert 'fused in memory (trained weights): 17 layers agree' in what
    plain = Config.fromfile(fused_cfg)
    plain.work_dir = cfg.work_dir
    from_file, what = score(plain, fused)
    assert 'a fused checkpoint, as it is (fused from here)' in what
    under_refocused, what = score(cfg, fused)
    assert 'the config is refocused, so the plain one behind it is used' in what
    assert in_memory == from_file == under_refocused
    _, what = score(segmenter(city, seg_run['work_dir'], '_control'), seg_run['start'])
    assert what == 'a plain checkpoint, as it is (trained weights)'
    # The compared weights differ from the start, even if two steps do not change the mIoU of a random net.
    before, after = (read_checkpoint(path)['state_dict'] for path in (seg_run['start'], fused))
    assert (before['backbone.conv1.conv.weight'] - after['backbone.conv1.conv.weight']).abs().max() > 1e-6


def test_a_refocused_checkpoint_under_a_plain_config_is_explained(seg_run, city):
    with pytest.raises(CheckpointError, match=r'is refocused and the config is plain.*refconv fuse CONFIG CKPT'):
        runner_for_checkpoint(segmenter(city, seg_run['work_dir'], '_control'), str(seg_run['last']))


def test_a_checkpoint_of_another_model_is_refused(seg_run, tmp_path):
    torch.save(dict(state_dict={'backbone.x': torch.zeros(1)}), tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match='does not fit the model'):
        runner_for_checkpoint(seg_run['cfg'], str(tmp_path / 'x.pth'))


def test_init_says_what_the_checkpoint_is(seg_run, city, tmp_path):
    cfg = segmenter(city, tmp_path)
    assert 'become the bases' in set_init(cfg, str(seg_run['start']))
    assert cfg.load_from == str(seg_run['start'])
    assert 'its bases and updates are loaded' in set_init(cfg, str(seg_run['last']))
    assert 'become the bases' in set_init(cfg, str(seg_run['work_dir'] / 'fused.pth'))  # refocusing again
    plain = segmenter(city, tmp_path, '_control')
    assert set_init(plain, str(seg_run['start'])) == 'a plain checkpoint'
    with pytest.raises(CheckpointError, match='Fuse it first'):
        set_init(plain, str(seg_run['last']))
    with pytest.raises(FileNotFoundError):
        set_init(cfg, str(tmp_path / 'nowhere.pth'))


def test_a_start_that_fills_too_little_is_refused(tmp_path):
    """The MobileNetV2 of mmdet and of mmpretrain have different names; each fills only the stem of the other."""
    model = nn.ModuleDict(
        dict(backbone=nn.Sequential(*[nn.Conv2d(2, 2, 3) for _ in range(4)]), head=nn.Conv2d(2, 2, 1))
    )
    state = {f'backbone.{i}.weight': torch.zeros(2, 2, 3, 3) for i in range(2)}
    torch.save(dict(state_dict=state), tmp_path / 'half.pth')
    assert check_start(model, str(tmp_path / 'half.pth')).endswith('fills 2 of 4 kernels of the backbone')
    del state['backbone.1.weight']
    torch.save(dict(state_dict=state), tmp_path / 'less.pth')
    with pytest.raises(CheckpointError, match=r'fills 1 of 4 kernels.*would start at random.*backbone\.1\.weight'):
        check_start(model, str(tmp_path / 'less.pth'))


def test_resume_without_a_checkpoint_starts_from_init(seg_run, city, tmp_path):
    cfg = segmenter(city, tmp_path)
    message = set_resume(cfg, 'auto', str(seg_run['start']))
    assert 'no checkpoint to resume from' in message
    assert (cfg.resume, cfg.load_from) == (False, str(seg_run['start']))
    with pytest.raises(FileNotFoundError, match=r'there is no checkpoint in .* to resume from'):
        set_resume(cfg, 'auto', None)
    with pytest.raises(FileNotFoundError):
        set_resume(cfg, str(tmp_path / 'nowhere.pth'), None)


def test_resume_refuses_a_checkpoint_of_the_other_kind(seg_run, city, tmp_path):
    plain = segmenter(city, tmp_path, '_control')
    with pytest.raises(CheckpointError, match='Fuse it first'):
        set_resume(plain, str(seg_run['last']), None)
    with pytest.raises(CheckpointError, match='--init'):
        set_resume(segmenter(city, tmp_path), str(seg_run['start']), None)


def test_trust_reaches_mmengine_s_own_loader(seg_run, city, tmp_path, monkeypatch):
    monkeypatch.delenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', raising=False)
    checkpoint = torch.load(seg_run['start'])
    checkpoint['meta'] = dict(args=argparse.Namespace(made_by='somebody'))
    torch.save(checkpoint, tmp_path / 'ns.pth')
    cfg = segmenter(city, tmp_path)
    with pytest.raises(CheckpointError, match=r'argparse\.Namespace.*--trust'):
        set_init(cfg, str(tmp_path / 'ns.pth'))
    set_init(cfg, str(tmp_path / 'ns.pth'), trust=True)
    monkeypatch.setenv(
        'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', os.environ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD']
    )  # so that monkeypatch restores it
    runner = build_runner(cfg)
    runner.load_or_resume()
    assert all(layer.source == 'plain checkpoint' for _, layer in named_refconvs(runner.model))


def test_options_of_the_command_line(city, tmp_path, monkeypatch):
    cfg = segmenter(city, tmp_path)
    monkeypatch.setattr(run_settings, 'get_device', lambda: 'cpu')
    with pytest.raises(ValueError, match='no GPU'):
        set_amp(cfg)
    monkeypatch.setattr(run_settings, 'get_device', lambda: 'cuda')
    set_amp(cfg)
    assert (cfg.optim_wrapper.type, cfg.optim_wrapper.loss_scale) == ('AmpOptimWrapper', 'dynamic')
    cfg.optim_wrapper.type = 'ApexOptimWrapper'
    with pytest.raises(ValueError, match='ApexOptimWrapper'):
        set_amp(cfg)
    with pytest.raises(ValueError, match='base_batch_size'):
        set_auto_scale_lr(cfg)
    cfg.auto_scale_lr = dict(base_batch_size=16)
    set_auto_scale_lr(cfg)
    assert cfg.auto_scale_lr.enable is True
    set_work_dir(cfg, None, 'configs/a/b.py')
    assert cfg.work_dir == str(tmp_path)
    cfg.pop('work_dir')
    set_work_dir(cfg, None, 'configs/a/b.py')
    assert cfg.work_dir == 'work_dirs/b'


@pytest.mark.skipif(torch.cuda.is_available(), reason='concerns machines without a GPU')
def test_without_a_gpu_the_launcher_uses_gloo(city, tmp_path):
    cfg = segmenter(city, tmp_path)
    cfg.env_cfg.dist_cfg = dict(backend='nccl', timeout=7)
    set_launcher(cfg, 'none')
    assert cfg.env_cfg.dist_cfg.backend == 'nccl'
    set_launcher(cfg, 'pytorch')
    assert cfg.env_cfg.dist_cfg == dict(backend='gloo', timeout=7)
    assert cfg.model_wrapper_cfg.device_ids is None


def test_metrics_print_as_a_table():
    table = metrics_table({'mIoU': 12.345678, 'n': 3})
    assert [list(column.cells) for column in table.columns] == [['mIoU', 'n'], ['12.3457', '3']]
