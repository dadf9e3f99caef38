"""Fuzzed layer options and shapes, and fuzzed command lines of every tool."""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import runpy
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from torch import nn

from refconv_mm import commands
from refconv_mm import RefConv2d, RefConvOptions, fuse, refocus
from lab.analysis.driver import NAMES
from refconv_mm.commands.arguments import positive
from refconv_mm.openmmlab.models import build_model

from tests.conftest import ROOT

# -- layers ------------------------------------------------------------------------------------------------

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 9), st.floats(), st.sampled_from(['', 'zero', '3', 'x']),
    st.tuples(st.integers(0, 5), st.integers(0, 5)),
)  # fmt: skip
OPTIONS = st.fixed_dictionaries({}, optional=dict(
    map_k=st.sampled_from([1, 3, 5, 7]) | VALUES,
    init=st.sampled_from(['zero', 'kaiming', 'dirac']) | VALUES,
    identity=st.booleans() | VALUES,
    gain=st.none() | st.floats(1e-3, 1e3) | VALUES,
    kinds=st.sampled_from(['dense', ['depthwise', 'grouped']]) | VALUES,
))  # fmt: skip
SHAPES = dict(
    groups=st.integers(1, 4), inputs=st.integers(1, 3), outputs=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)), stride=st.integers(1, 3),
    padding=st.integers(0, 4) | st.sampled_from(['same', 'valid']), dilation=st.integers(1, 3), bias=st.booleans(),
    mode=st.sampled_from(['zeros', 'reflect', 'replicate', 'circular']),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)  # fmt: skip
LONG = settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
SHORT = settings(max_examples=60, deadline=None)


def check_layer(options, groups, inputs, outputs, kernel, stride, padding, dilation, bias, mode, size):
    """A convolution is refocused and fused to the same function, or refused with a sentence."""
    torch.manual_seed(0)
    try:
        conv = nn.Conv2d(
            inputs * groups, outputs * groups, kernel, stride, padding, dilation, groups, bias, mode
        ).double()
    except ValueError:
        return  # torch refuses the plain layer
    x = torch.randn(2, inputs * groups, *size, dtype=torch.float64)
    model = nn.Sequential(conv.double())
    try:
        refocus(model, **options)
    except (ValueError, TypeError):
        assert type(model[0]) is nn.Conv2d  # unchanged
        return
    layer = model[0]
    assert isinstance(layer, RefConv2d)
    with torch.no_grad():
        layer.trained.add_(torch.randn_like(layer.trained) * 0.1)
    try:
        expected = conv(x)
    except RuntimeError:
        return  # the image is too small for the plain layer
    refocused = layer(x)
    refocused.sum().backward()
    assert layer.trained.grad.isfinite().all()
    fuse(model)
    fused = model[0](x)
    assert type(model[0]) is nn.Conv2d
    assert fused.shape == expected.shape
    # float64: sums of up to 150 products in another order
    torch.testing.assert_close(fused, refocused, rtol=1e-9, atol=1e-9 * (1 + refocused.abs().max().item()))


@SHORT
@given(options=OPTIONS, **SHAPES)
def test_layers(options, **shape):
    check_layer(options, **shape)


@pytest.mark.faults
@LONG
@given(options=OPTIONS, **SHAPES)
def test_2000_layers(options, **shape):
    check_layer(options, **shape)


@pytest.mark.faults
@LONG
@given(options=st.dictionaries(st.text(max_size=8), VALUES, max_size=3) | OPTIONS)
def test_2000_sets_of_options(options):
    with contextlib.suppress(ValueError, TypeError):
        RefConvOptions.of(options)


# -- command lines -----------------------------------------------------------------------------------------

CONFIG = """
model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='SmallMobileNet', stem=4, blocks=((4, 1), (8, 2)), out_channels=8, conv_cfg=CONV),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=8),
    data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', mean=[0, 0, 0], std=[1, 1, 1]))
custom_imports = dict(imports=['refconv_mm', 'lab.nets.small_images'], allow_failed_imports=False)
default_scope = 'mmpretrain'
loader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
              dataset=dict(type='CustomDataset', data_root='nowhere', pipeline=[]))
train_dataloader = val_dataloader = test_dataloader = loader
val_evaluator = test_evaluator = dict(type='Accuracy')
train_cfg, val_cfg, test_cfg = dict(by_epoch=False, max_iters=1), dict(), dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
log_level = 'ERROR'
"""
PLAN = """
tasks = dict(one=dict(config='refocused.py', baseline=dict(checkpoint='nowhere.pth'), metric='accuracy/top1'))
arms = dict(control=dict())
seeds = [0]
"""
# What follows every line of the tools that would run for minutes.
LAST = dict(demo=['--out', f'/{"x" * 300}'], benchmark=['--only', 'nothing'], sweep=['--only', 'nothing'])
TOOLS = [*commands.COMMANDS, 'demo', 'benchmark']


