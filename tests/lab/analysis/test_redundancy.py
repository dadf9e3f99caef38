"""Redundancy of kernels whose redundancy is known."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.analysis.common.kernels import KernelSet
from lab.analysis.driver import analysis_of, write
from lab.analysis.redundancy import RedundancyOptions
from lab.analysis.redundancy import measure as R

from tests.commands.test_tools import tool  # noqa: F401

DEFAULT = RedundancyOptions()
EXACT = dict(rel=0, abs=1e-9)


def rows(count: int = 6, length: int = 9, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, length, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def sets(**kernels: torch.Tensor) -> list[KernelSet]:
    return [KernelSet(name, f'{name}.pth', 'plain', dict(layer=kernel)) for name, kernel in kernels.items()]


def test_copies_are_wholly_redundant():
    values = R.measure_rows(rows(1).expand(5, 9))
    assert [values[f'kl_{way}'] for way in R.WAYS] == pytest.approx([0, 0, 0], **EXACT)
    assert values['cosine'] == pytest.approx(1, **EXACT)
    assert values['effective_rank'] == pytest.approx(1, rel=0, abs=1e-6)


def test_orthogonal_channels_are_not_redundant_at_all():
    values = R.measure_rows(torch.eye(4, 9, dtype=torch.float64) * torch.tensor([1.0, 2, 3, 4])[:, None])
    assert values['cosine'] == pytest.approx(0, **EXACT)
    assert values['effective_rank'] == pytest.approx(4, **EXACT)
    # Each puts all its magnitude where the others have none but the floor.
    assert values['kl_magnitude'] == pytest.approx(math.log(9 / R.FLOOR), rel=0.01)


def test_the_divergence_is_the_sum_over_positions():
    two = torch.tensor([[1.0, 3.0], [-2.0, 2.0]], dtype=torch.float64)
    expected = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert R.divergences(two, 'magnitude')[0, 1].item() == pytest.approx(expected, rel=1e-5)
    p, q = two.softmax(1)
    assert R.divergences(two, 'softmax')[0, 1].item() == pytest.approx((p * (p / q).log()).sum().item(), **EXACT)
    p, q = (two / two.square().mean(1, keepdim=True).sqrt()).softmax(1)
    assert R.divergences(two, 'unit')[1, 0].item() == pytest.approx((q * (q / p).log()).sum().item(), **EXACT)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100), st.integers(2, 8))
def test_rescaling_a_channel_changes_only_the_softmax(seed, factor, count):
    plain = rows(count, seed=seed)
    scaled = plain.clone()
    scaled[0] *= factor
    before, after = R.measure_rows(plain), R.measure_rows(scaled)
    for measure in ('kl_unit', 'kl_magnitude', 'cosine', 'effective_rank'):
        assert after[measure] == pytest.approx(before[measure], rel=1e-9)


def test_a_net_that_only_grew_looks_less_redundant_to_the_softmax_alone():
    kernel = rows(16).reshape(16, 1, 3, 3)
    results = R.measure(sets(before=kernel, grown=3 * kernel, flipped=-kernel), DEFAULT)
    mean = results['mean']
    assert mean['grown']['kl_softmax'] > 2 * mean['before']['kl_softmax']
    for measure in ('kl_unit', 'kl_magnitude', 'cosine', 'effective_rank'):
        assert mean['grown'][measure] == pytest.approx(mean['before'][measure], rel=1e-9)
    for measure in ('kl_magnitude', 'cosine', 'effective_rank'):
        assert mean['flipped'][measure] == pytest.approx(mean['before'][measure], rel=1e-9)


def test_random_channels_are_the_null_case():
    values = R.measure_rows(rows(400))
    # The mean |cosine| of two random directions of d dimensions is gamma(d/2) / (sqrt(pi) gamma((d+1)/2)).
    assert values['cosine'] == pytest.approx(math.gamma(4.5) / math.sqrt(math.pi) / math.gamma(5), rel=0.02)
    assert values['effective_rank'] == pytest.approx(9, rel=0.01)
    kernel = rows(400).reshape(400, 1, 3, 3)
    results = R.measure(sets(before=kernel), DEFAULT)
    for measure in R.MEASURES:
        assert results['mean'][R.RANDOM][measure] == pytest.approx(results['mean']['before'][measure], rel=0.1)


def test_whole_filters_of_dense_layers_and_the_same_channels_everywhere():
    kernel = rows(8, 27).reshape(8, 3, 3, 3)
    dead = kernel.clone()
    dead[2] = 0
    options = RedundancyOptions(max_channels=4, seed=3, heat='cosine', heat_channels=3)
    results = R.measure(sets(before=kernel, after=dead), options)
    (row,) = results['layers']
    assert (row['channels'], row['measured'], row['dead']) == (8, 4, [0, 1])
    assert row['values'][0] == row['values'][1]
    assert [tuple(each.shape) for each in results['_heat']['layer']] == [(3, 3), (3, 3)]
    again = R.measure(sets(before=kernel, after=dead), RedundancyOptions(max_channels=4, seed=3))
    assert again['layers'][0]['values'] == row['values']


def test_the_counts_say_where_measures_agree():
    spread, close = rows(6), rows(1) + 0.1 * rows(6, seed=1)
    results = R.measure(sets(before=close.reshape(6, 1, 3, 3), after=spread.reshape(6, 1, 3, 3)), DEFAULT)
    part = results['compared']['after']
    assert part == dict(layers=1, less=dict.fromkeys(R.MEASURES, 1), kl_agree=1, all_agree=1)
    results = R.measure(sets(before=spread.reshape(6, 1, 3, 3), after=close.reshape(6, 1, 3, 3)), DEFAULT)
    assert set(results['compared']['after']['less'].values()) == {0}


def test_nets_of_other_layers_stand_side_by_side():
    """A plain net, and one with a module more and another stem: each mean is over a net's own layers."""
    shared, stem, wide, extra = (rows(6, 27, seed=i) for i in range(4))
    first = KernelSet('first', 'first.pth', 'plain', dict(stem=stem.reshape(6, 3, 3, 3), a=shared.reshape(6, 3, 3, 3)))
    kernels = dict(stem=wide.reshape(6, 1, 3, 9), attention=extra.reshape(6, 3, 3, 3), a=2 * shared.reshape(6, 3, 3, 3))
    other = KernelSet('other', 'other.pth', 'plain', kernels)
    results = R.measure([first, other], DEFAULT)
    assert [row['layer'] for row in results['layers']] == ['stem', 'attention', 'stem', 'a']
    assert [[value is not None for value in row['values']] for row in results['layers']] == [
        [False, True], [False, True], [True, False], [True, True],
    ]  # fmt: skip
    for name, own in (('first', [stem, shared]), ('other', [wide, extra, 2 * shared])):
        for m in R.MEASURES:
            expected = sum(R.measure_rows(each)[m] for each in own) / len(own)
            assert results['mean'][name][m] == pytest.approx(expected, rel=1e-12)
    assert {'random kernels like first', 'random kernels like other'} < set(results['mean'])
    assert results['compared']['other'] == dict(
        layers=1, less=dict.fromkeys(R.MEASURES, 0) | dict(kl_softmax=1), kl_agree=0, all_agree=0
    )
    assert list(results['_heat']) == ['a']


