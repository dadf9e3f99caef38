"""check-data: each kind of fault, in the data sets that a config names."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from refconv_mm.commands import main
from refconv_mm.data.check import check_config
from refconv_mm.data.layouts import detect_layout
from refconv_mm.data.new import sets_config, write_configs
from tests.data.made import write_class_folders, write_coco, write_masks


@pytest.fixture(scope='module')
def made(voc, city, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('check')
    write_coco(detect_layout(voc), root / 'coco')
    write_masks(detect_layout(city), root / 'masks')
    write_class_folders(root / 'class folders')
    return root


def prepared(made, name, tmp_path, **options):
    """A copy that a test may damage, and the config of its data sets."""
    root = Path(shutil.copytree(made / name, tmp_path / 'data'))
    return root, sets_config(detect_layout(root, tmp_path, **options))


def found(cfg) -> Counter:
    return Counter((each.split, each.kind) for each in check_config(cfg)[0])


def text(cfg, kind) -> str:
    return next(each.what for each in check_config(cfg)[0] if each.kind == kind)


def change(path, function):
    content = json.loads(path.read_text())
    function(content)
    path.write_text(json.dumps(content))


def test_mmdet_numbers_classes_by_each_file(made, tmp_path):
    root, cfg = prepared(made, 'coco', tmp_path)
    assert found(cfg) == {}
    cfg.train_dataloader.dataset.metainfo.classes = ('square', 'disc', 'triangle')
    what = "label 0 is 'disc' here and 'square' in the config; the library numbers as the files do"
    assert text(cfg, 'class numbers') == what
    cfg = sets_config(detect_layout(root, tmp_path))
    change(root / 'annotations/instances_test.json', lambda c: c['categories'].reverse())
    assert found(cfg) == {('val', 'class numbers'): 2}
    assert text(cfg, 'class numbers').startswith("label 0 is 'triangle' here and 'disc'")
    with pytest.raises(ValueError, match='mmdet numbers the classes in the order of each file'):
        detect_layout(root, tmp_path)


def test_names_of_classes(made, tmp_path):
    root, cfg = prepared(made, 'coco', tmp_path)
    file = root / 'annotations/instances_train.json'
    change(file, lambda c: c['categories'].append(dict(id=99, name='disc')))
    assert ('train', 'class numbers') in found(cfg)
    change(file, lambda c: c['categories'][-1].update(name='rings'))
    cfg.train_dataloader.dataset.metainfo.classes = ('disc', 'square', 'triangle', 'rings')
    assert text(cfg, 'class without an object') == 'rings'
    cfg.train_dataloader.dataset.metainfo.classes = ('disc', 'squares', 'triangle')
    assert text(cfg, 'classes differ').endswith('; your classes are disc, squares, triangle')


def test_what_mmdet_drops_from_coco(made, tmp_path):
    root, cfg = prepared(made, 'coco', tmp_path)
    file = root / 'annotations/instances_train.json'

    def spoil(content):
        first, second, third, *_ = content['annotations']
        first.update(category_id=98)
        second.update(bbox=[1, 2, 0, 5])
        del third['area']

    change(file, spoil)
    (root / 'train' / json.loads(file.read_text())['images'][-2]['file_name']).write_bytes(b'')
    kinds = ('boxes dropped', 'annotation unreadable', 'image unreadable', 'classes differ')
    assert found(cfg) == {('train', kind): 1 for kind in kinds}
    assert text(cfg, 'image unreadable') == 'empty file'
    assert "KeyError: 'area'" in text(cfg, 'annotation unreadable')


def test_ids_that_occur_twice_and_boxes_without_a_mask(made, tmp_path):
    root, cfg = prepared(made, 'coco', tmp_path)
    file = root / 'annotations/instances_train.json'
    steps = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
    cfg.train_dataloader.dataset.pipeline = steps
    assert set(found(cfg)) == {('train', 'annotation unreadable')}
    change(file, lambda c: [note.update(segmentation=[[1, 1, 9, 1, 9, 9]]) for note in c['annotations']])
    assert found(cfg) == {}
    change(file, lambda c: c['annotations'][1].update(id=0))
    assert text(cfg, 'annotation ids that occur twice') == '1: 0'


def test_boxes_of_no_size_without_the_filter(voc, tmp_path):
    root = Path(shutil.copytree(voc, tmp_path / 'data'))
    cfg = sets_config(detect_layout(root))
    xml = root / 'VOC2007/Annotations/000001.xml'
    start = xml.read_text()
    number = start.split('<xmin>')[1].split('<')[0]
    xml.write_text(start.replace(f'<xmax>{start.split("<xmax>")[1].split("<")[0]}', f'<xmax>{number}', 1))
    assert found(cfg) == {}
    cfg.train_dataloader.dataset.filter_cfg.pop('bbox_min_size')
    assert found(cfg) == {('train', 'box of no size'): 1}


def test_images_of_train_in_val(made, tmp_path):
    root, cfg = prepared(made, 'class folders', tmp_path)
    assert found(cfg) == {}
    shutil.copy(root / 'train/red/000.png', root / 'val/red/another.png')
    assert text(cfg, 'images of train').startswith('1 images are also in train, such as ')


def test_class_folders(made, tmp_path):
    root, cfg = prepared(made, 'class folders', tmp_path)
    (root / 'train/.ipynb_checkpoints').mkdir()
    assert 'AssertionError' in text(cfg, 'data set unreadable')
    with pytest.raises(ValueError, match=r'different classes: .ipynb_checkpoints; mmpretrain numbers .* hidden ones'):
        detect_layout(root)
    (root / 'train/.ipynb_checkpoints').rmdir()
    cfg.val_dataloader.dataset.metainfo.classes = ('red', 'blue')
    assert ('val', 'class numbers') in found(cfg)


def test_label_maps_one_by_one(made, tmp_path):
    root, cfg = prepared(made, 'masks', tmp_path)
    maps = sorted((root / 'masks/train').iterdir())
    Image.open(maps[0]).resize((10, 10), Image.Resampling.NEAREST).save(maps[0])
    Image.open(maps[1]).convert('RGB').save(maps[1])
    Image.new('L', (96, 64), 77).save(maps[2])
    maps[3].write_bytes(maps[3].read_bytes()[:100])
    maps[4].write_bytes(b'no')
    maps[5].unlink()
    (root / 'images/train/0006.png').rename(root / 'images/train/0006.jpeg')
    cfg.train_dataloader.dataset.pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    kinds = Counter({('train', kind): 1 for kind in (
        'label map of another size', 'label map with colours', 'label id out of range',
        'class without an object')})  # fmt: skip
    kinds['train', 'annotation unreadable'] = 3
    assert found(cfg) == kinds
    assert 'resize the map by nearest pixels' in text(cfg, 'label map of another size')


def test_label_maps_as_jpeg(tmp_path):
    values = np.repeat(np.eye(8, dtype=np.uint8) * 3, 4, 0).repeat(4, 1)
    for kind, mode in (('images', 'RGB'), ('masks', 'L')):
        for split in ('train', 'val'):
            (tmp_path / kind / split).mkdir(parents=True)
            Image.fromarray(values).convert(mode).save(tmp_path / kind / split / '0.jpg')
    path = write_configs(tmp_path, tmp_path / 'out')[0][0]
    assert found(Config.fromfile(path))['train', 'label map as JPEG'] == 1


def test_the_command_has_exit_code_1(voc, tmp_path, capsys):
    root = Path(shutil.copytree(voc, tmp_path / "it's"))
    for code in (0, 1):
        with pytest.raises(SystemExit) as end:
            main(['check-data', str(root)])
        assert end.value.code == code
        (root / 'VOC2007/Annotations/000001.xml').write_text('<annotation>')
    assert 'annotation unreadable' in ' '.join(capsys.readouterr().out.split())
