# python tools/train.py configs/imagenet/convnext-tiny_refconv_imagenet.py --init convnext-tiny.pth
_base_ = ['./convnext-tiny_control_imagenet.py', '../_base_/refconv.py']

model = dict(backbone=dict(_delete_=True, type='RefocusedBackbone', backbone={{_base_.model.backbone}}))
