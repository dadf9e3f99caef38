"""Measures the changes that training made in checkpoints, and writes tables, JSON and a figure.

python -m lab analyse redundancy plain.pth control.pth fused.pth --names before,control,refocused --out-dir inside
python -m lab analyse skeleton plain.pth control.pth fused.pth --names before,control,refocused --out-dir inside
python -m lab analyse theory plain.pth control.pth fused.pth --names before,control,refocused --out-dir inside
python -m lab analyse landscape CONFIG plain.pth control.pth fused.pth --out-dir inside
python -m lab analyse curvature CONFIG plain.pth control.pth fused.pth --batches 3 --batch-size 2 --out-dir inside
"""

from argparse import ArgumentParser, Namespace

from ..analysis import driver


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the command."""
    driver.add_analyses(parser)


def run(args: Namespace) -> None:
    """Measures and writes."""
    driver.run(args, args.command_line)
