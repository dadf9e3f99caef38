"""Lists what in a config's data sets would hurt a training. Exit code 1 where it found any.

python tools/check_data.py configs/voc/ssdlite_mobilenetv2_voc0712.py
"""

import argparse
import sys

from mmengine.config import Config, DictAction
from rich import print as rich_print

import refconv_mm  # noqa: F401
from refconv_mm.data.check import check_config, findings_table


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('--most', type=int, default=50, help='findings to print (default: 50)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='KEY=VALUE ... merged into the config')
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    try:
        cfg = Config.fromfile(args.config)
        if args.cfg_options:
            cfg.merge_from_dict(args.cfg_options)
        findings, counts = check_config(cfg, progress=True)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    rich_print(findings_table(findings, counts, args.most))
    sys.exit(bool(findings))


if __name__ == '__main__':
    main()
