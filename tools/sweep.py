"""Checks refocusing and fusing on one model of each family of mmpretrain, mmdet, mmseg, torchvision and timm.

python tools/sweep.py --page docs/models.md
"""

from refconv_mm.commands import run_tool

if __name__ == '__main__':
    run_tool('sweep', __doc__)
