"""Prints every comparison of the CSV files beside this one as Markdown, and draws the figure of whole schedules.

python lab/results/whole_schedules.py
"""

from __future__ import annotations

import csv
import itertools
import math
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt
from mmengine.config import Config

sys.path.insert(0, str(Path(__file__).parents[2]))  # the laboratory, which is not installed
from lab.compare.plan import BASELINE, CONTROL
from lab.compare.stats import Estimate, paired, summary

BLUE, ORANGE = '#1b6ca8', '#d95f02'
FOLDER = Path(__file__).parent
PLANS = FOLDER.parent / 'plans'
WHOLE = {
    'cifar10_whole': 'depthwise net, top-1',
    'cifar10_whole_overfit': 'few images, top-1',
    'cifar10_whole_overfit_tuned': 'few images tuned, top-1',
    'cifar10_whole_dense': 'dense net, top-1',
    'cifar10_adamw': 'depthwise net by AdamW, top-1',
    'cells_whole': 'detector, mAP',
    'streets_whole': 'segmenter, mIoU',
}
SHORT = ('cells', 'cells_gain', 'cells_early', 'streets', 'streets_lr', 'streets_early', 'cifar10', 'cifar10_schedule',
         'ablation')  # fmt: skip
MAIN = CONTROL, 'refocused', 'gain1', 'speed'
SHOWN = dict.fromkeys(WHOLE, MAIN) | dict(cifar10_adamw=(*MAIN, 'l2sp'))
# The limits of the norm of all gradients in the plans' configs.
CLIPS = dict.fromkeys(('cells', 'cells_gain', 'cells_early', 'cells_whole'), 35)
CLIPS |= dict.fromkeys(('cifar10', 'cifar10_schedule', 'ablation'), 10)
HEAD = '| net | difference | seeds | mean (95 % CI) | training loss | clipped |\n|---|---|---:|---:|---:|---|'
Runs = dict[str, dict[int, dict[str, str]]]  # rows of a CSV file by arm and seed


@dataclass(frozen=True)
class Row:
    """One arm of a plan's task against another, on the same seeds; `task` is empty where they are pooled."""

    plan: str
    task: str
    arm: str
    against: str
    score: Estimate
    loss: Estimate
    clipped: str

    def cells(self) -> str:
        """The row of a table, without its name."""
        loss = '' if math.isnan(self.loss.mean) else text(self.loss, 3)
        return f'{self.arm} - {self.against} | {self.score.n} | {text(self.score)} | {loss} | {self.clipped} |'


def read(plan: str) -> tuple[Config, dict[str, Runs]]:
    """A plan and its runs by task. Those with the root form, in a file of their own, take the place of earlier ones."""
    runs: dict[str, Runs] = {}
    for kind in ('', '-root'):
        path = FOLDER / f'{plan.replace("_", "-")}{kind}-runs.csv'
        if path.is_file():
            with open(path, newline='') as file:
                for run in csv.DictReader(file):
                    runs.setdefault(run['task'], {}).setdefault(run['arm'], {})[int(run['seed'])] = run
    return Config.fromfile(PLANS / f'{plan}.py'), runs


def values(runs: dict[int, dict[str, str]], column: str, scale: float = 1.0) -> dict[int, float]:
    """A column by seed; runs that were not tested, as those of a tuning, are left out."""
    return {seed: scale * float(run[column]) for seed, run in runs.items() if run.get(column)}


def rows(plan: str) -> Iterator[Row]:
    """Every arm of a plan against its control, controls against baselines, and the four nets of `cifar10` pooled."""
    config, runs = read(plan)
    pooled: dict[tuple[str, str], dict[Any, float]] = {}
    for task, arms in runs.items():
        metric, scale = f'test/{config.tasks[task].metric}', config.tasks[task].get('scale', 1)
        scores = {arm: values(of, metric, scale) for arm, of in arms.items()}
        for arm in sorted(arms, key=lambda arm: MAIN.index(arm) if arm in MAIN else len(MAIN)):
            against = config.arms.get(arm, {}).get('against', BASELINE if arm == CONTROL else CONTROL) or BASELINE
            score = paired(scores[arm], scores.get(against, {}))
            if arm == BASELINE or score is None or (against == BASELINE and plan in SHORT):
                continue
            loss = paired(*(values(arms[each], 'train_loss') for each in (arm, against)))
            shares, norms = (values(arms[arm], column).values() for column in ('clipped', 'grad_norm'))
            note = f': {100 * max(shares):.0f} %, norm {statistics.median(norms):.1f}' if shares else ', not logged'
            clipped = f'{CLIPS[plan]}{note}' if plan in CLIPS else 'no'
            yield Row(plan, task, arm, against, score, loss or summary({}), clipped)
            both = scores[arm].keys() & scores[against].keys()
            differences = {(task, seed): scores[arm][seed] - scores[against][seed] for seed in both}
            pooled.setdefault((arm, against), {}).update(differences)
    if plan == 'cifar10':
        for (arm, against), each in pooled.items():
            yield Row(plan, '', arm, against, summary(each), summary({}), '')


def text(difference: Estimate, digits: int = 2) -> str:
    """`+1.23 (+0.45 to +2.01)`; the mean alone of one seed."""
    if math.isnan(difference.half):
        return f'{difference.mean:+.{digits}f}'
    low, high = difference.interval
    return f'{difference.mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})'


def main_table() -> str:
    """The table of whole schedules in docs/replication.md."""
    lines = [HEAD]
    for plan, name in WHOLE.items():
        for row in rows(plan):
            if row.arm in SHOWN[plan]:
                lines.append(f'| {name} | {row.cells()}')
                name = ''
    return '\n'.join(lines)


def draw(path: Path) -> None:
    """Differences of whole schedules in score and in training loss, orange where they exclude zero."""
    found = [row for plan in WHOLE for row in rows(plan) if row.arm in SHOWN[plan]]
    figure, panels = plt.subplots(1, 2, figsize=(11, 0.3 * len(found) + 1), layout='constrained')
    for panel, title in zip(panels, ('score, in points', 'training loss'), strict=True):
        for height, row in enumerate(found):
            difference = row.score if panel is panels[0] else row.loss
            colour = ORANGE if abs(difference.mean) > difference.half else BLUE  # never with one seed: half is NaN
            bar = dict(fmt='o', ms=4, color=colour, capsize=3)
            panel.errorbar([difference.mean], [height], xerr=[difference.half], **bar)
        panel.axvline(0, color='black', linewidth=0.8)
        panel.set_ylim(len(found) - 0.5, -0.5)
        panel.set_yticks([])
        panel.grid(axis='x', linewidth=0.3)
        panel.set_title(f'difference in {title}, 95 % intervals', loc='left', fontsize=8)
    labels = [f'{WHOLE[row.plan].split(",")[0]}: {row.arm} - {row.against} ({row.score.n})' for row in found]
    panels[0].set_yticks(range(len(found)), labels, fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == '__main__':
    print(f'{main_table()}\n\n{HEAD}')
    for row in itertools.chain.from_iterable(map(rows, (*WHOLE, *SHORT))):
        print(f'| {row.plan}: {row.task or "all nets"} | {row.cells()}')
    draw(FOLDER / 'whole-schedules.png')
