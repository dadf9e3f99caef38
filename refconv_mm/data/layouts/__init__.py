"""The layouts in which people have their data, each with a reader that gives the same records."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .base import Box, Layout, Record
from .class_folders import ClassFolders
from .coco import Coco, coco_records
from .masks import Cityscapes, Masks, mask_records
from .voc import Voc, voc_records
from .yolo import Yolo, YoloDataset, yolo_records

__all__ = [
    'LAYOUTS',
    'Box',
    'Layout',
    'Record',
    'YoloDataset',
    'coco_records',
    'detect_layout',
    'read_dataset',
    'voc_records',
    'yolo_records',
]

# From the most special to the most general.
LAYOUTS: tuple[type[Layout], ...] = (Voc, Cityscapes, Coco, Yolo, Masks, ClassFolders)


def detect_layout(folder: str | Path) -> Layout:
    """Detects how the data in a folder is laid out.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the layout is none of ours, or something that a training needs is wrong or missing.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f'{root} is not a folder; data_root names the folder of the data')
    for kind in LAYOUTS:
        layout = kind.find(root)
        if layout:
            if not layout.sets or not layout.classes:
                what = 'split' if not layout.sets else 'class'
                raise ValueError(f'{root} looks like the {layout.name} layout but has no {what}: {layout.looks_for}')
            return layout
    needed = '\n'.join(f'  {kind.name}: {kind.looks_for}' for kind in LAYOUTS)
    inside = ', '.join(sorted(path.name for path in root.iterdir())[:8]) or 'nothing'
    raise ValueError(
        f'{root} has none of the known layouts; it holds {inside}. The layouts and what they need:\n{needed}'
    )


def read_dataset(config: dict, kind: str, classes: tuple[str, ...]) -> Iterator[Record] | None:
    """The records of a data set of a config, or None if its own reader tells as much.

    mmdet's reader of COCO drops boxes without a word, and ours of YOLO stops at the first wrong line. mmseg's reader of
    mask folders does not see what has no partner; of these there are only the records with faults.

    Args:
        config: of the data set.
        kind: the name of its class.
        classes: those of the config.

    Raises:
        OSError, ValueError: while it is read: the list of the data set is missing or unreadable.
    """
    root, prefix = config.get('data_root') or '', config.get('data_prefix') or {}
    if kind == 'CocoDataset':
        return coco_records(os.path.join(root, config['ann_file']), os.path.join(root, prefix.get('img', '')))
    if kind == 'YoloDataset':
        return yolo_records(root, config['images'], classes)
    if kind == 'BaseSegDataset' and not config.get('ann_file'):
        images, masks = (Path(root, prefix.get(key, '')) for key in ('img_path', 'seg_map_path'))
        records = mask_records(images, masks, config.get('img_suffix', '.jpg'), config.get('seg_map_suffix', '.png'))
        return (record for record in records if record.faults)
    return None
