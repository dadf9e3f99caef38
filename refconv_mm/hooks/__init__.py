from .curves_hook import CurvesHook
from .finite_hook import FiniteHook
from .progress_hook import ProgressHook
from .refconv_hook import RefConvHook, add_guards
from .seeded_steps_hook import SeededStepsHook
from .seen_data_hook import SeenDataHook
from .start_hook import StartHook

__all__ = [
    'CurvesHook',
    'FiniteHook',
    'ProgressHook',
    'RefConvHook',
    'SeededStepsHook',
    'SeenDataHook',
    'StartHook',
    'add_guards',
]
