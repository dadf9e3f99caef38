"""Predicts images: pictures with boxes, masks or labels, and predictions.json.

refconv predict work_dirs/my_run/fused.py work_dirs/my_run/fused.pth photos/ --out-dir predicted
refconv predict CONFIG CHECKPOINT photos/ one.png --out-dir predicted --threshold 0.5
"""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np
from rich.progress import track

from ..console import log_console
from ..data.images import IMAGES, images_in, why_unreadable
from ..deploy.predict import Predictor
from ..files.writing import check_free, write_json, write_whole
from . import arguments


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the command."""
    arguments.add_config(parser, "a config with the checkpoint's model and a test pipeline")
    parser.add_argument('checkpoint', help='refocused, fused or plain')
    parser.add_argument('images', nargs='+', help='images, or folders (all images below)')
    parser.add_argument('--out-dir', required=True, help='where pictures, masks and predictions.json go')
    parser.add_argument('--threshold', type=float, help='lowest score of a box (default: 0.3)')
    arguments.add_ema(parser)
    arguments.add_force(parser, 'the files of an earlier call in --out-dir')
    arguments.add_trust(parser)


def run(args: Namespace) -> int:
    """Predicts and writes; returns 1 if an image could not be read."""
    out_dir, cfg = Path(args.out_dir), arguments.open_config(args.config, args.cfg_options)
    check_free(out_dir, ['predictions.json', 'pictures', 'masks'], args.force)
    images = find_images(args.images, out_dir)
    predictor = Predictor(cfg, args.checkpoint, args.ema, args.trust, args.threshold)
    results, faults = [], []
    for image, place in track(images.items(), 'predicting', console=log_console()):
        if reason := why_unreadable(image):
            faults.append(f'{image}: {reason}')
            continue
        picture, result, mask = predictor(str(image))
        end = '.png' * (place.suffix.lower() == '.pgm')  # which has no colours
        result = dict(image=str(image), picture=f'pictures/{place}{end}', **result)
        write_image(out_dir / result['picture'], picture[..., ::-1])
        if mask is not None:
            result['mask'] = f'masks/{place}.png'
            write_image(out_dir / result['mask'], mask[..., ::-1] if mask.ndim == 3 else mask)
        results.append(result)
    about, classes = predictor.description, predictor.classes
    facts = dict(model=args.checkpoint, description=about, classes=classes, threshold=predictor.threshold)
    write_json(out_dir / 'predictions.json', dict(facts, images=results, faults=faults))
    print(f'{args.checkpoint}: {about}\n{len(results)} images; wrote {out_dir}/pictures and predictions.json')
    for fault in faults:
        print(f'left out: {fault}')
    return int(bool(faults))


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Writes BGR pixels or a mask, completely or not at all, and makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda temporary: mmcv.imwrite(pixels, temporary))


def find_images(paths: Sequence[str], out_dir: Path) -> dict[Path, Path]:
    """The images of files and folders (all below), each with its place below the folder that all have in common.

    Raises:
        FileNotFoundError: a path names no image; what an earlier call wrote into `out_dir` does not count.
    """
    found: dict[Path, None] = {}
    own = [Path(os.path.abspath(out_dir / name)) for name in ('pictures', 'masks')]
    for given in map(Path, paths):
        files = images_in(given, deep=True) if given.is_dir() else [given] * given.is_file()
        images = [Path(os.path.abspath(file)) for file in files if file.suffix.lower() in IMAGES]
        images = [image for image in images if not any(map(image.is_relative_to, own))]
        if not images:
            raise FileNotFoundError(f'no image at {given} (images end with {", ".join(IMAGES)})')
        found.update(dict.fromkeys(images))
    common = os.path.commonpath([image.parent for image in found])
    return {image: image.relative_to(common) for image in found}
