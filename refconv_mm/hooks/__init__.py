from .refconv_hook import RefConvHook
from .seeded_steps_hook import SeededStepsHook
from .seen_data_hook import SeenDataHook

__all__ = ['RefConvHook', 'SeededStepsHook', 'SeenDataHook']
