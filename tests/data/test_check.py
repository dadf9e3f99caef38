"""check-data: each kind of fault, in the data sets that a config names."""

import copy
import re
from collections import Counter

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from refconv_mm.commands import main
from refconv_mm.data.check import check_config
from refconv_mm.data.new import write_configs
from tests.data.made import MAKE, change


@pytest.fixture
def made(voc, city, tmp_path):
    """Makes a data set of a layout; returns its folder and its config."""

    def make(kind):
        root = MAKE[kind](voc, city, tmp_path / "it's")
        return root, Config.fromfile(write_configs(root, tmp_path / 'out')[0][0])

    return make


def found(cfg, error=True) -> Counter:
    return Counter((each.split, each.kind) for each in check_config(cfg)[0] if each.error == error)


def text(cfg, kind) -> str:
    return next(each.what for each in check_config(cfg)[0] if each.kind == kind)


def test_mmdet_numbers_classes_by_each_file(made):
    root, cfg = made('coco')
    intact = copy.deepcopy(cfg)
    assert check_config(cfg)[0] == []
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.metainfo.classes = ('square', 'disc', 'triangle')
    assert found(cfg) == {('train', 'class numbers'): 1, ('val', 'class numbers'): 1}
    what = "label 0 is 'disc' here and 'square' in the config; the library numbers as the files do"
    assert text(cfg, 'class numbers') == what
    cfg = intact
    change(root / 'annotations/instances_test.json', lambda c: c['categories'].reverse())
    assert found(cfg) == {('val', 'class numbers'): 2}
    assert text(cfg, 'class numbers').startswith("label 0 is 'triangle' here and 'disc' in the train set")
    cfg.train_dataloader.dataset.metainfo.classes = ('unknown',)
    assert text(cfg, 'class numbers').startswith("label 0 is 'nothing' here and 'unknown' in the config")


def test_names_and_counts_of_classes(made):
    root, cfg = made('voc')
    metainfo = cfg.train_dataloader.dataset.metainfo
    count = check_config(cfg)[1][0].counts['square']
    xml = next(path for path in root.glob('*/Annotations/*.xml') if '<name>square' in path.read_text())
    xml.write_text(xml.read_text().replace('<name>square', '<name>square ', 1))
    assert found(cfg) == {}
    assert text(cfg, 'classes differ') == "'square ' (1) in the files are no classes of the config"
    assert f'square {count - 1}, triangle ' in check_config(cfg)[1][0].describe()
    metainfo.classes = ('disc', 'squares', 'triangle')
    assert f"'square' ({count - 1}), 'square ' (1) in" in text(cfg, 'classes differ')
    assert found(cfg)['train', 'classes differ'] == 1
    assert text(cfg, 'rare classes').startswith("'squares' 0, of ")
    image = root / 'VOC2007/JPEGImages/000001.jpg'
    image.rename(image.with_suffix('.png'))
    assert text(cfg, 'image unreadable') == 'no such file; 000001.png is there, and the reader wants .jpg'


@pytest.mark.parametrize(('pixels', 'rare'), [(49, True), (50, False)])  # of 8 maps of 64 x 96
def test_classes_of_few_pixels(made, pixels, rare):
    root, cfg = made('masks')
    for number, path in enumerate((root / 'masks/train').iterdir()):
        values = np.zeros((64, 96), np.uint8)
        values[0, : pixels * (number == 0)] = 1
        Image.fromarray(values).save(path)
    assert f'sidewalk {pixels}, building 0, ' in check_config(cfg)[1][0].describe()
    assert ("'sidewalk' 49, " in text(cfg, 'rare classes')) == rare


