"""Faults of data: check_data names each with its file, and a training neither turns NaN nor dies without naming it."""

import copy
import io
import random
import re
import shutil
from collections import Counter
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image
from rich.console import Console

from refconv_mm.data.check import Finding, check_config, class_lines, findings_table
from refconv_mm.data.check_images import box_problem, look_at

from tests.conftest import detector, run, segmenter
from tests.faults.inputs import command

SIZE = 96


@pytest.fixture
def spoilt(voc, tmp_path) -> Path:
    """A copy of the drawn VOC set that a test may damage."""
    return Path(shutil.copytree(voc, tmp_path / 'voc'))


@cache
def base() -> Config:
    cfg = detector(Path('nowhere'), Path('nowhere'))
    cfg.val_dataloader = cfg.test_dataloader = None
    return cfg


def training_set(root: Path) -> Config:
    """A detector's config with its training set alone; reading the config takes most of the time."""
    cfg = copy.deepcopy(base())
    cfg.train_dataloader.dataset.data_root = f'{root}/'
    return cfg


def findings(root: Path) -> set[tuple[str, str]]:
    """The kinds of findings with the names of their files, of the training set of a detector."""
    cfg = training_set(root)
    return {(each.kind, Path(each.where).name) for each in check_config(cfg)[0]}


def image(root: Path, n: int = 1) -> Path:
    return root / f'VOC2007/JPEGImages/{n:06d}.jpg'


def colours(side: int = SIZE) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8))


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


# How a picture is written in place of 000001.jpg, and the kind that it is reported as. The name keeps its ending:
# cameras and scripts write PNG and GIF files of that name, and readers look at the content.
PICTURES = {
    'missing': (lambda path: path.unlink(), 'image missing'),
    'empty': (lambda path: path.write_bytes(b''), 'image unreadable'),
    'text': (lambda path: path.write_text('<html>404</html>'), 'image unreadable'),
    'truncated': (lambda path: path.write_bytes(path.read_bytes()[:900]), 'image unreadable'),
    'folder': (lambda path: (path.unlink(), path.mkdir()), 'image is a folder'),
    'grey': (lambda path: colours().convert('L').save(path), 'grey image'),
    'cmyk': (lambda path: colours().convert('CMYK').save(path), 'unusual pixels'),
    '16 bits': (lambda path: Image.new('I;16', (SIZE, SIZE), 40000).save(path, 'PNG'), 'unusual pixels'),
    'transparent': (lambda path: colours().convert('RGBA').save(path, 'PNG'), 'unusual pixels'),
    'animated': (lambda path: colours().save(path, 'GIF', save_all=True, append_images=[colours().rotate(90)]),
                 'animated image'),
    'turned': (lambda path: colours().save(path, exif=exif(6)), 'image turned by EXIF'),
}  # fmt: skip


@pytest.mark.parametrize('name', PICTURES)
def test_a_bad_picture_is_named(name, spoilt):
    write, kind = PICTURES[name]
    assert findings(spoilt) == set()
    write(image(spoilt))
    assert (kind, '000001.jpg') in findings(spoilt)


def test_what_all_pictures_share_is_said_once(spoilt):
    for path in (spoilt / 'VOC2007/JPEGImages').iterdir():
        colours().convert('L').save(path)
    assert findings(spoilt) == set()  # a grey data set is no fault
    for path in (spoilt / 'VOC2007/JPEGImages').iterdir():
        colours().convert('CMYK').save(path)
    assert findings(spoilt) == {('unusual pixels', 'voc')}


def test_a_turned_image_has_the_size_that_training_sees(tmp_path):
    import mmcv

    colours().resize((40, 20)).save(tmp_path / 'a.jpg', exif=exif(6))
    height, width = mmcv.imread(str(tmp_path / 'a.jpg')).shape[:2]
    assert look_at(str(tmp_path / 'a.jpg')).size == (width, height) == (20, 40)


