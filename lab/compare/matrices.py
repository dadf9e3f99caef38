"""Other matrices in the place of the Gram matrices: which effects are due to the basis' own directions?"""

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

MATRICES = ('rotated', 'identity', 'acnet', 'repvgg')


@HOOKS.register_module()
class LabOtherMatrixHook(Hook):
    """Multiplies the gradients of refocused kernels by other matrices than those of the basis.

    - `'rotated'`: the Gram matrix of each layer with random eigenvectors and its own eigenvalues; one draw for each
      layer.
    - `'identity'`: plain training with weight decay to the basis in the place of zero (L2-SP).
    - `'acnet'`, `'repvgg'`: the fixed matrices that those re-parameterisations amount to while their branches are
      linear: a row and a column through the centre beside the kernel (arXiv 1908.03930), a 1x1 branch beside it
      (arXiv 2101.03697). A position that two branches share takes the sum of their steps.

    Args:
        matrix: one of `MATRICES`.
        seed: of the random eigenvectors.

    Raises:
        ValueError: an unknown matrix; in `before_train`, a layer that trains its map.
    """

    def __init__(self, matrix: str, seed: int = 0) -> None:
        if matrix not in MATRICES:
            raise ValueError(f'matrix must be one of {MATRICES}, got {matrix!r}')
        self.matrix, self.seed = matrix, seed

    def before_train(self, runner: Runner) -> None:
        for name, layer in named_refconvs(unwrapped(runner.model)):
            if not layer.root.ndim:
                raise ValueError(f'{name}: LabOtherMatrixHook needs layers of the root form, this one trains its map')
            if self.matrix == 'rotated':
                layer.root = rotated(layer.root, derived_seed(self.seed, name))
            else:
                layer.root = branch_matrix(layer, self.matrix).sqrt().expand_as(layer.root).to(layer.basis)


def rotated(root: Tensor, seed: int) -> Tensor:
    """Symmetric roots `(G, P, P)` with the same eigenvalues and random eigenvectors."""
    values = torch.linalg.eigvalsh(root.double())
    generator = torch.Generator().manual_seed(seed)
    basis, triangle = torch.linalg.qr(torch.randn(root.shape, generator=generator, dtype=torch.float64))
    basis = basis * triangle.diagonal(dim1=1, dim2=2).sign()[:, None]  # so that all rotations are equally likely
    return (basis @ torch.diag_embed(values) @ basis.mT).to(root)


def branch_matrix(layer: RefConv2d, matrix: str) -> Tensor:
    """The diagonal matrix of the branches of ACNet or RepVGG, or the identity; `(1, P, P)`."""
    height, width = layer.kernel_size
    count = torch.ones(height, width, dtype=torch.float64)
    if matrix == 'acnet':
        count[height // 2] += 1
        count[:, width // 2] += 1
    elif matrix == 'repvgg':
        count[height // 2, width // 2] += 1
    return torch.diag(count.flatten())[None]
