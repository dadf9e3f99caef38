"""Tests a refocused, fused or plain checkpoint; a refocused one is fused in memory first.

python tools/test.py work_dirs/my_run/fused.py work_dirs/my_run/fused.pth
"""

from refconv_mm.commands import run_tool

if __name__ == '__main__':
    run_tool('test', __doc__)