def test_nets_that_share_nothing_are_not_compared(tmp_path):
    one = KernelSet('one', 'one.pth', 'plain', dict(a=rows(6).reshape(6, 1, 3, 3)))
    two = KernelSet('two', 'two.pth', 'plain', dict(b=rows(5, 25).reshape(5, 1, 5, 5), c=rows(6).reshape(6, 1, 3, 3)))
    write(analysis_of('redundancy'), R.measure([one, two], DEFAULT), tmp_path, 'command')
    results, text = json.loads((tmp_path / 'redundancy.json').read_text()), (tmp_path / 'redundancy.md').read_text()
    assert results['compared'] == {}
    assert '## Against' not in text
    assert "each mean is over a net's own layers" in text
    assert {path.name for path in tmp_path.iterdir()} == {'redundancy.md', 'redundancy.json', 'redundancy.png'}
    dead = KernelSet('dead', 'dead.pth', 'plain', dict(b=torch.zeros(4, 1, 3, 3)))
    with pytest.raises(ValueError, match='no layer of dead has two living channels'):
        R.measure([one, dead], DEFAULT)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match='--heat must be one of'):
        RedundancyOptions(heat='effective_rank')
    with pytest.raises(ValueError, match='at least two channels'):
        RedundancyOptions(max_channels=1)
    with pytest.raises(ValueError, match='way must be one of'):
        R.divergences(rows(), 'none')
    with pytest.raises(ValueError, match='no layer of before has two living channels'):
        R.measure(sets(before=torch.zeros(4, 1, 3, 3)), DEFAULT)


def test_the_tool(tool, tmp_path):  # noqa: F811
    names = ['backbone.a.conv.weight', 'backbone.b.conv.weight', 'head.fc.weight']
    for i, name in enumerate(('plain', 'fused')):
        kernels = rows(6, seed=i).reshape(6, 1, 3, 3), rows(6, 27, seed=i).reshape(6, 3, 3, 3), torch.ones(2, 6)
        torch.save(dict(zip(names, kernels, strict=True)), tmp_path / f'{name}.pth')
    command = ['analyse', 'redundancy', tmp_path / 'plain.pth', tmp_path / 'fused.pth', '--names', 'before,after']
    code, said = tool(*command, '--out-dir', tmp_path / 'out')
    assert code == 0, said
    files = {'redundancy.md', 'redundancy.json', 'redundancy.png', 'redundancy_heat-1.png'}
    assert {path.name for path in (tmp_path / 'out').iterdir()} == files
    results = json.loads((tmp_path / 'out' / 'redundancy.json').read_text())
    assert [row['layer'] for row in results['layers']] == ['backbone.a.conv', 'backbone.b.conv']
    expected = R.measure_rows(rows(6, seed=1))
    assert results['layers'][0]['values'][1] == pytest.approx(expected)
    assert '| random kernels |' in said
    torch.save({'net.weight': rows(6).reshape(6, 1, 3, 3)}, tmp_path / 'other.pth')
    apart = ['analyse', 'redundancy', tmp_path / 'plain.pth', tmp_path / 'other.pth', '--out-dir', tmp_path / 'apart']
    code, said = tool(*apart)
    assert (code, 'with --unmatched' in said) == (2, True)
    assert tool(*apart, '--unmatched')[0] == 0
