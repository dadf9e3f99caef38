"""Safe reading, fusing with proof, and complete writing."""

import copy
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner import CheckpointLoader

from refconv_mm.checkpoints import fusing as C
from refconv_mm.checkpoints.fusing import choose_weights, fuse_checkpoint, read_checkpoint
from refconv_mm.checkpoints.states import is_refocused_state
from refconv_mm.checkpoints.verify import example_input
from refconv_mm.files import unpickling
from refconv_mm.files.errors import CheckpointError, FuseError
from refconv_mm.layers import RefConv2d
from refconv_mm.openmmlab.models import build_model, load_whole
from refconv_mm.surgery import named_refconvs
from tests.conftest import detector, segmenter


class Evil:
    """Makes a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


# -- reading -----------------------------------------------------------------------------------------------


@pytest.fixture(params=['allow-list', 'own unpickler'])
def way(request, monkeypatch):
    """How files are read: by torch's allow-list, or as under torch before 2.6."""
    if request.param == 'allow-list' and not unpickling.takes_allow_list():
        pytest.skip('this torch takes no allow-list of other functions')
    monkeypatch.setattr(unpickling, 'takes_allow_list', lambda: request.param == 'allow-list')


both_ways = pytest.mark.usefixtures('way')


@both_ways
def test_what_mmengine_writes_is_read_also_by_mmengine(seg_run):
    """Under torch 2.6 and newer mmengine alone refuses its own log buffers."""
    checkpoint = read_checkpoint(seg_run['last'])
    assert checkpoint['message_hub']['log_scalars']['train/loss'].mean() > 0
    again = CheckpointLoader.load_checkpoint(str(seg_run['last']), map_location='cpu')
    assert set(again) == set(checkpoint)


@both_ways
def test_a_file_that_would_run_code_is_refused_unless_trusted(tmp_path):
    mark = tmp_path / 'was_here'
    torch.save(dict(state_dict={}, evil=Evil(mark)), tmp_path / 'evil.pth')
    with pytest.raises(CheckpointError, match=r'could run code.*--trust'):
        read_checkpoint(tmp_path / 'evil.pth')
    assert not mark.exists()
    read_checkpoint(tmp_path / 'evil.pth', trust=True)
    assert mark.exists()


@both_ways
def test_getattr_hands_out_four_statistics_and_nothing_else(tmp_path):
    """What mmengine's log buffers need: `getattr` on an allowed class."""

    class Reach:
        def __reduce__(self):
            return getattr, (HistoryBuffer, '__init__')

    torch.save(dict(state_dict={}, meta=Reach()), tmp_path / 'reach.pth')
    with pytest.raises(CheckpointError, match='could run code'):
        read_checkpoint(tmp_path / 'reach.pth')


def test_torchscript_is_refused(tmp_path):
    """`torch.load` would run it."""
    torch.jit.save(torch.jit.trace(torch.nn.Conv2d(2, 2, 3), torch.zeros(1, 2, 3, 3)), tmp_path / 'script.pth')
    with pytest.raises(pickle.UnpicklingError, match='TorchScript'):
        unpickling.load_restricted(tmp_path / 'script.pth', 'cpu')
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / 'script.pth')


@both_ways
def test_a_bare_state_dict_is_a_checkpoint_and_the_prefix_of_a_wrapper_is_dropped(tmp_path):
    """As in mmengine's loader; the metadata of the state dict stays."""
    model = torch.nn.Sequential(RefConv2d(4, 4, 3, groups=4))
    state = torch.nn.ModuleDict(dict(module=model)).state_dict()
    torch.save(state, tmp_path / 'bare.pth')
    torch.save(dict(state_dict=state), tmp_path / 'x.pth')
    bare, read = (read_checkpoint(tmp_path / name) for name in ('bare.pth', 'x.pth'))
    assert bare['meta'] == {}
    assert set(bare['state_dict']) == set(read['state_dict']) == set(model.state_dict())
    if hasattr(torch.serialization, 'get_safe_globals'):  # torch 2.1 leaves the prefix in the metadata
        assert read['state_dict']._metadata.keys() == model.state_dict()._metadata.keys()


