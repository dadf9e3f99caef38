"""Checks of one image, one label map and one box, which every layout shares.

An image is decoded once, at an eighth of its size where the format allows it (JPEG). So a photograph of 100 megapixels
takes 10 MB as a JPEG and 300 MB as a PNG; files above the limit of pillow (179 megapixels) are not decoded.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image, UnidentifiedImageError

# What pillow calls the pixels of an image, and what training makes of them: mmcv reads three channels of eight bits.
_MODES = {
    'I;16': 'has 16 bits a channel; they are cut to 8',
    'I;16B': 'has 16 bits a channel; they are cut to 8',
    'I': 'has more than 8 bits a channel; they are cut to 8',
    'F': 'has float pixels',
    'CMYK': 'is CMYK; its colours are converted without a profile',
    'LA': 'has a channel of transparency, which is dropped',
    'RGBA': 'has a channel of transparency, which is dropped',
    '1': 'is black and white',
}
GREY = 'grey image'
PIXELS = 'unusual pixels'
TURNED = 'image turned by EXIF'
ANIMATED = 'animated image'
ODD = (GREY, PIXELS)  # kinds that are a fault of the set if all images have them


@dataclass(frozen=True)
class ImageFacts:
    """What a look at an image file found.

    Attributes:
        size: width and height as training sees them, turned by the EXIF tag; None if the file cannot be read.
        problem: the kind of fault that makes the file unusable; '' if it is usable.
        odd: the kinds and the details of what may surprise in a usable image.
    """

    size: tuple[int, int] | None
    problem: str = ''
    odd: tuple[tuple[str, str], ...] = ()


def look_at(path: str) -> ImageFacts:
    """Opens and decodes an image."""
    try:
        with warnings.catch_warnings(), Image.open(path) as picture:
            warnings.simplefilter('ignore')
            facts = _facts(picture)
            if picture.format == 'JPEG':
                picture.draft(None, (max(picture.width // 8, 1), max(picture.height // 8, 1)))
            picture.load()
            return facts
    except FileNotFoundError:
        return ImageFacts(None, 'image missing')
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return ImageFacts(None, 'image too large to be decoded')
    # A damaged file can end a decoder with any of these.
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError,
            OverflowError, MemoryError, ArithmeticError, AttributeError) as error:  # fmt: skip
        kind = 'image is a folder' if isinstance(error, IsADirectoryError) else 'image unreadable'
        return ImageFacts(None, kind)


def _facts(picture: Image.Image) -> ImageFacts:
    odd, size = [], picture.size
    turned = picture.getexif().get(0x0112, 1)
    if turned in range(2, 9):
        size = size[::-1] if turned >= 5 else size
        odd.append((TURNED, f'{size[0]}x{size[1]} after the tag; boxes and maps must fit that'))
    if getattr(picture, 'n_frames', 1) > 1:
        odd.append((ANIMATED, f'{picture.n_frames} frames; the first is used'))  # type: ignore[attr-defined]
    if picture.mode in _MODES:
        odd.append((PIXELS, _MODES[picture.mode]))
    if picture.mode in ('L', 'LA', '1'):
        odd.append((GREY, 'one channel, which is read as three equal ones'))
    return ImageFacts(size, odd=tuple(odd))


def box_problem(box: tuple[Any, ...], size: tuple[int, int] | None) -> Iterator[tuple[str, str]]:
    """The kinds and the details of what is wrong with a box.

    Args:
        box: left, top, right and bottom in pixels from 0.
        size: width and height of its image, if known.
    """
    if len(box) != 4 or not all(isinstance(v, int | float) and math.isfinite(v) for v in box):
        yield 'box unreadable', str(box)
        return
    x1, y1, x2, y2 = box
    text = f'({x1:g}, {y1:g}) to ({x2:g}, {y2:g})'
    if x2 <= x1 or y2 <= y1:
        yield ('box inverted' if x2 < x1 or y2 < y1 else 'box of no size'), text
    if size and (x1 < 0 or y1 < 0 or x2 > size[0] or y2 > size[1]):
        yield 'box outside the image', f'{text}, image {size[0]}x{size[1]}'
