"""`refconv new`: it recognises layouts, converts what no library reads, and writes configs that build and train."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from refconv_mm.commands import main
from refconv_mm.data.check import check_config
from refconv_mm.data.layouts import detect_layout
from refconv_mm.data.new import FILES, size_for, write_configs
from refconv_mm.openmmlab.config import is_refocused_config
from refconv_mm.openmmlab.image_size import ssdlite_anchors
from refconv_mm.openmmlab.models import build_model
from tests.data.made import samples, write_class_folders, write_coco, write_masks, write_yolo

MAKE = {
    'voc': lambda voc, city, root: voc,
    'coco': lambda voc, city, root: write_coco(detect_layout(voc), root / 'coco'),
    'yolo': lambda voc, city, root: write_yolo(detect_layout(voc), root / 'yolo'),
    'cityscapes': lambda voc, city, root: city,
    'masks': lambda voc, city, root: write_masks(detect_layout(city), root / 'masks'),
    'class folders': lambda voc, city, root: write_class_folders(root / 'folders'),
}


def numbers(layout, split):
    """The boxes of each image, by class name."""
    return [
        sorted((layout.classes[item['bbox_label']], *(round(v, 1) for v in item['bbox'])) for item in each['instances'])
        for each in samples(layout, split)
    ]


def detect(folder, out, **options):
    """The layout of a folder, with what is converted."""
    layout = detect_layout(folder, out, **options)
    for name, content in layout.files.items():
        (out / name).write_text(content) if isinstance(content, str) else content(out / name)
    return layout


@pytest.mark.parametrize('kind', MAKE)
def test_the_configs_fit_the_data(kind, voc, city, tmp_path):
    data, out = MAKE[kind](voc, city, tmp_path), tmp_path / "it's mine"
    written, said = write_configs(data, out)
    assert [path.name for path in written[:4]] == list(FILES)
    assert said[0].startswith(f'{kind} layout')
    texts = ''.join(path.read_text() for path in written[:3])
    assert 'mmdet::' not in texts
    assert 'refconv_mm' not in texts
    baseline, control, refocused = (Config.fromfile(path) for path in written[1:4])
    assert [is_refocused_config(cfg) for cfg in (control, refocused)] == [False, True]
    refocused.model.backbone.conv_cfg = None
    assert refocused.model == {**control.model, 'backbone': {**control.model.backbone, 'conv_cfg': None}}
    assert control.train_cfg.max_iters < baseline.train_cfg.max_iters
    if kind == 'yolo':  # the boxes are those that were converted to it
        assert numbers(detect_layout(data, out), 'train') == numbers(detect_layout(voc), 'train')
    init_default_scope(baseline.default_scope)
    for split in ('train', 'val', 'test'):
        sample = DATASETS.build(baseline[f'{split}_dataloader'].dataset)[0]
        assert sample['inputs'].shape[0] == 3
    build_model(Config.fromfile(written[3]))
    if kind != 'cityscapes' and kind != 'masks':
        findings, sets = check_config(baseline)
        assert findings == []
        assert [loaded.describe() for loaded in sets] == said[1 : 1 + len(sets)]
    if 'bbox_head' in baseline.model:
        anchors = baseline.model.bbox_head.anchor_generator
        assert {key: anchors[key] for key in ('strides', 'min_sizes', 'max_sizes')} == ssdlite_anchors(baseline.size[0])
    if 'decode_head' in baseline.model:  # training and test at one size
        scales = [step.scale for step in (*baseline.train_pipeline, *baseline.test_pipeline) if 'scale' in step]
        assert scales == [tuple(baseline.size[::-1])] * 2


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_flat_voc_is_split(suffix, voc, tmp_path):
    for kind, inner in (('JPEGImages', 'images'), ('Annotations', 'annots')):
        (tmp_path / 'flat' / inner).mkdir(parents=True)
        for path in (voc / 'VOC2007' / kind).iterdir():
            target = tmp_path / 'flat' / inner / path.name
            if inner == 'images':
                Image.open(path).save(target.with_suffix(suffix))
            else:
                shutil.copy(path, target)
    layout = detect(tmp_path / 'flat', tmp_path)
    assert any('every fifth image' in line for line in layout.said)
    parts = [{sample['img_path'] for sample in samples(layout, split)} for split in ('train', 'val')]
    assert [len(part) for part in parts] == [16, 4]
    assert not parts[0] & parts[1]


def test_roboflow_s_coco(voc, tmp_path):
    coco = write_coco(detect_layout(voc), tmp_path / 'coco')
    for split, name in (('train', 'train'), ('test', 'valid')):
        shutil.copytree(coco / split, tmp_path / 'robo' / name)
        content = json.loads((coco / f'annotations/instances_{split}.json').read_text())
        for item in content['categories']:
            item['supercategory'] = 'shapes'
        content['categories'].insert(0, dict(id=0, name='shapes', supercategory='none'))
        (tmp_path / 'robo' / name / '_annotations.coco.json').write_text(json.dumps(content))
    (tmp_path / 'robo/test.json').write_text(json.dumps(dict(content, annotations=[])))
    layout = detect_layout(tmp_path / 'robo')
    assert layout.classes == ('disc', 'square', 'triangle')
    assert 'no box has the category shapes' in layout.said[1]
    assert 'test.json has no annotations to score with' in layout.said[0]
    assert numbers(layout, 'val') == numbers(detect_layout(coco), 'test')


def write_lines(root, lines, yaml='names: [yes, "2 "]\n'):
    for kind in ('images', 'labels'):
        (root / 'train' / kind).mkdir(parents=True)
    for i in range(5):
        Image.new('RGB', (200, 100), (i, 0, 0)).save(root / f'train/images/{i}.png')
    (root / 'train/labels/0.txt').write_text(lines)
    if yaml:
        (root / 'data.yaml').write_text(yaml)
    return root


def test_yolo_lines_of_other_tasks(tmp_path):
    root = write_lines(
        tmp_path / 'a', '0 0.1 0.2 0.5 0.9 0.3 0.4\n1 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2\n1 0.5 0.5 0.2 0.2\n'
    )
    layout = detect(root, tmp_path)
    assert layout.classes == ('yes', '2')
    assert '2 lines are polygons or oriented boxes' in layout.said[-1]
    assert numbers(layout, 'train')[0][0] == ('2', 20.0, 10.0, 40.0, 20.0)
    root = write_lines(tmp_path / 'b', '0 0.5 0.5 0.2 0.2 0.1 0.1 2\n', 'kpt_shape: [1, 3]\nnames: {0: it}\n')
    layout = detect(root, tmp_path)
    assert 'kpt_shape' in layout.said[1]
    assert numbers(layout, 'train')[0] == [('it', 80.0, 40.0, 120.0, 60.0)]
    root = write_lines(tmp_path / 'c', '0 0.5 0.5 0.2 0.2 0.87\n0 50 50 20 20\n2 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1 0\n')
    with pytest.raises(ValueError, match='4 labels of') as error:
        detect_layout(root)
    for reason in (
        'line 1: 6 numbers: a prediction',
        'line 2: numbers outside 0 to 1',
        'class 2 of 2',
        'a box of no size',
    ):
        assert reason in str(error.value)


def test_yolo_is_not_class_folders_and_needs_names(tmp_path):
    root = write_lines(tmp_path / 'a', '0 0.5 0.5 0.2 0.2\n', '')
    with pytest.raises(ValueError, match='YOLO labels and no class names'):
        detect_layout(root)
    (root / 'classes.txt').write_text('it\n')
    assert detect_layout(root).name == 'yolo'


def test_folders_of_other_names_and_values_of_masks(tmp_path):
    for kind in ('Training_Images', 'Ground_Truth'):
        (tmp_path / 'data' / kind).mkdir(parents=True)
    for i in range(5):
        Image.new('RGB', (64, 48), (i, 9, 9)).save(tmp_path / f'data/Training_Images/{i}.jpg')
        Image.fromarray(np.eye(48, 64, dtype=np.uint8) * 255).save(tmp_path / f'data/Ground_Truth/{i}_mask.png')
    with pytest.raises(ValueError, match=r'hold only \[0, 255\]; 255 means "no label". --mask-values 0 255 maps'):
        detect_layout(tmp_path / 'data')
    path = write_configs(tmp_path / 'data', tmp_path / 'out', mask_values=[0, 255])[0][1]
    findings, sets = check_config(Config.fromfile(path))
    assert {each.kind for each in findings} <= {'images of train'}
    assert sets[0].counts == {'class_0': 4 * (48 * 64 - 48), 'class_1': 4 * 48}


def test_two_layouts_or_none_is_a_question(voc, tmp_path):
    root = write_coco(detect_layout(voc), tmp_path / 'data')
    write_class_folders(root / 'x')
    for name in ('blue', 'red'):
        shutil.copytree(root / 'x/train' / name, root / 'train' / name)
    with pytest.raises(ValueError, match=r'more than one layout: coco, since it has .*; class folders.*--layout NAME'):
        detect_layout(root)
    assert detect_layout(root, layout='coco').name == 'coco'
    (tmp_path / 'none/notes').mkdir(parents=True)
    with pytest.raises(ValueError, match=r'holds notes\. The layouts and what they need:\n  voc: (?s:.*)class folders'):
        detect_layout(tmp_path / 'none')
    with pytest.raises(FileNotFoundError, match='data_root names the folder'):
        detect_layout(tmp_path / 'nowhere')


def test_it_refuses_another_task_and_overwrites_nothing(voc, tmp_path):
    with pytest.raises(ValueError, match='voc layout, which is for detection, not for segmentation'):
        write_configs(voc, tmp_path / 'mine', 'segmentation')
    assert not (tmp_path / 'mine').exists()
    write_configs(voc, tmp_path / 'mine')
    with pytest.raises(FileExistsError, match=r'base\.py'):
        write_configs(voc, tmp_path / 'mine')
    write_configs(voc, tmp_path / 'mine', force=True, size=448)
    assert Config.fromfile(tmp_path / 'mine/baseline.py').size == (448, 448)


def test_the_size_follows_boxes_images_and_machine():
    assert size_for('detection', 640, 480, [0.5] * 20, 'cpu') == (224, 224)
    assert size_for('detection', 640, 480, [0.5] * 20, 'cuda') == (320, 320)
    assert size_for('detection', 640, 480, [0.05] * 20, 'cpu') == (320, 320)
    assert size_for('segmentation', 640, 480, [], 'cpu') == (192, 256)
    assert size_for('segmentation', 640, 480, [], 'cuda') == (384, 512)
    assert size_for('classification', 32, 32, [], 'cpu') == (64, 64)


def test_a_written_config_trains_and_is_refocused(tmp_path, capsys):
    """From `refconv new` to a fused classifier, with a val split that is made, and an apostrophe in the path."""
    data = Path(shutil.copytree(write_class_folders(tmp_path / 'folders') / 'train', tmp_path / "it's"))

    def refconv(*words):
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        assert not end.value.code, capsys.readouterr()

    refconv('new', data, '--task', 'classification', '--out', tmp_path / "my 'set'")
    short = ('--cfg-options', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2',
             'model.backbone.init_cfg=None', 'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0',
             'train_dataloader.persistent_workers=False', 'val_dataloader.persistent_workers=False')  # fmt: skip
    refconv('train', tmp_path / "my 'set'/baseline.py", *short)
    start = tmp_path / "my 'set'/runs/baseline/iter_2.pth"
    refconv('train', tmp_path / "my 'set'/refocused.py", '--init', start, *short)
    work_dir = tmp_path / "my 'set'/runs/refocused"
    assert (work_dir / 'fused.pth').is_file()
    assert 'refconv_mm' not in (work_dir / 'fused.py').read_text()
