"""What a training shows on the terminal, and the curves that it leaves."""

import io
import json
import logging
import re
from types import SimpleNamespace

import pytest
from matplotlib.image import imread
from mmengine.logging import MessageHub
from rich.console import Console

from refconv_mm.running import terminal
from refconv_mm.running.curves import panels_of, read_curve, write_curves
from refconv_mm.running.runner import build_runner, train_with_progress
from refconv_mm.running.settings import set_init
from refconv_mm.running.terminal import ProgressHook, TerminalHandler, row_of
from tests.conftest import random_checkpoint, segmenter


def test_a_row_has_as_many_numbers_as_fit():
    cells = dict(step=20, mIoU=0.12345, note='text', **{f'class_{i}': 0.5 for i in range(9)})
    assert row_of(dict(step=1), 80) == ('     step', '        1')
    head, line = row_of(cells, 40)
    assert len(head) == len(line) <= 40
    assert head.split() == ['step', 'mIoU', 'class_0', '...']
    assert line.split() == ['20', '0.1235', '0.5', '...']


def test_the_terminal_shows_what_users_can_act_on():
    console = Console(width=100, record=True)
    handler = TerminalHandler(console, logging.INFO)
    shown = (
        'refconv_mm: a plain checkpoint',
        'refconv_mm: this run starts from',
        'RefConvHook: 18 layers [of] 20',
    )
    for text in (*shown, 'Config: ...', 'RefConvHook: validates 18 refocused kernels', 'Iter(train) [2/4]'):
        handler.handle(logging.LogRecord('x', logging.INFO, 'x.py', 1, text, None, None))
    for text in ('the data set is empty', '"FileClient" will be deprecated'):
        handler.handle(logging.LogRecord('x', logging.WARNING, 'x.py', 1, text, None, None))
    assert console.export_text().splitlines() == [*shown, 'warning: the data set is empty']


def test_lines_come_after_the_first_step_and_promise_nothing_from_slow_steps(monkeypatch):
    """The first ten steps take 20 seconds each, the others half a second; no terminal draws a bar."""
    now, hub = [0.0], MessageHub('lines')
    monkeypatch.setattr(terminal.time, 'monotonic', lambda: now[0])
    runner = SimpleNamespace(iter=0, max_iters=400, message_hub=hub)
    hook = ProgressHook(Console(file=io.StringIO(), width=100))
    hook.progress.get_time = lambda: now[0]
    hook.before_train(runner)
    for step in range(400):
        now[0] += 20 if step < 10 else 0.5
        runner.iter = step
        hub.update_scalar('train/loss', 1.5)
        hook.after_train_iter(runner, 0)
    lines = hook.console.file.getvalue().splitlines()
    assert lines[0] == 'train: step 1 of 400, loss 1.500'
    assert lines[-1] == 'train: step 400 of 400, loss 1.500'
    assert 4 < len(lines) < 12
    for line in lines[1:-1]:
        step, left = int(re.search(r'step (\d+)', line)[1]), re.search(r'0:(\d\d):(\d\d) left', line)
        assert (left is None) == (step <= 11)
        if left:
            assert 60 * int(left[1]) + int(left[2]) == pytest.approx((400 - step) / 2, abs=2)


@pytest.mark.parametrize('kind', ['_refconv', '_control'])
def test_a_quiet_run_keeps_its_log_and_leaves_curves(city, tmp_path, capsys, kind):
    cfg = segmenter(city, tmp_path, kind, iters=3, log_level='INFO')
    cfg.train_cfg.val_interval, cfg.default_hooks.logger.interval = 2, 1
    set_init(cfg, str(random_checkpoint(cfg, tmp_path / 'start.pth')))
    runner = build_runner(cfg, quiet=True)
    train_with_progress(runner)
    said = capsys.readouterr().out
    assert len(said.splitlines()) < 20, said
    assert re.search(r'train: step 1 of 3, loss \d', said)
    assert re.search(r'step +(kernel angle, degrees +)?aAcc +mIoU', said), said
    assert ('kernel angle' in said) == (kind == '_refconv')
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert len(log.splitlines()) > 500
    assert 'road' in log  # the scores by class
    curve = read_curve(tmp_path)
    assert [row['step'] for row in curve if 'mIoU' in row] == [2, 3]
    assert [row['step'] for row in curve if 'loss' in row] == [1, 2, 3]
    panels = panels_of(curve)
    assert ('kernel angle, degrees, mean of layers' in panels) == (kind == '_refconv')
    assert list(panels['metric']) == ['aAcc', 'mIoU', 'mAcc']
    assert imread(tmp_path / 'curves.png').std() > 0.01


def test_curves_are_of_the_last_training_with_the_parts_that_it_resumed(tmp_path):
    assert write_curves(tmp_path) is None

    def part(name, *rows):
        (tmp_path / name / 'vis_data').mkdir(parents=True)
        (tmp_path / name / 'vis_data' / 'scalars.json').write_text('\n'.join(map(json.dumps, rows)))

    def step(number, loss):
        return dict(loss=loss, lr=0.1, step=number, iter=number, time=1.0)

    part('1_other', step(1, 9.0), step(2, 9.0), step(9, 9.0), dict(mIoU=0.9, at_step=9, step=0))
    part('2_run', step(1, 3.0), step(2, 3.0), dict(mIoU=0.1, at_step=2, step=0), step(3, 3.0))
    part('3_resumed', step(3, 1.0), step(4, 1.0), dict(mIoU=0.2, at_step=4, step=0))
    part('4_test', dict(mIoU=0.7, step=0))
    curve = read_curve(tmp_path)
    assert [(row['step'], row['loss']) for row in curve if 'loss' in row] == [(1, 3.0), (2, 3.0), (3, 1.0), (4, 1.0)]
    assert [(row['step'], row['mIoU']) for row in curve if 'mIoU' in row] == [(2, 0.1), (4, 0.2)]
    assert write_curves(tmp_path) == tmp_path / 'curves.png'
