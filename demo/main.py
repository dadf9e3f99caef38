"""`make demo`: a detector and a segmenter on generated data, each refocused and compared with its control."""

from __future__ import annotations

import logging
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, VISUALIZERS, init_default_scope
from rich.console import Console
from rich.table import Table
from torch import nn

from demo import make_cityscapes, make_voc
from lab.runs import name_run
from refconv_mm.checkpoints.fusing import read_checkpoint
from refconv_mm.console import log_console
from refconv_mm.files.writing import write_whole
from refconv_mm.openmmlab.models import build_model, load_whole
from refconv_mm.running.runner import build_runner, runner_for_checkpoint
from refconv_mm.running.settings import set_init
from refconv_mm.running.terminal import ProgressHook
from refconv_mm.surgery import trainable

ARMS = ('baseline', 'control', 'refocused')


@dataclass
class DemoTask:
    """A task of the demo: the stem of its configs `<stem>[_control|_refconv]_demo.py`, and the metric of its score."""

    name: str
    stem: str
    metric: str
    scale: float = 1.0
    scores: dict[str, float] = field(default_factory=dict)
    trained: dict[str, int] = field(default_factory=dict)
    models: dict[str, nn.Module] = field(default_factory=dict)
    alone: float = float('nan')  # of the fused checkpoint where RefConv cannot be imported
    cfg: Config | None = None


TASKS = (
    DemoTask('detection, mAP', 'ssdlite_mobilenetv2', 'pascal_voc/mAP', 100),
    DemoTask('segmentation, mIoU', 'deeplabv3plus_mobilenetv2-d8', 'mIoU'),
)


def run_demo(configs: Path, out: Path, seed: int = 0, iters: int | None = None) -> Table:
    """Runs everything and writes `demo.txt` (the table) and `<task>.png` (predictions).

    Args:
        configs: the folder with the demo configs.
        out: gets data, runs, table and figures.
        seed: of weights, data order and augmentation.
        iters: steps of every training (for tests); by default those of the configs.

    Returns:
        The table.
    """
    console, start = log_console(), time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    console.print('[bold]data[/]: drawn shapes (VOC layout), drawn streets (Cityscapes layout)')
    roots = make_voc(out / 'data/voc'), make_cityscapes(out / 'data/cityscapes')
    for task, root in zip(TASKS, roots, strict=True):
        _run_task(task, configs, out, root, seed, iters, console)
    table = _table(TASKS)
    console.print(table)
    with open(out / 'demo.txt', 'w') as file:
        Console(file=file, width=120).print(table)
    for task in TASKS:
        figure = _figure(task, out)
        console.print(f'predictions: {figure}')
    console.print(f'table: {out / "demo.txt"}; {time.monotonic() - start:.0f} s in all')
    return table


def _run_task(
    task: DemoTask, configs: Path, out: Path, root: Path, seed: int, iters: int | None, console: Console
) -> None:
    console.print(f'[bold]{task.name}[/]: {task.stem}')
    baseline = ''
    for arm in ARMS:
        suffix = {'baseline': '', 'control': '_control', 'refocused': '_refconv'}[arm]
        cfg = _config(configs / f'{task.stem}{suffix}_demo.py', root, out / task.stem / arm, seed, iters)
        if arm != 'baseline':
            set_init(cfg, baseline)
        runner = build_runner(cfg, quiet=True)
        runner.register_hook(ProgressHook(console, f'  train {arm:<10}'))
        runner.train()
        task.trained[arm] = trainable(runner.model)
        last = str(Path(cfg.work_dir) / f'iter_{cfg.train_cfg.max_iters}.pth')
        if arm == 'baseline':
            baseline = last
        name_run(cfg, f'{task.stem}_{arm}_test')
        tested, what = runner_for_checkpoint(cfg, last)
        task.scores[arm] = tested.test()[task.metric] * task.scale
        task.models[arm] = tested.model.eval()
        console.print(f'  test {arm}: {task.metric} {task.scores[arm]:.1f} ({what})', highlight=False)
    task.alone = score_alone(Path(cfg.work_dir), task.metric) * task.scale
    console.print(
        f'  test {cfg.work_dir}/fused.pth where RefConv cannot be imported: {task.alone:.1f}', highlight=False
    )
    task.cfg = cfg
    refocused = build_model(cfg)
    load_whole(refocused, read_checkpoint(last)['state_dict'], last)
    task.models['refocused, not fused'] = refocused
    task.trained['refocused, not fused'] = trainable(refocused)


def score_alone(folder: Path, metric: str) -> float:
    """Tests `fused.pth` under `fused.py`, in a process of its own in which RefConv cannot be imported."""
    command = (sys.executable, '-W', 'ignore', Path(__file__).with_name('alone.py'), folder, metric)
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(re.findall(r'^score (.+)$', said, re.MULTILINE)[-1])


