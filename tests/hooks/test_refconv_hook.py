"""RefConvHook in runs of mmengine's Runner: its checks, the weights that it evaluates, the files that it writes."""

import copy
import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.registry import MODELS
from torch import nn

from refconv_mm import RefConv2d, RefConvOptions, refocus
from refconv_mm.checkpoints.fusing import read_checkpoint
from refconv_mm.files.errors import CheckpointError
from refconv_mm.hooks import FiniteHook, StartHook
from refconv_mm.hooks.refconv_hook import RefConvHook, check_layer, keep_earlier
from refconv_mm.openmmlab.models import build_model, load_whole
from refconv_mm.running.runner import build_runner
from refconv_mm.running.settings import set_init
from refconv_mm.surgery import named_refconvs
from tests.conftest import random_checkpoint, segmenter


def ready(cfg, tmp_path):
    """A config that starts from a plain checkpoint."""
    set_init(cfg, str(random_checkpoint(cfg, tmp_path / 'start.pth')))
    return cfg


def maps(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: layer.trained.detach().clone() for name, layer in named_refconvs(model)}


def test_a_checkpoint_that_misses_one_basis_is_noticed(city, tmp_path):
    """Loading is not strict by default: the layer would train on a random basis without a message."""
    cfg = ready(segmenter(city, tmp_path), tmp_path)
    checkpoint = torch.load(tmp_path / 'start.pth')
    del checkpoint['state_dict']['backbone.layer3.0.conv.1.conv.weight']
    torch.save(checkpoint, tmp_path / 'start.pth')
    runner = build_runner(cfg)
    with pytest.raises(ValueError, match=r'layer3\.0\.conv\.1\.conv: the basis was never loaded.*--init') as error:
        runner.train()
    assert runner.iter == 0
    assert str(error.value).count('never loaded') == 1


@pytest.mark.parametrize(('spoil', 'match'), [
    (lambda layer: layer.basis.zero_(), 'all zero'),
    (lambda layer: layer.basis[0].fill_(float('inf')), 'not finite'),
    (lambda layer: layer.basis[0].fill_(float('nan')), 'not finite'),
    (lambda layer: setattr(layer, 'source', 'random'), 'never loaded'),
    (lambda layer: layer.refocus.requires_grad_(False), r"frozen \(frozen_stages\?\) at a random initialization"),
])  # fmt: skip
def test_each_guard_names_the_layer(spoil, match):
    layer = RefConv2d.from_conv2d(nn.Conv2d(4, 4, 3, groups=4), RefConvOptions(init='kaiming'))
    known = {id(layer.refocus)}
    assert check_layer('a.b', layer, known) == []
    with torch.no_grad():
        spoil(layer)
    (problem,) = check_layer('a.b', layer, known)
    assert problem.startswith('a.b: ')
    assert re.search(match, problem)


def test_it_refuses_mmengine_s_flexible_runner():
    with pytest.raises(ValueError, match=r'RefConvHook: .*FlexibleRunner.*use its Runner'):
        RefConvHook().before_run(SimpleNamespace(strategy=None))


def test_it_refuses_refconv_where_a_backbone_pads():
    __import__('mmpretrain.models')
    model = MODELS.build(dict(type='mmpretrain.EfficientNet', arch='b0', conv_cfg=dict(type='RefConv')))
    runner = SimpleNamespace(model=model, hooks=[StartHook(), FiniteHook()])
    with pytest.raises(ValueError, match=r"EfficientNet: .*write type='RefConvAdaptivePadding'"):
        RefConvHook().before_run(runner)


