"""Writes configs for a folder of data: a baseline, its control, a refocused config, and a plan that compares them.

python tools/new.py DATASET_DIR --out my_config
python tools/train.py my_config/baseline.py
"""

from refconv_mm.commands import run_tool

if __name__ == '__main__':
    run_tool('new', __doc__)
