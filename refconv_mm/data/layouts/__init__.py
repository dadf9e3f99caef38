"""The layouts in which people have their data: each module recognises one and says which library's class reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...files.errors import DataError
from . import class_folders, coco, masks, voc, yolo
from .base import Layout

__all__ = ['LAYOUTS', 'Layout', 'detect_layout']

LAYOUTS = {module.NAME: module for module in (voc, coco, yolo, masks, class_folders)}


def detect_layout(
    folder: str | Path, out: str | Path = '.', layout: str | None = None, mask_values: Sequence[int] | None = None
) -> Layout:
    """Detects how the data in a folder is laid out: the only layout that fits, or the one that is named.

    `out` is the folder of the configs, which gets the `files` of the layout, and `mask_values` are the numbers that
    stand in label maps for class 0, 1 and so on. Raises FileNotFoundError or ValueError if the data cannot be used.
    """
    root, out = Path(folder).resolve(), Path(out).resolve()
    if not root.is_dir():
        raise FileNotFoundError(f'{root} is not a folder; data_root names the folder of the data')
    chosen = LAYOUTS if layout is None else {layout: LAYOUTS[layout]}
    fits = {name: places for name, module in chosen.items() if (places := module.find(root))}
    if len(fits) != 1:
        inside = ', '.join(sorted(path.name for path in root.iterdir())[:8]) or 'nothing'
        text = 'fits several layouts; --layout NAME chooses' if fits else f'holds {inside}, none of these layouts'
        place = {name: f' ({next(iter(places))})' for name, places in fits.items()}
        lines = [f'\n  {name}: {chosen[name].NEEDS}{place.get(name, "")}' for name in fits or chosen]
        raise DataError(f'{root} {text}:{"".join(lines)}')
    name, places = fits.popitem()
    if mask_values and name != masks.NAME:
        raise DataError(f'--mask-values belongs to label maps; {root} has the layout {name}')
    found = chosen[name].read(root, out, places, *([mask_values] if mask_values else []))
    found.said += [f'no {a} split; {b} is used' for a, b in (('val', 'test'), ('test', 'val')) if a not in found.sets]
    return found
