"""The layout of Pascal VOC: an XML file of boxes for each image, and lists of images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from .base import Box, Layout, Record

LISTS = {'train': ('train', 'trainval'), 'val': ('val',), 'test': ('test',)}


class Voc(Layout):
    """`JPEGImages`, `Annotations` and `ImageSets/Main`, directly or in a folder such as `VOC2007`."""

    name = 'voc'
    task = 'detection'
    looks_for = 'ImageSets/Main/SPLIT.txt with JPEGImages and Annotations'

    @classmethod
    def find(cls, root: Path) -> Voc | None:
        homes = [
            path.parent for path in sorted(root.glob('*/Annotations')) if (path.parent / 'ImageSets/Main').is_dir()
        ]
        if (root / 'ImageSets/Main').is_dir():
            homes = [root]
        if not homes:
            return None
        if len(homes) > 1:
            raise ValueError(
                f'{root} has several VOC folders ({", ".join(home.name for home in homes)}); name one of them'
            )
        home = homes[0]
        sub = '' if home == root else f'{home.name}/'
        sets = {}
        for split, names in LISTS.items():
            found = next((name for name in names if (home / f'ImageSets/Main/{name}.txt').is_file()), None)
            if found:
                prefix = dict(sub_data_root=sub)
                sets[split] = dict(type='VOCDataset', ann_file=f'{sub}ImageSets/Main/{found}.txt', data_prefix=prefix)
        if not sets:
            raise ValueError(f'{home}/ImageSets/Main has no train.txt, trainval.txt, val.txt or test.txt')
        labels = {box.label for record in cls(root, (), sets).records(next(iter(sets))) for box in record.boxes or ()}
        return cls(root, tuple(sorted(labels)), sets)

    def records(self, split: str) -> Iterator[Record]:
        found = self.sets[split]
        yield from voc_records(self.root / found['ann_file'], self.root / found['data_prefix']['sub_data_root'])


def voc_records(ann_file: Path, home: Path) -> Iterator[Record]:
    """Reads the images of a list, with the boxes of their XML files."""
    for name in ann_file.read_text().split('\n'):
        if name := name.strip():
            xml = home / 'Annotations' / f'{name}.xml'
            parsed: list[Any] = []
            try:
                items = ElementTree.parse(xml).getroot().findall('object')
                parsed = [_box(item, f'object {i}') for i, item in enumerate(items)]
            except FileNotFoundError:
                parsed = [('annotation missing', '')]
            except ElementTree.ParseError as error:
                parsed = [('annotation unreadable', str(error))]
            yield Record(
                str(home / 'JPEGImages' / f'{name}.jpg'),
                str(xml),
                boxes=tuple(item for item in parsed if isinstance(item, Box)),
                faults=tuple(item for item in parsed if not isinstance(item, Box)),
            )


def _box(item: ElementTree.Element, where: str) -> Box | tuple[str, str]:
    try:
        # VOC counts pixels from 1.
        x1, y1, x2, y2 = (float(item.findtext(f'bndbox/{tag}') or '') - 1 for tag in ('xmin', 'ymin', 'xmax', 'ymax'))
    except ValueError:
        return 'box unreadable', where
    return Box(item.findtext('name') or '', (x1, y1, x2, y2), where)
