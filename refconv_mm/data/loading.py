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

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from ..files.errors import DataError

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

    Attributes:
        split, config: `'train'`, `'val'` or `'test'`, and the data set in the config.
        dataset: the object of the library.
        samples: the descriptions of its images, those without objects included.
        names: the classes as the files call them, in the order of the labels; empty if the files do not say it.
        in_files: the number of objects by class name in the annotations; empty if they are not VOC or COCO.
        counts: the number of objects by class: boxes or images; of label maps the pixels, once they are checked.
        coco: the content of the COCO file.
        findings: the faults.
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

    @property
    def smallest(self) -> float:
        """The side below which the training ignores a box: mmdet's readers of VOC know `bbox_min_size`."""
        filtered = self.split == 'train' and hasattr(self.dataset, 'bbox_min_size')
        return ((self.config.get('filter_cfg') or {}).get('bbox_min_size') or 0) if filtered else 0

    def find(self, kind: str, where: object, what: str = '') -> None:
        """Adds a finding."""
        self.findings.append(Finding(self.split, kind, str(where), what))

    def describe(self) -> str:
        """Returns the counts in a line."""
        boxes = [sample['instances'] for sample in self.samples if sample.get('instances') is not None]
        parts = [f'{self.split}: {len(self.samples)} images']
        if empty := sum(not each for each in boxes):
            parts.append(f'{empty} of them without an object')
        small = sum(min(sides(item['bbox'])) < self.smallest for each in boxes for item in each)
        if small:
            parts.append(f'{small} boxes below {self.smallest} pixels, which the filter ignores')
        total = sum(self.counts.values())
        form = '{0} {1}' if boxes or any('gt_label' in sample for sample in self.samples[:1]) else '{0} {2:.2f} %'
        counted = [form.format(name, self.counts[name], 100 * self.counts[name] / total) for name in self.counts]
        return ', '.join(parts) + (f'; {", ".join(counted)}' if counted else '')


def sides(box: list[float]) -> tuple[float, float]:
    """Width and height of a box of two corners."""
    return box[2] - box[0], box[3] - box[1]


def leaves(dataset: dict) -> Iterator[dict]:
    """Yields the data sets inside wrappers such as RepeatDataset and ConcatDataset."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    if not inner:
        yield dataset
    for item in inner:
        yield from leaves(item)


def load_sets(cfg: Config) -> list[Loaded]:
    """Loads the train, val and test sets of a config; one that equals an earlier one (often test and val) only once.

    Raises:
        ValueError: the config has no data loader, or the classes of a data set are a text.
    """
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
    """Builds a data set with its library's class; a fault of one annotation becomes a finding and does not end it.

    Raises:
        ValueError: `classes` is a text, which mmengine would take letter by letter.
        Exception: the options of the data set are wrong, as in a training.
    """
    classes = (leaf.get('metainfo') or {}).get('classes')
    if isinstance(classes, str) and not Path(classes).is_file():
        raise DataError(
            f'{split}_dataloader: metainfo.classes is the text {classes!r}; a tuple of one class needs a comma: '
            f'classes=({classes!r},)'
        )
    options = {key: value for key, value in leaf.items() if key not in USE}
    options |= dict(pipeline=[], test_mode=True, lazy_init=True, serialize_data=False)
    loaded = Loaded(split, leaf, DATASETS.build(options))
    _listen(loaded)
    with redirect_stdout(io.StringIO()):  # pycocotools prints
        try:
            loaded.dataset.full_init()
            loaded.samples = [sample for sample in loaded.dataset.data_list if isinstance(sample, dict)]
        except Exception as error:  # whatever a reader trips over in a damaged list
            loaded.find('data set unreadable', loaded.place, reason(error))
    for sample in loaded.samples:
        boxes = [item['bbox_label'] for item in sample.get('instances') or ()]
        one = sample.get('gt_label')
        loaded.counts.update(boxes if one is None else one if isinstance(one, list | tuple) else [one])
    names = dict(enumerate(loaded.classes))
    loaded.counts = Counter({names.get(label, f'label {label}'): n for label, n in sorted(loaded.counts.items())})
    _read_names(loaded)
    return loaded


def reason(error: BaseException) -> str:
    """An error with its type, in a line."""
    return f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'


def _listen(loaded: Loaded) -> None:
    """Makes a data set parse one annotation at a time, and keeps the content of its COCO file."""
    dataset = loaded.dataset
    parse = dataset.parse_data_info
    dataset.parse_data_info = lambda raw: _parse(loaded, parse, raw)
    if read := getattr(dataset, 'COCOAPI', None):

        def keep(path: str) -> Any:
            api = read(path)
            loaded.coco = api.dataset
            return api

        dataset.COCOAPI = keep


def _parse(loaded: Loaded, parse: Callable, raw: dict) -> Any:
    """Parses the annotations of an image; what the library's class drops without a word becomes a finding."""
    notes, instances = list(raw.get('raw_ann_info') or ()), []
    if raw.get('xml_path'):
        loaded.in_files.update(_xml_names(raw['xml_path']))
    where = raw.get('xml_path') or (raw.get('raw_img_info') or raw).get('file_name') or loaded.place
    for note in notes:
        text = f'annotation {note.get("id")}: bbox {note.get("bbox")}'
        try:
            found = parse({**raw, 'raw_ann_info': [note]})['instances']
        except Exception as error:
            loaded.find('annotation unreadable', where, f'{text}: {reason(error)}')
            continue
        instances += found
        known = note.get('category_id') in getattr(loaded.dataset, 'cat_ids', [note.get('category_id')])
        if not found and known and not note.get('ignore'):
            loaded.find('box dropped', where, f'{text}: of no size or outside the image, so mmdet leaves it out')
    try:
        info = parse({**raw, 'raw_ann_info': []} if notes else raw)
    except Exception as error:
        loaded.find('annotation unreadable', where, reason(error))
        return []
    return {**info, 'instances': instances} if notes else info


def _xml_names(path: str) -> list[str]:
    try:
        return [item.findtext('name') or '' for item in ElementTree.parse(path).getroot().findall('object')]
    except (OSError, ElementTree.ParseError, ValueError):  # the library's class says it
        return []


def _read_names(loaded: Loaded) -> None:
    """Reads what the files call each label, and how many objects they have of each class name."""
    categories = {item.get('id'): item.get('name') for item in loaded.coco.get('categories') or ()}
    if categories:
        loaded.names = tuple(str(categories.get(number)) for number in getattr(loaded.dataset, 'cat_ids', ()))
        for note in loaded.coco.get('annotations') or ():
            loaded.in_files[str(categories.get(note.get('category_id'), f'category_id {note.get("category_id")}'))] += 1
    elif folders := getattr(loaded.dataset, 'folder_to_idx', None):
        loaded.names = tuple(sorted(folders, key=folders.get))
