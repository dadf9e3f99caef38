"""What the driver does for every analysis: arguments, files, partial results."""

import argparse
import json
import math
import re

import pytest
import torch

from lab.analysis.common.options import option, read_options
from lab.analysis.common.parts import PartStore
from lab.analysis.driver import NAMES, add_analyses, analysis_of, caption_of, for_json, run
from refconv_mm.console import table

from tests.conftest import ROOT
from tests.commands.test_tools import tool  # noqa: F401


@pytest.mark.parametrize('name', NAMES)
def test_an_analysis_is_whole(name):
    if name == 'curvature':
        pytest.importorskip('curvlinops')
    analysis = analysis_of(name)
    assert analysis.name == name
    for part, functions in dict(measure=['measure'], report=['report', 'headlines'], figure=['draw']).items():
        assert all(callable(getattr(analysis.module(part), function)) for function in functions)
    assert f'analyse.py {name}' in (ROOT / 'docs' / 'analysis.md').read_text()


@pytest.fixture
def command(tmp_path):
    """The arguments of `refconv analyse skeleton` on a checkpoint, and their parser."""
    torch.save({'a.weight': torch.ones(4, 1, 3, 3)}, tmp_path / 'plain.pth')
    parser = argparse.ArgumentParser(prog='refconv analyse')
    add_analyses(parser)
    return parser, ['skeleton', str(tmp_path / 'plain.pth'), '--out-dir', str(tmp_path / 'out')]


def test_another_command_can_take_the_analyses_in(command, tmp_path, capsys):
    parser, arguments = command
    written = run(parser.parse_args(arguments), 'refconv analyse skeleton')
    assert [path.name for path in written] == [f'skeleton{end}' for end in ('.md', '.json', '.png', '_layers.png')]
    text = written[0].read_text()
    assert text.startswith('# Skeleton of kernels\n\n`refconv analyse skeleton`\n\n- plain: ')
    said = capsys.readouterr().out
    assert '## The net, as it is' in said
    assert '## Centre by layer' not in said
    assert '## Centre by layer' in text
    assert json.loads(written[1].read_text())['command'] == 'refconv analyse skeleton'


@pytest.mark.parametrize('there', ['skeleton.md', 'skeleton.json', 'skeleton.png', 'skeleton_layers.png'])
def test_nothing_is_measured_where_files_would_be_overwritten(command, tmp_path, monkeypatch, there):
    parser, arguments = command
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / there).touch()
    (tmp_path / 'out' / 'skeleton_more.png').touch()  # not one of its files
    measured = []
    monkeypatch.setattr(analysis_of('skeleton').module('measure'), 'measure', measured.append)
    message = f'{there} exists and is left alone; name another --out-dir or pass --force'
    with pytest.raises(FileExistsError, match=re.escape(message)):
        run(parser.parse_args(arguments), '')
    assert not measured
    monkeypatch.undo()
    assert run(parser.parse_args([*arguments, '--force']), '')


def test_bad_arguments_end_with_code_2(tool, tmp_path):  # noqa: F811
    for arguments, message in (
        ((), 'ANALYSIS'),
        (('none',), 'invalid choice'),
        (('skeleton', tmp_path / 'none.pth', '--out-dir', tmp_path), 'none.pth'),
        (('redundancy', tmp_path / 'none.pth', '--out-dir', tmp_path, '--max-channels', 1), 'two channels make a pair'),
    ):
        code, said = tool('analyse', *arguments)
        assert (code, message in said) == (2, True), said


def test_options_are_read_by_their_types():
    analysis = analysis_of('curvature')
    parser = argparse.ArgumentParser()
    add_analyses(parser)
    given = ['--radii', '0.1', '0.2', '--params', 'a.*', '--seed', '3', '--probes', '2']
    args = parser.parse_args(['curvature', 'c.py', 'a.pth', '--out-dir', 'o', *given])
    assert read_options(args, analysis.options) == analysis.options(radii=(0.1, 0.2), params=('a.*',), seed=3, probes=2)
    assert (args.batches, args.batch_size) == (8, 2)  # its own defaults
    assert option(1, 'text').metadata['text'] == 'text'


def test_figures_know_their_captions(tmp_path):
    analysis = analysis_of('redundancy')
    assert caption_of(analysis, tmp_path / 'redundancy_heat-2.png') == 'Channels against channels, layer by layer (2)'
    assert caption_of(analysis, tmp_path / 'redundancy_more.png') is None


def test_json_has_no_hidden_keys_and_no_nan():
    assert for_json(dict(a=[1.0, math.nan], _b=2, c=dict(_d=1, e=(math.inf,)))) == dict(a=[1.0, None], c=dict(e=[None]))


def test_parts_are_kept_by_key_also_after_a_torn_line(tmp_path):
    path = tmp_path / 'new' / 'parts.jsonl'
    PartStore(path, 'one').add('a', [1, None])
    with path.open('a') as file:
        file.write('{"key": "one", "par')
    PartStore(path, 'one').add('b', dict(c=2))
    PartStore(path, 'other').add('a', 3)
    assert PartStore(path, 'one').known == dict(a=[1, None], b=dict(c=2))
    assert PartStore(path, 'other').known == dict(a=3)


def test_a_table_is_markdown():
    assert table(['a', 'b'], [('x', 1)]).splitlines() == ['| a | b |', '|---|---:|', '| x | 1 |']
