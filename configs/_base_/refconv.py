# What a refocused config has beside its model: the registered layer and the hook that checks and fuses.
custom_imports = dict(imports=['refconv_mm'], allow_failed_imports=False)
default_hooks = dict(refconv=dict(type='RefConvHook'))
