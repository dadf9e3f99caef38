"""Tests a refocused, fused or plain checkpoint; a refocused one is fused in memory first.

python tools/test.py work_dirs/my_run/fused.py work_dirs/my_run/fused.pth
python tools/test.py work_dirs/my_run/fused.py model.onnx   # as tools/export_onnx.py wrote it, under onnxruntime
"""

import argparse
import json
from pathlib import Path

from mmengine.dist import is_main_process
from rich import print as rich_print

import refconv_mm  # noqa: F401
from refconv_mm import running
from refconv_mm.files import write_whole


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    running.add_run_options(parser)
    parser.add_argument('--ema', action=argparse.BooleanOptionalAction, help='averaged weights (default: if there are)')
    parser.add_argument('--out', metavar='FILE.json', help='also write the metrics here')
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    try:
        cfg = running.open_config(args)
        runner, what = running.runner_for_test(cfg, args.checkpoint, args.ema, args.trust)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    metrics = runner.test()
    if is_main_process():
        print(f'{args.checkpoint}: {what}')
        rich_print(running.metrics_table(metrics))
        if args.out:
            text = json.dumps(metrics, indent=1, default=lambda v: v.tolist() if hasattr(v, 'tolist') else str(v))
            write_whole(Path(args.out), lambda temporary: Path(temporary).write_text(text))
    running.leave_process_group()


if __name__ == '__main__':
    main()
