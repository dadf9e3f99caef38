"""The layout of Pascal VOC: an XML file of boxes for each image; with lists of images, or without."""

from __future__ import annotations

from pathlib import Path

from mmengine.registry import DATASETS, init_default_scope

from ...files.errors import DataError
from ..images import images_in
from ..loading import reason, xml_names
from .base import Layout, lines_of, split_of, with_val

NAME = 'voc'
NEEDS = 'XML files of VOC, and images of the same names; ImageSets/Main has lists of them, or nothing has'


def find(root: Path) -> str:
    """Says what makes a folder VOC; '' if nothing does."""
    return next((f'XML files with <annotation> in {folder}' for folder in _xml_folders(root)), '')


def read(root: Path, out: Path) -> Layout:
    """Finds the lists, the images and the class names."""
    said: list[str] = []
    folders = _xml_folders(root)
    homes = [folder.parent for folder in folders if (folder.parent / 'ImageSets/Main').is_dir()]
    if len(homes) > 1:
        raise DataError(f'{root} has several VOC folders ({", ".join(home.name for home in homes)}); name one of them')
    lists = {}
    for name in ('trainval', 'train', 'val', 'test') if homes else ():
        if (path := homes[0] / f'ImageSets/Main/{name}.txt').is_file():
            lists[split_of(name) or name] = path
    own = {split: _listed(homes[0], path) for split, path in lists.items()} if lists else _loose(root, folders)
    parts = with_val(own, said, root)
    # A name with blanks around it is no class; check-data tells its boxes.
    names = {name for _, xml in parts['train'] for name in xml_names(xml) if name and name == name.strip()}
    layout = Layout(NAME, 'detection', root, tuple(sorted(names)), said=said)
    suffixes = {image.suffix for pairs in parts.values() for image, _ in pairs}
    if lists and parts is own and suffixes == {'.jpg'}:
        prefix = dict(sub_data_root='' if homes[0] == root else f'{homes[0].relative_to(root)}/')
        for split, path in lists.items():
            ann_file = str(path.relative_to(root))
            layout.sets[split] = dict(type='VOCDataset', ann_file=ann_file, data_prefix=prefix)
        return layout
    said.append("mmdet's reader of VOC needs lists and .jpg; the boxes are written as COCO JSON beside the configs")
    for split, pairs in parts.items():
        layout.add_coco(out, split, _boxes(root, pairs, layout.classes))
    return layout


def _xml_folders(root: Path) -> list[Path]:
    """The folders with XML files of VOC, at most two levels down."""
    first: dict[Path, Path] = {}
    for path in sorted(path for depth in ('', '*/', '*/*/') for path in root.glob(f'{depth}*.xml')):
        first.setdefault(path.parent, path)
    return [folder for folder, path in first.items() if '<annotation' in path.read_text(errors='replace')[:2000]]


def _listed(home: Path, listed: Path) -> list[tuple[Path, Path]]:
    """The image and the XML file of each line of a list."""
    files = {path.stem: path for path in images_in(home / 'JPEGImages')}
    return [(files.get(n, home / f'JPEGImages/{n}.jpg'), home / f'Annotations/{n}.xml') for n in lines_of(listed)]


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


def _boxes(root: Path, pairs: list[tuple[Path, Path]], classes: tuple[str, ...]) -> list[tuple[str, int, int, list]]:
    """What mmdet's reader of VOC reads: file name, width, height and the boxes of each image."""
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
    return rows
