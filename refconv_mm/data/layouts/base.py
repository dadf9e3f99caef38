"""What all layouts have in common: a layout, the names of splits, and COCO's JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...files.errors import DataError
from ..images import image_size

WORDS = {'train': ('train', 'training', 'trainval'), 'val': ('val', 'valid', 'validation'), 'test': ('test', 'testing')}
MASKS = r'masks?|label(s|maps?)?|ann(s|ots?|otations?)?|gts?|ground(truth)?|truth|seg(s|mentations?)?|targets?'


@dataclass
class Layout:
    """A folder of data whose layout is known.

    Attributes:
        classes: in the order of the labels.
        sets: the class, the files and the folders of each split's data set, by `'train'`, `'val'` and `'test'`.
        files: what the folder of the configs gets: the text of a file, or a function that writes a folder.
        said: what the user must know.
    """

    name: str
    task: str
    root: Path
    classes: tuple[str, ...]
    sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, str | Callable[[Path], None]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def add_coco(self, out: Path, split: str, images: list[tuple[Path, list]]) -> None:
        """Makes images a JSON file of COCO; a box has its class's number, its corners from 0, and if it is ignored."""
        rows: list[dict] = []
        notes: list[dict] = []
        for i, (image, boxes) in enumerate(images):
            if not (size := image_size(image)):
                raise DataError(f'{image}: the image cannot be read')
            rows.append(dict(id=i, file_name=str(image.relative_to(self.root)), width=size[0], height=size[1]))
            for label, (x1, y1, x2, y2), ignored in boxes:
                shape = dict(bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1), iscrowd=int(ignored))
                notes.append(dict(id=len(notes) + 1, image_id=i, category_id=label, **shape))
        categories = [dict(id=i, name=name) for i, name in enumerate(self.classes)]
        self.files[f'{split}.json'] = json.dumps(dict(images=rows, annotations=notes, categories=categories))
        self.sets[split] = dict(type='CocoDataset', ann_file=str(out / f'{split}.json'), data_prefix=dict(img=''))


def split_of(path: Path | str) -> str | None:
    """The split that a word of a name, or of a relative path, stands for."""
    words = re.split('[^a-z]+', str(path).lower())
    return next((split for split, known in WORDS.items() if any(word in known for word in words)), None)


def names_masks(path: Path | str) -> bool:
    """Whether a name, or a part of a relative path, says label maps: masks, Ground_Truth, gtFine and so on."""
    words = re.split('[^a-z]+', re.sub('([a-z])([A-Z])', r'\1_\2', str(path)).lower())
    return any(re.fullmatch(MASKS, word) for word in words)


def lines_of(path: Path) -> list[str]:
    """The lines of a file without blanks around them; none if there is no file."""
    text = path.read_text(errors='replace') if path.is_file() else ''
    return [line.strip() for line in text.splitlines() if line.strip()]


def leave_out_empty(parts: dict[str, Any], said: list[str], is_empty: Callable[[Any], bool]) -> None:
    """Leaves out the splits beside train that have no annotations: nothing can be scored with them."""
    for split in [split for split in parts if split != 'train' and is_empty(parts[split])]:
        said.append(f'the split {split} has no annotations to score with, so it is left out')
        del parts[split]


def with_val(parts: dict[str, list], said: list[str], root: Path) -> dict[str, list]:
    """Makes every fifth image of the training the val split, if nothing else validates; DataError if that is empty."""
    if empty := [split for split in ('train', *parts) if not parts.get(split)]:
        raise DataError(f'{root} has no image with annotations for the split {empty[0]}')
    if len(parts) > 1:
        return parts
    if len(items := sorted(parts['train'])) < 5:
        raise DataError(f'{root} has no val split and too few images to split them; put some of them into one')
    said.append('there is no val split: every fifth image, in the order of the names, validates')
    return {'train': [item for i, item in enumerate(items) if i % 5 != 4], 'val': items[4::5]}
