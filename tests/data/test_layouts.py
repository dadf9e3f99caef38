"""Data of which a part could be lost, or validate what it trains, is refused with the reason, or the part is said."""

import errno
import shutil

import numpy as np
import pytest
from PIL import Image

from refconv_mm.data.layouts import detect_layout
from refconv_mm.files.errors import WriteError
from tests.data.made import MAKE, change, samples, write_yolo
from tests.data.test_new import detect


def two_clips(root):
    for name in ('clip1', 'clip2'):
        shutil.copytree(root / 'VOC2007/JPEGImages', root / name)
    shutil.move(root / 'VOC2007/Annotations', root / 'clip3')
    shutil.rmtree(root / 'VOC2007')


REFUSED = [
    ('voc', two_clips, r'belongs to .*clip1/.* or to .*clip2/.*: give each image a name of its own'),
    (
        'coco',
        lambda root: shutil.copy(root / 'annotations/instances_train.json', root / 'annotations/instances_train2.json'),
        r'has several files of boxes for the split train: instances_train\.json, instances_train2\.json',
    ),
    (
        'coco',
        lambda root: change(root / 'annotations/instances_train.json', lambda json: json['categories'][0].pop('name')),
        r"instances_train\.json is no COCO file: KeyError: 'name'",
    ),
    (
        'yolo',
        lambda root: (root / 'data.yaml').write_text('names: [it]\nval: images/holdout\n'),
        r'data\.yaml: the name of val: images/holdout must say its split',
    ),
    (
        'cityscapes',
        lambda root: shutil.rmtree(root / 'leftImg8bit/train'),
        r"needs the splits train and val, with labels; it has \['val'\]",
    ),
    (
        'class folders',
        lambda root: shutil.copytree(root / 'train', root / 'train_2'),
        r"has several folders for one split among \['train', 'train_2', 'val'\]",
    ),
]


@pytest.mark.parametrize(('kind', 'spoil', 'message'), REFUSED)
def test_ambiguous_data_are_refused(kind, spoil, message, voc, city, tmp_path):
    root = MAKE[kind](voc, city, tmp_path / 'data')
    spoil(root)
    with pytest.raises(ValueError, match=message):
        detect_layout(root)


def test_splits_without_labels_are_left_out(city, tmp_path):
    """As the test split of Cityscapes, whose label maps say "no label" everywhere."""
    data, yolo = MAKE['cityscapes'](None, city, tmp_path / 'city'), write_yolo(tmp_path / 'yolo')
    for folder in ('leftImg8bit', 'gtFine'):
        shutil.copytree(data / folder / 'val', data / folder / 'test')
    assert set(detect_layout(data).sets) == {'train', 'val', 'test'}
    for path in (data / 'gtFine/test').rglob('*.png'):
        Image.fromarray(np.full_like(np.asarray(Image.open(path)), 255)).save(path)
    shutil.copytree(yolo / 'train/images', yolo / 'test/images')
    (yolo / 'test/labels').mkdir()
    (yolo / 'test/labels/of_another.txt').write_text('0 0.5 0.5 0.2 0.2\n')
    for layout in (detect_layout(data), detect_layout(yolo)):
        assert set(layout.sets) == {'train', 'val'}
        assert 'the split test has no annotations to score with, so it is left out' in layout.said


def test_no_validation_image_of_voc_is_trained(voc, tmp_path):
    """`trainval.txt` holds them where there is no `train.txt`. `difficult` objects stay ignored in COCO's JSON."""
    root = MAKE['voc'](voc, None, tmp_path / 'data')
    lists, names = root / 'VOC2007/ImageSets/Main', {p.stem for p in (root / 'VOC2007/JPEGImages').iterdir()}
    for path in lists.iterdir():
        path.unlink()
    (lists / 'trainval.txt').write_text('\n'.join(sorted(names)))
    (lists / 'val.txt').write_text('\n'.join(sorted(names)[:3]))
    for path in (root / 'VOC2007/Annotations').iterdir():
        path.write_text(path.read_text().replace('<difficult>0', '<difficult>1', 1))
    layout = detect(root, tmp_path)
    train, val = (samples(layout, split) for split in ('train', 'val'))
    assert (len(train), len(val)) == (len(names) - 3, 3)
    assert '3 images of the list of train are those of val, so they are not trained' in layout.said
    assert not {each['img_path'] for each in train} & {each['img_path'] for each in val}
    assert all([item['ignore_flag'] for item in each['instances']].count(1) == 1 for each in train + val)


def test_images_of_another_suffix_are_read_or_counted(city, tmp_path):
    """mmseg reads one suffix; mmpretrain passes .webp by, unless a list names the images."""
    data = MAKE['masks'](None, city, tmp_path / 'masks')
    Image.open(data / 'images/train/0001.png').save(data / 'images/train/0001.jpg')
    assert any(line.startswith('1 images of ') and 'most end with .png' in line for line in detect_layout(data).said)
    data = MAKE['class folders'](None, None, tmp_path / 'classes')
    Image.open(data / 'train/blue/001.png').save(data / 'train/blue/001.webp')
    assert len(samples(detect(data, tmp_path), 'train')) == 17


def test_label_maps_that_cannot_be_written(city, tmp_path, monkeypatch):
    data = MAKE['masks'](None, city, tmp_path / 'data')
    layout = detect_layout(data, tmp_path, mask_values=[0, 1])

    def full(*_, **__):
        raise OSError(errno.ENOSPC, 'full')

    monkeypatch.setattr(Image.Image, 'save', full)
    with pytest.raises(WriteError, match='No space left on device'):
        layout.files['label_maps/train'](tmp_path / 'maps')