@pytest.mark.parametrize(('box', 'kind'), [
    ((5, 5, 5, 5), 'box of no size'),
    ((5, 5, 5, 9), 'box of no size'),
    ((9, 5, 5, 9), 'box inverted'),
    ((-1, 5, 5, 9), 'box outside the image'),
    ((1, 5, 97, 9), 'box outside the image'),
    ((float('nan'), 5, 9, 9), 'box unreadable'),
    ((1, 5, float('inf'), 9), 'box unreadable'),
    ((1, 5, 9), 'box unreadable'),
    (('1', 5, 9, 9), 'box unreadable'),
])  # fmt: skip
def test_a_bad_box_is_named(box, kind):
    assert kind in [each for each, _ in box_problem(box, (SIZE, SIZE))]
    assert list(box_problem((0, 0, SIZE, SIZE), (SIZE, SIZE))) == []


def test_lists_maps_and_labels(spoilt, city, tmp_path):
    listed = spoilt / 'VOC2007/ImageSets/Main/trainval.txt'
    listed.write_text(listed.read_text() + '000001\n000999\n')
    found = findings(spoilt)
    assert {
        ('listed twice', '000001.jpg'),
        ('image missing', '000999.jpg'),
        ('annotation missing', '000999.xml'),
    } <= found
    root = Path(shutil.copytree(city, tmp_path / 'city'))
    maps = sorted((root / 'gtFine/train/drawn').glob('*labelTrainIds.png'))
    Image.open(maps[0]).resize((10, 10), Image.Resampling.NEAREST).save(maps[0])
    Image.open(maps[1]).convert('RGB').save(maps[1])
    Image.new('L', (96, 64), 77).save(maps[2])
    Image.new('L', (96, 64), 255).save(maps[3])
    maps[4].write_bytes(maps[4].read_bytes()[:200])
    cfg = segmenter(root, tmp_path)
    found = {(each.kind, Path(each.where)) for each in check_config(cfg)[0]}
    kinds = ('label map of another size', 'label map with colours', 'label id out of range', 'image without a label',
             'label map unreadable')  # fmt: skip
    assert found == set(zip(kinds, maps, strict=False))


def test_the_classes_are_compared_before_the_rows(voc, tmp_path, capsys):
    metainfo = dict(classes=('Disc', 'square', 'cube'), palette=[(0, 0, 0)] * 3)
    cfg = detector(voc, tmp_path, **{'train_dataloader.dataset.metainfo': metainfo})
    (line,) = class_lines(cfg)
    assert line.startswith('train: your classes are Disc, square, cube; the data has disc (')
    assert "You write 'Disc' for 'disc'" in line
    code, said = command(capsys, 'check-data', cfg, tmp_path)
    assert code == 1
    assert said.index('your classes are') < said.index('unknown class')
    cfg.train_dataloader.dataset.metainfo = dict(classes=('cat'))
    code, said = command(capsys, 'check-data', cfg, tmp_path)
    assert code == 2
    assert "train_dataloader: metainfo.classes is the text 'cat'; a tuple of one class needs a comma" in said


def test_names_with_brackets_are_printed_as_they_are():
    """rich would take them for its markup."""
    out = io.StringIO()
    finding = Finding('train', 'image missing', '[/bold] data/1.jpg', '[red]')
    Console(file=out, width=120).print(findings_table([finding], {'train': 1}))
    assert '[/bold] data/1.jpg' in out.getvalue()
    assert '[red]' in out.getvalue()


# -- trainings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize('workers', [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_training_that_cannot_read_a_sample_names_it(workers, city, tmp_path, capsys):
    """pillow says that a label map is truncated and not which; a worker's error loses its frames."""
    root = Path(shutil.copytree(city, tmp_path / 'city'))
    for path in (root / 'gtFine/train/drawn').glob('*labelTrainIds.png'):
        path.write_bytes(path.read_bytes()[:200])
    cfg = segmenter(root, tmp_path / 'work', '_control')
    cfg.log_level, cfg.train_dataloader.num_workers = 'ERROR', workers
    code, said = command(capsys, 'train', cfg, tmp_path)
    assert code == 2
    assert re.search(r'error: \S+leftImg8bit.png or \S+_gtFine_labelTrainIds.png: \w+Error: .*truncated', said), said
    assert 'Traceback (most' not in said


# -- annotations mutated at random -------------------------------------------------------------------------

