"""Synthetic data in other layouts than VOC and Cityscapes, written from what the libraries read of these."""

from __future__ import annotations

import json
import shutil
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


def write_coco(layout: Layout, root: Path) -> Path:
    """`annotations/instances_SPLIT.json` and the folder SPLIT of images."""
    (root / 'annotations').mkdir(parents=True)
    # Numbered as COCO does: not from 0, and with gaps.
    numbers = [3 + 2 * i for i in range(len(layout.classes))]
    for split in layout.sets:
        (root / split).mkdir()
        images, boxes = [], []
        for i, sample in enumerate(samples(layout, split), 100):
            name = Path(shutil.copy(sample['img_path'], root / split)).name
            images.append(dict(id=i, file_name=name, width=sample['width'], height=sample['height']))
            for item in sample['instances']:
                x1, y1, x2, y2 = item['bbox']
                size = dict(bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1), iscrowd=0)
                boxes.append(dict(id=len(boxes), image_id=i, category_id=numbers[item['bbox_label']], **size))
        categories = [dict(id=number, name=name) for number, name in zip(numbers, layout.classes, strict=True)]
        content = dict(images=images, annotations=boxes, categories=categories)
        (root / f'annotations/instances_{split}.json').write_text(json.dumps(content))
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
