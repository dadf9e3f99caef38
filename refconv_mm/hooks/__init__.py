from .finite_hook import FiniteHook
from .refconv_hook import RefConvHook, add_guards
from .seeded_steps_hook import SeededStepsHook
from .seen_data_hook import SeenDataHook
from .start_hook import StartHook

__all__ = ['FiniteHook', 'RefConvHook', 'SeededStepsHook', 'SeenDataHook', 'StartHook', 'add_guards']
