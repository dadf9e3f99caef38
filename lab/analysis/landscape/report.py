"""Landscapes as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from refconv_mm.console import table
from ..common.text import Headline, mean_spread
from .measure import RISES

BN = dict(
    eval="the running statistics as stored in the checkpoint, as in Li et al.'s own code; a layer's normalisation does "
    'not follow when the weights before it move, so this measures that, too (--bn batch does not)',
    batch="the batch's own statistics, as in training; Li et al.'s own code uses the running ones (--bn eval)",
)


def report(results: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The sections that are printed, and those by distance."""
    first = [
        f'The loss that training minimises (without weight decay), on {results["data"]}. '
        f'Lines along {results["directions"]} random directions (seed {results["seed"]}), the same draws for every '
        'checkpoint, each normalised to its own filters (Li et al. 2018, arXiv 1712.09913): at distance t every filter '
        'has moved by t times its own norm. Biases and batch norm parameters stay.',
        f'Batch norm uses {BN[results["bn"]]}.',
        'Figures are means over the directions, ± their standard deviation. A net that fits these images less has less '
        'to lose and is flatter for that alone: compare nets of like loss, and with the control rather than the start.',
    ]
    rest = _rise_section(results)
    rest += _pair_section(results) if results['pairs'] else []
    rest += _map_section(results) if results['map_steps'] else []
    return first + _reach_section(results), rest


def _reach_section(results: Mapping[str, Any]) -> list[str]:
    nets = results['checkpoints']
    rows = [
        (net['name'], f'{net["centre"]:.4f}', *(_reached(found, results['span']) for found in net['reach']))
        for net in nets
    ]
    shares = ', '.join(f'{100 * share:g} %' for share in RISES)
    text = (
        f'The distance at which the loss has first risen by so much ({shares} of the loss of {nets[0]["name"]}; the '
        'same amounts for all). Larger is flatter; ">" where a line does not rise so far within the span, and counts '
        'with the span.'
    )
    return ['## Loss, and how far to a rise', text, table(['checkpoint', 'loss', *_amounts(results)], rows)]


def _rise_section(results: Mapping[str, Any]) -> list[str]:
    nets = {net['name']: net['increase'] for net in results['checkpoints']}
    text = 'The two ends of a line averaged, minus the loss in its middle. Smaller is flatter.'
    return ['## Rise of the loss by distance', text, _by_distance(results, nets, mean_spread)]


def _pair_section(results: Mapping[str, Any]) -> list[str]:
    pairs = {f'{pair["more"]} - {pair["less"]}': pair['difference'] for pair in results['pairs']}
    text = (
        'Every direction is the same draw for both, so the spread is that of the difference. In brackets: along how '
        'many directions the first named rises more.'
    )
    return ['## Difference in rise, direction by direction', text, _by_distance(results, pairs, _difference)]


def _by_distance(results: Mapping[str, Any], columns: Mapping[str, Any], cell: Callable[[Any], str]) -> str:
    rows = [
        (f'{t:.3g}', *(cell([line[i] for line in lines]) for lines in columns.values()))
        for i, t in enumerate(_positive(results))
    ]
    return table(['distance', *columns], rows)


def _map_section(results: Mapping[str, Any]) -> list[str]:
    side = len(results['map_steps'])
    rows = [(net['name'], *(f'{100 * share:.1f} %' for share in net['share'])) for net in results['checkpoints']]
    text = (
        f'Share of the {side} x {side} points of the map (directions 0 and 1, up to {results["span"]:g} each) where '
        'the loss has risen by no more than so much. Larger is flatter.'
    )
    return ['## Map', text, table(['checkpoint', *_amounts(results)], rows)]


def _amounts(results: Mapping[str, Any]) -> list[str]:
    return [f'+{amount:.3g}' for amount in results['amounts']]


def _positive(results: Mapping[str, Any]) -> list[float]:
    return [t for t in results['distances'] if t > 0]


def _reached(found: Sequence[tuple[float, bool]], span: float) -> str:
    if all(distance >= span for distance, _ in found):
        return f'> {span:g}'
    return ('' if all(complete for _, complete in found) else '> ') + mean_spread([distance for distance, _ in found])


def _difference(values: Sequence[float]) -> str:
    told = mean_spread(values, '+')
    return told if told == 'not finite' else f'{told} ({sum(value > 0 for value in values)} of {len(values)})'


def headlines(results: Mapping[str, Any]) -> list[Headline]:
    """Loss, rise at the middle distance, and how far to the middle one of the amounts."""
    nets, distances = results['checkpoints'], _positive(results)
    middle, amount = (len(distances) - 1) // 2, len(results['amounts']) // 2
    rise = {net['name']: mean_spread([line[middle] for line in net['increase']]) for net in nets}
    far = {net['name']: _reached(net['reach'][amount], results['span']) for net in nets}
    label = f'distance to a rise of {results["amounts"][amount]:.3g}'
    return [
        Headline('task loss', {net['name']: f'{net["centre"]:.4g}' for net in nets}, 'on the batches of the landscape'),
        Headline(
            f'rise of the loss at distance {distances[middle]:g}', rise, 'mean ± spread of directions; lower: flatter'
        ),
        Headline(label, far, 'the same rise for all; higher: flatter'),
    ]
