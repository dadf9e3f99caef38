"""The data sets of a config, each loaded by its library's own class, with what that class leaves out."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope


class Finding(NamedTuple):
    """A fault of the data. An error stops a training or makes a score wrong; the others are warnings."""

    split: str
    kind: str
    where: str
    what: str
    error: bool = True


@dataclass
class Loaded:
    """A data set as its library's class loads it for a training or a test, without a pipeline.

    `names` are the classes as the files call them, in the order of the labels, and `in_files` counts the objects by
    them; both are empty where files have no names. `counts` has the boxes or images, or of label maps the pixels.
    `left_out` counts the images that `filter_cfg` leaves out. `net_input` describes the numbers that reach the net.
    """

    split: str
    config: dict
    dataset: Any
    samples: list[dict] = field(default_factory=list)
    left_out: int = 0
    names: tuple[str, ...] = ()
    in_files: Counter = field(default_factory=Counter)
    counts: Counter = field(default_factory=Counter)
    coco: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    net_input: str = ''

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that the config names."""
        return tuple(map(str, self.dataset.metainfo.get('classes') or ()))

    @property
    def place(self) -> str:
        """The file or the folder that messages about the whole data set name."""
        return str(getattr(self.dataset, 'ann_file', '') or self.config.get('data_root') or '')

    def find(self, kind: str, where: object, what: str, error: bool = True) -> None:
        """Adds a finding."""
        self.findings.append(Finding(self.split, kind, str(where), what, error))

    def describe(self) -> str:
        """Returns the counts in a line."""
        left = f' ({self.left_out} more left out by filter_cfg)' if self.left_out else ''
        names = dict.fromkeys((*self.classes, *self.counts)) if self.counts else ()
        counted = ''.join(f', {name} {self.counts[name]}' for name in names).replace(', ', '; ', 1)
        return f'{self.split}: {len(self.samples)} images{left}{counted}{self.net_input}'


def leaves(dataset: dict) -> Iterator[dict]:
    """Yields the data sets inside wrappers such as RepeatDataset and ConcatDataset."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    if not inner:
        yield dataset
    for item in inner:
        yield from leaves(item)


def load_sets(cfg: Config) -> list[Loaded]:
    """Loads the train, val and test sets of a config; a test set that is the val set only once."""
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    configs = {split: (cfg.get(f'{split}_dataloader') or {}).get('dataset') for split in ('train', 'val', 'test')}
    if not any(configs.values()):
        raise ValueError('the config has no train_dataloader, val_dataloader or test_dataloader to check')
    configs['test'] = configs['test'] if configs['test'] != configs['val'] else None
    return [load(split, leaf) for split, config in configs.items() if config for leaf in leaves(config)]


def load(split: str, leaf: dict) -> Loaded:
    """Builds a data set with its library's class; a fault of one annotation becomes a finding and does not end it."""
    dataset = DATASETS.build({**leaf, 'pipeline': [], 'lazy_init': True, 'serialize_data': False})
    loaded = Loaded(split, leaf, dataset)
    parse, keep = dataset.parse_data_info, dataset.filter_data

    def filter_data() -> list:
        dataset.data_list = [sample for sample in dataset.data_list if isinstance(sample, dict)]
        kept = keep()
        loaded.left_out = len(dataset.data_list) - len(kept)
        return kept

    dataset.parse_data_info, dataset.filter_data = lambda raw: _parse(loaded, parse, raw), filter_data
    with redirect_stdout(io.StringIO()):  # pycocotools prints
        try:
            dataset.full_init()
            loaded.samples = dataset.data_list
        except Exception as error:  # whatever a reader trips over in a damaged list
            loaded.find('data set unreadable', loaded.place, reason(error))
    if not loaded.samples and not loaded.findings:
        loaded.find('no images', loaded.place, f'filter_cfg leaves out {loaded.left_out}')
    _count(loaded)
    return loaded


def reason(error: BaseException) -> str:
    """An error with its type, in a line."""
    return f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'


def xml_names(path: str | Path) -> list[str]:
    """The class name of each object in an XML file of VOC."""
    try:
        return [item.findtext('name') or '' for item in ElementTree.parse(path).getroot().findall('object')]
    except (OSError, ElementTree.ParseError, ValueError):  # the library's class says it
        return []


def _parse(loaded: Loaded, parse: Callable, raw: dict) -> Any:
    """Parses the annotations of an image; an error becomes a finding."""
    loaded.coco = getattr(getattr(loaded.dataset, 'coco', None), 'dataset', {})  # gone once all are parsed
    where = raw.get('xml_path') or (raw.get('raw_img_info') or raw).get('file_name') or loaded.place
    if raw.get('xml_path'):
        loaded.in_files.update(xml_names(raw['xml_path']))
    try:
        return parse(raw)
    except Exception as error:
        loaded.find('annotation unreadable', where, reason(error))
        return []


def _count(loaded: Loaded) -> None:
    """Counts the labels, and reads what the files call each label and how many objects they have of each class."""
    labels = Counter(item['bbox_label'] for sample in loaded.samples for item in sample.get('instances') or ())
    labels.update(label for sample in loaded.samples for label in np.atleast_1d(sample.get('gt_label', [])).tolist())
    classes = dict(enumerate(loaded.classes))
    loaded.counts = Counter({classes.get(label, f'label {label}'): n for label, n in sorted(labels.items())})
    if classes and (wrong := sorted(set(labels) - set(classes))):
        loaded.find('label out of range', loaded.place, f'{wrong[:8]} of {len(classes)} classes')
    if categories := {item.get('id'): str(item.get('name')) for item in loaded.coco.get('categories') or ()}:
        loaded.names = tuple(categories.get(number, 'None') for number in getattr(loaded.dataset, 'cat_ids', ()))
        ids = [note.get('category_id') for note in loaded.coco.get('annotations') or ()]
        loaded.in_files.update(categories.get(number, f'category_id {number}') for number in ids)
    elif folders := getattr(loaded.dataset, 'folder_to_idx', None):
        loaded.names = tuple(sorted(folders, key=folders.get))
