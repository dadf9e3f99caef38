"""The layout of Pascal VOC: an XML file of boxes for each image; with lists of images, or without."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from ...files.errors import DataError
from ..images import images_in
from ..loading import reason, xml_names
from .base import Layout, lines_of, split_of, with_val

NAME = 'voc'
NEEDS = 'XML files of VOC, and images of the same names; ImageSets/Main has lists of them, or nothing has'


def find(root: Path) -> list[Path]:
    """The folders with XML files of VOC, at most two levels down."""
    first: dict[Path, Path] = {}
    for path in sorted(path for depth in ('', '*/', '*/*/') for path in root.glob(f'{depth}*.xml')):
        first.setdefault(path.parent, path)
    return [folder for folder, path in first.items() if '<annotation' in path.read_text(errors='replace')[:2000]]


def read(root: Path, out: Path, folders: list[Path]) -> Layout:
    """Finds the lists, the images and the class names."""
    said: list[str] = []
    homes = [folder.parent for folder in folders if (folder.parent / 'ImageSets/Main').is_dir()]
    if len(homes) > 1:
        raise DataError(f'{root} has several VOC folders ({", ".join(home.name for home in homes)}); name one of them')
    paths = [homes[0] / f'ImageSets/Main/{name}.txt' for name in ('trainval', 'train', 'val', 'test') if homes]
    lists = {str(split_of(path.stem)): path for path in paths if path.is_file()}
    own = {split: _listed(homes[0], path) for split, path in lists.items()} if lists else _loose(root, folders)
    if both := {*own.get('train', ())} & {*own.get('val', ())}:  # of trainval.txt beside val.txt
        said.append(f'{len(both)} images of the list of train are those of val, so they are not trained')
    parts = with_val({**own, 'train': [pair for pair in own.get('train', ()) if pair not in both]}, said, root)
    raw = {name for pairs in parts.values() for _, xml in pairs for name in xml_names(xml)}
    layout = Layout(NAME, 'detection', root, tuple(sorted({name.strip() for name in raw} - {''})), said=said)
    suffixes = {image.suffix for pairs in parts.values() for image, _ in pairs}
    if lists and parts == own and suffixes == {'.jpg'} and raw == {*layout.classes}:
        prefix = dict(sub_data_root='' if homes[0] == root else f'{homes[0].relative_to(root)}/')
        for split, path in lists.items():
            layout.sets[split] = dict(type='VOCDataset', ann_file=str(path.relative_to(root)), data_prefix=prefix)
        return layout
    said.append('mmdet reads VOC with lists, .jpg and clean class names; so the boxes are written as COCO JSON')
    for split, pairs in parts.items():
        rows = [(image, [(layout.classes.index(name), *box) for name, *box in _boxes(xml)]) for image, xml in pairs]
        layout.add_coco(out, split, rows)
    return layout


def _listed(home: Path, listed: Path) -> list[tuple[Path, Path]]:
    """The image and the XML file of each line of a list."""
    files = {path.stem: path for path in images_in(home / 'JPEGImages')}
    return [(files.get(n, home / f'JPEGImages/{n}.jpg'), home / f'Annotations/{n}.xml') for n in lines_of(listed)]


def _loose(root: Path, folders: list[Path]) -> dict[str, list[tuple[Path, Path]]]:
    """Pairs XML files with images of their names; the folders say the split."""
    images: dict[tuple[str | None, str], list[Path]] = {}
    for path in images_in(root, True):
        images.setdefault((split_of(path.parent.relative_to(root)), path.stem), []).append(path)
    parts: dict[str, list[tuple[Path, Path]]] = {}
    for xml in (path for folder in folders for path in sorted(folder.glob('*.xml'))):
        split = split_of(xml.parent.relative_to(root))
        found = images.get((split, xml.stem), [])
        found = [image for image in found if image.parent == xml.parent] or found
        if len(found) > 1:
            raise DataError(f'{xml} belongs to {found[0]} or to {found[1]}: give each image a name of its own')
        if found:
            parts.setdefault(split or 'train', []).append((found[0], xml))
    return parts


def _boxes(path: Path) -> list[tuple[str, list[int], bool]]:
    """Name, corners from 0, and whether it is `difficult`, of each object in an XML file; none without a name."""
    try:
        objects = ElementTree.parse(path).getroot().findall('object')
        named = [(name, item) for item in objects if (name := (item.findtext('name') or '').strip())]
        sides = [f'bndbox/{side}' for side in ('xmin', 'ymin', 'xmax', 'ymax')]
        return [
            (name, [int(float(str(item.findtext(side)))) - 1 for side in sides], item.findtext('difficult') == '1')
            for name, item in named
        ]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise DataError(f'{path} cannot be read: {reason(error)}') from error
