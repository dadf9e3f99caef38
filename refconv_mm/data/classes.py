"""The classes that a config names, compared with those of its data."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable

from .loading import Finding, Loaded, leaves, load

__all__ = ['class_difference', 'class_findings', 'leaves', 'why_empty']

RARE = 0.001  # of all objects


def class_difference(yours: Iterable[str], data: Counter[str]) -> str:
    """Says that the data has classes that the config does not name, or the reverse; '' if there is no such class."""
    yours = list(yours)
    unknown, unused = [name for name in data if name not in yours], [name for name in yours if name not in data]
    if not data or not (unknown or unused):
        return ''
    counted = ', '.join(f'{name} ({n})' for name, n in data.most_common(20)) + (', ...' if len(data) > 20 else '')
    text = f'your classes are {", ".join(yours[:20])}{", ..." if len(yours) > 20 else ""}; the data has {counted}'
    lower = {name.strip().lower(): name for name in yours}
    near = [(name, difflib.get_close_matches(name.strip().lower(), list(lower), 1)) for name in unknown]
    pairs = [f'{lower[match[0]]!r} for {name!r}' for name, match in near if match]
    return text + (f'. You write {", ".join(pairs[:8])}' if pairs else '')


def why_empty(dataset: dict) -> str:
    """Says why a data set of a config has no sample, as far as its annotations tell."""
    for leaf in leaves(dataset):
        try:
            loaded = load(leaf, 'train')
        except ValueError as error:
            return str(error)
        if difference := class_difference(loaded.classes, loaded.in_files):
            return difference[0].upper() + difference[1:]
    return 'Every one was filtered out, or the list is empty; `refconv check-data CONFIG` lists the faults'


def class_findings(sets: list[Loaded]) -> list[Finding]:
    """Compares class names, class numbers and the numbers of objects, within the splits and between them."""
    found = [finding for loaded in sets for finding in _own_findings(loaded)]
    first = sets[0]
    for loaded in sets[1:]:
        for kind, mine, others in (('config', loaded.classes, first.classes), ('files', loaded.names, first.names)):
            if mine and others and mine != others:
                text = f'{differ(mine, others)} in the {kind} of {first.split}; a label has another meaning in each'
                found.append(Finding(loaded.split, 'class numbers', loaded.place, text))
    train = [loaded for loaded in sets if loaded.split == 'train' and not _unreadable(loaded)]
    counts = sum((loaded.counts for loaded in train), Counter())
    names, total = dict.fromkeys(name for loaded in train for name in loaded.classes), sum(counts.values())
    if absent := [name for name in names if not counts[name]]:
        found.append(Finding('train', 'class without an object', train[0].place, ', '.join(absent)))
    if rare := [f'{name} ({counts[name]} of {total})' for name in names if 0 < counts[name] < RARE * total]:
        found.append(Finding('train', 'class of few objects', train[0].place, ', '.join(rare)))
    return found


def differ(mine: tuple[str, ...], others: tuple[str, ...]) -> str:
    """Names the first label with two meanings."""
    longest = max(len(mine), len(others))
    pairs = ([*row, *['nothing'] * (longest - len(row))] for row in (mine, others))
    number, (one, two) = next((i, pair) for i, pair in enumerate(zip(*pairs, strict=True)) if pair[0] != pair[1])
    return f'label {number} is {one!r} here and {two!r}'


def _own_findings(loaded: Loaded) -> list[Finding]:
    found: list[tuple[str, str]] = []
    if any(name not in loaded.classes for name in loaded.in_files):
        found.append(('classes differ', class_difference(loaded.classes, loaded.in_files)))
    in_folders = loaded.names and not loaded.coco
    if (
        loaded.names != loaded.classes
        and loaded.names
        and (not in_folders or sorted(loaded.names) == sorted(loaded.classes))
    ):
        text = f'{differ(loaded.names, loaded.classes)} in the config; the library numbers as the files do'
        found.append(('class numbers', text))
    given = [item.get('name') for item in loaded.coco.get('categories') or ()] or list(loaded.names or loaded.classes)
    if twice := [str(name) for name, n in Counter(given).items() if n > 1]:
        found.append(('two categories of one name', ', '.join(twice)))
    if odd := [name for name in given if not isinstance(name, str) or name != name.strip()]:
        found.append(('class name with blanks, or no text', ', '.join(map(repr, odd))))
    if hidden := [name for name in loaded.names if name.startswith('.') and not loaded.coco]:
        found.append(('hidden folder as a class', f'{", ".join(hidden)}; delete it'))
    is_map = any('seg_map_path' in sample and 'instances' not in sample for sample in loaded.samples)
    if loaded.split != 'test' and not _unreadable(loaded) and not loaded.counts and not is_map:
        found.append(('no samples' if not loaded.samples else 'no objects', ''))
    return [Finding(loaded.split, kind, loaded.place, text) for kind, text in found]


def _unreadable(loaded: Loaded) -> bool:
    return any(each.kind == 'data set unreadable' for each in loaded.findings)
