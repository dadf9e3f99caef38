"""check-data finds something exactly where a data set does not load, or loads other labels than were written."""

import json
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


def picture(rng, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.frombuffer(rng.randbytes(3 * SIZE[0] * SIZE[1]), np.uint8).reshape(SIZE[1], SIZE[0], 3)).save(
        path
    )
    return path


def boxes(rng, least=1):
    """Boxes of every class, with whole numbers."""
    found = []
    for name in NAMES:
        for _ in range(rng.randint(least, 2)):
            x, y = rng.randint(0, 20), rng.randint(0, 15)
            found.append((name, (x, y, x + rng.randint(4, 20), y + rng.randint(4, 20))))
    return found


def xml(found):
    objects = ''.join(
        f'<object><name>{name}</name><bndbox><xmin>{box[0] + 1}</xmin><ymin>{box[1] + 1}</ymin>'
        f'<xmax>{box[2] + 1}</xmax><ymax>{box[3] + 1}</ymax></bndbox></object>'
        for name, box in found
    )
    return f'<annotation><size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>{objects}</annotation>'


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make(layout, rng, root):
    """Writes a data set; returns what its images hold, by split and file name."""
    truth = {'train': {}, 'val': {}}
    listed = {split: [] for split in truth}
    for split in truth:
        for i in range(rng.randint(3, 5)):
            stem, found = f'{split}{i}', boxes(rng)
            if layout == 'voc':
                picture(rng, root / f'JPEGImages/{stem}.jpg')
                write(root / f'Annotations/{stem}.xml', xml(found))
                listed[split].append(stem)
                write(root / f'ImageSets/Main/{split}.txt', '\n'.join(listed[split]))
            else:
                picture(rng, root / f'images/{split}/{stem}.png')
                listed[split].append((f'{stem}.png', found))
                (root / f'{split}.json').write_text(json.dumps(coco(listed[split])))
            name = f'{stem}.jpg' if layout == 'voc' else f'{stem}.png'
            truth[split][name] = sorted(found)
    return truth


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


def pick(rng, root, pattern):
    return rng.choice(sorted(root.glob(pattern)))


def edit(path, old, new):
    path.write_text(path.read_text().replace(old, new, 1))


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rename_category(content):
    content['categories'][1]['name'] = 'Dog'


def swap_categories(content):
    content['categories'] = content['categories'][::-1]


def note(name, **new):
    """Changes the second annotation of a COCO file."""
    return lambda rng, root: edit_json(root / f'{name}.json', lambda c: c['annotations'][1].update(new))


def replaced(pattern, old, new):
    """Changes a text in a file."""
    return lambda rng, root: edit(pick(rng, root, pattern), old, new)


def nothing(rng, root):
    (root / 'notes.md').write_text('hello')


PICTURES = {
    'image missing': lambda rng, root, kind: pick(rng, root, kind).unlink(),
    'image empty': lambda rng, root, kind: pick(rng, root, kind).write_bytes(b''),
    'image text': lambda rng, root, kind: pick(rng, root, kind).write_text('<html>404</html>'),
}
XML = 'Annotations/*.xml'
# What happens to a data set: a fault or something harmless.
EVENTS = {
    'voc': {
        'nothing': nothing,
        'an extra image': lambda rng, root: picture(rng, root / 'JPEGImages/extra.jpg'),
        'xml missing': lambda rng, root: pick(rng, root, XML).unlink(),
        'xml broken': replaced(XML, '</object>', ''),
        'other class': replaced(XML, '<name>dog', '<name>dgo'),
        'blank in class': replaced(XML, '<name>dog', '<name> dog'),
        'no number': replaced(XML, '<xmin>', '<xmin>x'),
        'listed and absent': replaced('ImageSets/Main/train.txt', 'train0', 'train9'),
        'list missing': lambda rng, root: (root / 'ImageSets/Main/val.txt').unlink(),
        'far box': replaced(XML, '<xmax>', '<xmax>9'),
    },
    'coco': {
        'nothing': nothing,
        'other class': lambda rng, root: edit_json(root / 'val.json', rename_category),
        'other order': lambda rng, root: edit_json(root / 'val.json', swap_categories),
        'ids twice': note('val', id=0),
        'no area': lambda rng, root: edit_json(root / 'train.json', lambda c: c['annotations'][1].pop('area')),
        'no size': note('train', bbox=[1, 1, 0, 5]),
        'outside': note('train', bbox=[99, 1, 4, 5]),
        'unknown id': note('train', category_id=7),
        'no JSON': replaced('train.json', '{', ''),
    },
}
IMAGES = {'voc': 'JPEGImages/*'}
for layout, events in EVENTS.items():
    for event, spoil in PICTURES.items():
        pattern = IMAGES.get(layout, 'images/*/*')
        events[event] = lambda rng, root, spoil=spoil, pattern=pattern: spoil(rng, root, pattern)


def read(cfg, truth):
    """Loads every sample with the config's own transforms; returns a disagreement with the truth, or ''."""
    init_default_scope(cfg.default_scope)
    try:
        for split in truth:
            config = dict(cfg[f'{split}_dataloader'].dataset, test_mode=True, filter_cfg=None, serialize_data=False)
            loading = [step for step in config.get('pipeline', ()) if step['type'].startswith('Load')]
            dataset = DATASETS.build({**config, 'pipeline': loading})
            found = {}
            for i in range(len(dataset)):
                sample, classes = dataset[i], dataset.metainfo['classes']
                path = Path(sample['img_path'])
                # As the file names the label, which may be otherwise than the config does.
                names = classes if not hasattr(dataset, 'cat_ids') else [
                    {c['id']: c['name'] for c in json.loads(Path(dataset.ann_file).read_text())['categories']}[n]
                    for n in dataset.cat_ids
                ]  # fmt: skip
                if tuple(names) != tuple(classes):
                    return f'{names} for {classes}'
                found[path.name] = sorted(
                    (names[item['bbox_label']], tuple(round(v) for v in item['bbox'])) for item in sample['instances']
                )
            if found != truth[split]:
                return f'{split} disagrees'
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return ''


@pytest.mark.parametrize('layout', EVENTS)
def test_findings_are_what_does_not_load(layout, tmp_path):
    ends, root, cfg = Counter(), tmp_path / 'data', None
    for seed in range(2):
        for event, spoil in EVENTS[layout].items():
            rng = random.Random(f'{seed} {event}')
            truth = make(layout, rng, root)
            cfg = cfg or Config.fromfile(write_configs(root, tmp_path / 'out')[0][0])
            spoil(rng, root)
            problem, found = read(cfg, truth), check_config(cfg)[0]
            assert bool(found) == bool(problem), (event, seed, problem, found)
            ends[bool(found)] += 1
            shutil.rmtree(root)
    assert min(ends.values()) > 1, ends
