"""Other matrices in the place of the Gram matrices: what of refocusing is due to the basis' own directions?"""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from refconv_mm.layers import RefConv2d
from refconv_mm.openmmlab.models import unwrapped
from refconv_mm.surgery import named_refconvs
from .seeding import derived_seed

METRICS = ('turned', 'identity', 'acnet', 'repvgg')


@HOOKS.register_module()
class OtherMetricHook(Hook):
    """Multiplies the gradients of refocused kernels by other matrices than those of the basis.

    - `'turned'`: the Gram matrix of each layer with its eigenvectors turned at random, the same eigenvalues; one draw
      for each layer.
    - `'identity'`: plain training with weight decay to the basis in the place of zero (L2-SP).
    - `'acnet'`, `'repvgg'`: the fixed matrices that those re-parameterisations amount to while their branches are
      linear: a row and a column through the centre beside the kernel (arXiv 1908.03930), a 1x1 branch beside it
      (arXiv 2101.03697). A position that two branches share takes the sum of their steps.

    Args:
        metric: one of `METRICS`.
        seed: of the random turns.

    Raises:
        ValueError: an unknown metric; in `before_train`, a layer that trains its map.
    """

    def __init__(self, metric: str, seed: int = 0) -> None:
        if metric not in METRICS:
            raise ValueError(f'metric must be one of {METRICS}, got {metric!r}')
        self.metric, self.seed = metric, seed

    def before_train(self, runner: Runner) -> None:
        for name, layer in named_refconvs(unwrapped(runner.model)):
            if not layer.root.ndim:
                raise ValueError(f'{name}: OtherMetricHook needs layers of the root form, this one trains its map')
            if self.metric == 'turned':
                layer.root = turned(layer.root, derived_seed(self.seed, name))
            else:
                layer.root = branch_metric(layer, self.metric).sqrt().expand_as(layer.root).to(layer.basis)


def turned(root: Tensor, seed: int) -> Tensor:
    """Symmetric roots `(G, P, P)` with the same eigenvalues and random eigenvectors."""
    values = torch.linalg.eigvalsh(root.double())
    generator = torch.Generator().manual_seed(seed)
    basis, triangle = torch.linalg.qr(torch.randn(root.shape, generator=generator, dtype=torch.float64))
    basis = basis * triangle.diagonal(dim1=1, dim2=2).sign()[:, None]  # so that all rotations are equally likely
    return (basis @ torch.diag_embed(values) @ basis.mT).to(root)


def branch_metric(layer: RefConv2d, metric: str) -> Tensor:
    """The diagonal matrix of the branches of ACNet or RepVGG, or the identity; `(1, P, P)`."""
    height, width = layer.kernel_size
    count = torch.ones(height, width, dtype=torch.float64)
    if metric == 'acnet':
        count[height // 2] += 1
        count[:, width // 2] += 1
    elif metric == 'repvgg':
        count[height // 2, width // 2] += 1
    return torch.diag(count.flatten())[None]