VALUES = ('0', '-5', '1e9', 'nan', 'inf', '', 'abc', '96', '97', '3.7', '-0', '999999999999999999999', None)


def mutate(text: str, rng: random.Random) -> str:
    """An annotation with one thing changed: a value, an element, an order, an encoding, some bytes."""
    root = ElementTree.fromstring(text)
    everything = list(root.iter())
    kind = rng.randrange(6)
    if kind <= 2:  # a value
        leaf = rng.choice([each for each in everything if not len(each)])
        leaf.text = rng.choice(VALUES)
    elif kind == 3:  # an element less
        parent = rng.choice([each for each in everything if len(each)])
        parent.remove(rng.choice(list(parent)))
    elif kind == 4:  # corners changed for each other
        for box in root.iter('bndbox'):
            texts = [each.text for each in box]
            rng.shuffle(texts)
            for each, value in zip(box, texts, strict=True):
                each.text = value
    else:  # bytes
        raw = list(text)
        for _ in range(rng.randrange(1, 4)):
            raw[rng.randrange(len(raw))] = rng.choice('<>&"x0\x00é')
        return ''.join(raw)
    return ElementTree.tostring(root, encoding='unicode')


def loads(root: Path) -> str:
    """Why mmdet's data set, as the shipped configs set it, does not read a sample to train on; '' if it does."""
    cfg = training_set(root)
    init_default_scope('mmdet')
    try:
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        for i in range(len(dataset)):
            boxes = dataset[i]['data_samples'].gt_instances.bboxes.tensor
            if not np.isfinite(boxes.numpy()).all():
                return 'boxes that are not finite'
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return ''


def campaign(voc: Path, tmp_path: Path, seeds: range) -> Counter:
    """Every mutated annotation that mmdet cannot read has a finding that names its file."""
    root = Path(shutil.copytree(voc, tmp_path / 'mutated'))
    listed, note = root / 'VOC2007/ImageSets/Main/trainval.txt', root / 'VOC2007/Annotations/000001.xml'
    listed.write_text('000001\n')
    original, ends = note.read_text(), Counter()
    for seed in seeds:
        note.write_text(mutate(original, random.Random(seed)), encoding='utf-8')
        found, problem = findings(root), loads(root)
        assert all(name in ('000001.xml', '000001.jpg') for _, name in found)
        assert found or not problem, f'seed {seed}: no finding, and {problem}\n{note.read_text()}'
        ends[bool(found), bool(problem)] += 1
    return ends


def test_mutated_annotations(voc, tmp_path):
    ends = campaign(voc, tmp_path, range(15))
    assert ends[True, True] > 1  # the mutations do harm


@pytest.mark.faults
def test_500_mutated_annotations(voc, tmp_path):
    ends = campaign(voc, tmp_path, range(500))
    print(ends)
    assert ends[True, True] > 20


# -- memory ------------------------------------------------------------------------------------------------

MEASURE = """
import sys
from refconv_mm.data.check_images import look_at
def resident(kind):
    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith(kind)) / 1024
open('/proc/self/clear_refs', 'w').write('5')  # the peak begins anew
before = resident('VmRSS')
facts = look_at(sys.argv[1])
print(facts, resident('VmHWM') - before)
"""


@pytest.mark.faults
@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='Linux alone tells the peak of a moment')
@pytest.mark.parametrize(('name', 'most'), [('big.jpg', 60), ('big.png', 400)])
def test_an_image_of_100_megapixels(name, most, tmp_path):
    Image.new('RGB', (10000, 10000), (90, 120, 30)).save(tmp_path / name)
    said = run('-c', MEASURE, tmp_path / name).stdout
    assert 'size=(10000, 10000)' in said
    print(said)
    # 300 MB are the decoded pixels of the PNG; the JPEG is decoded at an eighth of its size.
    assert 1 < float(said.split()[-1]) < most


def test_an_image_above_pillow_s_limit_is_not_decoded(tmp_path, monkeypatch):
    Image.new('L', (400, 400)).save(tmp_path / 'bomb.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    assert look_at(str(tmp_path / 'bomb.png')).problem == 'image too large to be decoded'
