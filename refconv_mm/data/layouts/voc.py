"""The layout of Pascal VOC: an XML file of boxes for each image, and lists of images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from ..classes import voc_paths
from .base import Box, Layout, Record

CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')
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
        _, paths = voc_paths(dict(data_root=str(self.root), **self.sets[split]))
        yield from (voc_record(image, xml) for image, xml in paths)


def voc_record(image: str, xml: str) -> Record:
    """Reads an image's XML file; mmdet drops unknown classes without a message."""
    try:
        root = ElementTree.parse(xml).getroot()
    except FileNotFoundError:
        return Record(image, xml, boxes=(), faults=(('annotation missing', ''),))
    except (ElementTree.ParseError, OSError, ValueError) as error:  # ValueError: an encoding that Python lacks
        return Record(image, xml, boxes=(), faults=(('annotation unreadable', str(error)),))
    faults: list[tuple[str, str]] = []
    boxes: list[Box] = []
    for i, item in enumerate(root.findall('object')):
        difficult = item.findtext('difficult', '0')
        if not difficult.strip().lstrip('+-').isdigit():
            faults.append(('annotation unreadable', f'object {i}: difficult is {difficult!r}'))
        try:
            # VOC counts pixels from 1 to the width.
            x1, y1, x2, y2 = (float(item.findtext(f'bndbox/{tag}') or '') - 1 for tag in CORNERS)
        except ValueError:
            faults.append(('box unreadable', f'object {i}'))
        else:
            boxes.append(Box(item.findtext('name') or '', (x1, y1, x2, y2), f'object {i}'))
    return Record(image, xml, boxes=tuple(boxes), size=_size(root, faults), faults=tuple(faults))


def _size(root: ElementTree.Element, faults: list[tuple[str, str]]) -> tuple[int, int] | None:
    """The size that the file says; it may say none, but nothing else than numbers."""
    if root.find('size') is None:
        return None
    texts = [root.findtext(f'size/{side}') or '' for side in ('width', 'height')]
    try:
        return int(texts[0]), int(texts[1])
    except ValueError:
        faults.append(('annotation unreadable', f'its size is {texts[0]!r} x {texts[1]!r}'))
        return None
