"""The headline figures of each analysis, from the JSON that its tool wrote."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .benchmark_report import MIB
from .cost_report import three
from .curvature_report import plus_minus
from .landscape_report import mean_spread
from .redundancy import MEASURES
from .redundancy_report import LABELS, SENSE

Results = Mapping[str, Any]


@dataclass
class Row:
    """A line of the summary: `values` by checkpoint (or model), as text."""

    label: str
    values: dict[str, str]
    reading: str


def redundancy(results: Results) -> list[Row]:
    """Mean over layers of each measure."""
    names = [each['name'] for each in results['checkpoints']]
    return [Row(LABELS[m], {name: three(results['mean'][name][m]) for name in names}, SENSE[m]) for m in MEASURES]


def skeleton(results: Results) -> list[Row]:
    """Share of the centre, for each kernel size."""
    rows = []
    for size, part in results['net'].items():
        height, width = map(int, size.split('x'))
        shares = {name: f'{100 * found["layer"]["centre"]["share"]:.1f} %' for name, found in part.items()}
        even = f'share of the whole |w|; an even kernel has {100 / (height * width):.1f} %'
        rows.append(Row(f'centre of {size} kernels', shares, even))
    return rows


def theory(results: Results) -> list[Row]:
    """By how much kernels turned; exponent and direction without what scales a layer, means over layers and errors."""
    readings = dict(
        exponent='0: no preference for directions; refocusing adds 2 to its control',
        direction='rank correlation of the update with the prediction; 1: as predicted',
    )
    angles = {name: three(part['turned']) for name, part in results['mean'].items() if 'turned' in part}
    rows = [Row('kernels turned by, degrees', angles, 'median over the kernels of a layer, mean of layers')]
    for key, reading in readings.items():
        means = {name: part[key] for name, part in results['rest'].items() if part[key]['mean'] is not None}
        values = {
            name: f'{part["mean"]:.2f}' + ('' if part['error'] is None else f' ± {part["error"]:.2f}')
            for name, part in means.items()
        }
        rows.append(Row(f'{key}, mean of layers', values, reading))
    return [row for row in rows if row.values]


def landscape(results: Results) -> list[Row]:
    """Loss, rise at the middle distance, and how far to the middle one of the amounts."""
    nets, distances = results['checkpoints'], [t for t in results['distances'] if t > 0]
    middle, amount = (len(distances) - 1) // 2, len(results['amounts']) // 2
    rise = {net['name']: mean_spread([_number(line[middle]) for line in net['increase']]) for net in nets}
    far = {net['name']: _reach(net['reach'][amount], results['span']) for net in nets}
    return [
        Row('task loss', {net['name']: f'{net["centre"]:.4g}' for net in nets}, 'on the batches of the landscape'),
        Row(f'rise of the loss at distance {distances[middle]:g}', rise, 'mean ± spread of directions; lower: flatter'),
        Row(f'distance to a rise of {results["amounts"][amount]:.3g}', far, 'the same rise for all; higher: flatter'),
    ]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _reach(found: Any, span: float) -> str:
    if all(distance >= span for distance, _ in found):
        return f'> {span:g}'
    return ('' if all(complete for _, complete in found) else '> ') + mean_spread([distance for distance, _ in found])


def curvature(results: Results) -> list[Row]:
    """Largest eigenvalue, trace and sharpness in the unit that rescaling can't fake."""
    tops, traces, rises = {}, {}, {}
    for name, found in results['measured'].items():
        part, sharpness = found['hessian']['filter'], found['sharpness']['filter']
        middle = sharpness[len(sharpness) // 2]
        tops[name] = plus_minus(part['eigenvalues'][0], 'value') if part['eigenvalues'] else 'not found'
        traces[name], rises[name] = plus_minus(part['trace']), plus_minus(middle['ascent'])
    reading, first = 'scale-invariant; ± standard error; lower: flatter', next(iter(results['measured']))
    pairs = {pair['of']: pair['values']['filter: trace'] for pair in results['compared'] if pair['over'] == first}
    ratios = {name: plus_minus(pair, 'ratio') for name, pair in pairs.items() if pair}
    rows = [
        Row('trace of the Hessian, filter-relative', traces, reading),
        Row('largest eigenvalue, filter-relative', tops, reading),
        Row(f'sharpness at radius {middle["radius"]:g}, filter-relative', rises, reading),
        Row(f'trace / that of {first}', ratios, 'from the same vectors and batches, so better known than the traces'),
    ]
    return [row for row in rows if row.values]


def cost(results: Results) -> list[Row]:
    """Sizes, and times against the first model."""
    rows, first = results['models'], results['models'][0]['name']

    def line(label: str, text: Callable[[Any], str], reading: str) -> Row:
        return Row(label, {row['name']: text(row) for row in rows}, reading)

    images = f'{results["batch"]} images of {results["size"][0]} x {results["size"][1]}'
    return [
        line('trainable parameters, M', lambda row: three(row['trainable'] / 1e6), ''),
        line('parameters when deployed, M', lambda row: three(row['parameters'] / 1e6), 'fused, batch norm folded'),
        line('multiply-adds when deployed, G', lambda row: three(row['multiply_adds'] / 1e9), 'of one image'),
        line(f'training step / {first}', lambda row: f'{row["training"]["ratio"][0]:.3f}', images),
        line(f'inference / {first}', lambda row: f'{row["inference"]["ratio"][0]:.3f}', images),
        line('peak of a training step, MiB', lambda row: three(row['peak_bytes'] / MIB), images),
    ]


# In the order of the page.
ANALYSES: dict[str, Callable[[Results], list[Row]]] = dict(
    redundancy=redundancy, skeleton=skeleton, theory=theory, landscape=landscape, curvature=curvature, cost=cost
)
