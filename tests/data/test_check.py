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
from refconv_mm.data.check import check_config, findings_table
from refconv_mm.data.classes import why_empty
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
    assert (
        text(cfg, 'class numbers')
        == "label 0 is 'disc' here and 'square' in the config; the library numbers as the files do"
    )
    cfg = sets_config(detect_layout(root, tmp_path))
    change(root / 'annotations/instances_test.json', lambda c: c['categories'].reverse())
    assert found(cfg) == {('val', 'class numbers'): 2}
    assert text(cfg, 'class numbers').startswith("label 0 is 'triangle' here and 'disc'")
    with pytest.raises(ValueError, match='mmdet numbers the classes in the order of each file'):
        detect_layout(root, tmp_path)


def test_categories(made, tmp_path):
    root, cfg = prepared(made, 'coco', tmp_path)
    file = root / 'annotations/instances_train.json'
    change(file, lambda c: c['categories'].append(dict(id=99, name='disc')))
    assert ('train', 'two categories of one name') in found(cfg)
    change(file, lambda c: c['categories'][-1].update(name=' ring '))
    assert ('train', 'class name with blanks, or no text') in found(cfg)
    change(file, lambda c: c['categories'][-1].update(name='rings'))
    cfg.train_dataloader.dataset.metainfo.classes = ('disc', 'square', 'triangle', 'rings')
    assert text(cfg, 'class without an object') == 'rings'
    cfg.train_dataloader.dataset.metainfo.classes = ('disc', 'squares', 'triangle')
    assert "You write 'squares' for 'square'" in text(cfg, 'classes differ')
    assert why_empty(cfg.train_dataloader.dataset).startswith('Your classes are disc, squares, triangle; the data has')


def test_a_rare_class_is_named(made, tmp_path):
    root, cfg = prepared(made, 'coco', tmp_path)
    file = root / 'annotations/instances_train.json'
    notes = json.loads(file.read_text())['annotations']
    copies = [dict(note, id=1000 * n + note['id']) for n in range(1, 600) for note in notes if note['category_id'] == 3]
    change(file, lambda c: c['annotations'].extend(copies))
    assert 'square (4 of' in text(cfg, 'class of few objects')


def test_what_mmdet_drops_from_coco(made, tmp_path):
    root, cfg = prepared(made, 'coco', tmp_path)
    file = root / 'annotations/instances_train.json'

    def spoil(content):
        first, second, third, *_, last = content['annotations']
        first.update(category_id=98)
        second.update(bbox=[1, 2, 0, 5])
        del third['area']
        last.update(image_id=5)
        content['images'][-1].update(width=4096)

    change(file, spoil)
    (root / 'train' / json.loads(file.read_text())['images'][-2]['file_name']).write_bytes(b'')
    kinds = ('box dropped', 'annotation unreadable', 'annotation of another size', 'image unreadable',
             'annotation without an image', 'classes differ')  # fmt: skip
    assert found(cfg) == {('train', kind): 1 for kind in kinds}
    assert text(cfg, 'image unreadable') == 'empty file'
    assert "KeyError: 'area'" in text(cfg, 'annotation unreadable')


def test_ids_that_occur_twice_and_boxes_without_a_mask(made, tmp_path):
    root, cfg = prepared(made, 'coco', tmp_path)
    file = root / 'annotations/instances_train.json'
    steps = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
    cfg.train_dataloader.dataset.pipeline = steps
    assert set(found(cfg)) == {('train', 'box without a mask')}
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
    findings, sets = check_config(cfg)
    assert findings == []
    assert '1 boxes below 1 pixels, which the filter ignores' in sets[0].describe()
    cfg.train_dataloader.dataset.filter_cfg.pop('bbox_min_size')
    assert found(cfg) == {('train', 'box of no size'): 1}


def test_voc_with_png_is_said_once_and_read_as_coco(voc, tmp_path):
    root = Path(shutil.copytree(voc, tmp_path / 'data'))
    cfg = sets_config(detect_layout(root))
    for path in (root / 'VOC2007/JPEGImages').iterdir():
        Image.open(path).save(path.with_suffix('.png'))
        path.unlink()
    findings, _ = check_config(cfg)
    assert {each.kind for each in findings} == {'image of another suffix'}
    assert findings_table(findings).row_count == 2  # train and val
    layout = detect_layout(root, tmp_path)
    assert layout.sets['train']['type'] == 'CocoDataset'
    assert any('wants .jpg' in line or '.jpg, not .png' in line for line in layout.said)


def test_images_of_train_in_val(made, tmp_path):
    root, cfg = prepared(made, 'class folders', tmp_path)
    assert found(cfg) == {}
    shutil.copy(root / 'train/red/000.png', root / 'val/red/another.png')
    assert text(cfg, 'images of train').startswith('1 images are also in train, such as ')


def test_class_folders(made, tmp_path):
    root, cfg = prepared(made, 'class folders', tmp_path)
    (root / 'train/.ipynb_checkpoints').mkdir()
    assert 'AssertionError' in text(cfg, 'data set unreadable')
    assert ('train', 'hidden folder as a class') in found(cfg)
    with pytest.raises(ValueError, match=r'take \S+ipynb_checkpoints for a class; delete this folder'):
        detect_layout(root)
    (root / 'train/.ipynb_checkpoints').rmdir()
    Image.open(root / 'train/red/000.png').save(root / 'train/red/x.webp')
    assert found(cfg) == {('train', 'image left out'): 1}
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
        'label map of another size', 'label map with colours', 'label id out of range', 'label map missing',
        'image left out', 'label map without an image', 'class without an object')})  # fmt: skip
    kinds['train', 'label map unreadable'] = 2
    assert found(cfg) == kinds
    assert 'resize the map with Image.Resampling.NEAREST' in text(cfg, 'label map of another size')


def test_label_maps_as_jpeg(tmp_path):
    for kind, mode in (('images', 'RGB'), ('masks', 'L')):
        (tmp_path / kind).mkdir()
        for i in range(6):
            values = np.repeat(np.eye(8, dtype=np.uint8) * 3, 4, 0).repeat(4, 1)
            Image.fromarray(values).convert(mode).save(tmp_path / kind / f'{i}.jpg')
    path = write_configs(tmp_path, tmp_path / 'out')[0][1]
    kinds = found(Config.fromfile(path))
    assert kinds['train', 'label map as JPEG'] == 5


def test_the_command_has_exit_code_1(voc, tmp_path, capsys):
    root = Path(shutil.copytree(voc, tmp_path / "it's"))
    for code in (0, 1):
        with pytest.raises(SystemExit) as end:
            main(['check-data', str(root)])
        assert end.value.code == code
        (root / 'VOC2007/Annotations/000001.xml').write_text('<annotation>')
    assert 'annotation unreadable' in ' '.join(capsys.readouterr().out.split())


def test_a_text_for_classes_is_refused(voc):
    cfg = sets_config(detect_layout(voc))
    cfg.train_dataloader.dataset.metainfo = dict(classes='cat')
    with pytest.raises(ValueError, match="classes is the text 'cat'; a tuple of one class needs a comma"):
        check_config(cfg)
