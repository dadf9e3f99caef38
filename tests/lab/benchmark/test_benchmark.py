"""The benchmark end to end on a tiny model: it runs, keeps what it has, and counts what is known."""

import copy
import json
import shutil
from argparse import Namespace

import pytest
import torch
from mmengine.config import Config
from torch import nn

from lab.benchmark import measure as B
from lab.benchmark.suite import run_suite
from lab.benchmark.training_data import Trainer, find_config, synthetic_batch
from lab.commands import benchmark
from refconv_mm.layers import RefConv2d

MODEL = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier', backbone=dict(type='MobileNetV2', widen_factor=0.1, out_indices=(7,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=1280, loss=dict(type='CrossEntropyLoss')),
)
"""
SUITE = """
models = dict(tiny=dict(config='tiny.py', size=(64, 64), batches=(1, 2)))
"""


@pytest.fixture(scope='module')
def suite(tmp_path_factory):
    folder = tmp_path_factory.mktemp('suite')
    (folder / 'tiny.py').write_text(MODEL)
    (folder / 'suite.py').write_text(SUITE)
    return Config.fromfile(folder / 'suite.py')


@pytest.mark.slow
def test_it_measures_reports_and_does_nothing_twice(suite, tmp_path, monkeypatch):
    written = run_suite(suite, tmp_path, 'the command', seconds=0.01)
    assert {path.name for path in written} == {'report.md', 'results.json'}
    results = json.loads((tmp_path / 'results.json').read_text())
    assert [case['batch'] for case in results] == [1, 2]
    training = results[0]['training']
    assert set(training) == {'plain', 'released', 'refocused'}
    assert training['refocused']['parameters'] == training['plain']['parameters'] < training['released']['parameters']
    if torch.cuda.is_available():
        assert training['released']['peak_bytes'] > training['refocused']['peak_bytes']
    assert set(results[0]['inference']) == {'plain', 'refocused', 'fused', 'folded'}
    text = (tmp_path / 'report.md').read_text()
    assert 'the command' in text
    assert text.count('| tiny |') == 2 + 3 + 1 + 2 * torch.cuda.is_available()
    # A second run takes everything from disk, and one on another machine nothing.
    measured = []
    monkeypatch.setattr(B, 'measure_case', lambda *args: measured.append(args) or results[0])
    run_suite(suite, tmp_path, 'the command', seconds=0.01)
    assert not measured
    monkeypatch.setattr(B, 'machine', lambda: dict(processor='another', time='now'))
    run_suite(suite, tmp_path, 'the command', seconds=0.01)
    assert len(measured) == 2


def test_the_deployed_models_are_one_function_but_not_plain_s():
    plain = nn.Sequential(
        nn.Conv2d(3, 8, 3, groups=1, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8)
    ).eval()
    plain[1].running_mean.uniform_(), plain[1].running_var.uniform_(0.5, 2)
    models = B.inference_forms(plain.double())
    x = torch.randn(1, 3, 9, 9, dtype=torch.float64)
    outputs = {name: model(x) for name, model in models.items()}
    assert not torch.allclose(outputs['plain'], outputs['refocused'], atol=1e-6)
    for name in ('fused', 'folded'):
        torch.testing.assert_close(outputs[name], outputs['refocused'], rtol=0, atol=1e-12)
    assert not any(isinstance(m, RefConv2d) for name in ('fused', 'folded') for m in models[name].modules())
    assert isinstance(models['folded'][1], nn.Identity)


def test_synthetic_batches_train_a_detector_and_a_segmenter(city, voc, tmp_path):
    from refconv_mm.openmmlab.models import build_model
    from tests.conftest import detector, segmenter

    for cfg in (detector(voc, tmp_path), segmenter(city, tmp_path)):
        model = build_model(cfg)
        trainer = Trainer(model, synthetic_batch((64, 64), 2, classes=2))
        trainer()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)


OPTIONS = [
    (dict(channels_last=True), 1e-5),
    (dict(amp=True), 2**-5),  # a few roundings to bfloat16
    pytest.param(dict(compiled=True), 1e-5, marks=pytest.mark.skipif(shutil.which('c++') is None, reason='needs C++')),
]


@pytest.mark.parametrize(('options', 'tolerance'), OPTIONS)
def test_the_options_of_a_step_change_its_rounding_alone(options, tolerance):
    plain = B.refocused(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8)))
    grads = []
    for given in ({}, options):
        trainer = Trainer(copy.deepcopy(plain), synthetic_batch((16, 16), 2), **given)
        trainer()
        grads.append([p.grad for p in trainer.model.parameters()])
    for got, expected in zip(grads[1], grads[0], strict=True):
        assert (got - expected).abs().max() < tolerance * expected.abs().max()


def test_the_cases_for_a_gpu_have_configs_and_options():
    suite = Config.fromfile(benchmark.SUITES / 'gpu.py')
    assert {name.partition('-')[0] for name in suite.models} == {'mobilenet_v2', 'resnet50'}
    for case in suite.models.values():
        assert find_config(case['config'], benchmark.SUITES).model
        Trainer(nn.Linear(1, 1), synthetic_batch((8, 8), 1), **case['options'])
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match='torch sees no GPU here'):
            benchmark.run(Namespace(device='cuda', threads=None))
