"""The shipped configs load, build and run, and the configs of a set of three differ only in RefConv."""

import re

import pytest
import torch
from mmengine.config import Config

from refconv_mm import RefConv2d
from refconv_mm.openmmlab.config import plain_config
from refconv_mm.openmmlab.models import build_model
from refconv_mm.surgery import named_refconvs
from refconv_mm.surgery.selection import kind_of
from tests.conftest import ROOT

CONFIGS = sorted((ROOT / 'configs').glob('[!_]*/*.py'))
LAB = sorted((ROOT / 'lab').glob('configs/*/*.py')) + sorted((ROOT / 'lab').glob('plans/*.py'))
MODELS = CONFIGS + [path for path in LAB if path.parent.name == 'cifar10']
REFCONV = [path for path in CONFIGS if '_refconv_' in path.name]
FROM_IMAGENET = [path for path in CONFIGS if '_refconv-from-imagenet_' in path.name]
# RefConv layers by architecture: the depthwise and grouped ones of its backbone.
LAYERS = {
    'mobilenetv3-small': 11,
    'mobilenetv3-large': 15,
    'shufflenetv2-1x': 19,
    'convnext-tiny': 18,
    'mobilevit-small': 7,
    'efficientnet-b0': 16,
    'segformer_mit-b0': 8,
}


def name(path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize('path', CONFIGS + LAB, ids=name)
def test_it_says_how_to_run_it_and_names_what_exists(path):
    text = path.read_text()
    command = r'# (make demo|python (tools/(train|test)\.py|-m lab (compare|benchmark)) (lab/|configs/)\S+)'
    assert re.match(command, text.splitlines()[0])
    assert 'gloo' not in text  # several GPUs talk by NCCL, and train.py chooses gloo without a GPU
    for config in re.findall(r'(?<![\w./])(?:lab/|configs/)\S+\.py', text):
        assert (ROOT / config).is_file(), config
    for directory in re.findall(r'work_dirs/([\w.-]+)/(?:epoch|iter)', text):
        assert (path.parent / f'{directory}.py').is_file(), directory


def in_a_set(path) -> bool:
    return any(path.name == other.name.replace('_refconv', kind) for other in REFCONV for kind in ('', '_control'))


# A baseline and a control have the model that is built as the plain one of the refocused config.
@pytest.mark.parametrize('path', [path for path in MODELS if not in_a_set(path)], ids=name)
def test_it_builds(path):
    cfg = Config.fromfile(path)
    model = build_model(cfg)
    refocused = dict(named_refconvs(model))
    assert bool(refocused) == ('refconv' in path.name)
    if refocused:
        stem = re.sub(r'_refconv.*', '', path.name)
        assert len(refocused) == next((n for start, n in LAYERS.items() if stem.startswith(start)), 17)  # MobileNetV2
        assert 'dense' not in map(kind_of, refocused.values())  # these lose by it (lab/results.md)
        plain = build_model(plain_config(cfg))
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert trained == sum(p.numel() for p in plain.parameters() if p.requires_grad)
        assert not any(isinstance(module, RefConv2d) for module in plain.modules())


@pytest.mark.parametrize('path', REFCONV, ids=name)
def test_the_control_is_the_refocused_run_without_refconv(path):
    refocused, control = Config.fromfile(path), Config.fromfile(path.with_name(path.name.replace('refconv', 'control')))
    plain = plain_config(refocused).to_dict()
    assert plain['model']['backbone'].pop('conv_cfg', None) is None
    assert plain == control.to_dict()
    assert plain['model'] == Config.fromfile(path.with_name(path.name.replace('_refconv', ''))).to_dict()['model']


@pytest.mark.parametrize('path', FROM_IMAGENET, ids=name)
def test_the_control_of_refocusing_from_imagenet_is_the_baseline(path):
    plain = plain_config(Config.fromfile(path)).to_dict()
    assert plain['model']['backbone'].pop('conv_cfg') is None
    assert plain == Config.fromfile(path.with_name(path.name.replace('_refconv-from-imagenet', ''))).to_dict()


@pytest.mark.parametrize('stem', ['ssdlite_mobilenetv2', 'ssd300_mobilenetv2'])
def test_the_detectors_train_and_predict_on_an_image_of_their_size(stem):
    """Anchors, strides and feature maps must belong together; a wrong one shows at the first step."""
    from mmdet.testing import demo_mm_inputs

    cfg = Config.fromfile(ROOT / f'configs/voc/{stem}_refconv_voc0712.py')
    size = cfg.input_size
    model = build_model(cfg).train()
    data = demo_mm_inputs(2, [[3, size, size]] * 2, num_classes=20)
    data = model.data_preprocessor(data, True)
    losses = model(**data, mode='loss')
    assert all(torch.isfinite(loss).all() for values in losses.values() for loss in values)
    sum(loss for values in losses.values() for loss in values).sum().backward()
    assert all(layer.refocus.grad.any() for _, layer in named_refconvs(model))
    model.eval()
    with torch.no_grad():
        assert len(model(**data, mode='predict')) == 2
