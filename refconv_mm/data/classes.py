"""The classes that a config names, and those that its data has."""

from __future__ import annotations

import difflib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mmengine.registry import DATASETS


def leaves(dataset: dict) -> Iterator[dict]:
    """The data sets inside wrappers such as RepeatDataset and ConcatDataset."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    if not inner:
        yield dataset
    for item in inner:
        yield from leaves(item)


def dataset_class(leaf: dict) -> Any:
    """The class of a data set; None if it is not registered."""
    if not isinstance(leaf.get('type'), str):
        return leaf.get('type')
    with DATASETS.switch_scope_and_registry(leaf.get('_scope_')) as registry:
        return registry.get(leaf['type'])


def is_voc(kind: Any) -> bool:
    """Whether a class reads annotations in VOC's XML."""
    return 'XMLDataset' in [base.__name__ for base in getattr(kind, '__mro__', ())]


def config_classes(leaf: dict) -> tuple[str, ...]:
    """The class names of a data set: those of its config, else those of its class.

    Raises:
        ValueError: `classes` is a text, which mmengine would take letter by letter.
    """
    metainfo = {**(getattr(dataset_class(leaf), 'METAINFO', None) or {}), **(leaf.get('metainfo') or {})}
    classes = metainfo.get('classes') or metainfo.get('CLASSES') or ()
    if isinstance(classes, str):
        if Path(classes).is_file():
            return tuple(Path(classes).read_text().split('\n'))
        raise ValueError(
            f'metainfo.classes is the text {classes!r}; a tuple of one class needs a comma: classes=({classes!r},)'
        )
    return tuple(map(str, classes))


def voc_paths(leaf: dict) -> tuple[str, Iterator[tuple[str, str]]]:
    """The image list of a VOC set, and the image and the XML file of each line."""
    root = leaf.get('data_root') or ''
    listed = os.path.join(root, leaf.get('ann_file') or '')
    sub = os.path.join(root, (leaf.get('data_prefix') or {}).get('sub_data_root', ''))
    images, notes = leaf.get('img_subdir', 'JPEGImages'), leaf.get('ann_subdir', 'Annotations')

    def each() -> Iterator[tuple[str, str]]:
        for line in Path(listed).read_text(errors='replace').split('\n'):
            if name := line.strip():
                yield os.path.join(sub, images, f'{name}.jpg'), os.path.join(sub, notes, f'{name}.xml')

    return listed, each()


def data_classes(leaf: dict) -> Counter[str]:
    """How often each class name occurs in VOC or COCO annotations; empty for others and for unreadable ones."""
    found: Counter[str] = Counter()
    try:
        if is_voc(dataset_class(leaf)):
            for _, xml in voc_paths(leaf)[1]:
                found.update(_voc_names(xml))
        elif str(leaf.get('ann_file', '')).endswith('.json'):
            content = json.loads(Path(leaf.get('data_root') or '', leaf['ann_file']).read_text())
            names = {item['id']: str(item['name']) for item in content['categories']}
            found.update(names.get(item['category_id'], str(item['category_id'])) for item in content['annotations'])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return found


def _voc_names(xml: str) -> list[str]:
    try:
        return [item.findtext('name') or '' for item in ElementTree.parse(xml).getroot().findall('object')]
    except (OSError, ElementTree.ParseError):
        return []


def class_difference(yours: Iterable[str], data: Counter[str]) -> str:
    """Says that the data has classes that the config does not name, or the reverse; '' if there is no such class."""
    yours = list(yours)
    unknown, unused = [name for name in data if name not in yours], [name for name in yours if name not in data]
    if not data or not (unknown or unused):
        return ''
    counted = ', '.join(f'{name} ({n})' for name, n in data.most_common(20)) + (', ...' if len(data) > 20 else '')
    text = f'your classes are {", ".join(yours[:20])}{", ..." if len(yours) > 20 else ""}; the data has {counted}'
    lower = {name.lower(): name for name in yours}
    near = [(name, difflib.get_close_matches(name.lower(), list(lower), 1)) for name in unknown]
    pairs = [f'{lower[match[0]]!r} for {name!r}' for name, match in near if match]
    return text + (f'. You write {", ".join(pairs[:8])}' if pairs else '')


def why_empty(dataset: dict) -> str:
    """Why a data set of a config has no sample, as far as its annotations tell."""
    for leaf in leaves(dataset):
        try:
            difference = class_difference(config_classes(leaf), data_classes(leaf))
        except ValueError as error:
            return str(error)
        if difference:
            return difference[0].upper() + difference[1:]
    return 'Every one was filtered out, or the list is empty; `refconv check-data CONFIG` lists the faults'
