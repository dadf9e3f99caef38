"""The released layer, which trains the map itself whatever its size: a reference for costs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from refconv_mm.layers.transformation import apply_map, gain_scale
from refconv_mm.surgery import named_refconvs


class ReleasedRefConv2d(nn.Conv2d):
    """`Wt = Wb + s F(Wb)` with the map `F`, `(n, g, m, m)`, as the parameter `convmap`."""

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The kernel; classes of mmcv that pad by themselves read it here."""
        basis = self._parameters['weight']
        return basis + self.scale * apply_map(basis, self.convmap)


def with_released_layers(model: nn.Module) -> nn.Module:
    """Replaces the RefConv layers of a model, at their initialization, by released ones, in place; returns it."""
    for name, layer in named_refconvs(model):
        basis, map_k = layer.basis, layer.options.map_k
        conv = layer.to_conv2d()
        conv.weight.requires_grad_(False)
        bases = (ReleasedRefConv2d,) if type(conv) is nn.Conv2d else (ReleasedRefConv2d, type(conv))
        conv.__class__ = type('ReleasedRefConv2d', bases, {})
        shape = (basis.shape[0] * basis.shape[1], layer.groups, map_k, map_k)
        conv.convmap = nn.Parameter(basis.new_zeros(shape), layer.trained.requires_grad)
        conv.scale = torch.tensor(gain_scale(basis, layer.groups, map_k, layer.options.gain)).to(basis)
        parent, _, child = name.rpartition('.')
        setattr(model.get_submodule(parent), child, conv)
    return model
