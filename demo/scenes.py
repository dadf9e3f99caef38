"""Drawn street scenes with labels, in the Cityscapes layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from .drawing import colour, make_once, noisy

# Cityscapes train ids.
ROAD, SIDEWALK, BUILDING, VEGETATION, SKY, PERSON, CAR, IGNORE = 0, 1, 2, 8, 10, 11, 13, 255


def make_cityscapes(
    root: str | Path, train: int = 120, val: int = 40, size: tuple[int, int] = (96, 192), seed: int = 0
) -> Path:
    """Draws streets of houses, trees, cars and people, of `size` (height, width), as :func:`make_voc` draws shapes.

    `root` gets `leftImg8bit/<split>/drawn/*_leftImg8bit.png` and `gtFine/...labelTrainIds.png`.
    """

    def draw(folder: Path) -> None:
        for i in range(train + val):
            split = 'train' if i < train else 'val'
            name = f'drawn_{i:06d}_000019'
            image, label = _street(np.random.default_rng((seed, i)), *size)
            for suffix, picture in (('leftImg8bit', image), ('gtFine_labelTrainIds', label)):
                path = folder / suffix.partition('_')[0] / split / 'drawn' / f'{name}_{suffix}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path)

    return make_once(Path(root), f'cityscapes {train} {val} {size} {seed}', draw)


class _Pen:
    """Draws the same outline into image and label."""

    def __init__(self, image: Image.Image, label: Image.Image) -> None:
        self.image, self.label = ImageDraw.Draw(image), ImageDraw.Draw(label)

    def draw(self, form: str, outline: Sequence, fill: tuple[int, int, int], label: int) -> None:
        """Draws a rectangle, an ellipse or a polygon: the name of the method of PIL that does."""
        getattr(self.image, form)(outline, fill)
        getattr(self.label, form)(outline, label)


def _street(rng: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Image.Image]:
    image = Image.new('RGB', (width, height), colour(rng, (150, 190, 225)))
    label = Image.new('L', (width, height), SKY)
    pen = _Pen(image, label)
    horizon = height * rng.uniform(0.4, 0.55)
    x = -rng.uniform(0, width / 6)
    while x < width:
        broad = width * rng.uniform(0.08, 0.22)
        if rng.random() < 0.7:
            _house(pen, rng, (x, horizon - height * rng.uniform(0.12, 0.4), x + broad, horizon))
        else:
            _tree(pen, rng, x + broad / 2, horizon, height * rng.uniform(0.15, 0.3))
        x += broad
    pen.draw('rectangle', (0, horizon, width, height), colour(rng, (160, 150, 150), 15), SIDEWALK)
    vanish, near = width * rng.uniform(0.35, 0.65), width * rng.uniform(0.3, 0.45)
    left, right = vanish - near, vanish + near
    road = [(vanish - width * 0.06, horizon), (vanish + width * 0.06, horizon), (right, height), (left, height)]
    pen.draw('polygon', road, colour(rng, (90, 90, 95), 15), ROAD)
    for _ in range(int(rng.integers(1, 4))):
        depth = rng.uniform(0.15, 0.75)
        foot = horizon + (height - horizon) * depth
        _car(pen, rng, vanish + near * depth * rng.uniform(-0.8, 0.8), foot, height * (0.08 + 0.25 * depth))
    for _ in range(int(rng.integers(0, 4))):
        depth = rng.uniform(0.2, 0.8)
        foot = horizon + (height - horizon) * depth
        _person(pen, rng, rng.uniform(0, width), foot, height * (0.12 + 0.25 * depth))
    # The bonnet of the recording car is not labelled in Cityscapes either.
    ImageDraw.Draw(label).rectangle((0, height - 2, width, height), IGNORE)
    return noisy(image, rng, 7), label


def _house(pen: _Pen, rng: np.random.Generator, box: tuple[float, float, float, float]) -> None:
    pen.draw('rectangle', box, colour(rng, (165, 120, 95), 35), BUILDING)
    window = colour(rng, (60, 70, 90), 20)
    for wx in np.arange(box[0] + 3, box[2] - 4, 7):
        for wy in np.arange(box[1] + 3, box[3] - 4, 8):
            pen.image.rectangle((wx, wy, wx + 3, wy + 4), window)


def _tree(pen: _Pen, rng: np.random.Generator, x: float, foot: float, tall: float) -> None:
    pen.draw('rectangle', (x - 1, foot - tall / 2, x + 1, foot), colour(rng, (90, 65, 45), 15), VEGETATION)
    crown = (x - tall / 2.4, foot - tall, x + tall / 2.4, foot - tall / 4)
    pen.draw('ellipse', crown, colour(rng, (55, 120, 55)), VEGETATION)


def _car(pen: _Pen, rng: np.random.Generator, x: float, foot: float, tall: float) -> None:
    paint = colour(rng, (150, 60, 60), 90)
    pen.draw('rectangle', (x - tall * 0.9, foot - tall * 0.55, x + tall * 0.9, foot), paint, CAR)
    pen.draw('rectangle', (x - tall * 0.55, foot - tall, x + tall * 0.55, foot - tall * 0.5), paint, CAR)
    window = (x - tall * 0.45, foot - tall * 0.92, x + tall * 0.45, foot - tall * 0.58)
    pen.image.rectangle(window, colour(rng, (190, 205, 215), 20))
    for wheel in (x - tall * 0.55, x + tall * 0.55):
        pen.image.ellipse((wheel - tall * 0.17, foot - tall * 0.2, wheel + tall * 0.17, foot), (25, 25, 25))


def _person(pen: _Pen, rng: np.random.Generator, x: float, foot: float, tall: float) -> None:
    body = (x - tall * 0.14, foot - tall * 0.8, x + tall * 0.14, foot)
    pen.draw('rectangle', body, colour(rng, (70, 60, 130), 60), PERSON)
    head = (x - tall * 0.11, foot - tall, x + tall * 0.11, foot - tall * 0.78)
    pen.draw('ellipse', head, colour(rng, (215, 170, 140)), PERSON)
