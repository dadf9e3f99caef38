"""Predicts images: pictures with boxes, masks or labels, and predictions.json.

refconv predict work_dirs/my_run/fused.py work_dirs/my_run/fused.pth photos/ --out-dir predicted
refconv predict CONFIG model.onnx 'photos/**/*.jpg' one.png --out-dir predicted --threshold 0.5
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from . import arguments
from ..console import progress_display
from ..files.errors import CheckpointError
from ..files.writing import check_free, write_json
from ..deploy.predict import Predictor, find_images, write_picture


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the command."""
    arguments.add_config(parser, "a config with the checkpoint's model and a test pipeline")
    parser.add_argument('checkpoint', help='refocused, fused or plain, or an ONNX model of refconv export')
    parser.add_argument('images', nargs='+', help='images, folders or globs')
    parser.add_argument('--out-dir', required=True, help='where pictures and predictions.json go')
    parser.add_argument('--threshold', type=float, help='lowest score of a box (default: 0.3)')
    arguments.add_ema(parser)
    arguments.add_force(parser, 'what an earlier call wrote into --out-dir')
    arguments.add_trust(parser)


def run(args: Namespace) -> int:
    """Predicts and writes; returns 1 if an image could not be read."""
    out_dir, cfg = Path(args.out_dir), arguments.open_config(args.config, args.cfg_options)
    check_free(out_dir, ['predictions.json'], args.force)
    images = find_images(args.images, out_dir)
    predictor = Predictor(cfg, args.checkpoint, args.ema, args.trust, args.threshold)
    results, faults = [], []
    with progress_display() as progress:
        for image, place in progress.track(images.items(), description='predicting'):
            try:
                picture, result, pixels = predictor(str(image))
            except CheckpointError as error:
                faults.append(str(error))
                continue
            write_picture(out_dir / 'pictures' / place, picture)
            if pixels is not None:
                result['mask'] = str(Path('masks') / place) + '.png'
                write_picture(out_dir / result['mask'], pixels)
            results.append(dict(image=str(image), picture=str(Path('pictures') / place), **result))
    facts = dict(model=args.checkpoint, what=predictor.what, classes=predictor.classes, threshold=predictor.threshold)
    write_json(out_dir / 'predictions.json', dict(facts, images=results, faults=faults))
    print(f'{args.checkpoint}: {predictor.what}\n{len(results)} images; wrote {out_dir}/pictures and predictions.json')
    for fault in faults:
        print(f'left out: {fault}')
    return int(bool(faults))
