"""The driver: arguments, files, and every analysis from the command line."""

import json

import pytest
import torch

from lab.__main__ import main
from lab.analysis.driver import ANALYSES


def kernel(seed: int = 0) -> torch.Tensor:
    return torch.randn(6, 1, 3, 3, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def checkpoints(tmp_path) -> list[str]:
    for i, name in enumerate(('plain', 'fused')):
        dense = torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(i))
        torch.save({'a.conv.weight': kernel(i), 'b.conv.weight': dense}, tmp_path / f'{name}.pth')
    return [str(tmp_path / 'plain.pth'), str(tmp_path / 'fused.pth')]


@pytest.mark.parametrize('name', [name for name, (_, source) in ANALYSES.items() if source == 'kernels'])
def test_an_analysis_of_kernels_writes_report_json_and_figure(checkpoints, tmp_path, capsys, name):
    words = ['analyse', name, *checkpoints, '--names', 'before,after', '--out-dir', str(tmp_path / 'out')]
    assert main(words) == 0
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {f'{name}{end}' for end in ('.md', '.json', '.png')}
    assert capsys.readouterr().out.startswith(f'# {ANALYSES[name][0]}\n\n`python -m lab analyse {name}')
    results = json.loads((tmp_path / 'out' / f'{name}.json').read_text())
    assert [row['layer'] for row in results['layers']] == ['a.conv', 'b.conv']
    # Nothing is overwritten unasked.
    assert main(words) == 2
    assert f'{name}.md exists and is left alone' in capsys.readouterr().err
    assert main([*words, '--force']) == 0


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('landscape', ['--directions', '2', '--points', '3', '--span', '0.05']),
        pytest.param('curvature', ['--probes', '1'], marks=pytest.mark.slow),
    ],
)
def test_an_analysis_of_the_loss(seg_run, tmp_path, name, options):
    pytest.importorskip('curvlinops')
    seg_run['cfg'].dump(tmp_path / 'config.py')
    words = [str(tmp_path / 'config.py'), str(seg_run['start']), str(seg_run['last'])]
    words += ['--names', 'before,after', '--batches', '2', '--batch-size', '1', '--out-dir', str(tmp_path / 'out')]
    assert main(['analyse', name, *words, *options]) == 0
    results = json.loads((tmp_path / 'out' / f'{name}.json').read_text())
    assert [net['name'] for net in results['checkpoints']] == ['before', 'after']
    text = (tmp_path / 'out' / f'{name}.md').read_text()
    assert '2 x 1 images of the training split' in text
    assert 'after - before' in text if name == 'landscape' else 'after / before' in text


def test_bad_arguments_end_with_code_2(tmp_path, capsys):
    assert main([]) == main(['none']) == 2
    assert 'usage: python -m lab compare|analyse|benchmark' in capsys.readouterr().err
    assert main(['analyse', 'skeleton', str(tmp_path / 'none.pth'), '--out-dir', str(tmp_path)]) == 2
    assert 'none.pth' in capsys.readouterr().err


def test_a_single_checkpoint_has_its_gram_matrices_alone(tmp_path, capsys):
    torch.save({'a.weight': torch.ones(6, 1, 3, 3), 'b.weight': torch.randn(4, 2, 5, 5)}, tmp_path / 'plain.pth')
    assert main(['analyse', 'theory', str(tmp_path / 'plain.pth'), '--out-dir', str(tmp_path / 'out')]) == 0
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {'theory.md', 'theory.json'}
    assert f'| a | 3x3 depthwise, 6 | 1 of 1 | {6 * 49 / 9:.3g} |' in capsys.readouterr().out
