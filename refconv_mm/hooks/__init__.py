from .refconv_hook import RefConvHook

__all__ = ['RefConvHook']
