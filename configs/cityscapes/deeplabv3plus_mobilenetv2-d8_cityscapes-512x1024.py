# python tools/train.py configs/cityscapes/deeplabv3plus_mobilenetv2-d8_cityscapes-512x1024.py
#
# The baseline: DeepLabV3+ MobileNetV2-d8 on Cityscapes, 512x1024, from ImageNet weights.
_base_ = 'mmseg::mobilenet_v2/mobilenet-v2-d8_deeplabv3plus_4xb2-80k_cityscapes-512x1024.py'

data_root = 'data/cityscapes/'  # the line to edit: a folder with leftImg8bit/ and gtFine/

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
