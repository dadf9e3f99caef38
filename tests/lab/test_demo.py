"""The demo with trainings of two steps."""

import demo as data
from demo import main as demo
from tests.conftest import DEMO


def test_it_ends_with_a_table_and_two_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, 'make_voc', lambda root: data.make_voc(root, train=16, test=4))
    monkeypatch.setattr(demo, 'make_cityscapes', lambda root: data.make_cityscapes(root, train=8, val=4))
    table = demo.run_demo(DEMO, tmp_path, iters=2)
    assert table.row_count == 10
    models = list(table.columns[1].cells)
    alone = 'fused, without RefConv'
    assert models == 2 * ['baseline', 'control', 'refocused, fused', 'refocused, not fused', alone]
    trained, inference = (list(table.columns[i].cells) for i in (3, 4))
    assert len(set(trained[:4])) == len(set(trained[5:9])) == 1  # refocusing trains as many parameters as its control
    assert len(set(inference[:3])) == 1
    text = (tmp_path / 'demo.txt').read_text()
    assert 'refocused, fused' in text
    detection, segmentation = (task.scores['refocused'] - task.scores['control'] for task in demo.TASKS)
    said = f'minus control is {detection:+.1f} mAP and {segmentation:+.1f} mIoU'.replace('-0.0', '+0.0')
    assert said in ' '.join(text.split())
    for task in demo.TASKS:
        assert task.alone == task.scores['refocused']
        assert (tmp_path / f'{task.stem}.png').stat().st_size > 10_000
        assert (tmp_path / task.stem / 'refocused' / 'fused.pth').is_file()
