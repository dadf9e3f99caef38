"""RefConv (Re-parameterized Refocusing Convolution, arXiv 2310.10563) for OpenMMLab.

checkpoint -> refocused model -> train -> fuse -> plain checkpoint -> test

Layer and surgery need torch and rich alone. Where mmengine and mmcv are installed, the import registers the names that
configs use (RefConv, RefConvAdaptivePadding, RefocusedBackbone, RefConvHook). It changes nothing in other libraries;
`refconv_mm.openmmlab.prepare()` does, and our commands call it.
"""

from importlib.util import find_spec

from .layers import RefConv2d, RefConvOptions
from .surgery import fuse, refocus
from .version import __version__

if find_spec('mmengine') and find_spec('mmcv'):
    from .openmmlab import build_refocused_backbone, plain_config  # isort: skip  it checks the versions
    from .hooks import RefConvHook
else:

    def __getattr__(name: str) -> object:
        if name in __all__:
            raise ImportError(
                f'refconv_mm.{name} needs OpenMMLab: pip install mmengine==0.10.7 mmcv-lite==2.1.0, and the library '
                'of your config: mmdet, mmsegmentation or mmpretrain'
            )
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


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
