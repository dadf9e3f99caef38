"""RefConv (Re-parameterized Refocusing Convolution, arXiv 2310.10563) for OpenMMLab.

checkpoint -> refocused model -> train -> fuse -> plain checkpoint -> test
"""

import warnings

# mmengine imports it; its users can do nothing about it.
warnings.filterwarnings('ignore', 'pkg_resources is deprecated', UserWarning)

from .version import __version__  # noqa: E402
from .versions import check_versions  # noqa: E402

check_versions()

from . import compat  # noqa: E402
from .backbone import build_refocused_backbone  # noqa: E402
from .config import plain_config  # noqa: E402
from .hooks import RefConvHook  # noqa: E402
from .layer import RefConv2d  # noqa: E402
from .options import RefConvOptions  # noqa: E402
from .surgery import fuse, refocus  # noqa: E402

compat.apply()

__all__ = [
    'RefConv2d',
    'RefConvHook',
    'RefConvOptions',
    '__version__',
    'build_refocused_backbone',
    'fuse',
    'plain_config',
    'refocus',
]
