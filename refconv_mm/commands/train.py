"""Trains any mmdet, mmseg or mmpretrain config, refocused or plain.

refconv train CONFIG --init baseline.pth
torchrun --nproc_per_node 8 -m refconv_mm train CONFIG --init baseline.pth --launcher pytorch
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MessageHub, print_log

from ..hooks import SeededStepsHook, add_guards
from ..running import runner as runners
from ..running import settings
from ..running.config_checks import check_complete
from ..version import __version__
from . import arguments


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the command."""
    arguments.add_config(parser)
    parser.add_argument(
        '--init', metavar='CKPT', help='start from this checkpoint, in place of load_from and Pretrained'
    )
    arguments.add_run_arguments(parser)
    parser.add_argument(
        '--resume', nargs='?', const='auto', metavar='CKPT', help='go on from CKPT, or from the latest in the work dir'
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the global batch')


def run(args: Namespace) -> None:
    """Trains. A run that its settings refuse leaves no work dir behind."""
    cfg = arguments.open_run_config(args)
    check_complete(cfg)
    if args.amp:
        settings.set_amp(cfg)
    if args.auto_scale_lr:
        settings.set_auto_scale_lr(cfg)
    start = 'starts as the config says'
    if args.resume:
        start = settings.set_resume(cfg, args.resume, args.init, args.trust)
    elif args.init:
        start = settings.set_init(cfg, args.init, args.trust)
    work_dir, steps = Path(cfg.work_dir), SeededStepsHook()
    if not arguments.is_first_process(args):
        return train(cfg, start, steps)
    with runners.reserved(work_dir, steps):
        train(cfg, start, steps)


def train(cfg: Config, start: str, steps: SeededStepsHook) -> None:
    """Trains in a work dir that no other run uses."""
    runner = runners.build_runner(cfg, quiet=True)
    add_guards(runner)
    print_log(f'refconv_mm {__version__}: {start}', logger='current')
    runner.register_hook(steps)
    runners.train_with_progress(runner)
    runners.leave_process_group()


def interrupted(args: Namespace) -> str:
    """The line after Ctrl-C."""
    if last := MessageHub.get_current_instance().get_info('last_ckpt'):
        return f'interrupted; the same command with --resume continues from {last}'
    return 'interrupted before the first checkpoint'
