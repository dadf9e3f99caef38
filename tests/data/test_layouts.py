"""Layouts of data: each is detected, and its reader gives what mmdet, mmseg and mmpretrain read."""

import json
import shutil
from pathlib import Path

import pytest
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from refconv_mm.data.check import check_config, folder_config
from refconv_mm.data.layouts import detect_layout

from tests.data.made import write_class_folders, write_coco, write_masks, write_yolo


@pytest.fixture(scope='module')
def made(voc, city, tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp('layouts')
    boxes, masks = detect_layout(voc), detect_layout(city)
    return {
        'voc': voc,
        'cityscapes': city,
        'coco': write_coco(boxes, root / 'coco'),
        'yolo': write_yolo(boxes, root / 'yolo'),
        'masks': write_masks(masks, root / 'masks'),
        'class folders': write_class_folders(root / 'folders'),
    }


def boxes(layout, split):
    return [
        [(box.label, *(round(value, 3) for value in box.corners)) for box in record.boxes]
        for record in layout.records(split)
    ]


@pytest.mark.parametrize(('name', 'task', 'images'), [
    ('voc', 'detection', dict(train=16, test=4)),
    ('coco', 'detection', dict(train=16, test=4)),
    ('yolo', 'detection', dict(train=16, test=4)),
    ('cityscapes', 'segmentation', dict(train=8, val=3)),
    ('masks', 'segmentation', dict(train=8, val=3)),
    ('class folders', 'classification', dict(train=16, val=8)),
])  # fmt: skip
def test_a_folder_s_layout_is_detected(made, name, task, images):
    layout = detect_layout(made[name])
    assert (layout.name, layout.task, layout.images, layout.splits) == (name, task, images, tuple(images))
    assert not [record.faults for split in layout.splits for record in layout.records(split) if record.faults]


@pytest.mark.parametrize('name', ['coco', 'yolo'])
def test_boxes_are_the_same_in_every_layout(made, name):
    expected = detect_layout(made['voc'])
    layout = detect_layout(made[name])
    assert layout.classes == expected.classes == ('disc', 'square', 'triangle')
    assert boxes(layout, 'train') == boxes(expected, 'train')
    assert any(boxes(layout, 'train'))


@pytest.mark.parametrize('name', ['voc', 'coco', 'yolo'])
def test_mmdet_reads_what_the_records_say(made, name):
    init_default_scope('mmdet')
    layout = detect_layout(made[name])
    for split in ('train', 'val'):  # val is the test split, since there is none
        dataset = DATASETS.build(dict(layout.dataset(split), pipeline=[]))
        read = [
            [
                (layout.classes[item['bbox_label']], *(round(value, 3) for value in item['bbox']))
                for item in info['instances']
            ]
            for info in (dataset.get_data_info(i) for i in range(len(dataset)))
        ]
        assert read == boxes(layout, 'test' if split == 'val' else split)
        assert dataset.metainfo['classes'] == layout.classes


def test_mmseg_and_mmpretrain_read_what_the_records_say(made):
    init_default_scope('mmseg')
    layout = detect_layout(made['masks'])
    dataset = DATASETS.build(dict(layout.dataset('val'), pipeline=[]))
    read = [
        (info['img_path'], info['seg_map_path']) for info in (dataset.get_data_info(i) for i in range(len(dataset)))
    ]
    assert read == [(record.image, record.mask) for record in layout.records('val')]
    init_default_scope('mmpretrain')
    layout = detect_layout(made['class folders'])
    dataset = DATASETS.build(dict(layout.dataset('val'), pipeline=[]))
    read = [(info['img_path'], layout.classes[info['gt_label']]) for info in (dataset[i] for i in range(len(dataset)))]
    assert read == [(record.image, record.label) for record in layout.records('val')]


def test_without_a_val_split_every_fifth_image_is_one(made, tmp_path):
    shutil.copytree(made['class folders'] / 'train', tmp_path / 'all')
    layout = detect_layout(tmp_path / 'all')
    assert layout.splits == ('train',)
    init_default_scope('mmpretrain')
    parts = [DATASETS.build(dict(layout.dataset(split), pipeline=[])) for split in ('train', 'val')]
    paths = [{part[i]['img_path'] for i in range(len(part))} for part in parts]
    assert [len(part) for part in paths] == [13, 3]
    assert not paths[0] & paths[1]
    assert layout.dataset('test') == layout.dataset('val')


# -- variants that people have ---------------------------------------------------------------------------------


def test_coco_as_roboflow_writes_it(made, tmp_path):
    for split, name in (('train', 'train'), ('test', 'valid')):
        shutil.copytree(made['coco'] / split, tmp_path / name)
        shutil.copy(made['coco'] / f'annotations/instances_{split}.json', tmp_path / name / '_annotations.coco.json')
    layout = detect_layout(tmp_path)
    assert layout.images == dict(train=16, val=4)
    assert boxes(layout, 'val') == boxes(detect_layout(made['coco']), 'test')


def test_coco_leaves_captions_alone(made, tmp_path):
    shutil.copytree(made['coco'], tmp_path / 'coco')
    captions = dict(images=[], annotations=[dict(id=0, image_id=100, caption='a disc')], categories=[])
    (tmp_path / 'coco/annotations/captions_train.json').write_text(json.dumps(captions))
    assert detect_layout(tmp_path / 'coco').sets == detect_layout(made['coco']).sets


def test_yolo_as_roboflow_writes_it_and_as_a_list(made, tmp_path):
    expected = boxes(detect_layout(made['yolo']), 'test')
    for kind in ('images', 'labels'):
        shutil.copytree(made['yolo'] / kind / 'train', tmp_path / 'train' / kind)
        shutil.copytree(made['yolo'] / kind / 'test', tmp_path / 'valid' / kind)
    names = 'names: [disc, square, triangle]\n'
    (tmp_path / 'data.yaml').write_text(f'train: ../train/images\nval: ../valid/images\ntest: ../test/images\n{names}')
    assert boxes(detect_layout(tmp_path), 'val') == expected
    files = sorted((tmp_path / 'valid/images').glob('*.jpg'))
    (tmp_path / 'val.txt').write_text('\n'.join(str(path.relative_to(tmp_path)) for path in files))
    (tmp_path / 'data.yaml').write_text(f'path: ../elsewhere\ntrain: train/images\nval: val.txt\n{names}')
    assert boxes(detect_layout(tmp_path), 'val') == expected


def test_yolo_without_yaml_needs_names(made, tmp_path):
    shutil.copytree(made['yolo'], tmp_path / 'yolo')
    (tmp_path / 'yolo/data.yaml').unlink()
    with pytest.raises(ValueError, match=r'no names of the classes; write classes\.txt'):
        detect_layout(tmp_path / 'yolo')
    (tmp_path / 'yolo/classes.txt').write_text('disc\nsquare\ntriangle\n')
    assert boxes(detect_layout(tmp_path / 'yolo'), 'train') == boxes(detect_layout(made['yolo']), 'train')


def test_yolo_polygons_become_boxes(tmp_path):
    for kind in ('images', 'labels'):
        (tmp_path / kind / 'train').mkdir(parents=True)
    Image.new('RGB', (200, 100)).save(tmp_path / 'images/train/a.png')
    (tmp_path / 'labels/train/a.txt').write_text('0 0.1 0.2 0.5 0.9 0.3 0.4\n0 0.1 0.2 0.3\n7 0.5 0.5 0.5 0.5\n')
    (tmp_path / 'labels/train/b.txt').write_text('')
    (tmp_path / 'classes.txt').write_text('it\n')
    record, lost = detect_layout(tmp_path).records('train')
    assert [(box.label, box.where, box.corners) for box in record.boxes] == [
        ('it', 'line 1', pytest.approx((20, 20, 100, 90))),
        ('class 7', 'line 3', pytest.approx((50, 25, 150, 75))),
    ]
    assert record.faults == (('box unreadable', 'line 2: 3 numbers, not 4 of a box or the pairs of a polygon'),)
    assert lost.faults == (('label without an image', ''),)
    init_default_scope('mmdet')
    with pytest.raises(ValueError, match=r'a\.txt: box unreadable: line 2'):
        DATASETS.build(dict(detect_layout(tmp_path).dataset('train'), pipeline=[]))


def test_masks_in_split_folders_with_suffixes(made, tmp_path):
    for split in ('train', 'val'):
        for kind in ('images', 'masks'):
            (tmp_path / split / kind).mkdir(parents=True)
        for path in (made['masks'] / 'images' / split).iterdir():
            shutil.copy(path, tmp_path / split / 'images')
            shutil.copy(
                made['masks'] / 'masks' / split / path.name, tmp_path / split / 'masks' / f'{path.stem}_mask.png'
            )
    layout = detect_layout(tmp_path)
    assert layout.images == dict(train=8, val=3)
    assert layout.sets['train']['seg_map_suffix'] == '_mask.png'
    assert layout.classes == tuple(f'class_{i}' for i in range(14))  # of the numbers; car, 13, is the largest
    (tmp_path / 'train/masks/odd_mask.png').write_bytes((tmp_path / 'train/masks/0000_mask.png').read_bytes())
    Image.new('RGB', (8, 8)).save(tmp_path / 'train/images/odd.jpg')
    faults = {kind for record in detect_layout(tmp_path).records('train') for kind, _ in record.faults}
    assert faults == {'image of another suffix', 'label map without an image'}


# -- what a training could not use -------------------------------------------------------------------------------


def test_masks_of_0_and_255_are_refused(tmp_path):
    for kind, mode in (('images', 'RGB'), ('masks', 'L')):
        (tmp_path / kind).mkdir()
        for i in range(2):
            Image.new(mode, (8, 8), 255 * i if mode == 'L' else 0).save(tmp_path / kind / f'{i}.png')
    with pytest.raises(ValueError, match=r'hold only \[0, 255\]; 255 means "no label"'):
        detect_layout(tmp_path)
    Image.new('RGB', (8, 8)).save(tmp_path / 'masks/0.png')
    with pytest.raises(ValueError, match='a picture in RGB; a mask holds one number a pixel'):
        detect_layout(tmp_path)


def test_class_folders_that_differ_between_splits_are_refused(tmp_path):
    write_class_folders(tmp_path)
    (tmp_path / 'val/red').rename(tmp_path / 'val/green')
    with pytest.raises(ValueError, match='different classes: green, red'):
        detect_layout(tmp_path)


def test_what_is_no_layout_is_told_with_those_that_are(tmp_path):
    (tmp_path / 'notes').mkdir()
    with pytest.raises(ValueError, match=r'holds notes\. The layouts and what they need:\n  voc: (?s:.*)class folders'):
        detect_layout(tmp_path)
    with pytest.raises(FileNotFoundError, match='data_root names the folder'):
        detect_layout(tmp_path / 'nowhere')


def test_a_detector_s_layout_without_val_is_told(made, tmp_path):
    shutil.copytree(made['coco'], tmp_path / 'coco')
    (tmp_path / 'coco/annotations/instances_test.json').unlink()
    layout = detect_layout(tmp_path / 'coco')
    with pytest.raises(ValueError, match=r'has no val split, only train'):
        layout.dataset('val')
    (tmp_path / 'coco/train' / Path(next(layout.records('train')).image).name).unlink()
    with pytest.raises(ValueError, match=r'names the image \S+; it is in none of'):
        detect_layout(tmp_path / 'coco')


# -- check_data --------------------------------------------------------------------------------------------------


def findings(root) -> list[tuple[str, str, str]]:
    return [(item.split, item.kind, item.what) for item in check_config(folder_config(root))[0]]


@pytest.mark.parametrize('name', ['coco', 'yolo', 'masks', 'class folders', 'voc', 'cityscapes'])
def test_check_data_finds_nothing_in_made_data(made, name):
    assert findings(made[name]) == []


def test_check_data_tells_what_mmdet_drops_from_coco(made, tmp_path):
    root = shutil.copytree(made['coco'], tmp_path / 'coco')
    file = root / 'annotations/instances_train.json'
    content = json.loads(file.read_text())
    first, second, third, *_ = content['annotations']
    first.update(category_id=99)
    second.update(bbox=[1, 2, 0, 5])
    del third['area']
    content['images'][-1].update(width=4096)
    content['annotations'].append(dict(first, id=1000, image_id=5, category_id=3))
    (root / 'train' / content['images'][-2]['file_name']).write_bytes(b'')
    file.write_text(json.dumps(content))
    assert sorted(findings(root)) == [
        ('train', 'annotation of another size', 'it says 4096x96, the image has 96x96'),
        ('train', 'box of no size', 'object 0: (1, 2) to (1, 7)'),
        ('train', 'box without an image', 'image_id 5: 1 boxes'),
        ('train', 'box without area', 'annotation 2: mmdet reads its area, which is width times height'),
        ('train', 'image unreadable', ''),
        ('train', 'unknown class', "annotation 0: 'category_id 99'"),
    ]


def test_check_data_tells_every_wrong_line_of_yolo(made, tmp_path):
    root = shutil.copytree(made['yolo'], tmp_path / 'yolo')
    first, second, third, *_ = sorted((root / 'labels/train').iterdir())
    first.write_text('0 0.5 0.5 0.1 0.1\n3 0.5 0.5 0.1 0.1\n0 0.5 0.5 0 0.1\n')
    second.write_text('disc 0.5 0.5 0.1 0.1\n')
    third.write_text('')
    assert sorted(findings(root)) == [
        ('train', 'box of no size', 'object 2: (48, 43.2) to (48, 52.8)'),
        ('train', 'box unreadable', 'line 1: disc 0.5 0.5 0.1 0.1'),
        ('train', 'image without a label', ''),
        ('train', 'unknown class', "line 2: 'class 3'"),
    ]


def test_check_data_tells_masks_without_a_partner(made, tmp_path):
    root = shutil.copytree(made['masks'], tmp_path / 'masks')
    (root / 'images/train/0000.png').unlink()
    (root / 'masks/train/0001.png').unlink()
    assert sorted(findings(root)) == [('train', 'label map missing', ''), ('train', 'label map without an image', '')]
