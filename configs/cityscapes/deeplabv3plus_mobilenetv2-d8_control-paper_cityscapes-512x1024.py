# python tools/train.py configs/cityscapes/deeplabv3plus_mobilenetv2-d8_control-paper_cityscapes-512x1024.py --init work_dirs/deeplabv3plus_mobilenetv2-d8_cityscapes-512x1024/iter_80000.pth
#
# The control of the paper's setting: the baseline's whole schedule again, from the baseline.
_base_ = './deeplabv3plus_mobilenetv2-d8_cityscapes-512x1024.py'
