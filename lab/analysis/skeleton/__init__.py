"""How large the weights are at each position of the kernels, before and after: centre, cross, corners.

skeleton plain.pth control.pth fused.pth --names before,control,refocused --out-dir work_dirs/inside
-> skeleton.md, skeleton.json, skeleton.png (the net), skeleton_layers.png

Any nets can stand side by side, as far as their layers have the same names and shapes.
"""

from dataclasses import dataclass

from ..common.options import Analysis


@dataclass(frozen=True)
class SkeletonOptions:
    """None beside the source's."""


ANALYSIS = Analysis(
    name='skeleton',
    title='Skeleton of kernels',
    text=__doc__,
    source='kernels',
    options=SkeletonOptions,
    captions=dict(
        skeleton='Mean magnitude at each kernel position over the net, what changed, and the regions over depth',
        skeleton_layers='Mean magnitude at each kernel position, layer by layer',
    ),
)
