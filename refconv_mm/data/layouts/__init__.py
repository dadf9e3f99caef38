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
    """Detects how the data in a folder is laid out.

    Args:
        folder: the data.
        out: the folder of the configs, which gets the `files` of the layout.
        layout: the name of the layout, where several fit.
        mask_values: the numbers that stand in label maps for class 0, 1 and so on.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no layout fits, or several do, or something that a training needs is wrong or missing.
    """
    root, out = Path(folder).resolve(), Path(out).resolve()
    if not root.is_dir():
        raise FileNotFoundError(f'{root} is not a folder; data_root names the folder of the data')
    reasons = {name: reason for name, module in LAYOUTS.items() if (reason := module.find(root))}
    if layout:
        reasons = {layout: reasons.get(layout, '')}
    if len(reasons) > 1:
        text = '; '.join(f'{name}, since it has {reason}' for name, reason in reasons.items())
        raise DataError(f'{root} fits more than one layout: {text}. Choose with --layout NAME')
    if not any(reasons.values()):
        needed = '\n'.join(f'  {name}: {module.NEEDS}' for name, module in LAYOUTS.items())
        inside = ', '.join(sorted(path.name for path in root.iterdir())[:8]) or 'nothing'
        raise DataError(
            f'{root} has none of the known layouts{f" or not {layout}" if layout else ""}; it holds {inside}. The '
            f'layouts and what they need:\n{needed}'
        )
    module = LAYOUTS[next(iter(reasons))]
    found = module.read(root, out, mask_values) if module is masks else module.read(root, out)
    if mask_values and module is not masks:
        raise DataError(f'--mask-values belongs to label maps; {root} has the layout {found.name}')
    if not found.classes:
        raise DataError(f'{root} has the layout {found.name} and no class: {module.NEEDS}')
    return found
