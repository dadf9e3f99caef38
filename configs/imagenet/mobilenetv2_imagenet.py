# python tools/test.py configs/imagenet/mobilenetv2_imagenet.py mobilenet_v2.pth
#
# The baseline: mmpretrain's MobileNetV2 on ImageNet, whose published checkpoint is the start of the others.
_base_ = 'mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py'

data_root = 'data/imagenet/'  # the line to edit: a folder with train/ and val/

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
