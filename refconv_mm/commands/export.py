"""Writes a refocused, fused or plain checkpoint as an ONNX model, compared under onnxruntime.

refconv export CONFIG work_dirs/my_run/epoch_20.pth model.onnx                        # raw outputs of the head
refconv export CONFIG work_dirs/my_run/epoch_20.pth model.onnx --decode --normalize   # from pixels to predictions
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..checkpoints.fusing import read_checkpoint
from ..deploy.export import check_target, export_checkpoint, write_onnx
from . import arguments


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the command."""
    arguments.add_config(parser, 'the config that the checkpoint was trained with, or the plain one of a fused')
    parser.add_argument('checkpoint')
    parser.add_argument('out', metavar='OUT.onnx')
    parser.add_argument('--decode', action='store_true', help='boxes after NMS, arg-max or softmax in the graph')
    parser.add_argument('--normalize', action='store_true', help='the graph takes pixels of 0 to 255')
    arguments.add_ema(parser)
    arguments.add_shape(parser, 'height and width of the images')
    arguments.add_force(parser, 'OUT.onnx')
    arguments.add_trust(parser)


def run(args: Namespace) -> None:
    """Exports, compares and writes."""
    check_target(args.out, args.force)
    cfg = arguments.open_config(args.config, args.cfg_options)
    checkpoint = read_checkpoint(args.checkpoint, args.trust)
    print(f'exporting {args.checkpoint}; this can take some minutes', flush=True)
    graph = export_checkpoint(
        cfg, checkpoint, ema=args.ema, source=args.checkpoint, shape=args.shape, decode=args.decode,
        normalize=args.normalize,
    )  # fmt: skip
    write_onnx(graph, Path(args.out))
    print(f'{graph}\nwrote {args.out}')
