"""Trains every arm of a plan from the same start on the same data, tests the fused models, and compares.

python tools/compare.py configs/compare/cells.py --dry-run           # what would run
python tools/compare.py configs/compare/cells.py --jobs 2            # runs what is missing; again after an interruption
python tools/compare.py configs/compare/cells.py --only cells/refocused --seeds 0 1
"""

from refconv_mm.commands import run_tool

if __name__ == '__main__':
    run_tool('compare', __doc__)
