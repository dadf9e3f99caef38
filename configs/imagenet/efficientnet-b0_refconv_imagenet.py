# python tools/train.py configs/imagenet/efficientnet-b0_refconv_imagenet.py --init efficientnet-b0.pth
_base_ = ['./efficientnet-b0_control_imagenet.py', '../_base_/refconv.py']

model = dict(backbone=dict(_delete_=True, type='RefocusedBackbone', backbone={{_base_.model.backbone}}))
