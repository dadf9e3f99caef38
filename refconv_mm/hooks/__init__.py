"""When things happen in a run: RefConvHook, and the hooks that it adds."""

from .finite_hook import FiniteHook
from .refconv_hook import RefConvHook, add_guards
from .seeds import SeededStepsHook
from .start_hook import StartHook

__all__ = ['FiniteHook', 'RefConvHook', 'SeededStepsHook', 'StartHook', 'add_guards']
