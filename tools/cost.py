"""What any models cost beside each other: parameters, multiply-adds, training, inference, memory.

python tools/cost.py configs/imagenet/mobilenetv2_imagenet.py configs/imagenet/mobilenetv2_refconv_imagenet.py
    mmpretrain::mobilenet_v3/mobilenet-v3-large_8xb128_in1k.py --names plain,refconv,v3 --out-dir work_dirs/cost
-> cost.md, cost.json, cost.png; times are ratios to the first config's

Take any config whose model trains on images, labels and boxes: a path, or scope::name of an installed library.
Nets with attention:  SE: mmpretrain::seresnet/seresnet50_8xb32_in1k.py, MobileNetV3 (its blocks hold SE layers);
    others in a ResNet of mmdet or mmseg: model.backbone.plugins=[dict(cfg=dict(type='ContextBlock', ratio=1 / 16),
    stages=(False, True, True, True), position='after_conv3')]; a block of your own, CBAM say, in the same place, its
    class registered with mmengine.registry's MODELS in a module on PYTHONPATH that the config's custom_imports names.
Re-parameterised nets:  mmpretrain::repvgg/repvgg-A0_8xb32_in1k.py, mobileone; inference is that of the deployed form.
What refocusing alone costs, form by form, is measured by tools/benchmark.py.
"""

import argparse
import shlex
import sys
import warnings
from pathlib import Path

import torch

import refconv_mm  # noqa: F401
from refconv_mm.analysis.cost_report import run


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='the first is what times are compared with')
    parser.add_argument('--names', help="separated by commas (default: the configs' names)")
    parser.add_argument('--out-dir', required=True)
    parser.add_argument('--size', type=int, nargs=2, default=[224, 224], metavar=('H', 'W'), help='of the images')
    parser.add_argument('--batch', type=int, default=8, help='images a step (default: %(default)s)')
    parser.add_argument('--seconds', type=float, default=30, help='timed part of training (default: %(default)s)')
    parser.add_argument('--threads', type=int, help="threads to compute with (default: torch's)")
    parser.add_argument('--force', action='store_true', help='overwrite files of an earlier run')
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    warnings.filterwarnings('ignore')  # of old code upstream
    if args.threads:
        torch.set_num_threads(args.threads)
    command = shlex.join(['python', 'tools/cost.py', *sys.argv[1:]])
    try:
        options = tuple(args.size), args.batch, args.seconds
        written = run(args.configs, args.names, Path(args.out_dir), command, args.force, *options)
    except (FileNotFoundError, FileExistsError, ValueError) as error:
        parser.error(str(error))
    print(written[0].read_text())
    for path in written:
        print(f'wrote {path}')


if __name__ == '__main__':
    main()
