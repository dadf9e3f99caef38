"""The hooks of a run: RefConvHook, and those that it adds."""

from .finite_hook import FiniteHook
from .refconv_hook import RefConvHook, add_guards
from .seeds import SeededStepsHook
from .start_hook import StartHook

__all__ = ['FiniteHook', 'RefConvHook', 'SeededStepsHook', 'StartHook', 'add_guards']
