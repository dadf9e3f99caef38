"""Synthetic data in other layouts than VOC and Cityscapes, written from what the libraries read of these."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from refconv_mm.data.layouts import Layout, detect_layout


def samples(layout: Layout, split: str) -> list[dict]:
    """What the library's class reads of a split, with every image."""
    init_default_scope({'detection': 'mmdet', 'segmentation': 'mmseg', 'classification': 'mmpretrain'}[layout.task])
    config = dict(layout.sets[split], data_root=f'{layout.root}/', metainfo=dict(classes=layout.classes))
    return DATASETS.build(dict(config, test_mode=True, serialize_data=False, pipeline=[])).data_list


def coco_text(images: list[tuple], names: Sequence[str]) -> str:
    """COCO's JSON of images: name, width, height, and boxes, of the number of a class, the corner and the size."""
    rows: list[dict] = []
    notes: list[dict] = []
    for i, (name, width, height, boxes) in enumerate(images, 100):
        rows.append(dict(id=i, file_name=name, width=width, height=height))
        for kind, *box in boxes:
            notes.append(dict(id=len(notes), image_id=i, category_id=3 + 3 * kind, bbox=box, area=1, iscrowd=0))
    categories = [dict(id=3 + 3 * i, name=name) for i, name in enumerate(names)]  # as in COCO not from 0, with gaps
    return json.dumps(dict(images=rows, annotations=notes, categories=categories))


def change(path: Path, function: Callable) -> None:
    """Changes the content of a JSON file."""
    content = json.loads(path.read_text())
    function(content)
    path.write_text(json.dumps(content))


def write_coco(layout: Layout, root: Path) -> Path:
    """`annotations/instances_SPLIT.json` and the folder SPLIT of images."""
    (root / 'annotations').mkdir(parents=True)
    for split in layout.sets:
        (root / split).mkdir()
        images = []
        for sample in samples(layout, split):
            name = Path(shutil.copy(sample['img_path'], root / split)).name
            corners = [(item['bbox_label'], *item['bbox']) for item in sample['instances']]
            boxes = [(kind, x1, y1, x2 - x1, y2 - y1) for kind, x1, y1, x2, y2 in corners]
            images.append((name, sample['width'], sample['height'], boxes))
        (root / f'annotations/instances_{split}.json').write_text(coco_text(images, layout.classes))
    return root


def write_masks(layout: Layout, root: Path) -> Path:
    """`images/SPLIT`, `masks/SPLIT` and `classes.txt`."""
    for split in layout.sets:
        for kind in ('images', 'masks'):
            (root / kind / split).mkdir(parents=True)
        for i, sample in enumerate(samples(layout, split)):
            shutil.copy(sample['img_path'], root / 'images' / split / f'{i:04d}.png')
            shutil.copy(sample['seg_map_path'], root / 'masks' / split / f'{i:04d}.png')
    (root / 'classes.txt').write_text('\n'.join(layout.classes) + '\n')
    return root


def write_class_folders(root: Path) -> Path:
    """`train/CLASS/` and `val/CLASS/`: noise that is redder in one class than in the other."""
    rng = np.random.default_rng(0)
    for split, count in (('train', 8), ('val', 4)):
        for name, red in (('blue', 0), ('red', 80)):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 150, (32, 32, 3), dtype=np.uint8)
                pixels[..., 0] += red
                Image.fromarray(pixels).save(root / split / name / f'{i:03d}.png')
    return root


def write_stripes(root: Path, count: int = 30) -> Path:
    """`photos` and `masks` of three sizes: class 1 has fine stripes, class 2 coarse ones, as shares of the photo."""
    for folder in ('photos', 'masks'):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        labels, grey = np.zeros((64, 64), np.uint8), np.full((64, 64), 128)
        for label, period in ((1, 4), (2, 16)):
            x, y = rng.integers(0, 34, 2)
            labels[y : y + 30, x : x + 30] = label
            grey[labels == label] = np.where(np.indices((64, 64))[1] % period < period // 2, 40, 215)[labels == label]
        grey = np.clip(grey + rng.normal(0, 8, grey.shape), 0, 255).astype(np.uint8)
        size = (64 * (2 + 2 * (i % 3)),) * 2
        Image.fromarray(grey).convert('RGB').resize(size, Image.Resampling.BILINEAR).save(root / f'photos/{i:02d}.png')
        Image.fromarray(labels).resize(size, Image.Resampling.NEAREST).save(root / f'masks/{i:02d}.png')
    return root


def write_yolo(root: Path, lines: str = '0 0.5 0.5 0.2 0.2\n', yaml: str = 'names: [yes, "2 "]\n') -> Path:
    """`train/images`, `train/labels` with the lines of the first image, and `data.yaml`."""
    for kind in ('images', 'labels'):
        (root / 'train' / kind).mkdir(parents=True)
    for i in range(5):
        Image.new('RGB', (200, 100), (i, 0, 0)).save(root / f'train/images/{i}.png')
    (root / 'train/labels/0.txt').write_text(lines)
    (root / 'data.yaml').write_text(yaml)
    return root


# A data set of each layout that a test may damage, from those of the demo.
MAKE = {
    'voc': lambda voc, city, root: Path(shutil.copytree(voc, root)),
    'coco': lambda voc, city, root: write_coco(detect_layout(voc), root),
    'yolo': lambda voc, city, root: write_yolo(root, yaml='names: [it]\n'),
    'cityscapes': lambda voc, city, root: Path(shutil.copytree(city, root)),
    'masks': lambda voc, city, root: write_masks(detect_layout(city), root),
    'class folders': lambda voc, city, root: write_class_folders(root),
}
