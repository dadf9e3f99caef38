# python tools/train.py configs/cityscapes/pspnet_r18-d8_cityscapes-512x1024.py
#
# The baseline: PSPNet with a ResNet-18 (v1c) on Cityscapes, 512x1024. mmseg publishes its checkpoint.
_base_ = 'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'