def _config(path: Path, root: Path, work_dir: Path, seed: int, iters: int | None) -> Config:
    cfg = Config.fromfile(path)
    cfg.work_dir, cfg.randomness = str(work_dir), dict(seed=seed)
    cfg.log_level = 'ERROR'
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[loader].dataset.data_root = f'{root}/'
    if iters:
        cfg.train_cfg.max_iters = iters
    cfg.train_cfg.val_begin = cfg.train_cfg.max_iters + 1  # the test follows at once
    name_run(cfg, path.stem)
    logging.getLogger('mmengine').setLevel(logging.ERROR)
    return cfg


@torch.no_grad()
def latency(models: dict[str, nn.Module], shape: tuple[int, int], rounds: int = 30) -> dict[str, float]:
    """Median milliseconds of a forward pass on one image; the models run in turn."""
    x = torch.randn(1, 3, *shape)
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(rounds + 2):
        for name, model in models.items():
            begin = time.perf_counter()
            model(x, mode='tensor')
            if turn >= 2:
                times[name].append(1000 * (time.perf_counter() - begin))
    return {name: statistics.median(values) for name, values in times.items()}


def _table(tasks: tuple[DemoTask, ...]) -> Table:
    table = Table(
        title='refconv_mm demo: one seed on generated data; it shows the procedure, not a gain', title_justify='left'
    )
    for name in ('task', 'model'):
        table.add_column(name)
    for name in ('score', 'parameters trained', 'parameters at inference', 'ms an image'):
        table.add_column(name, justify='right')
    for task in tasks:
        assert task.cfg is not None
        times = latency(task.models, tuple(task.cfg['size']))
        for name, model in task.models.items():
            score = f'{task.scores[name]:.1f}' if name in task.scores else 'as fused'
            label = {'refocused': 'refocused, fused'}.get(name, name)
            count = sum(p.numel() for p in model.parameters())
            table.add_row(task.name, label, score, f'{task.trained[name]:,}', f'{count:,}', f'{times[name]:.1f}')
        table.add_row(task.name, 'fused, without RefConv', f'{task.alone:.1f}', '', '', '')
        table.add_section()
    table.caption, table.caption_justify = conclusion(tasks), 'left'
    return table


def conclusion(tasks: Sequence[DemoTask]) -> str:
    """What the table says, in a sentence or two."""
    gains = [round(task.scores['refocused'] - task.scores['control'], 1) + 0.0 for task in tasks]  # never -0.0
    found = ' and '.join(
        f'{gain:+.1f} {task.metric.rpartition("/")[2]}' for gain, task in zip(gains, tasks, strict=True)
    )
    return (
        f'What to conclude: refocused minus control is {found}. One seed cannot tell such a difference from chance '
        '(docs/replication.md has more seeds). The fused net has the parameters and the speed of the plain one.'
    )


def _figure(task: DemoTask, out: Path, images: int = 4) -> Path:
    """Draws ground truth and predictions of the three models, an image a column, with the library's visualizer."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    cfg = task.cfg
    assert cfg is not None
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    visualizer = VISUALIZERS.build({**cfg.visualizer, 'name': f'figure-{time.time_ns()}', 'vis_backends': None})
    visualizer.dataset_meta = dataset.metainfo
    rows = ['truth', *ARMS]
    figure, axes = plt.subplots(len(rows), images, figsize=(3 * images, 1.1 + 12 * cfg.size[0] / cfg.size[1]))
    for column in range(images):
        item = dataset[column]
        picture = item['inputs'].permute(1, 2, 0).numpy()[..., ::-1].copy()
        for row, arm in enumerate(rows):
            sample = item['data_samples']
            if arm != 'truth':
                with torch.no_grad():
                    sample = task.models[arm].test_step(dict(inputs=[item['inputs']], data_samples=[sample]))[0]
            drawn = _draw(visualizer, picture, sample, arm == 'truth')
            axes[row, column].imshow(drawn)
            axes[row, column].set(xticks=[], yticks=[])
            label = {'refocused': 'refocused, fused'}.get(arm, arm)
            axes[row, 0].set_ylabel(label if arm == 'truth' else f'{label}\n{task.scores[arm]:.1f}')
    figure.suptitle(f'{task.name} (beside the rows); generated data, one seed')
    figure.tight_layout()
    path = out / f'{task.stem}.png'
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=110))
    plt.close(figure)
    return path


def _draw(visualizer: Any, picture: Any, sample: Any, truth: bool) -> Any:
    if truth and hasattr(sample, 'gt_instances'):
        boxes = sample.gt_instances.bboxes
        sample.gt_instances.bboxes = getattr(boxes, 'tensor', boxes)  # the visualizer takes tensors only
    options: dict[str, Any] = dict(draw_gt=truth, draw_pred=not truth, show=False)
    options |= dict(pred_score_thr=0.4) if hasattr(sample, 'gt_instances') else dict(with_labels=False)
    visualizer.add_datasample('', picture, sample, **options)
    return visualizer.get_image()
