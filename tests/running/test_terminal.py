"""What a training shows on the terminal, and the curves that it leaves."""

import json
import logging
import re

import pytest
from matplotlib.image import imread
from rich.console import Console

from refconv_mm.running.class_scores import ClassScores, read_scores
from refconv_mm.console import shorten
from refconv_mm.running.curves import panels_of, read_curve, write_curves
from refconv_mm.running.progress_hook import fit, validation_cells
from refconv_mm.running.settings import set_init
from refconv_mm.running.runner import build_runner, train_with_progress
from refconv_mm.running.terminal import TerminalHandler

from tests.conftest import random_checkpoint, segmenter

VOC = """
+-------+-----+------+--------+-------+
| class | gts | dets | recall | ap    |
+-------+-----+------+--------+-------+
| RBC   | 26  | 2068 | 1.000  | {}    |
| WBC   | 28  | 2101 | 0.964  | 0.900 |
+-------+-----+------+--------+-------+
| mAP   |     |      |        | 0.950 |
+-------+-----+------+--------+-------+
"""
SEG = """
+----------+-------+-------+
|  Class   |  IoU  |  Acc  |
+----------+-------+-------+
|   road   | 98.12 | 99.01 |
| sidewalk |  nan  |  nan  |
+----------+-------+-------+
"""


def record(text: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord('x', level, 'x.py', 1, text, None, None)


def test_scores_by_class_are_read_from_the_tables_of_evaluators():
    assert list(read_scores(VOC.format(0.5))) == [('RBC', 0.5), ('WBC', 0.9), ('mAP', 0.95)]
    assert next(read_scores(SEG)) == ('road', 98.12)
    assert not list(read_scores('| epoch | 3 |\n| loss | 0.5 |'))
    assert not list(read_scores('no table'))
    scores = ClassScores(['RBC', 'WBC'])
    for value in (0.5, 0.7):  # a table for each IoU
        scores.emit(record(VOC.format(value)))
    assert scores.take() == pytest.approx({'RBC': 0.6, 'WBC': 0.9})
    assert scores.take() == {}


def test_a_row_has_as_many_classes_as_fit():
    classes = {f'class {i} of a long name': 0.5 for i in range(9)}
    metrics = {f'coco/bbox_mAP{end}': value for end, value in (('', 0.12345), ('_50', 0.5), ('_75', 0.25))}
    metrics |= {'coco/class 0 of a long name_precision': 0.5, 'note': 'text'}
    cells = validation_cells(20, metrics, {'turned': 0.01234}, classes)
    assert list(cells)[:4] == ['step', 'bbox_mAP', 'bbox_mAP_50', 'turned °']
    assert list(cells)[-1] == 'bbox_mAP_75'  # left out first
    assert cells['bbox_mAP'] == '0.1235'
    for width in (40, 80):
        head, line = fit(cells, width)
        assert len(line) == len('  '.join(head)) <= width
    assert fit({'step': '1'}, 80) == (['   step'], '      1')
    assert len(shorten('backbone.layers.3.attention.conv', 12)) == 12
    assert shorten('short', 12) == 'short'


def test_the_terminal_shows_what_users_can_act_on():
    console = Console(width=100, record=True)
    handler = TerminalHandler(console, logging.INFO)
    shown = ('refconv_mm 0.2.0: a plain checkpoint', 'this run starts from', 'RefConvHook: 18 layers [of] 20')
    for text in (*shown, 'Config: ...', 'RefConvHook: validates 18 refocused kernels', 'Iter(train) [2/4]'):
        handler.handle(record(text))
    handler.handle(record('the data set is empty', logging.WARNING))
    handler.handle(record('"FileClient" will be deprecated', logging.WARNING))
    assert console.export_text().splitlines() == [*shown, 'warning: the data set is empty']


@pytest.mark.parametrize('kind', ['_refconv', '_control'])
def test_a_quiet_run_keeps_its_log_and_leaves_curves(city, tmp_path, capsys, kind):
    cfg = segmenter(city, tmp_path, kind, iters=3, log_level='INFO')
    cfg.train_cfg.val_interval, cfg.default_hooks.logger.interval = 2, 1
    set_init(cfg, str(random_checkpoint(cfg, tmp_path / 'start.pth')))
    runner = build_runner(cfg, quiet=True)
    train_with_progress(runner)
    said = capsys.readouterr().out
    assert len(said.splitlines()) < 20, said
    assert re.search(r'step +aAcc +mIoU +(turned ° +)?road', said), said
    assert ('turned °' in said) == (kind == '_refconv')
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert len(log.splitlines()) > 500
    curve = read_curve(tmp_path)
    assert [row['step'] for row in curve if 'mIoU' in row] == [2, 3]
    assert [row['step'] for row in curve if 'loss' in row] == [1, 2, 3]
    panels = panels_of(curve)
    assert ('degrees that kernels turned, mean of layers' in panels) == (kind == '_refconv')
    assert panels['metric'] == ['aAcc', 'mIoU', 'mAcc']
    assert imread(tmp_path / 'curves.png').std() > 0.01


def test_curves_of_a_resumed_run_are_one(tmp_path):
    assert write_curves(tmp_path) is None
    for part, steps in (('20250101_000000', (1, 2, 3)), ('20250101_000001', (3, 4))):
        (tmp_path / part / 'vis_data').mkdir(parents=True)
        lines = [dict(loss=part[-1] == '0' or 0.5, lr=0.1, step=step, iter=step, time=1.0) for step in steps]
        text = '\n'.join(json.dumps(line) for line in lines)
        (tmp_path / part / 'vis_data' / 'scalars.json').write_text(text)
    curve = read_curve(tmp_path)
    assert [row['step'] for row in curve] == [1, 2, 3, 4]
    assert curve[2]['loss'] == 0.5  # the step that was done twice: the last
    assert write_curves(tmp_path) == tmp_path / 'curves.png'
