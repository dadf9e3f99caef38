"""Curvature of the task loss at checkpoints: Hessian eigenvalues, trace and density, and sharpness within a radius.

curvature CONFIG plain.pth control.pth fused.pth --names before,control,refocused --out-dir DIR
-> curvature.md, curvature.json, curvature.png

Real images of the config, the same for all; a refocused checkpoint is fused in memory. Each figure is raw and relative
to the weights, which rescaling can't fake, and has a standard error. Checkpoints done are kept in
DIR/curvature_parts.jsonl. A product with the Hessian takes as long as four gradients; fewer --batches, --probes,
--lanczos take less.
"""

import math
from dataclasses import dataclass

from ..common.options import Analysis, option


@dataclass(frozen=True)
class CurvatureOptions:
    """How much is measured; radii are those of the sharpness, in each unit as SAM and ASAM count them."""

    eigenvalues: int = option(3, 'how many of the largest eigenvalues')
    probes: int = option(10, 'random vectors of the trace estimate')
    lanczos: int = option(30, 'steps of each Lanczos quadrature of the density')
    starts: int = option(2, 'quadratures, for the error of the density')
    radii: tuple[float, ...] = option((0.01, 0.02, 0.05), 'radii of the sharpness')
    ascent: int = option(5, 'steps up the gradient within a radius')
    params: tuple[str, ...] = option(('*',), 'globs on parameter names')
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in dict(eigenvalues=1, probes=1, lanczos=2, starts=1, ascent=1).items():
            if getattr(self, name) < least:
                raise ValueError(f'--{name} must be at least {least}, got {getattr(self, name)}')
        if not self.radii or not all(0 < radius < math.inf for radius in self.radii):
            raise ValueError(f'--radii must be positive, got {list(self.radii)}')


ANALYSIS = Analysis(
    name='curvature',
    title='Curvature of the task loss',
    text=__doc__,
    source='task',
    options=CurvatureOptions,
    captions=dict(
        curvature='Largest eigenvalues, trace and spectral density of the Hessian, and sharpness by radius',
    ),
    defaults=dict(batches=8, batch_size=2),
)
