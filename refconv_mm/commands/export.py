"""Writes a refocused, fused or plain checkpoint as an ONNX model, compared under onnxruntime.

refconv export CONFIG work_dirs/my_run/epoch_20.pth model.onnx                        # raw outputs of the head
refconv export CONFIG work_dirs/my_run/epoch_20.pth model.onnx --decode --normalize   # from pixels to predictions
"""

from argparse import ArgumentParser, Namespace

from . import arguments
from ..checkpoints.fusing import read_checkpoint
from ..deploy.export import check_target, export_checkpoint, write_onnx


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the command."""
    arguments.add_config(parser, 'the config that the checkpoint was trained with, or the plain one of a fused')
    parser.add_argument('checkpoint')
    parser.add_argument('out', metavar='OUT.onnx')
    parser.add_argument('--fold-bn', action='store_true', help='fold batch norm, also where torch would leave it')
    parser.add_argument('--decode', action='store_true', help='boxes after NMS, arg-max or softmax in the graph')
    parser.add_argument('--normalize', action='store_true', help='the graph takes pixels of 0 to 255')
    arguments.add_ema(parser)
    arguments.add_shape(parser, 'example input, of sides that stay fixed')
    parser.add_argument('--opset', type=int, help="version of the ONNX operators (default: torch's)")
    arguments.add_force(parser, 'OUT.onnx')
    arguments.add_trust(parser)


def run(args: Namespace) -> None:
    """Exports, proves and writes."""
    check_target(args.out, args.force)
    cfg = arguments.open_config(args.config, args.cfg_options)
    exported = export_checkpoint(
        cfg,
        read_checkpoint(args.checkpoint, args.trust),
        ema=args.ema,
        fold_bn=args.fold_bn,
        source=args.checkpoint,
        shape=arguments.shape_of(args),
        opset=args.opset,
        decode=args.decode,
        normalize=args.normalize,
    )
    written = write_onnx(exported, args.out, args.force)
    print(f'{exported}\nwrote {written}')
