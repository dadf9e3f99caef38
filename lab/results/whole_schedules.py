"""Draws the two figures of whole schedules and prints their table, from the runs in the CSV files beside this one.

python lab/results/whole_schedules.py
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator
from mmengine.config import Config

sys.path.insert(0, str(Path(__file__).parents[2]))  # the laboratory, which is not installed
from lab.compare.plan import BASELINE, CONTROL
from lab.compare.stats import Estimate, paired, summary

GREY, BLUE, ORANGE = '#888888', '#1b6ca8', '#d95f02'
FOLDER = Path(__file__).parent
PLANS = FOLDER.parent / 'plans'
TASKS = {
    'depthwise net, top-1': 'cifar10_whole',
    'few images, top-1': 'cifar10_whole_overfit',
    'few images tuned, top-1': 'cifar10_whole_overfit_tuned',
    'dense net, top-1': 'cifar10_whole_dense',
    'detector, mAP': 'cells_whole',
    'segmenter, mIoU': 'streets_whole',
}
HEADLINE = BASELINE, CONTROL, 'refocused'
Runs = dict[str, dict[int, float]]  # a number by arm and seed


@dataclass(frozen=True)
class Row:
    """One arm against another, on the same seeds."""

    task: str
    arm: str
    against: str
    score: Estimate
    loss: Estimate
    each: list[float]
    below: int

    def numbers(self) -> str:
        """The cells of the row in a table of lab/results.md, behind the name."""
        each = ' '.join(f'{value:+.2f}' for value in self.each)
        loss = f'{_text(self.loss, 4)}, below in {self.below} of {self.loss.n}'
        return f'| {self.score.n} | {_text(self.score, 2)} | {each} | {loss} |'


def read(task: str) -> tuple[Config, Runs, Runs]:
    """A task's plan, and the scores and training losses of its runs."""
    plan = Config.fromfile(PLANS / f'{TASKS[task]}.py')
    [measured] = plan.tasks.values()
    metric, scale = f'test/{measured.metric}', measured.get('scale', 1)
    scores: Runs = {}
    losses: Runs = {}
    with open(FOLDER / f'{TASKS[task].replace("_", "-")}-runs.csv', newline='') as file:
        for run in csv.DictReader(file):
            scores.setdefault(run['arm'], {})[int(run['seed'])] = scale * float(run[metric])
            losses.setdefault(run['arm'], {})[int(run['seed'])] = float(run['train_loss'])
    return plan, scores, losses


def rows() -> Iterator[Row]:
    """Every arm against its control, and the control against the baseline."""
    for task in TASKS:
        plan, scores, losses = read(task)
        for arm in scores:
            against = plan.arms.get(arm, {}).get('against', BASELINE if arm == CONTROL else CONTROL) or BASELINE
            score, loss = (paired(of[arm], of[against]) for of in (scores, losses))
            if arm != BASELINE and score and loss:
                seeds = sorted(scores[arm].keys() & scores[against].keys())
                each = [scores[arm][seed] - scores[against][seed] for seed in seeds]
                below = sum(losses[arm][seed] < losses[against][seed] for seed in seeds)
                yield Row(task, arm, against, score, loss, each, below)


def draw_headline(found: list[Row], path: Path) -> None:
    """Baseline, control and refocused of each task, and their differences."""
    columns = (len(TASKS) + 1) // 2
    figure = plt.figure(figsize=(12, 6), layout='constrained')
    grid = figure.add_gridspec(2, columns + 1, width_ratios=[2] * columns + [3])
    for number, task in enumerate(TASKS):
        panel = figure.add_subplot(grid[divmod(number, columns)])
        _, scores, _ = read(task)
        for seed in scores['refocused']:
            panel.plot(HEADLINE, [scores[arm][seed] for arm in HEADLINE], 'o-', ms=3, linewidth=0.5, color=GREY)
        panel.plot(HEADLINE, [summary(scores[arm]).mean for arm in HEADLINE], '_', ms=24, color=ORANGE)
        panel.set_title(f'{task}, {len(scores["refocused"])} seeds', loc='left', fontsize=8)
        panel.margins(x=0.2)
        panel.grid(axis='y', linewidth=0.3)
        panel.tick_params(labelsize=7)
    shown = [row for row in found if row.arm in HEADLINE]
    labels = [f'{row.task.split(",")[0]}:\n{row.arm} - {row.against}' for row in shown]
    differences = figure.add_subplot(grid[:, -1])
    _forest(differences, [row.score for row in shown], labels)
    differences.set_title('differences in points, 95 % intervals', loc='left', fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_arms(found: list[Row], path: Path) -> None:
    """Every arm's difference to its control, in score and in training loss."""
    shown = {task: [row for row in found if row.task == task and row.against != BASELINE] for task in TASKS}
    heights = [1 + len(table) for table in shown.values()]
    figure, axes = plt.subplots(
        len(shown), 2, figsize=(11, 0.26 * sum(heights)), layout='constrained', gridspec_kw=dict(height_ratios=heights)
    )
    for (left, right), (task, table) in zip(axes, shown.items(), strict=True):
        labels = [f'{row.arm} - {row.against}, seeds: {row.score.n}' for row in table]
        _forest(left, [row.score for row in table], labels)
        _forest(right, [row.loss for row in table], [''] * len(table))
        left.set_title(f'{task}: difference to the control', loc='left', fontsize=8)
        right.set_title('training loss: difference to the control', loc='left', fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _forest(panel: plt.Axes, differences: list[Estimate], labels: list[str]) -> None:
    for row, difference in enumerate(differences):
        excludes_zero = abs(difference.mean) > difference.half  # never with one seed, whose half is NaN
        colour = ORANGE if excludes_zero else BLUE
        panel.errorbar([difference.mean], [row], xerr=[difference.half], fmt='o', ms=4, color=colour, capsize=3)
    panel.axvline(0, color='black', linewidth=0.8)
    panel.set_yticks(range(len(labels)), labels)
    panel.set_ylim(len(labels) - 0.5, -0.5)
    panel.grid(axis='x', linewidth=0.3)
    panel.tick_params(labelsize=7)
    panel.xaxis.set_major_locator(MaxNLocator(6))


def _text(difference: Estimate, digits: int) -> str:
    if difference.n == 1:
        return f'{difference.mean:+.{digits}f}'
    low, high = difference.interval
    return f'{difference.mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})'


if __name__ == '__main__':
    found = list(rows())
    for row in found:
        print(f'{row.task}: {row.arm} - {row.against} {row.numbers()}')
    draw_headline(found, FOLDER / 'whole-schedules.png')
    draw_arms(found, FOLDER / 'whole-schedules-arms.png')
