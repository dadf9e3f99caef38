"""check-data finds an error exactly where building a data set and loading every sample fails, or splits disagree.

REFCONV_DATA_SETS=200 tries as many data sets of each layout; by default each event is tried once.
"""

import json
import os
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from refconv_mm.data.check import check_config
from refconv_mm.data.layouts import detect_layout
from refconv_mm.data.new import write_configs
from tests.data.made import change, coco_text

NAMES = ('cat', 'dog', 'it')
OBJECT = '<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>'


def write(path, content):
    """Writes a text, or an array as an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content) if isinstance(content, str) else Image.fromarray(content).save(path)


def noise(rng, *channels, most=255):
    numbers = np.frombuffer(rng.randbytes(40 * 48 * sum(channels or [1])), np.uint8) % (most + 1.0)
    return numbers.astype(np.uint8).reshape(40, 48, *channels)


def boxes(rng):
    """Boxes of every class: its number, the corner, width and height."""
    kinds = [number for number in range(3) for _ in range(rng.randint(1, 2))]
    return [
        (number, rng.randint(0, 20), rng.randint(0, 15), rng.randint(4, 20), rng.randint(4, 20)) for number in kinds
    ]


def xml(found):
    objects = ''.join(OBJECT.format(NAMES[i], x + 1, y + 1, x + w + 1, y + h + 1) for i, x, y, w, h in found)
    return f'<annotation><size><width>48</width><height>40</height></size>{objects}</annotation>'


def make(layout, rng, root):
    """Writes a data set in which every image has every class, or every split for class folders."""
    for split in ('train', 'val'):
        found = {f'{split}{i}': boxes(rng) for i in range(rng.randint(3, 5))}
        for i, stem in enumerate(found):
            names = dict(split=split, stem=stem, name=NAMES[i % 3])
            write(root / IMAGES[layout].format(**names), noise(rng, 3))
            if layout == 'voc':
                write(root / f'Annotations/{stem}.xml', xml(found[stem]))
            elif layout == 'yolo':
                lines = [f'{number} 0.5 0.5 0.{w:02} 0.{h:02}' for number, _, _, w, h in found[stem]]
                write(root / f'labels/{split}/{stem}.txt', '\n'.join(lines))
                write(root / 'classes.txt', '\n'.join(NAMES))
            elif layout in MAPS:
                write(root / MAPS[layout].format(**names), noise(rng, most=2))
        if layout == 'voc':
            write(root / f'ImageSets/Main/{split}.txt', '\n'.join(found))
        elif layout == 'coco':
            images = [(f'{stem}.png', 48, 40, each) for stem, each in found.items()]
            write(root / f'{split}.json', coco_text(images, NAMES))


IMAGES = {
    'voc': 'JPEGImages/{stem}.jpg',
    'coco': 'images/{split}/{stem}.png',
    'yolo': 'images/{split}/{stem}.jpg',
    'masks': 'images/{split}/{stem}.jpg',
    'cityscapes': 'leftImg8bit/{split}/town/{stem}_leftImg8bit.png',
    'class folders': '{split}/{name}/{stem}.png',
}
MAPS = {'masks': 'masks/{split}/{stem}.png', 'cityscapes': 'gtFine/{split}/town/{stem}_gtFine_labelTrainIds.png'}


def pick(pattern, spoil):
    """Spoils one of the files of a pattern."""
    return lambda rng, root: spoil(rng.choice(sorted(root.glob(pattern))))


def replaced(pattern, old, new):
    return pick(pattern, lambda path: path.write_text(path.read_text().replace(old, new, 1)))


def edited(function):
    return pick('*.json', lambda path: change(path, function))


def redrawn(change):
    return lambda path: Image.fromarray(change(np.asarray(Image.open(path)))).save(path)


def files(pattern):
    return {
        'missing': pick(pattern, Path.unlink),
        'empty': pick(pattern, lambda path: path.write_bytes(b'')),
        'text': pick(pattern, lambda path: path.write_text('<html>404</html>')),
        'cut': pick(pattern, lambda path: os.truncate(path, path.stat().st_size // 2)),
        'renamed': pick(pattern, lambda path: path.rename(path.with_suffix('.bmp'))),
    }


XML = 'Annotations/*.xml'
FAULTS_OF_MAPS = {
    'another size': redrawn(lambda numbers: numbers[::2]),
    'colours': redrawn(lambda numbers: np.stack([numbers] * 3, -1)),
    'out of range': redrawn(lambda numbers: numbers + np.uint8(75)),
    'ignored': redrawn(lambda numbers: numbers * 0 + np.uint8(255)),
    'JPEG': lambda path: Image.open(path).save(path, 'JPEG'),
}
# What happens to a data set: a fault or something harmless.
EVENTS = {
    'voc': {
        'xml missing': pick(XML, Path.unlink),
        'xml broken': replaced(XML, '</object>', ''),
        'blank in class': replaced(XML, '<name>dog', '<name> dog'),
        'no number': replaced(XML, '<xmin>', '<xmin>x'),
        'no object': pick(XML, lambda path: path.write_text(xml([]))),
        'list empty': pick('ImageSets/Main/*.txt', lambda path: path.write_text('')),
        'box outside': replaced('Annotations/train*.xml', '<xmin>', '<xmin>9'),
    },
    'coco': {
        'other name': edited(lambda content: content['categories'][1].update(name='Dog')),
        'name twice': edited(lambda content: content['categories'].append(dict(id=1, name='dog'))),
        'root category': edited(lambda content: content['categories'].insert(0, dict(id=1, name='all'))),
        'no area': edited(lambda content: content['annotations'][1].pop('area')),
        'no size': edited(lambda content: content['annotations'][1].update(bbox=[1, 1, 0, 5])),
        'unknown id': edited(lambda content: content['annotations'][1].update(category_id=7)),
        'no images': edited(lambda content: content.update(images=[])),
        'no JSON': replaced('*.json', '{', ''),
    },
    'yolo': {},
    'masks': {name: pick('masks/*/*', spoil) for name, spoil in FAULTS_OF_MAPS.items()},
    'cityscapes': {name: pick('gtFine/*/*/*', spoil) for name, spoil in FAULTS_OF_MAPS.items()},
    'class folders': {
        'hidden folder': pick('[tv]*', lambda path: (path / '.ipynb_checkpoints').mkdir()),
        'folder missing': pick('*/dog', shutil.rmtree),
        'folder renamed': pick('*/dog', lambda path: path.rename(path.with_name('Dog'))),
        'stray file': pick('*/dog', lambda path: (path / 'Thumbs.db').write_text('no')),
    },
}
for layout, events in EVENTS.items():
    events['nothing'] = lambda rng, root: (root / 'notes.md').write_text('hello')
    for kind, pattern in (('image', IMAGES[layout]), ('map', MAPS.get(layout))):
        if pattern:
            pattern = pattern.format(split='*', name='*', stem='*')
            events.update({f'{kind} {event}': spoil for event, spoil in files(pattern).items()})


def problem(cfg):
    """Builds the data sets and loads every sample as a training does; returns what fails, or ''."""
    init_default_scope(cfg.default_scope)
    try:
        for split in ('train', 'val'):
            config = cfg[f'{split}_dataloader'].dataset
            steps = [step for step in config.pipeline if step['type'].startswith(('Load', 'Pack'))]
            dataset = DATASETS.build({**config, 'pipeline': steps, 'serialize_data': False})
            classes = dataset.metainfo['classes']
            assert len(dataset), 'serializing fails'
            for data in (dataset[i] for i in range(len(dataset))):
                sample, size = data['data_samples'], data['inputs'].shape[1:]
                if 'gt_sem_seg' in sample:
                    numbers = sample.gt_sem_seg.data
                    assert numbers.shape == (1, *size)
                    assert numbers[numbers != 255].lt(len(classes)).all()
                elif 'gt_instances' in sample and split == 'train':
                    sample.gt_instances.bboxes.clip_(size)
                    assert (sample.gt_instances.bboxes.areas > 0).all()
            names = getattr(dataset, 'folder_to_idx', classes)
            if hasattr(dataset, 'cat_ids'):
                categories = json.loads(Path(dataset.ann_file).read_text())['categories']
                names = [{item['id']: item['name'] for item in categories}[number] for number in dataset.cat_ids]
            assert list(names) == list(classes), split
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return ''


@pytest.mark.parametrize('layout', EVENTS)
def test_errors_are_what_does_not_load(layout, tmp_path):
    ends, root, cfg = Counter(), tmp_path / 'data', None
    for seed in range(int(os.environ.get('REFCONV_DATA_SETS', len(EVENTS[layout])))):
        event = list(EVENTS[layout])[seed % len(EVENTS[layout])]
        rng = random.Random(f'{seed} {layout}')
        make(layout, rng, root)
        cfg = cfg or Config.fromfile(write_configs(root, tmp_path / 'out', size=64)[0][0])
        if layout == 'yolo':
            for name, content in detect_layout(root, tmp_path / 'out').files.items():
                write(tmp_path / 'out' / name, content)
        for spoil in (EVENTS[layout]['nothing'], EVENTS[layout][event]):
            spoil(rng, root)
            failed, errors = problem(cfg), [each for each in check_config(cfg)[0] if each.error]
            assert bool(errors) == bool(failed), (event, seed, failed, errors)
            ends[bool(errors)] += 1
        shutil.rmtree(root)
    assert min(ends[False], ends[True]) > 0, ends
