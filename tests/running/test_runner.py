"""Settings of runs, and runners for training and testing."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper

from refconv_mm.checkpoints.fusing import fuse_checkpoint, read_checkpoint, write_fused
from refconv_mm.files.errors import CheckpointError
from refconv_mm.hooks import SeededStepsHook
from refconv_mm.running import settings as run_settings
from refconv_mm.running.runner import reserved, runner_for_checkpoint
from refconv_mm.running.settings import set_amp, set_auto_scale_lr, set_init, set_launcher, set_resume
from refconv_mm.surgery import named_refconvs
from tests.conftest import segmenter


@pytest.fixture(scope='module')
def fused_files(seg_run, tmp_path_factory):
    fused = fuse_checkpoint(seg_run['cfg'], read_checkpoint(seg_run['last']), source='here')
    return write_fused(fused, tmp_path_factory.mktemp('fused'))


def score(cfg, path, **options):
    runner, tested = runner_for_checkpoint(cfg, str(path), **options)
    assert not named_refconvs(runner.model)  # the tested model is plain
    return runner.test()['mIoU'], tested


def test_refocused_and_fused_checkpoints_give_the_same_metrics(seg_run, fused_files, city):
    cfg, (fused, fused_cfg) = seg_run['cfg'], fused_files
    in_memory, tested = score(cfg, seg_run['last'])
    assert 'a refocused checkpoint, its trained weights, fused in memory; the outputs of the fused' in tested
    plain = Config.fromfile(fused_cfg)
    plain.work_dir = cfg.work_dir
    from_file, tested = score(plain, fused)
    assert tested == 'a checkpoint that was fused from here'
    under_refocused, tested = score(cfg, fused)
    assert 'the config is refocused, so the plain one behind it is used' in tested
    assert in_memory == from_file == under_refocused
    _, tested = score(segmenter(city, seg_run['work_dir'], '_control'), seg_run['start'])
    assert tested == 'a plain checkpoint'
    # The compared weights differ from the start, even if two steps do not change the mIoU of a random net.
    before, after = (read_checkpoint(path)['state_dict'] for path in (seg_run['start'], fused))
    assert (before['backbone.conv1.conv.weight'] - after['backbone.conv1.conv.weight']).abs().max() > 1e-6


def test_a_checkpoint_of_another_model_is_refused(seg_run, tmp_path):
    torch.save(dict(state_dict={'backbone.x': torch.zeros(1)}), tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match='does not fit the model'):
        runner_for_checkpoint(seg_run['cfg'], str(tmp_path / 'x.pth'))


def test_test_time_augmentation_averages_the_images_that_the_config_makes(seg_run, fused_files):
    cfg = copy.deepcopy(seg_run['cfg'])
    cfg.tta_pipeline[1].transforms[0] = [dict(type='Resize', scale_factor=1.0, keep_ratio=True)]
    runner, tested = runner_for_checkpoint(cfg, str(seg_run['last']), tta=True)
    assert tested.endswith('; test-time augmentation')
    net, fused = runner.model.module.eval(), read_checkpoint(fused_files[0])['state_dict']
    assert all(torch.equal(value, fused[key]) for key, value in net.state_dict().items())
    batch = next(iter(runner.test_dataloader))
    assert len(batch['inputs']) == 2  # the image and its mirror image
    with torch.no_grad():
        (sample,) = runner.model.test_step(batch)
        parts = [net.test_step({key: value[i] for key, value in batch.items()})[0] for i in (0, 1)]
    mean = sum(part.seg_logits.data.softmax(0) for part in parts) / 2
    assert torch.equal(sample.pred_sem_seg.data[0], mean.argmax(0))
    for name, message in (('tta_model', '--tta: the config has no tta_model$'), ('test_cfg', 'no test_cfg; a test')):
        cfg.pop(name)
        with pytest.raises(ValueError, match=message):
            runner_for_checkpoint(cfg, str(seg_run['last']), tta=True)


def test_init_says_what_the_checkpoint_is(seg_run, city, tmp_path):
    cfg = segmenter(city, tmp_path)
    assert 'become the bases' in set_init(cfg, str(seg_run['start']))
    assert cfg.load_from == str(seg_run['start'])
    assert 'its bases and updates are loaded' in set_init(cfg, str(seg_run['last']))
    assert 'become the bases' in set_init(cfg, str(seg_run['work_dir'] / 'fused.pth'))  # refocusing again
    plain = segmenter(city, tmp_path, '_control')
    assert set_init(plain, str(seg_run['start'])) == 'a plain checkpoint'


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
    with pytest.raises(CheckpointError, match='--init'):
        set_resume(segmenter(city, tmp_path), str(seg_run['start']), None)


def test_a_refused_run_removes_its_folder_and_nothing_of_the_run_beside_it(tmp_path):
    def refused() -> None:
        with reserved(tmp_path / 'all' / 'mine', SeededStepsHook()):
            (tmp_path / 'all' / 'other').mkdir()
            (tmp_path / 'all' / 'mine' / '20260102_030405').mkdir()
            (tmp_path / 'all' / 'mine' / 'config.py').touch()
            for name in names:
                (tmp_path / 'all' / 'mine' / name).touch()
            raise ValueError('refused')

    for names in ([], ['notes.txt']):  # of somebody else
        with pytest.raises(ValueError, match='refused'):
            refused()
        (tmp_path / 'all' / 'other').rmdir()
        assert [path.name for path in (tmp_path / 'all').rglob('*')] == ['mine', *names] * bool(names)


def test_options_of_the_command_line(city, tmp_path, monkeypatch):
    cfg = segmenter(city, tmp_path)
    monkeypatch.setattr(run_settings, 'get_device', lambda: 'cpu')
    with pytest.raises(ValueError, match='no GPU'):
        set_amp(cfg)
    monkeypatch.setattr(run_settings, 'get_device', lambda: 'cuda')
    set_amp(cfg)
    assert (cfg.optim_wrapper.type, cfg.optim_wrapper.loss_scale) == ('AmpOptimWrapper', 'dynamic')
    cfg.optim_wrapper.type = OptimWrapper  # as in a config of the new style
    set_amp(cfg)
    cfg.optim_wrapper.type = 'ApexOptimWrapper'
    with pytest.raises(ValueError, match='ApexOptimWrapper'):
        set_amp(cfg)
    with pytest.raises(ValueError, match='base_batch_size'):
        set_auto_scale_lr(cfg)
    cfg.auto_scale_lr = dict(base_batch_size=16)
    set_auto_scale_lr(cfg)
    assert cfg.auto_scale_lr.enable is True


@pytest.mark.skipif(torch.cuda.is_available(), reason='concerns machines without a GPU')
def test_without_a_gpu_the_launcher_uses_gloo(city, tmp_path):
    cfg = segmenter(city, tmp_path)
    cfg.env_cfg.dist_cfg = dict(backend='nccl', timeout=7)
    set_launcher(cfg, 'none')
    assert cfg.env_cfg.dist_cfg.backend == 'nccl'
    set_launcher(cfg, 'pytorch')
    assert cfg.env_cfg.dist_cfg == dict(backend='gloo', timeout=7)
    assert cfg.model_wrapper_cfg.device_ids is None
