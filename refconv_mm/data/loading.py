"""The data sets of a config, each loaded by its library's own class, with what that class leaves out."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from mmengine import fileio
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

SPLITS = ('train', 'val', 'test')
# Options of a data set that say how it is used, not what it holds.
USE = ('pipeline', 'filter_cfg', 'test_mode', 'lazy_init', 'serialize_data')


@dataclass(frozen=True)
class Finding:
    """A fault of the data: its split, the kind of fault, the file or the folder, and the details."""

    split: str
    kind: str
    where: str
    what: str = ''


@dataclass
class Loaded:
    """A data set as its library's class loads it, without a pipeline and without the filter of images.

    `names` are the classes as the files call them, in the order of the labels, and `in_files` counts the objects by
    them; both are empty where files have no names. `counts` has the boxes or images, or of label maps the pixels.
    """

    split: str
    config: dict
    dataset: Any
    samples: list[dict] = field(default_factory=list)
    names: tuple[str, ...] = ()
    in_files: Counter = field(default_factory=Counter)
    counts: Counter = field(default_factory=Counter)
    coco: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that the config names."""
        return tuple(map(str, self.dataset.metainfo.get('classes') or ()))

    @property
    def place(self) -> str:
        """The file or the folder that messages about the whole data set name."""
        return str(getattr(self.dataset, 'ann_file', '') or self.config.get('data_root') or '')

    def find(self, kind: str, where: object, what: str = '') -> None:
        """Adds a finding."""
        self.findings.append(Finding(self.split, kind, str(where), what))

    def describe(self) -> str:
        """Returns the counts in a line."""
        counted = ', '.join(f'{name} {n}' for name, n in self.counts.items())
        return f'{self.split}: {len(self.samples)} images' + (f'; {counted}' if counted else '')


def leaves(dataset: dict) -> Iterator[dict]:
    """Yields the data sets inside wrappers such as RepeatDataset and ConcatDataset."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    if not inner:
        yield dataset
    for item in inner:
        yield from leaves(item)


def load_sets(cfg: Config) -> list[Loaded]:
    """Loads the train, val and test sets of a config; one that equals an earlier one (often test and val) only once."""
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    loaded: list[Loaded] = []
    seen: list[dict] = []
    for split in SPLITS:
        for leaf in leaves((cfg.get(f'{split}_dataloader') or {}).get('dataset') or {'datasets': [{}]}):
            plain = {key: value for key, value in leaf.items() if key not in USE}
            if plain and plain not in seen:
                seen.append(plain)
                loaded.append(load(leaf, split))
    if not loaded:
        raise ValueError('the config has no train_dataloader, val_dataloader or test_dataloader to check')
    return loaded


def load(leaf: dict, split: str) -> Loaded:
    """Builds a data set with its library's class; a fault of one annotation becomes a finding and does not end it."""
    options = {key: value for key, value in leaf.items() if key not in USE}
    options |= dict(pipeline=[], test_mode=True, lazy_init=True, serialize_data=False)
    loaded = Loaded(split, leaf, DATASETS.build(options))
    parse = loaded.dataset.parse_data_info
    loaded.dataset.parse_data_info = lambda raw: _parse(loaded, parse, raw)
    with redirect_stdout(io.StringIO()):  # pycocotools prints
        try:
            if hasattr(loaded.dataset, 'COCOAPI'):
                loaded.coco = fileio.load(loaded.dataset.ann_file)
            loaded.dataset.full_init()
            loaded.samples = [sample for sample in loaded.dataset.data_list if isinstance(sample, dict)]
        except Exception as error:  # whatever a reader trips over in a damaged list
            loaded.find('data set unreadable', loaded.place, reason(error))
    labels: Counter = Counter()
    for sample in loaded.samples:
        labels.update(item['bbox_label'] for item in sample.get('instances') or ())
        labels.update(np.atleast_1d(sample.get('gt_label', [])).tolist())
    names = dict(enumerate(loaded.classes))
    loaded.counts = Counter({names.get(label, f'label {label}'): n for label, n in sorted(labels.items())})
    _read_names(loaded)
    return loaded


def reason(error: BaseException) -> str:
    """An error with its type, in a line."""
    return f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'


def _parse(loaded: Loaded, parse: Callable, raw: dict) -> Any:
    """Parses the annotations of an image; what the library's class drops without a word becomes a finding."""
    where = raw.get('xml_path') or (raw.get('raw_img_info') or raw).get('file_name') or loaded.place
    if raw.get('xml_path'):
        loaded.in_files.update(xml_names(raw['xml_path']))
    try:
        info = parse(raw)
    except Exception as error:
        loaded.find('annotation unreadable', where, reason(error))
        return []
    ids = getattr(loaded.dataset, 'cat_ids', ())
    notes = [note for note in raw.get('raw_ann_info') or () if note.get('category_id') in ids]
    lost = sum(not note.get('ignore') for note in notes) - len(info.get('instances') or ())
    if notes and lost:
        loaded.find('boxes dropped', where, f'{lost} of no size or outside the image, so mmdet leaves them out')
    return info


def xml_names(path: str | Path) -> list[str]:
    """The class name of each object in an XML file of VOC."""
    try:
        return [item.findtext('name') or '' for item in ElementTree.parse(path).getroot().findall('object')]
    except (OSError, ElementTree.ParseError, ValueError):  # the library's class says it
        return []


def _read_names(loaded: Loaded) -> None:
    """Reads what the files call each label, and how many objects they have of each class name."""
    if categories := {item.get('id'): str(item.get('name')) for item in loaded.coco.get('categories') or ()}:
        loaded.names = tuple(categories.get(number, 'None') for number in getattr(loaded.dataset, 'cat_ids', ()))
        ids = [note.get('category_id') for note in loaded.coco.get('annotations') or ()]
        loaded.in_files.update(categories.get(number, f'category_id {number}') for number in ids)
    elif folders := getattr(loaded.dataset, 'folder_to_idx', None):
        loaded.names = tuple(sorted(folders, key=folders.get))
