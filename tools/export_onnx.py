"""Writes a refocused, fused or plain checkpoint as an ONNX model of its raw outputs, compared under onnxruntime.

python tools/export_onnx.py CONFIG work_dirs/my_run/epoch_20.pth model.onnx
"""

import argparse

from mmengine.config import Config, DictAction

import refconv_mm  # noqa: F401
from refconv_mm.checkpoint import read_checkpoint
from refconv_mm.export import check_target, export_checkpoint, write_onnx


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='the config that the checkpoint was trained with, or the plain one of a fused')
    parser.add_argument('checkpoint')
    parser.add_argument('out', metavar='OUT.onnx')
    parser.add_argument('--fold-bn', action='store_true', help='fold batch norm, also where torch would leave it')
    parser.add_argument('--ema', action=argparse.BooleanOptionalAction, help='averaged weights (default: if there are)')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help='example input, of sides that stay fixed (default: test size)',
    )
    parser.add_argument('--opset', type=int, help="version of the ONNX operators (default: torch's)")
    parser.add_argument('--force', action='store_true', help='overwrite OUT.onnx')
    parser.add_argument('--trust', action='store_true', help='load the checkpoint even if it would run code')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='KEY=VALUE ... merged into the config')
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    try:
        check_target(args.out, args.force)
        cfg = Config.fromfile(args.config)
        if args.cfg_options:
            cfg.merge_from_dict(args.cfg_options)
        checkpoint = read_checkpoint(args.checkpoint, args.trust)
        shape = tuple(args.shape) if args.shape else None
        exported = export_checkpoint(
            cfg,
            checkpoint,
            ema=args.ema,
            fold_bn=args.fold_bn,
            source=args.checkpoint,
            shape=shape,
            opset=args.opset,
        )
        written = write_onnx(exported, args.out, args.force)
    except (FileNotFoundError, FileExistsError, ValueError) as error:
        parser.error(str(error))
    print(f'{exported}\nwrote {written}')


if __name__ == '__main__':
    main()
