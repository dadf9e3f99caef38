from .refconv_hook import RefConvHook
from .seen_data_hook import SeenDataHook

__all__ = ['RefConvHook', 'SeenDataHook']
