"""RefConv in OpenMMLab: the types that configs name, plain configs, models, versions, faults of the libraries."""

from .versions import check_versions

check_versions()

from .backbone import build_refocused_backbone  # noqa: E402
from .compat import prepare  # noqa: E402
from .config import plain_config  # noqa: E402
from .layers import RefConv, RefConvAdaptivePadding  # noqa: E402

__all__ = ['RefConv', 'RefConvAdaptivePadding', 'build_refocused_backbone', 'plain_config', 'prepare']
