# python tools/train.py configs/imagenet/mobilevit-small_refconv_imagenet.py --init mobilevit-small.pth
_base_ = ['./mobilevit-small_control_imagenet.py', '../_base_/refconv.py']

model = dict(backbone=dict(_delete_=True, type='RefocusedBackbone', backbone={{_base_.model.backbone}}))
