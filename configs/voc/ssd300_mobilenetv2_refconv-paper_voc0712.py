# python tools/train.py configs/voc/ssd300_mobilenetv2_refconv-paper_voc0712.py --init work_dirs/ssd300_mobilenetv2_voc0712/epoch_24.pth
#
# The paper's setting, to replicate it. Not recommended: README.md has our measurements of it.
_base_ = './ssd300_mobilenetv2_control-paper_voc0712.py'

custom_imports = dict(imports=['refconv_mm'], allow_failed_imports=False)
default_hooks = dict(refconv=dict(type='RefConvHook'))
model = dict(
    backbone=dict(conv_cfg=dict(type='RefConv', gain=None, kinds=['depthwise', 'grouped', 'dense'], init='kaiming'))
)
