"""What a training shows on the terminal, and the curves that it leaves."""

import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread
from mmengine.logging import MessageHub
from rich.console import Console

from refconv_mm.running import terminal
from refconv_mm.running.curves import panels_of, read_curve, write_curves
from refconv_mm.running.metrics import describe_best, shown_names, shown_values
from refconv_mm.running.runner import build_runner, train_with_progress
from refconv_mm.running.settings import set_init
from refconv_mm.running.terminal import ProgressHook
from tests.conftest import random_checkpoint, segmenter


def test_metrics_have_names_with_unit_threshold_and_class():
    assert shown_names(['pascal_voc/mAP', 'pascal_voc/AP50', 'pascal_voc/AP75']) == {
        'pascal_voc/mAP': 'mAP@.50,.75',
        'pascal_voc/AP50': 'mAP@.50',
        'pascal_voc/AP75': 'mAP@.75',
    }
    names = ['coco/bbox_mAP', 'coco/segm_mAP_75', 'coco/bbox_mAP_s', 'coco/cat_precision', 'aAcc', 'accuracy/top1', 'x']
    assert list(shown_names(names).values()) == [
        'bbox mAP@.50:.95', 'segm mAP@.75', 'bbox mAP@.50:.95, size s', 'AP@.50:.95 of cat', 'aAcc, %', 'top1, %', 'x',
    ]  # fmt: skip
    values = shown_values({'mIoU': np.float32(62.3456), 'coco/bbox_mAP': 0.25, 'coco/bbox_mAP_l': -1.0})
    assert values == ['mIoU 62.35 %', 'bbox mAP@.50:.95 0.25', 'bbox mAP@.50:.95, size l: nothing to score']


@pytest.mark.parametrize(('values', 'end'), [
    ([20.0], '20 % at step 10'),
    ([20.0, 30.0, 25.0], '30 % at step 20, 25 at the last, step 30'),
    ([20.0, 25.0, 30.0], '30 % at step 30, the last: it still rises, so a longer schedule may give more'),
])  # fmt: skip
def test_the_best_validation_is_named_and_whether_it_still_rises(values, end):
    points = [(10 * (i + 1), value) for i, value in enumerate(values)]
    assert describe_best(dict(aAcc=[(10, 99.0)] * len(points), mIoU=points)) == f'best validation: mIoU {end}'
    assert describe_best({}) == ''


@pytest.mark.parametrize(('slow', 'fast'), [(20, 0.5), (12, 12)])
def test_lines_come_after_the_first_step_with_an_estimate_soon_after(slow, fast, monkeypatch):
    """The first ten steps can take longer than the others; no terminal draws a bar."""
    now, hub = [0.0], MessageHub('lines')
    monkeypatch.setattr(terminal.time, 'monotonic', lambda: now[0])
    runner = SimpleNamespace(iter=0, max_iters=400, message_hub=hub)
    hook = ProgressHook(Console(file=io.StringIO(), width=100))
    hook.before_train(runner)
    times = {}
    for step in range(400):
        now[0] += slow if step < 10 else fast
        runner.iter, before = step, hook.console.file.tell()
        hub.update_scalar('train/loss', 1.5)
        hook.after_train_iter(runner, 0)
        if hook.console.file.tell() > before:
            times[step + 1] = now[0]
    lines = hook.console.file.getvalue().splitlines()
    assert lines[0] == 'train: step 1 of 400, loss 1.500'
    assert lines[-1] == 'train: step 400 of 400, loss 1.500'
    assert 4 < len(lines) < 13
    assert times[2] - times[1] <= 30
    for line, step in zip(lines[1:-1], list(times)[1:-1], strict=True):
        hours, minutes, seconds = map(int, re.search(r'(\d+):(\d\d):(\d\d) left', line).groups())
        assert line.endswith('by the first steps') == (step <= 10)
        assert 3600 * hours + 60 * minutes + seconds == pytest.approx(
            (400 - step) * (slow if step <= 10 else fast), abs=1
        )


@pytest.mark.parametrize('kind', ['_refconv', '_control'])
def test_a_quiet_run_keeps_its_log_and_ends_with_its_results(city, tmp_path, capsys, kind):
    cfg = segmenter(city, tmp_path, kind, iters=3, log_level='INFO')
    cfg.train_cfg.val_interval, cfg.default_hooks.logger.interval = 2, 1
    set_init(cfg, str(random_checkpoint(cfg, tmp_path / 'start.pth')))
    runner = build_runner(cfg, quiet=True)
    train_with_progress(runner)
    said = capsys.readouterr().out
    assert len(said.splitlines()) < 24, said
    assert re.search(r'train: step 1 of 3, loss \d', said)
    images = 'images: RGB, (pixels - [127.5, 127.5, 127.5]) / [127.5, 127.5, 127.5]'
    assert (images in ' '.join(said.split())) == (kind == '_refconv')  # build_runner adds no hooks to a plain run
    refocused = kind == '_refconv'
    assert re.search(r'validation at step 2: aAcc [\d.]+ %, mIoU [\d.]+ %, mAcc', said), said
    *_, checkpoint, best, following = said.splitlines()[: -1 if refocused else None]
    assert checkpoint == f'checkpoint: {tmp_path}/iter_3.pth'
    assert re.fullmatch(r'best validation: mIoU [\d.]+ % at step [23], .*', best)
    files = ('fused.py', 'fused.pth') if refocused else (cfg.filename, 'iter_3.pth')
    assert following == f'next: refconv test {tmp_path / files[0]} {tmp_path / files[1]}'
    assert ('The gain of refocusing is the difference from a control' in said) == refocused
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert len(log.splitlines()) > 500
    assert 'road' in log  # the scores by class
    curve = read_curve(tmp_path)
    assert [row['step'] for row in curve if 'mIoU' in row] == [2, 3]
    assert [row['step'] for row in curve if 'loss' in row] == [1, 2, 3]
    assert list(panels_of(curve)['metric']) == ['aAcc', 'mIoU', 'mAcc']
    assert imread(tmp_path / 'curves.png').std() > 0.01


def test_curves_are_of_the_last_training_with_the_parts_that_it_resumed(tmp_path):
    assert write_curves(tmp_path) is None

    def part(name, *rows, resume=False):
        (tmp_path / name / 'vis_data').mkdir(parents=True)
        (tmp_path / name / 'vis_data' / 'scalars.json').write_text('\n'.join(map(json.dumps, rows)))
        (tmp_path / name / 'vis_data' / 'config.py').write_text(f'model = dict()\nresume = {resume}\n')

    def step(number, loss):
        return dict(loss=loss, lr=0.1, step=number, iter=number, time=1.0)

    part('1_other', step(1, 9.0), step(9, 9.0), dict(mIoU=0.9, at_step=9, step=0))
    part('2_run', step(2, 3.0), dict(mIoU=0.1, at_step=2, step=0), step(3, 3.0))
    part('3_resumed', step(3, 1.0), step(4, 1.0), dict(mIoU=0.2, bbox_mAP_l=-1.0, at_step=4, step=0), resume=True)
    part('4_test', dict(mIoU=0.7, step=0))
    with open(tmp_path / '3_resumed/vis_data/scalars.json', 'a') as file:
        file.write('\n{"loss": 0.')  # of a run that was killed
    curve = read_curve(tmp_path)
    assert [(row['step'], row['loss']) for row in curve if 'loss' in row] == [(2, 3.0), (3, 1.0), (4, 1.0)]
    assert panels_of(curve)['metric'] == {'mIoU': [(2, 0.1), (4, 0.2)]}
    assert write_curves(tmp_path) == tmp_path / 'curves.png'