@pytest.mark.parametrize('name', ['0.refocus', 'module.0.refocus', '0.convmap.weight'])
def test_a_checkpoint_with_updates_that_no_layer_takes_is_refused(name):
    """mmengine logs them as unexpected keys and would train the bare bases."""
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3, groups=4))
    refocus(model, include='1')
    runner = SimpleNamespace(model=model, _load_from='some.pth')
    with pytest.raises(CheckpointError, match=r'some\.pth refocuses 1 layers, .* 1 are plain in this model \(0\)'):
        RefConvHook().after_load_checkpoint(runner, dict(state_dict={name: torch.zeros(4, 1, 3, 3)}))
    RefConvHook().after_load_checkpoint(runner, dict(state_dict={'1.refocus': torch.zeros(4, 1, 3, 3)}))


def test_a_plain_run_refuses_a_refocused_checkpoint(seg_run, city, tmp_path):
    changes = dict(load_from=str(seg_run['last']), custom_hooks=[dict(type='RefConvStartHook')])
    with pytest.raises(
        CheckpointError, match=r'refocuses layers that are plain in this model.*refconv fuse CONFIG CKPT'
    ):
        build_runner(segmenter(city, tmp_path, '_control', **changes)).train()


def test_a_frozen_update_that_leaves_the_kernel_is_fine():
    layer = RefConv2d.from_conv2d(nn.Conv2d(4, 4, 3, groups=4))
    layer.refocus.requires_grad_(False)
    assert check_layer('a', layer, set()) == []
    trained = RefConv2d.from_conv2d(nn.Conv2d(4, 4, 3, groups=4), RefConvOptions(init='kaiming'))
    trained.load_state_dict(trained.state_dict())
    trained.refocus.requires_grad_(False)
    assert check_layer('a', trained, set()) == []


def test_a_map_that_the_optimizer_does_not_know_is_noticed():
    """Surgery after the optimizer was built."""
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    refocus(model)
    known = {id(p) for group in optimizer.param_groups for p in group['params']}
    (problem,) = check_layer('0', model[0], known)
    assert 'the optimizer does not have the parameter refocus' in problem


