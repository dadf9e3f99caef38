"""`refconv new`: the configs that it writes for each layout."""

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from refconv_mm.data import new as new_config
from refconv_mm.commands import main
from lab.compare.plan_file import read_plan
from refconv_mm.openmmlab.config import is_refocused_config
from refconv_mm.data.layouts import detect_layout
from refconv_mm.openmmlab.image_size import ssdlite_anchors
from refconv_mm.openmmlab.models import build_model
from refconv_mm.data.new import Facts, find_facts, literal, size_for, write_configs

from tests.data.made import write_class_folders, write_coco, write_masks, write_yolo


def make(kind, voc, city, root):
    """A folder of data in a layout, and the number of its classes."""
    made = {
        'voc': lambda: (voc, 3),
        'coco': lambda: (write_coco(detect_layout(voc), root / 'coco'), 3),
        'yolo': lambda: (write_yolo(detect_layout(voc), root / 'yolo'), 3),
        'cityscapes': lambda: (city, 19),
        'masks': lambda: (write_masks(detect_layout(city), root / 'masks'), 19),
        'class folders': lambda: (write_class_folders(root / 'folders'), 2),
    }
    return made[kind]()


@pytest.mark.parametrize('kind', ['voc', 'coco', 'yolo', 'cityscapes', 'masks', 'class folders'])
def test_the_configs_fit_the_data(kind, voc, city, tmp_path, monkeypatch):
    data, count = make(kind, voc, city, tmp_path)
    written, found = write_configs(data, tmp_path / 'mine')
    assert [path.name for path in written] == list(new_config.FILES)
    assert found.startswith(f'{kind} layout')
    monkeypatch.chdir(tmp_path)  # outside the checkout
    assert 'mmdet::' not in ''.join(path.read_text() for path in written)
    baseline, control, refocused = (Config.fromfile(path) for path in written[1:-1])
    assert not is_refocused_config(control)
    assert is_refocused_config(refocused)
    refocused.model.backbone.conv_cfg = None
    assert refocused.model == {**control.model, 'backbone': {**control.model.backbone, 'conv_cfg': None}}
    assert refocused.param_scheduler == control.param_scheduler
    assert control.train_cfg.max_iters < baseline.train_cfg.max_iters
    init_default_scope(baseline.default_scope)
    layout = detect_layout(data)
    for split in ('train', 'val', 'test'):
        dataset = DATASETS.build(baseline[f'{split}_dataloader'].dataset)
        assert len(dataset)
        assert list(dataset.metainfo['classes']) == list(layout.classes)
        assert dataset[0]['inputs'].shape[0] == 3
    heads = [part for name, part in baseline.model.items() if name.endswith('head')]
    assert {head.num_classes for head in heads} == {count}
    build_model(Config.fromfile(written[3]))
    size = tuple(baseline['size'])
    changed = written[1].read_text().replace(f'size = {size}', 'size = (448, 448)')
    written[1].write_text(changed.replace(f'steps = {baseline.steps}', 'steps = 777'))
    again = Config.fromfile(written[1])
    assert (again.train_cfg.max_iters, again.param_scheduler[1].end) == (777, 777)
    if layout.task == 'detection':  # one line is edited, and the anchors follow
        for cfg, side in ((baseline, size[0]), (again, 448)):
            anchors = cfg.model.bbox_head.anchor_generator
            assert {key: anchors[key] for key in ssdlite_anchors(side)} == ssdlite_anchors(side)
    plan = read_plan(written[-1])
    assert list(plan.arms) == ['control', 'gain1']


def test_a_written_config_trains_and_is_refocused(tmp_path, capsys):
    """From `refconv new` to a fused classifier."""
    data = write_class_folders(tmp_path / 'folders')

    def refconv(*words):
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        assert not end.value.code, capsys.readouterr()

    refconv('new', data, '--task', 'classification', '--out', tmp_path / 'mine')
    short = ('--cfg-options', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2',
             'model.backbone.init_cfg=None', 'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0',
             'train_dataloader.persistent_workers=False', 'val_dataloader.persistent_workers=False')  # fmt: skip
    refconv('train', tmp_path / 'mine/baseline.py', *short)
    start = tmp_path / 'mine/runs/baseline/iter_2.pth'
    refconv('train', tmp_path / 'mine/refocused.py', '--init', start, *short)
    said = capsys.readouterr().out
    assert 'top1' in said
    assert {'fused.pth', 'curves.png'} <= {path.name for path in (tmp_path / 'mine/runs/refocused').iterdir()}


def test_it_refuses_another_task_and_overwrites_nothing(voc, tmp_path):
    with pytest.raises(ValueError, match='voc layout, which is for detection, not for segmentation'):
        write_configs(voc, tmp_path / 'mine', 'segmentation')
    assert not (tmp_path / 'mine').exists()
    write_configs(voc, tmp_path / 'mine')
    with pytest.raises(FileExistsError, match=r'base\.py'):
        write_configs(voc, tmp_path / 'mine')
    write_configs(voc, tmp_path / 'mine', force=True)
    with pytest.raises(FileNotFoundError):
        write_configs(tmp_path / 'none', tmp_path / 'other')


def test_the_facts_are_those_of_the_data(voc):
    layout = detect_layout(voc)
    facts = find_facts(layout)
    assert (facts.width, facts.height) == (96, 96)
    assert sum(facts.boxes.values()) == sum(len(record.boxes) for record in layout.records('train'))
    assert all(0.1 < side < 0.6 for side in facts.sides)


def test_the_size_follows_boxes_images_and_machine():
    facts = Facts({'train': 10}, 640, 480, {}, [0.5] * 20)
    assert size_for('detection', facts, 'cpu') == (224, 224)
    assert size_for('detection', facts, 'cuda') == (320, 320)
    facts.sides = [0.05] * 20
    assert size_for('detection', facts, 'cpu') == (320, 320)
    assert size_for('segmentation', facts, 'cpu') == (256, 256)
    assert size_for('segmentation', facts, 'cuda') == (480, 512)
    assert size_for('classification', facts, 'cuda') == (224, 224)
    assert size_for('classification', Facts({}, 32, 32, {}, []), 'cpu') == (64, 64)


def test_values_are_written_as_python():
    value = dict(type='A', part=dict(img='train/'), indices=list(range(60)), names=('a', 'b'), deep=dict(a=1, b=2, c=3))
    assert eval(literal(value)) == value
    assert max(len(line) for line in literal(value).splitlines()) < 120
