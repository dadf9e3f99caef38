"""Image files: their names, their sizes, and why one cannot be decoded."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')


def images_in(folder: Path, deep: bool = False) -> list[Path]:
    """Lists the images of a folder, sorted; hidden files are left out, as the libraries leave them out."""
    found = folder.glob('**/*' if deep else '*')
    return sorted(path for path in found if path.suffix.lower() in IMAGES and not path.name.startswith('.'))


def image_size(path: str | Path) -> tuple[int, int] | None:
    """Reads the (width, height) with which mmcv loads an image, after the EXIF rotation; None if it cannot be read."""
    try:
        with warnings.catch_warnings(), Image.open(path) as picture:
            warnings.simplefilter('ignore')
            turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return (picture.height, picture.width) if turned else (picture.width, picture.height)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def why_unreadable(path: str | Path) -> str:
    """Decodes an image; returns the decoder's reason why that fails, or ''."""
    path = Path(path)
    try:
        with warnings.catch_warnings(), Image.open(path) as picture:
            warnings.simplefilter('ignore')
            picture.load()
    except FileNotFoundError:
        near = (path.with_suffix(suffix) for end in IMAGES for suffix in (end, end.upper()))
        names = [f'; {each.name} is there, and the reader wants {path.suffix}' for each in near if each.is_file()]
        return f'no such file{"".join(names[:1])}'
    except Exception as error:  # a damaged file can end a decoder with any error
        return str(error).removesuffix(f": '{path}'") or type(error).__name__
    return ''
