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
    """Detects how the data in a folder is laid out: the first layout that fits, or the one that is named.

    `out` is the folder of the configs, which gets the `files` of the layout, and `mask_values` are the numbers that
    stand in label maps for class 0, 1 and so on. Raises FileNotFoundError or ValueError if the data cannot be used.
    """
    root, out = Path(folder).resolve(), Path(out).resolve()
    if not root.is_dir():
        raise FileNotFoundError(f'{root} is not a folder; data_root names the folder of the data')
    chosen = LAYOUTS if layout is None else {layout: LAYOUTS[layout]}
    module = next((module for module in chosen.values() if module.find(root)), None)
    if module is None:
        needed = '\n'.join(f'  {name}: {module.NEEDS}' for name, module in chosen.items())
        inside = ', '.join(sorted(path.name for path in root.iterdir())[:8]) or 'nothing'
        raise DataError(f'{root} has none of these layouts; it holds {inside}. What they need:\n{needed}')
    if mask_values and module is not masks:
        raise DataError(f'--mask-values belongs to label maps; {root} has the layout {module.NAME}')
    found = masks.read(root, out, mask_values) if module is masks else module.read(root, out)
    if not found.classes:
        raise DataError(f'{root} has the layout {found.name} and no class')
    return found
