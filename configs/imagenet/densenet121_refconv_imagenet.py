# python tools/train.py configs/imagenet/densenet121_refconv_imagenet.py --init densenet121.pth
_base_ = ['./densenet121_control_imagenet.py', '../_base_/refconv.py']

model = dict(backbone=dict(_delete_=True, type='RefocusedBackbone', backbone={{_base_.model.backbone}}))
