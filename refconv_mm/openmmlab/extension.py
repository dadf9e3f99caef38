"""The place of mmcv's extension `mmcv._ext`: which ops it has, and torchvision's for those that it lacks.

mmcv has no wheels for recent torch, and compiling it wants a C++ compiler, for a GPU the CUDA toolkit, too
(open-mmlab/mmcv#2938, #3035, #3310). mmcv-lite is a pure wheel with all of mmcv's Python. :func:`use_torchvision`
stands in for its missing extension. Beside an extension that was compiled for the CPU alone it serves the tensors of
a GPU.
Ops that mmcv has compiled for a device stay in use.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ..files.errors import GpuOpsError

REMEDY = (
    'Compile mmcv with its ops, with a CUDA toolkit of the version of torch for a GPU (docs/versions.md), or use a '
    'model without them'
)
# Modules of mmcv.ops that need nothing compiled, or what stands in here.
_SERVED = (
    'cc_attention', 'corner_pool', 'deform_conv', 'deprecated_wrappers', 'focal_loss', 'merge_cells',
    'modulated_deform_conv', 'multi_scale_deform_attn', 'nms', 'point_sample', 'roi_align', 'roi_pool', 'saconv',
)  # fmt: skip


def use_torchvision() -> bool:
    """Puts the stand-ins in place, where they are needed; before mmdet's or mmseg's models are imported.

    Returns:
        Whether any op of mmcv is missing here.
    """
    extension = sys.modules.get('mmcv._ext')
    if extension is None and importlib.util.find_spec('mmcv._ext') is None:
        sys.modules['mmcv._ext'] = _StandIn('mmcv._ext')
        transformer: Any = sys.modules.get('mmcv.cnn.bricks.transformer')
        if transformer is not None:  # mmpretrain's models import it; without ops it went without this class
            attention = importlib.import_module('mmcv.ops.multi_scale_deform_attn')
            transformer.MultiScaleDeformableAttention = attention.MultiScaleDeformableAttention
    if isinstance(sys.modules.get('mmcv._ext'), _StandIn):
        return True
    if not torch.cuda.is_available() or 'mmcv.ops' not in sys.modules or compiled_for('cuda'):
        return False
    for name, module in list(sys.modules.items()):
        own = getattr(module, 'ext_module', None) if name.startswith('mmcv.ops.') else None
        if own is not None and not isinstance(own, _StandIn):
            module.ext_module = _StandIn('mmcv._ext', own)  # type: ignore[attr-defined]
    return True


def compiled_for(device: str) -> bool:
    """Whether mmcv has ops that were compiled for a type of device."""
    if isinstance(sys.modules.get('mmcv._ext'), _StandIn) or importlib.util.find_spec('mmcv._ext') is None:
        return False
    version = importlib.import_module('mmcv.ops').get_compiling_cuda_version()
    return device == 'cpu' or version not in ('not available', 'n/a')


class _StandIn(ModuleType):
    """mmcv's extension module: the original for the CPU, if there is one, and torchvision otherwise."""

    def __init__(self, name: str, original: Any = None) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)  # without a loader, mmengine says 'not compiled', which is right
        self.__dict__['original'] = original

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)
        if name.startswith('get_comp'):  # versions of compilers
            return getattr(self.original, name, lambda: 'not available')

        def op(*args: Any, **options: Any) -> Any:
            device = next((arg.device.type for arg in args if isinstance(arg, Tensor)), 'cpu')
            if self.original is not None and device == 'cpu' and not name.startswith('roi_pool'):
                return getattr(self.original, name)(*args, **options)
            from .ops import OPS  # imports torchvision, which the package can do without

            if name not in OPS:
                raise GpuOpsError(f'mmcv has no op {name!r} compiled for {device}, and none stands in. {REMEDY}')
            return OPS[name](*args, **options)

        return op


def check_ops(model: nn.Module) -> None:
    """Checks before the first batch that the ops of a model are there for its device.

    Raises:
        GpuOpsError: names the layers whose ops neither mmcv nor torchvision has.
    """
    device = next((parameter.device.type for parameter in model.parameters()), 'cpu')
    missing = [
        f'{name} ({type(module).__name__} of {type(module).__module__})'
        for name, module in model.named_modules()
        if _is_missing(module)
    ]
    if missing and not compiled_for(device):
        some = ', '.join(missing[:3]) + (', ...' if len(missing) > 3 else '')
        raise GpuOpsError(
            f'mmcv has no ops compiled for {device}, and {len(missing)} layers need them: {some}. {REMEDY}'
        )


def _is_missing(module: nn.Module) -> bool:
    package, _, name = type(module).__module__.rpartition('.')
    return package == 'mmcv.ops' and name not in _SERVED