def test_annotations_of_coco(made):
    root, cfg = made('coco')
    for number, fault in enumerate((dict(category_id=98), dict(area='none'))):
        change(root / 'annotations/instances_train.json', lambda c: c['annotations'][number].update(fault))  # noqa: B023
    sorted((root / 'train').iterdir())[-2].write_bytes(b'')
    assert found(cfg) == {('train', kind): 1 for kind in ('annotation unreadable', 'image unreadable')}
    assert found(cfg, error=False) == {('train', 'classes differ'): 1}
    assert text(cfg, 'image unreadable').startswith('cannot identify image file')
    assert text(cfg, 'annotation unreadable').startswith("TypeError: '<=' not supported")


def test_coco_without_annotations_and_two_sets_with_the_same_ids(made):
    root, cfg = made('coco')
    change(root / 'annotations/instances_test.json', lambda c: c.pop('annotations'))
    assert check_config(cfg)[0] == []
    one = cfg.val_dataloader.dataset
    cfg.val_dataloader.dataset = dict(type='ConcatDataset', datasets=[one, one])
    assert text(cfg, 'images of one id in two sets') == '4: 100, 101, 102, 103'
    cfg.val_evaluator = dict(type='VOCMetric')
    assert found(cfg) == {}


def test_a_train_set_that_validates_and_images_of_train_in_val(made):
    root, cfg = made('class folders')
    assert check_config(cfg)[0] == []
    Image.open(root / 'train/red/000.png').save(root / 'val/red/another.png', compress_level=0)
    assert text(cfg, 'image of train').endswith('train/red/000.png')
    cfg.val_dataloader.dataset.data_prefix = 'train'
    assert found(cfg, error=False)['val', 'image of train'] == 16


@pytest.mark.parametrize(('left', 'right', 'least', 'error'), [
    (40, 40, 1, False), (40, 40, None, True), (60, 40, None, True), (200, 240, 1, True),
])  # fmt: skip
def test_boxes_of_no_size(made, left, right, least, error):
    """Errors are those after which the loss of mmdet's SSD was not finite."""
    root, cfg = made('voc')
    xml = root / 'VOC2007/Annotations/000001.xml'
    corners = f'<xmin>{left}</xmin>', f'<xmax>{right}</xmax>'
    xml.write_text(re.sub('<xmax>.*?</xmax>', corners[1], re.sub('<xmin>.*?</xmin>', corners[0], xml.read_text())))
    cfg.train_dataloader.dataset.filter_cfg.bbox_min_size = least
    assert found(cfg, error)['train', 'box of no size in the image'] == xml.read_text().count('<xmin>')
    assert found(cfg, not error) == {}


def test_label_maps_one_by_one(made):
    root, cfg = made('masks')
    maps = sorted((root / 'masks/train').iterdir())
    maps[0].write_bytes(b'no')
    Image.open(maps[1]).resize((10, 10), Image.Resampling.NEAREST).save(maps[1])
    Image.open(maps[2]).convert('RGB').save(maps[2])
    Image.new('L', (96, 64), 77).save(maps[3])
    Image.new('L', (96, 64), 3).save(maps[4], 'JPEG')
    kinds = {'annotation unreadable': 1, 'label map of another size': 2, 'label out of range': 1}
    assert found(cfg) == {('train', kind): n for kind, n in kinds.items()}
    assert found(cfg, error=False)['train', 'label map as JPEG'] == 1
    assert text(cfg, 'annotation unreadable').startswith('cannot identify image file')
    assert 'resize the map by nearest pixels' in text(cfg, 'label map of another size')


def test_the_command(made, capsys):
    root, cfg = made('voc')
    xml = root / 'VOC2007/Annotations/000001.xml'
    for code, (old, new) in ((0, ('', '')), (0, ('<name>', '<name> ')), (1, ('</object>', ''))):
        xml.write_text(xml.read_text().replace(old, new, 1))
        with pytest.raises(SystemExit) as end:
            main(['check-data', cfg.filename])
        assert end.value.code == code
    out = ' '.join(capsys.readouterr().out.split())
    assert 'the net gets -2.' in out
    assert 'no errors, no warnings' in out
    assert '0 errors, 1 warnings' in out
    assert 'annotation unreadable' in out