# -- averaged weights --------------------------------------------------------------------------------------


def test_mmengine_swaps_averaged_and_trained_weights_when_it_saves():
    averaged, trained = torch.zeros(1), torch.ones(1)
    checkpoint = dict(state_dict={'a': averaged}, ema_state_dict={'module.a': trained, 'steps': torch.tensor(3)})
    assert choose_weights(checkpoint) == ({'a': averaged}, 'averaged (EMA)')
    assert choose_weights(checkpoint, True)[0]['a'] is averaged
    assert choose_weights(checkpoint, False) == (OrderedDict(a=trained), 'trained')
    assert choose_weights(dict(state_dict={'a': trained}), False)[1] == 'trained'
    with pytest.raises(CheckpointError, match='no averaged weights'):
        choose_weights(dict(state_dict={'a': trained}), True)


# -- fusing ------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def fused(seg_run):
    return fuse_checkpoint(seg_run['cfg'], read_checkpoint(seg_run['last']), source=str(seg_run['last']))


def test_the_fused_model_is_the_refocused_one_with_the_keys_of_the_plain_one(seg_run, fused):
    start, state = read_checkpoint(seg_run['start'])['state_dict'], fused.checkpoint['state_dict']
    assert {key: value.shape for key, value in state.items()} == {key: value.shape for key, value in start.items()}
    changed = [key for key in fused.report.matched if not torch.equal(state[f'{key}.weight'], start[f'{key}.weight'])]
    assert len(changed) == 17  # all of them trained
    refocused, plain, base = (build_model(cfg) for cfg in (seg_run['cfg'], fused.cfg, fused.cfg))
    load_whole(refocused, read_checkpoint(seg_run['last'])['state_dict'], '')
    plain.load_state_dict(copy.deepcopy(state), strict=True)
    load_whole(base, start, '')
    x = example_input(seg_run['cfg'])
    with torch.no_grad():
        expected, got, before = (model(x, mode='tensor') for model in (refocused, plain, base))
    scale = expected.abs().max()
    assert (expected - got).abs().max() / scale < 1e-5
    assert (expected - before).abs().max() / scale > 1e-2


def test_meta_is_kept_and_the_rest_left_out(fused, seg_run):
    meta = fused.checkpoint['meta']
    assert set(fused.checkpoint) == {'meta', 'state_dict'}
    assert meta['dataset_meta']['classes'][0] == 'road'
    assert meta['iter'] == 2
    assert 'RefConv' not in meta['cfg']
    assert 'custom_imports' not in meta['cfg']
    record = meta['refconv']
    assert record['fused'] is True
    assert record['source'] == str(seg_run['last'])
    assert record['weights'] == 'trained'
    assert len(record['layers']) == 17
    assert 0 <= record['worst_difference'] < 1e-5


def test_a_plain_config_that_builds_another_model_is_refused(seg_run, monkeypatch):
    original = C.plain_config

    def other(cfg):
        plain = original(cfg)
        plain.model.backbone.act_cfg = dict(type='ReLU')
        return plain

    monkeypatch.setattr(C, 'plain_config', other)
    with pytest.raises(FuseError, match='end to end'):
        fuse_checkpoint(seg_run['cfg'], read_checkpoint(seg_run['last']))


def test_weights_that_are_not_finite_are_refused(seg_run):
    checkpoint = read_checkpoint(seg_run['last'])
    keys = [key for key in checkpoint['state_dict'] if key.endswith('.refocus')]
    checkpoint['state_dict'][keys[8]][0] = float('nan')  # Python's max() can lose a NaN in the middle
    with pytest.raises(FuseError, match=r'layer backbone\.\S+ differs by nan'):
        fuse_checkpoint(seg_run['cfg'], checkpoint)


