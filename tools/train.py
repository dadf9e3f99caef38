"""Trains any mmdet, mmseg or mmpretrain config, refocused or plain.

python tools/train.py configs/voc/ssdlite_mobilenetv2_refconv_voc0712.py --init baseline.pth
torchrun --nproc_per_node 8 tools/train.py CONFIG --init baseline.pth --launcher pytorch
"""

import argparse

from mmengine.logging import print_log

import refconv_mm
from refconv_mm import running


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument(
        '--init', metavar='CKPT', help='start from this checkpoint, in place of load_from and Pretrained'
    )
    running.add_run_options(parser)
    parser.add_argument(
        '--resume', nargs='?', const='auto', metavar='CKPT', help='go on from CKPT, or from the latest in the work dir'
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the global batch')
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    try:
        cfg = running.open_config(args)
        if args.amp:
            running.set_amp(cfg)
        if args.auto_scale_lr:
            running.set_auto_scale_lr(cfg)
        start = 'starts as the config says'
        if args.resume:
            start = running.set_resume(cfg, args.resume, args.init, args.trust)
        elif args.init:
            start = running.set_init(cfg, args.init, args.trust)
        runner = running.build_runner(cfg)
        if cfg.get('load_from') and not cfg.get('resume') and args.init:
            start += '; ' + running.check_start(runner.model, args.init, args.trust)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    print_log(f'refconv_mm {refconv_mm.__version__}: {start}', logger='current')
    runner.train()
    running.leave_process_group()


if __name__ == '__main__':
    main()
