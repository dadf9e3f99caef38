from .curves_hook import CurvesHook
from .progress_hook import ProgressHook
from .refconv_hook import RefConvHook
from .seen_data_hook import SeenDataHook

__all__ = ['CurvesHook', 'ProgressHook', 'RefConvHook', 'SeenDataHook']