def test_fusing_what_must_not_be_fused_is_a_clear_error(seg_run, fused, city, voc, tmp_path):
    cfg, refocused = seg_run['cfg'], read_checkpoint(seg_run['last'])
    with pytest.raises(FuseError, match='fused already'):
        fuse_checkpoint(cfg, fused.checkpoint)
    with pytest.raises(FuseError, match=r'plain.*nothing to fuse'):
        fuse_checkpoint(cfg, read_checkpoint(seg_run['start']))
    with pytest.raises(FuseError, match=r'is refocused and the config is plain.*refconv fuse CONFIG CKPT'):
        fuse_checkpoint(fused.cfg, refocused)
    with pytest.raises(CheckpointError, match='does not fit the model of the config'):
        fuse_checkpoint(detector(voc, tmp_path), refocused)
    wider = segmenter(city, tmp_path)
    wider.model.decode_head.channels = 72
    with pytest.raises(CheckpointError, match='size mismatch'):
        fuse_checkpoint(wider, refocused)
    paper = copy.deepcopy(cfg)  # which refocuses the stem, too, and would draw its map
    paper.model.backbone.conv_cfg = dict(type='RefConv', kinds=['depthwise', 'dense'], init='kaiming')
    with pytest.raises(FuseError, match=r'no update of \d+ layers that the config initializes at random .backbone'):
        fuse_checkpoint(paper, refocused)


@pytest.mark.parametrize('backbone', [
    dict(type='mmpretrain.MobileNetV2', widen_factor=0.25, conv_cfg=dict(type='RefConv', init='kaiming')),
    dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8,
         conv_cfg=dict(type='RefConv', init='kaiming', kinds='dense')),
])  # fmt: skip
def test_a_classifier_fuses(backbone):
    head = dict(type='LinearClsHead', num_classes=3, in_channels=64 if 'ResNet' in backbone['type'] else 1280)
    model = dict(type='ImageClassifier', backbone=backbone, neck=dict(type='GlobalAveragePooling'), head=head)
    cfg = Config(dict(default_scope='mmpretrain', model=model))
    refocused = build_model(cfg)
    for _, layer in named_refconvs(refocused):
        layer.restart()
        layer.trained.data += 0.01 * torch.randn_like(layer.trained)
    result = fuse_checkpoint(cfg, dict(state_dict=refocused.state_dict(), meta={}))
    assert result.comparison.outputs == 'forward'
    assert not is_refocused_state(result.checkpoint['state_dict'])


def test_a_two_stage_detector_is_compared_on_its_features():
    cfg, dense = get_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'), dict(type='RefConv', kinds='dense')
    cfg.model.backbone.update(depth=18, base_channels=8, stem_channels=8, conv_cfg=dense, init_cfg=None)
    cfg.model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16, conv_cfg=dense)
    cfg.model.rpn_head.update(in_channels=16, feat_channels=16)
    cfg.model.roi_head.bbox_roi_extractor.update(out_channels=16)
    cfg.model.roi_head.bbox_head.update(in_channels=16, fc_out_channels=32)
    result = fuse_checkpoint(cfg, dict(state_dict=build_model(cfg).state_dict(), meta={}))
    assert result.comparison.outputs == 'extract_feat'
    assert any(name.startswith('neck') for name in result.comparison.layers)


# -- writing -----------------------------------------------------------------------------------------------


def test_fuse_overwrites_only_when_forced(seg_run, refconv, tmp_path):
    config, out = tmp_path / 'seg.py', tmp_path / 'out'
    seg_run['cfg'].dump(config)
    words = 'fuse', config, seg_run['last'], '--out-dir', out
    code, said, _ = refconv(*words)
    assert code == 0
    assert 'trained weights; the outputs of the fused and the refocused model differ by' in ' '.join(said.split())
    content = (out / 'fused.pth').read_bytes()
    (out / 'fused.py').write_text('mine')
    code, _, error = refconv(*words)
    assert code == 2
    assert 'fused.pth exists and is left alone' in ' '.join(error.split())
    assert ((out / 'fused.pth').read_bytes(), (out / 'fused.py').read_text()) == (content, 'mine')
    assert refconv(*words, '--force')[0] == 0
    assert (out / 'fused.py').read_text() != 'mine'
    assert sorted(path.name for path in out.iterdir()) == ['fused.pth', 'fused.py']
