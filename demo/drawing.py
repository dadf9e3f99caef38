"""Parts of both generators: seeded noise, colours, and folders that are complete or absent."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image


def noisy(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Adds Gaussian noise of `strength` grey levels (standard deviation)."""
    pixels = np.asarray(image, dtype=np.float64)
    pixels = pixels + rng.normal(0, strength, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def colour(rng: np.random.Generator, base: tuple[int, int, int], spread: int = 30) -> tuple[int, int, int]:
    """A colour near `base`."""
    red, green, blue = (int(np.clip(c + rng.integers(-spread, spread + 1), 0, 255)) for c in base)
    return red, green, blue


def make_once(root: Path, recipe: str, draw: Callable[[Path], None]) -> Path:
    """Fills a folder with `draw`, unless it was made with the same recipe before.

    Raises:
        FileExistsError: the folder exists and was not made by this function; it is not changed.
    """
    stamp = root / '.made'
    if stamp.is_file():
        if stamp.read_text() == recipe:
            return root
        shutil.rmtree(root)
    elif root.exists():
        raise FileExistsError(f'{root} exists and was not made by refconv_mm; name another folder')
    partial = root.with_name(f'{root.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    draw(partial)
    (partial / '.made').write_text(recipe)
    partial.rename(root)
    return root
