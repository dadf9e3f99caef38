"""The shipped configs load, build and run, and the configs of a set of three differ only in RefConv."""

import re

import pytest
import torch
from mmengine.config import Config

from refconv_mm import RefConv2d, RefConvOptions
from refconv_mm.layers.options import KINDS
from refconv_mm.openmmlab.config import plain_config
from refconv_mm.openmmlab.models import build_model
from refconv_mm.surgery import named_refconvs, trainable
from tests.conftest import ROOT
from tests.short_runs import baseline_of, control_of

CONFIGS = sorted((ROOT / 'configs').glob('[!_]*/*.py'))
LAB = sorted((ROOT / 'lab').glob('configs/*/*.py')) + sorted((ROOT / 'lab').glob('plans/*.py'))
MODELS = CONFIGS + [path for path in LAB if path.parent.name == 'cifar10']
REFCONV = [path for path in CONFIGS if re.search('_refconv[-_]', path.name)]
PLAIN = {other for path in REFCONV for other in (baseline_of(path), control_of(path))}
# RefConv layers by architecture: the depthwise and grouped ones of its backbone, and all of them (the paper's setting).
LAYERS = {
    'mobilenetv3-small': (11, 12),
    'mobilenetv3-large': (15, 16),
    'shufflenetv2-1x': (19, 20),
    'convnext-tiny': (18, 19),
    'mobilevit-small': (7, 14),
    'efficientnet-b0': (16, 17),
    'segformer_mit-b0': (8, None),
    'resnet18': (0, 17),
    'resnet50': (0, 17),
    'densenet121': (0, 59),
    'repvgg-a0': (0, 22),
}
MOBILENETV2 = 17, 18


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


# A baseline and a control have the model that is built as the plain one of the refocused config.
@pytest.mark.parametrize('path', [path for path in MODELS if path not in PLAIN], ids=name)
def test_it_builds(path):
    cfg = Config.fromfile(path)
    model = build_model(cfg)
    refocused = dict(named_refconvs(model))
    assert bool(refocused) == ('refconv' in path.name)
    if refocused:
        stem, of_paper = re.sub(r'_refconv.*', '', path.name), '-paper' in path.name
        counts = next((counts for start, counts in LAYERS.items() if stem.startswith(start)), MOBILENETV2)
        assert len(refocused) == counts[of_paper]
        options = {layer.options for layer in refocused.values()}
        assert options == {RefConvOptions(gain=None, kinds=KINDS, init='kaiming') if of_paper else RefConvOptions()}
        plain = build_model(plain_config(cfg))
        if not of_paper:
            assert trainable(model) == trainable(plain)
        assert not any(isinstance(module, RefConv2d) for module in plain.modules())


@pytest.mark.parametrize('path', REFCONV, ids=name)
def test_the_control_is_the_refocused_run_without_refconv(path):
    refocused, control, baseline = map(Config.fromfile, (path, control_of(path), baseline_of(path)))
    plain = plain_config(refocused).to_dict()
    assert plain['model']['backbone'].pop('conv_cfg', None) is None
    assert plain == control.to_dict()
    assert plain['model'] == baseline.to_dict()['model']


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
