"""Trains any mmdet, mmseg or mmpretrain config, refocused or plain.

python tools/train.py configs/voc/ssdlite_mobilenetv2_refconv_voc0712.py --init baseline.pth
torchrun --nproc_per_node 8 tools/train.py CONFIG --init baseline.pth --launcher pytorch
"""

from refconv_mm.commands import run_tool

if __name__ == '__main__':
    run_tool('train', __doc__)
