"""The layout of Pascal VOC: an XML file of boxes for each image; with lists of images, or without."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from mmengine.registry import DATASETS, init_default_scope

from ...files.errors import DataError
from ..loading import reason
from .base import Layout, coco_text, images_in, split_of, with_val

NAME = 'voc'
NEEDS = 'XML files of VOC, and images of the same names; ImageSets/Main has lists of them, or nothing has'
LISTS = {'train': ('train', 'trainval'), 'val': ('val',), 'test': ('test',)}


def find(root: Path) -> str:
    """Says what makes a folder VOC; '' if nothing does."""
    return next((f'XML files with <annotation> in {folder}' for folder in _xml_folders(root)), '')


def read(root: Path, out: Path) -> Layout:
    """Finds the lists, the images and the class names.

    Raises:
        DataError: something that a training needs is wrong or missing.
    """
    said: list[str] = []
    folders = _xml_folders(root)
    homes = [folder.parent for folder in folders if (folder.parent / 'ImageSets/Main').is_dir()]
    if len(homes) > 1:
        raise DataError(f'{root} has several VOC folders ({", ".join(home.name for home in homes)}); name one of them')
    found = (
        {s: [homes[0] / f'ImageSets/Main/{name}.txt' for name in names] for s, names in LISTS.items()} if homes else {}
    )
    lists = {split: path for split, paths in found.items() if (path := next(filter(Path.is_file, paths), None))}
    own = {s: _listed(homes[0], path) for s, path in lists.items()} if lists else _loose(root, folders)
    parts = with_val(own, said, root)
    layout = Layout(NAME, 'detection', root, _classes(parts['train']), {}, said=said)
    suffixes = {image.suffix for pairs in parts.values() for image, _ in pairs}
    if lists and parts is own and suffixes == {'.jpg'}:
        sub = '' if homes[0] == root else f'{homes[0].relative_to(root)}/'
        for split, path in lists.items():
            prefix = dict(sub_data_root=sub)
            layout.sets[split] = dict(type='VOCDataset', ann_file=str(path.relative_to(root)), data_prefix=prefix)
        return layout
    what = 'lists in ImageSets/Main' if suffixes == {'.jpg'} else f'.jpg, not {", ".join(sorted(suffixes))}'
    said.append(f"mmdet's reader of VOC needs {what}; the boxes are written as COCO JSON beside the configs")
    for split, pairs in parts.items():
        layout.files[f'{split}.json'] = _as_coco(root, pairs, layout.classes)
        ann_file = str(out / f'{split}.json')
        layout.sets[split] = dict(type='CocoDataset', ann_file=ann_file, data_prefix=dict(img=''))
    return layout


def _xml_folders(root: Path) -> list[Path]:
    """The folders with XML files of VOC, at most two levels down."""
    first: dict[Path, Path] = {}
    for path in sorted(path for depth in ('', '*/', '*/*/') for path in root.glob(f'{depth}*.xml')):
        first.setdefault(path.parent, path)
    return [folder for folder, path in first.items() if '<annotation' in path.read_text(errors='replace')[:2000]]


def _listed(home: Path, listed: Path) -> list[tuple[Path, Path]]:
    """The image and the XML file of each line of a list."""
    names = [line.strip() for line in listed.read_text().splitlines() if line.strip()]
    files = {path.stem: path for path in images_in(home / 'JPEGImages')}
    return [(files.get(n, home / f'JPEGImages/{n}.jpg'), home / f'Annotations/{n}.xml') for n in names]


def _loose(root: Path, folders: list[Path]) -> dict[str, list[tuple[Path, Path]]]:
    """Pairs XML files with images of their names; the folders say the split."""
    parts: dict[str, list[tuple[Path, Path]]] = {}
    images: dict[tuple[str | None, str], Path] = {}
    for path in images_in(root, True):
        images[split_of(path.parent.relative_to(root)), path.stem] = path
    for folder in folders:
        split = split_of(folder.relative_to(root))
        pairs = [(images.get((split, xml.stem)), xml) for xml in sorted(folder.glob('*.xml'))]
        parts.setdefault(split or 'train', []).extend((image, xml) for image, xml in pairs if image)
    return parts


def _classes(pairs: list[tuple[Path, Path]]) -> tuple[str, ...]:
    """The names in the XML files, sorted; one with blanks around it is no class, and check-data tells its boxes."""
    names: Counter[str] = Counter()
    for _, xml in pairs:
        try:
            names.update(item.findtext('name') or '' for item in ElementTree.parse(xml).getroot().findall('object'))
        except (OSError, ValueError, ElementTree.ParseError):  # check-data tells the file
            continue
    if odd := sorted(name for name in names if name != name.strip() and name.strip() not in names):
        raise DataError(f'the class {odd[0]!r} has blanks around its name in the XML files; mmdet would not find it')
    return tuple(sorted(name for name in names if name and name == name.strip()))


def _as_coco(root: Path, pairs: list[tuple[Path, Path]], classes: tuple[str, ...]) -> str:
    """The boxes as mmdet's reader of VOC reads them, in COCO's JSON."""
    init_default_scope('mmdet')
    reader = DATASETS.build(dict(type='VOCDataset', ann_file='', lazy_init=True, metainfo=dict(classes=classes)))
    reader.cat2label, rows = {name: i for i, name in enumerate(classes)}, []
    for image, xml in pairs:
        try:
            info = reader.parse_data_info(dict(img_id=xml.stem, file_name=str(image), xml_path=str(xml)))
        except Exception as error:  # as in mmdet's loading
            raise DataError(f'{xml} cannot be read: {reason(error)}') from error
        boxes = [(item['bbox_label'], item['bbox']) for item in info['instances']]
        rows.append((str(image.relative_to(root)), info['width'], info['height'], boxes))
    return coco_text(rows, classes)
