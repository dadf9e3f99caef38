# python tools/train.py configs/cityscapes/segformer_mit-b0_cityscapes-1024x1024.py
#
# The baseline: SegFormer with a MiT-B0 on Cityscapes, 1024x1024. mmseg publishes its checkpoint.
_base_ = 'mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py'
