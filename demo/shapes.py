"""Drawn objects with boxes, in the Pascal VOC 2007 layout."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image, ImageDraw

from .drawing import colour, make_once, noisy

SHAPES = ('disc', 'square', 'triangle')
_BASES = {'disc': (200, 70, 60), 'square': (60, 110, 200), 'triangle': (70, 170, 80)}


def make_voc(root: str | Path, train: int = 400, test: int = 50, size: int = 160, seed: int = 0) -> Path:
    """Draws images of discs, squares and triangles on textured ground.

    Args:
        root: gets a folder `VOC2007` with `JPEGImages`, `Annotations` and `ImageSets/Main`.
        train, test: numbers of images in `trainval.txt` and `test.txt`.
        size: side of an image in pixels.
        seed: same seed, same images.

    Returns:
        `root`. A folder made with the same arguments is used as it is.

    Raises:
        FileExistsError: `root` exists and was not made by this function.
    """

    def draw(folder: Path) -> None:
        voc = folder / 'VOC2007'
        for sub in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
            (voc / sub).mkdir(parents=True)
        names = [f'{i:06d}' for i in range(train + test)]
        for i, name in enumerate(names):
            image, objects = _scene(np.random.default_rng((seed, i)), size)
            image.save(voc / 'JPEGImages' / f'{name}.jpg', quality=92)
            _annotation(name, size, objects).write(voc / 'Annotations' / f'{name}.xml')
        for split, chosen in (('trainval', names[:train]), ('test', names[train:])):
            (voc / 'ImageSets/Main' / f'{split}.txt').write_text('\n'.join(chosen) + '\n')

    return make_once(Path(root), f'voc {train} {test} {size} {seed}', draw)


def _scene(rng: np.random.Generator, size: int) -> tuple[Image.Image, list[tuple[str, tuple[int, int, int, int]]]]:
    """An image and its objects: class and box (x1, y1, x2, y2), inclusive pixels counted from 0."""
    coarse = rng.integers(90, 190, (5, 5, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    objects: list[tuple[str, tuple[int, int, int, int]]] = []
    for _ in range(int(rng.integers(2, 7))):
        side = int(rng.integers(size // 4, size // 2))
        x, y = (int(v) for v in rng.integers(2, size - side - 2, 2))
        box = (x, y, x + side, y + side)
        if any(_overlap(box, other) > 0.1 for _, other in objects):
            continue
        name = SHAPES[int(rng.integers(len(SHAPES)))]
        fill = colour(rng, _BASES[name], 45)
        outline = colour(rng, (30, 30, 30), 20)
        if name == 'disc':
            pen.ellipse(box, fill, outline, 2)
        elif name == 'square':
            pen.rectangle(box, fill, outline, 2)
        else:
            top = x + side * rng.uniform(0.3, 0.7)
            pen.polygon([(x, y + side), (x + side, y + side), (top, y)], fill, outline)
        objects.append((name, box))
    return noisy(image, rng, 8), objects


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Intersection over the smaller area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    return max(width, 0) * max(height, 0) / max(smaller, 1)


def _annotation(name: str, size: int, objects: list[tuple[str, tuple[int, int, int, int]]]) -> ElementTree.ElementTree:
    root = ElementTree.Element('annotation')
    ElementTree.SubElement(root, 'filename').text = f'{name}.jpg'
    shape = ElementTree.SubElement(root, 'size')
    for tag, value in (('width', size), ('height', size), ('depth', 3)):
        ElementTree.SubElement(shape, tag).text = str(value)
    for label, box in objects:
        item = ElementTree.SubElement(root, 'object')
        ElementTree.SubElement(item, 'name').text = label
        ElementTree.SubElement(item, 'difficult').text = '0'
        bounds = ElementTree.SubElement(item, 'bndbox')
        for tag, pixel in zip(('xmin', 'ymin', 'xmax', 'ymax'), box, strict=True):
            ElementTree.SubElement(bounds, tag).text = str(math.floor(pixel) + 1)  # VOC counts from 1
    return ElementTree.ElementTree(root)