def test_a_checkpoint_of_another_net_is_refused(city, tmp_path):
    """The MobileNetV2 of mmdet and of mmpretrain have different names; each fills only the stem of the other."""
    changes = dict(load_from=str(tmp_path / 'start.pth'), custom_hooks=[dict(type='RefConvStartHook')])
    cfg = segmenter(city, tmp_path, '_control', iters=1, **changes)
    state = torch.load(random_checkpoint(cfg, tmp_path / 'start.pth'))['state_dict']
    other = {key.replace('backbone.layer', 'backbone.block'): value for key, value in state.items()}
    torch.save(dict(state_dict=other), tmp_path / 'start.pth')
    match = (
        r'start\.pth fills [36] of 153 parameters of the backbone.* has backbone\.block.*; the model backbone\.layer'
    )
    with pytest.raises(CheckpointError, match=match):
        build_runner(copy.deepcopy(cfg)).train()
    half = {key: state[key] for key in list(state)[: len(state) // 2] if key.startswith('backbone')}
    torch.save(dict(state_dict=other | half), tmp_path / 'start.pth')
    build_runner(cfg).train()


def test_a_resumed_run_warns_of_the_schedule_that_it_keeps(seg_run, tmp_path):
    """mmengine restores the schedulers of the checkpoint, so a longer training ends at the finished one's rate."""
    cfg = copy.deepcopy(seg_run['cfg'])
    cfg.work_dir, cfg.train_cfg.max_iters = str(tmp_path), 4
    for end, warned in ((cfg.param_scheduler[0].end, False), (4, True)):
        cfg.param_scheduler[0].end, cfg.resume, cfg.load_from = end, True, str(seg_run['last'])
        cfg.experiment_name = cfg.visualizer.name = f'resumed {end}'
        build_runner(cfg).train()
        *_, log = sorted(tmp_path.glob('*/*.log'))
        assert (
            'resumes the schedule of the checkpoint, not that of the config: end 45 in place of 4' in log.read_text()
        ) == warned


def test_layers_that_are_all_of_other_kinds_are_an_error_with_reasons(city, tmp_path):
    cfg = ready(segmenter(city, tmp_path, **{'model.backbone.conv_cfg.kinds': 'grouped'}), tmp_path)
    with pytest.raises(ValueError, match=r'no RefConv layer.*The convolutions: '):
        build_runner(cfg).train()


def test_files_of_an_earlier_run_are_kept(tmp_path):
    for name in ('fused.pth', 'fused.py'):
        (tmp_path / name).write_text(name)
    keep_earlier(tmp_path)
    assert [re.sub(r'\d{8}_\d{6}', 'TIME', path.name) for path in sorted(tmp_path.iterdir())] == [
        'fused_TIME.pth',
        'fused_TIME.py',
    ]


def test_averaged_weights_are_tested_and_fused(city, tmp_path):
    ema = dict(type='EMAHook', momentum=0.4)
    cfg = ready(segmenter(city, tmp_path, iters=3, custom_hooks=[ema], **{'train_cfg.val_interval': 2}), tmp_path)
    cfg.optim_wrapper.optimizer.lr = 0.2
    runner = build_runner(cfg)
    runner.train()
    fused = read_checkpoint(tmp_path / 'fused.pth')
    assert fused['meta']['refconv']['weights'] == 'averaged (EMA)'
    checkpoint = read_checkpoint(tmp_path / 'iter_3.pth')
    for state, same in ((checkpoint['state_dict'], True), (runner.model.state_dict(), False)):
        model = build_model(cfg)
        load_whole(model, state, '')
        kernels = [
            torch.equal(fused['state_dict'][f'{name}.weight'], layer.to_conv2d().weight)
            for name, layer in named_refconvs(model)
        ]
        assert all(kernels) is same
        assert any(kernels) is same


def test_an_untrained_random_initialization_is_not_tested(city, tmp_path):
    """A plain or fused checkpoint under a refocused config would be tested with kernels that it does not have."""
    cfg = ready(segmenter(city, tmp_path, **{'model.backbone.conv_cfg.init': 'kaiming'}), tmp_path)
    with pytest.raises(ValueError, match=r'17 layers have an untrained random initialization.*fused\.py'):
        build_runner(cfg).test()


@pytest.mark.parametrize('changes', [
    {'model.backbone.norm_cfg': dict(type='SyncBN'), 'model.backbone.frozen_stages': 2, 'model.backbone.with_cp': True},
    {'model.backbone.norm_eval': True, 'efficient_conv_bn_eval': ['backbone']},
    {'model.backbone.conv_cfg.gain': None,
     'optim_wrapper.accumulative_counts': 2, 'optim_wrapper.clip_grad': dict(_delete_=True, max_norm=1.0)},
], ids=lambda changes: next(iter(changes)))  # fmt: skip
def test_what_is_in_daily_use_works(city, tmp_path, changes):
    cfg = ready(segmenter(city, tmp_path, custom_hooks=[], **changes), tmp_path)
    runner = build_runner(cfg)
    runner.train()
    frozen = [name for name, layer in named_refconvs(runner.model) if not layer.trained.requires_grad]
    moved = [name for name, value in maps(runner.model).items() if value.any()]
    assert bool(frozen) == ('model.backbone.frozen_stages' in changes)
    assert set(moved) | set(frozen) == set(maps(runner.model))
    assert (tmp_path / 'fused.pth').is_file()


def test_amp_trains_in_bfloat16(city, tmp_path, monkeypatch):
    """mmengine's AmpOptimWrapper needs a GPU; its autocast also works on the CPU."""
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    cfg = segmenter(city, tmp_path, **{'optim_wrapper.type': 'AmpOptimWrapper', 'optim_wrapper.dtype': 'bfloat16'})
    runner = build_runner(ready(cfg, tmp_path))
    runner.train()
    assert all(value.dtype == torch.float32 and value.any() for value in maps(runner.model).values())
    assert (tmp_path / 'fused.pth').is_file()
