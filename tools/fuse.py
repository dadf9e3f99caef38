"""Writes a refocused checkpoint out as a plain one, verified, with the plain config beside it.

python tools/fuse.py CONFIG work_dirs/my_run/epoch_20.pth
-> work_dirs/my_run/epoch_20_fused/fused.pth and fused.py
"""

from refconv_mm.commands import run_tool

if __name__ == '__main__':
    run_tool('fuse', __doc__)