@pytest.fixture(scope='module')
def things(tmp_path_factory) -> list[str]:
    """Files of every kind, of which a command line may name any; none is a whole run with its data."""
    folder = tmp_path_factory.mktemp('things')
    for name, conv in (('refocused', "dict(type='RefConv')"), ('plain', 'None')):
        path = folder / f'{name}.py'
        path.write_text(CONFIG.replace('CONV', conv))
        model = build_model(Config.fromfile(path))
        torch.save(dict(state_dict=model.state_dict(), meta={}), folder / f'{name}.pth')
    (folder / 'plan.py').write_text(PLAN)
    (folder / 'broken.py').write_text('model = dict(')
    (folder / 'other.py').write_text('a = 1\nmodel = 3\ntasks = []\n')
    (folder / 'text.pth').write_text('no checkpoint')
    torch.save([1, 2], folder / 'list.pth')
    (folder / 'empty.json').write_text('')
    (folder / 'report').mkdir()
    (folder / 'report/skeleton.json').write_text('{"a": 1}')
    (folder / 'an "odd" name [x] ü').mkdir()
    return [str(path) for path in sorted(folder.iterdir())]


def words_of(parser: argparse.ArgumentParser, things: list[str], rng: random.Random) -> list[str]:
    """A command line: often with the right number of positional words, options with values of any kind."""

    def value(action: argparse.Action) -> str:
        odd = ['0', '-1', '3', '1.5', 'nan', 'x', '', 'model.backbone=3', 'a.b.c=[1', 'train_cfg.max_iters=x',
               'x' * 300, 'nowhere.py', 'ü\n', '/', '/proc/self/mem', '*']  # fmt: skip
        if rng.random() < 0.15:
            return rng.choice(odd)
        if action.choices:
            return str(rng.choice(list(action.choices)))
        if action.type is float:
            return rng.choice(['0.01', '0', '-1', 'inf' if action.dest != 'seconds' else '0.1'])
        if action.type in (int, positive):
            return rng.choice(['0', '1', '2', '3', '17', '32', '-1'])
        if action.dest == 'cfg_options':
            return rng.choice(['model.backbone.stem=6', 'model=3', 'model.head.num_classes=x', 'x=y', 'x'])
        return rng.choice([*things, 'new', 'new/deep.onnx', 'out.json'])

    words = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            name = rng.choice([*action.choices, 'nothing'])
            return [*words, name, *(words_of(action.choices[name], things, rng) if name in action.choices else [])]
        wanted = (
            rng.randrange(4) if action.nargs in ('+', '*') else action.nargs if isinstance(action.nargs, int) else 1
        )
        if not action.option_strings:
            fitting = [each for each in things if each.endswith('.pth' if 'checkpoint' in action.dest else '.py')]
            words += [rng.choice(fitting) if rng.random() < 0.7 else value(action) for _ in range(max(wanted, 1))]
        elif rng.random() < (0.9 if action.required else 0.15):
            words.append(rng.choice(action.option_strings))
            words += [] if action.nargs == 0 else [value(action) for _ in range(wanted)]
    if rng.random() < 0.1:
        rng.shuffle(words)
    if rng.random() < 0.1:
        words.insert(
            rng.randrange(len(words) + 1), rng.choice(['--', '-', '--help', '--no-such', '--version', '\udcff'])
        )
    return words


def parser_of(tool: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    module = (
        commands.command_module(tool) if tool in commands.COMMANDS else runpy.run_path(str(ROOT / f'tools/{tool}.py'))
    )
    (module['add_arguments'] if isinstance(module, dict) else module.add_arguments)(parser)
    return parser


def end_of(tool: str, words: list[str], monkeypatch) -> int:
    """Runs a command line in this process; returns its exit code. Anything but an exit is an error of the test."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            if tool in commands.COMMANDS:
                commands.main([tool, *words])
            else:
                monkeypatch.setattr(sys, 'argv', [f'tools/{tool}.py', *words])
                runpy.run_path(str(ROOT / f'tools/{tool}.py'), run_name='__main__')
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        assert 'Traceback (most recent call last)' not in said.getvalue(), (words, said.getvalue())
        return code
    except BaseException as error:
        raise AssertionError(f'{tool} {words} ended with {type(error).__name__}: {error}') from error
    raise AssertionError('a command exits')


def fuzz(tool: str, things: list[str], count: int, tmp_path: Path, monkeypatch) -> Counter:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    parser, ends, failures = parser_of(tool), Counter(), []
    for seed in range(count):
        words = words_of(parser, things, random.Random(f'{tool}{seed}'))
        words += LAST.get(tool, [])
        try:
            ends[end_of(tool, words, monkeypatch)] += 1
        except AssertionError as failure:
            failures.append(str(failure))
    assert not failures, f'{len(failures)} of {count}:\n' + '\n'.join(failures[:20])
    assert set(ends) <= {0, 1, 2, 130}, ends
    return ends


@pytest.mark.parametrize('tool', TOOLS)
def test_command_lines(tool, things, tmp_path, monkeypatch):
    fuzz(tool, things, 4, tmp_path, monkeypatch)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize('tool', TOOLS)
def test_500_command_lines(tool, things, tmp_path, monkeypatch):
    ends = fuzz(tool, things, 500, tmp_path, monkeypatch)
    print(tool, dict(ends))


def test_the_analyses_are_among_the_fuzzed():
    assert NAMES
    assert 'analyse' in TOOLS
