# python tools/train.py configs/cityscapes/segformer_mit-b0_refconv_cityscapes-1024x1024.py --init work_dirs/segformer_mit-b0_cityscapes-1024x1024/iter_160000.pth
#
# Refocuses the trained baseline. It differs from its control in these lines and nothing else.
_base_ = './segformer_mit-b0_control_cityscapes-1024x1024.py'

custom_imports = dict(imports=['refconv_mm'], allow_failed_imports=False)
default_hooks = dict(refconv=dict(type='RefConvHook'))
# The backbone takes no conv_cfg.
model = dict(backbone=dict(_delete_=True, type='RefocusedBackbone', backbone={{_base_.model.backbone}}))
