# Refocuses the trained baseline. It differs from its control in these lines and nothing else. The training ends with
# fused.py and fused.pth in work_dir; `refconv test` tests them.
_base_ = './control.py'

work_dir = 'work_dirs/new/refocused'
custom_imports = dict(imports=['refconv_mm'], allow_failed_imports=False)
default_hooks = dict(refconv=dict(type='RefConvHook'))
model = dict(backbone=dict(conv_cfg=dict(type='RefConv')))
