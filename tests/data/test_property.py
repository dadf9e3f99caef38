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
from refconv_mm.data.new import write_configs

NAMES = ('cat', 'dog', 'it')
SIZE = (48, 40)  # width, height


def write(path, content):
    """Writes a text, or an array as an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content) if isinstance(content, str) else Image.fromarray(content).save(path)


def noise(rng, *shape, most=255):
    return (np.frombuffer(rng.randbytes(np.prod(shape)), np.uint8).reshape(shape) % (most + 1.0)).astype(np.uint8)


def boxes(rng):
    """Boxes of every class, as whole corners."""
    starts = [(name, rng.randint(0, 20), rng.randint(0, 15)) for name in NAMES for _ in range(rng.randint(1, 2))]
    return [(name, (x, y, x + rng.randint(4, 20), y + rng.randint(4, 20))) for name, x, y in starts]


def xml(found):
    objects = ''.join(
        f'<object><name>{name}</name><bndbox><xmin>{box[0] + 1}</xmin><ymin>{box[1] + 1}</ymin>'
        f'<xmax>{box[2] + 1}</xmax><ymax>{box[3] + 1}</ymax></bndbox></object>'
        for name, box in found
    )
    return f'<annotation><size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>{objects}</annotation>'


def coco(rows):
    notes = [(i, name, box) for i, (_, found) in enumerate(rows) for name, box in found]
    return dict(
        images=[dict(id=i, file_name=name, width=SIZE[0], height=SIZE[1]) for i, (name, _) in enumerate(rows)],
        categories=[dict(id=3 * i, name=name) for i, name in enumerate(NAMES)],
        annotations=[
            dict(id=n, image_id=i, category_id=3 * NAMES.index(name), area=1, iscrowd=0,
                 bbox=[box[0], box[1], box[2] - box[0], box[3] - box[1]])
            for n, (i, name, box) in enumerate(notes)
        ],
    )  # fmt: skip


def make(layout, rng, root):
    """Writes a data set in which every image has every class, or every split for class folders."""
    for split in ('train', 'val'):
        stems = [f'{split}{i}' for i in range(rng.randint(3, 5))]
        found = {stem: boxes(rng) for stem in stems}
        for i, stem in enumerate(stems):
            write(root / IMAGES[layout].format(split=split, stem=stem, name=NAMES[i % 3]), noise(rng, *SIZE[::-1], 3))
            if layout == 'voc':
                write(root / f'Annotations/{stem}.xml', xml(found[stem]))
            elif layout == 'yolo':
                lines = [f'{NAMES.index(name)} 0.5 0.5 0.{box[2]:02} 0.{box[3]:02}' for name, box in found[stem]]
                write(root / f'labels/{split}/{stem}.txt', '\n'.join(lines))
            elif layout in MAPS:
                write(root / MAPS[layout].format(split=split, stem=stem), noise(rng, *SIZE[::-1], most=2))
        if layout == 'voc':
            write(root / f'ImageSets/Main/{split}.txt', '\n'.join(stems))
        elif layout == 'coco':
            write(root / f'{split}.json', json.dumps(coco([(f'{stem}.png', found[stem]) for stem in stems])))
    if layout == 'yolo':
        write(root / 'classes.txt', '\n'.join(NAMES))


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


def edited(name, change):
    """Changes a JSON file of COCO."""

    def spoil(path):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return pick(f'{name}.json', spoil)


def note(**new):
    return edited('train', lambda content: content['annotations'][1].update(new))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def redrawn(change):
    return lambda path: Image.fromarray(change(np.asarray(Image.open(path)))).save(path)


def files(pattern):
    return {
        'missing': pick(pattern, Path.unlink),
        'empty': pick(pattern, lambda path: path.write_bytes(b'')),
        'text': pick(pattern, lambda path: path.write_text('<html>404</html>')),
        'cut': pick(pattern, cut),
        'renamed': pick(pattern, lambda path: path.rename(path.with_suffix('.bmp'))),
    }


XML = 'Annotations/*.xml'
SPOILED_MAPS = {
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
        'other class': replaced(XML, '<name>dog', '<name>dgo'),
        'blank in class': replaced(XML, '<name>dog', '<name> dog'),
        'no number': replaced(XML, '<xmin>', '<xmin>x'),
        'no object': pick(XML, lambda path: path.write_text(xml([]))),
        'listed and absent': replaced('ImageSets/Main/train.txt', 'train0', 'train9'),
        'list missing': pick('ImageSets/Main/val.txt', Path.unlink),
        'list empty': pick('ImageSets/Main/*.txt', lambda path: path.write_text('')),
        'far box': replaced(XML, '<xmax>', '<xmax>9'),
        'box outside': replaced('Annotations/train*.xml', '<xmin>', '<xmin>9'),
    },
    'coco': {
        'other class': edited('val', lambda content: content['categories'][1].update(name='Dog')),
        'other order': edited('*', lambda content: content['categories'].reverse()),
        'name twice': edited('*', lambda content: content['categories'].append(dict(id=1, name='dog'))),
        'root category': edited('*', lambda content: content['categories'].insert(0, dict(id=1, name='all'))),
        'ids twice': note(id=0),
        'no area': edited('*', lambda content: content['annotations'][1].pop('area')),
        'no size': note(bbox=[1, 1, 0, 5]),
        'outside': note(bbox=[99, 1, 4, 5]),
        'unknown id': note(category_id=7),
        'no images': edited('*', lambda content: content.update(images=[])),
        'no annotations': edited('val', lambda content: content.pop('annotations')),
        'no JSON': replaced('*.json', '{', ''),
    },
    'yolo': {},
    'masks': {name: pick('masks/*/*', spoil) for name, spoil in SPOILED_MAPS.items()},
    'cityscapes': {name: pick('gtFine/*/*/*', spoil) for name, spoil in SPOILED_MAPS.items()},
    'class folders': {
        'hidden folder': pick('*', lambda path: (path / '.ipynb_checkpoints').mkdir()),
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
    """Builds the data sets and loads every sample as a training does; returns what fails or disagrees, or ''."""
    init_default_scope(cfg.default_scope)
    try:
        for split in ('train', 'val'):
            config = cfg[f'{split}_dataloader'].dataset
            steps = [step for step in config.pipeline if step['type'].startswith(('Load', 'Pack'))]
            dataset = DATASETS.build({**config, 'pipeline': steps, 'serialize_data': False})
            classes = dataset.metainfo['classes']
            assert len(dataset), 'serializing fails'
            for i in range(len(dataset)):
                check(dataset[i], len(classes), split)
            names = getattr(dataset, 'folder_to_idx', classes)
            if hasattr(dataset, 'cat_ids'):
                categories = json.loads(Path(dataset.ann_file).read_text())['categories']
                names = [{item['id']: item['name'] for item in categories}[number] for number in dataset.cat_ids]
            if list(names) != list(classes):
                return f'{split} has {names} for {classes}'
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return ''


def check(data, classes, split):
    """Raises an error where the loss or the metric would."""
    sample, size = data['data_samples'], data['inputs'].shape[1:]
    if 'gt_sem_seg' in sample:
        numbers = sample.gt_sem_seg.data
        assert numbers.shape == (1, *size)
        assert numbers[numbers != 255].lt(classes).all()
    elif 'gt_instances' in sample:
        found = sample.gt_instances.bboxes.clone() if split == 'train' else None
        if found is not None and len(found):
            found.clip_(size)
            assert min(found.widths.min(), found.heights.min()) > 0
    else:
        assert sample.gt_label < classes


@pytest.mark.parametrize('layout', EVENTS)
def test_errors_are_what_does_not_load(layout, tmp_path):
    ends, root, cfg = Counter(), tmp_path / 'data', None
    for seed in range(int(os.environ.get('REFCONV_DATA_SETS', len(EVENTS[layout])))):
        event = list(EVENTS[layout])[seed % len(EVENTS[layout])]
        rng = random.Random(f'{seed} {layout}')
        make(layout, rng, root)
        if cfg is None or layout == 'yolo':  # whose JSON files belong to the images
            cfg = Config.fromfile(write_configs(root, tmp_path / 'out', force=True)[0][0])
        for spoil in (EVENTS[layout]['nothing'], EVENTS[layout][event]):
            spoil(rng, root)
            failed, errors = problem(cfg), [each for each in check_config(cfg)[0] if each.error]
            assert bool(errors) == bool(failed), (event, seed, failed, errors)
            ends[bool(errors)] += 1
        shutil.rmtree(root)
    assert min(ends[False], ends[True]) > 0, ends
