"""Landscapes of checkpoints: measured with progress, summed up in figures and tables."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from ..console import progress_display, table
from ..files import check_free
from .landscape import Plan, PointStore, increases, key_of, reach, sweep
from .landscape_figure import draw_lines, draw_maps
from .outputs import checkpoint_list, write_results
from .task_loss import TaskLoss
from .weights import read_weights

FILES = ('landscape.md', 'landscape.json', 'landscape.png', 'landscape_map.png')
POINTS = 'landscape_points.jsonl'
RISES = (0.1, 0.5, 1.0)  # of the first checkpoint's loss; the amounts are then the same for all
BN = dict(
    eval="the running statistics as stored in the checkpoint, as in Li et al.'s own code; a layer's normalisation does "
    'not follow when the weights before it move, so this measures that, too (--bn batch does not)',
    batch="the batch's own statistics, as in training; Li et al.'s own code uses the running ones (--bn eval)",
)


def run(
    cfg: Config,
    paths: Sequence[str],
    names: Sequence[str],
    task: TaskLoss,
    plan: Plan,
    out_dir: Path,
    command: str,
    force: bool = False,
    trust: bool = False,
) -> list[Path]:
    """Measures checkpoints and writes `landscape.md`, `.json`, `.png`, and `landscape_map.png` if the plan has a map.

    Losses of points done are kept in `out_dir/landscape_points.jsonl`; an interrupted run goes on from there.

    Args:
        cfg: the config of the checkpoints, plain or refocused.
        task: made from it.
        command: named in the report.

    Returns:
        The files written.

    Raises:
        FileExistsError: a file is there and `force` is False; nothing was measured.
        FileNotFoundError, ValueError: a checkpoint can't be read, does not fit, or has no finite loss.
    """
    check_free(out_dir, FILES if plan.grid else FILES[:3], force)
    stores = []
    for path, name in zip(paths, names, strict=True):  # all are tried before the first is measured
        weights = read_weights(cfg, path, name, trust)
        task.load(weights.state_dict, path)
        stores.append(PointStore(out_dir / POINTS, key_of(task, weights, plan.seed)))
    points = plan.all()
    left = [sum(at not in store.known for at in points) for store in stores]
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    nets = []
    with progress_display(*columns) as progress:
        bar = progress.add_task('points', total=sum(left))
        for path, name, store, missing in zip(paths, names, stores, left, strict=True):
            progress.console.print(f'{name}: {missing} of {len(points)} points to evaluate', markup=False)
            progress.update(bar, description=name)
            weights = read_weights(cfg, path, name, trust)
            task.load(weights.state_dict, path)
            record: dict[str, Any] = dict(weights.record, key=store.key)
            del weights  # the model holds them now
            losses = sweep(task, points, plan.seed, store, lambda: progress.advance(bar))
            record['lines'] = [[losses[at] for at in plan.line(k)] for k in range(plan.directions)]
            record['map'] = [[losses[at] for at in row] for row in plan.map()]
            nets.append(dict(record, centre=losses[()]))
    results = sum_up(nets, plan, task.what, task.mode, command)
    figures = {'landscape.png': draw_lines(results)}
    if plan.grid:
        figures['landscape_map.png'] = draw_maps(results)
    return write_results(out_dir, 'landscape', _for_json(results), report(results), figures)


def sum_up(nets: Sequence[dict[str, Any]], plan: Plan, data: str, bn: str, command: str = '') -> dict[str, Any]:
    """Figures of how sharp each net's surroundings are.

    Args:
        nets: each with `name`, `path`, `what`, `centre`, `lines` (directions x points) and `map` (rows x columns).

    Returns:
        `checkpoints`, each with `increase` (directions x distances) and `reach` (amounts x directions) beside what it
        came with, and `share` of the map by amount; `pairs`, the differences in increase between two, direction by
        direction.
    """
    distances = plan.distances(plan.points)
    first = nets[0]['centre']
    amounts = [share * (first if first > 0 else 1.0) for share in RISES]
    for net in nets:
        net['increase'] = [increases(line) for line in net['lines']]
        net['reach'] = [[reach(distances, line, amount) for line in net['lines']] for amount in amounts]
        flat = [loss - net['centre'] for row in net['map'] for loss in row]
        net['share'] = [sum(rise <= amount for rise in flat) / len(flat) for amount in amounts] if flat else []
    pairs = [
        dict(
            less=a['name'],
            more=b['name'],
            difference=(np.array(b['increase']) - np.array(a['increase'])).tolist(),
        )
        for a, b in itertools.combinations(nets, 2)
    ]
    settings = dict(directions=plan.directions, seed=plan.seed, span=plan.span, distances=distances)
    settings |= dict(map_steps=plan.distances(plan.grid) if plan.grid else [], amounts=amounts, bn=bn, data=data)
    return dict(command=command, **settings, checkpoints=list(nets), pairs=pairs)


def report(results: Mapping[str, Any]) -> str:
    """All tables, Markdown."""
    nets = results['checkpoints']
    sections = ['# Loss landscape', f'`{results["command"]}`']
    sections.append(checkpoint_list(nets))
    sections.append(
        f'The loss that training minimises (without weight decay), on {results["data"]}. '
        f'Lines along {results["directions"]} random directions (seed {results["seed"]}), the same draws for every '
        'checkpoint, each normalised to its own filters (Li et al. 2018, arXiv 1712.09913): at distance t every filter '
        'has moved by t times its own norm. Biases and batch norm parameters stay.'
    )
    sections.append(f'Batch norm uses {BN[results["bn"]]}.')
    sections.append(
        'Figures are means over the directions, ± their standard deviation. A net that fits these images less has less '
        'to lose and is flatter for that alone: compare nets of like loss, and with the control rather than the start.'
    )
    sections += _reach_section(results) + _rise_section(results)
    if results['pairs']:
        sections += _pair_section(results)
    if results['map_steps']:
        sections += _map_section(results)
    return '\n\n'.join(sections) + '\n'


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
    nets = results['checkpoints']
    rows = [
        (f'{t:.3g}', *(mean_spread([line[i] for line in net['increase']]) for net in nets))
        for i, t in enumerate(_positive(results))
    ]
    text = 'The two ends of a line averaged, minus the loss in its middle. Smaller is flatter.'
    return ['## Rise of the loss by distance', text, table(['distance', *(net['name'] for net in nets)], rows)]


def _pair_section(results: Mapping[str, Any]) -> list[str]:
    pairs = results['pairs']
    rows = [
        (f'{t:.3g}', *(_difference([line[i] for line in pair['difference']]) for pair in pairs))
        for i, t in enumerate(_positive(results))
    ]
    text = (
        'Every direction is the same draw for both, so the spread is that of the difference. In brackets: along how '
        'many directions the first named rises more.'
    )
    head = ['distance', *(f'{pair["more"]} - {pair["less"]}' for pair in pairs)]
    return ['## Difference in rise, direction by direction', text, table(head, rows)]


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


def mean_spread(values: Sequence[float], sign: str = '') -> str:
    """`mean ± standard deviation`; the mean alone of a single value; says it where one is not finite."""
    if not all(map(math.isfinite, values)):
        return 'not finite'
    spread = f' ± {_short(statistics.stdev(values))}' if len(values) > 1 else ''
    return f'{_short(statistics.fmean(values), sign)}{spread}'


def _short(value: float, sign: str = '') -> str:
    return f'{value:{sign},.0f}' if 1e3 <= abs(value) < 1e7 else f'{value:{sign}.3g}'


def _reached(found: Sequence[tuple[float, bool]], span: float) -> str:
    if all(distance >= span for distance, _ in found):
        return f'> {span:g}'
    return ('' if all(complete for _, complete in found) else '> ') + mean_spread([distance for distance, _ in found])


def _difference(values: Sequence[float]) -> str:
    told = mean_spread(values, '+')
    return (
        f'{told} ({sum(value > 0 for value in values)} of {len(values)})' if all(map(math.isfinite, values)) else told
    )


def _for_json(value: Any) -> Any:
    """The same with None for numbers that are not finite, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _for_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
