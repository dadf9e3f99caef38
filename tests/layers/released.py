"""The layer as the paper's code has it: the map itself trains. The reference of the tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ReleasedLayer(nn.Conv2d):
    """`Wt = Wb + s F(Wb)` with the map `F`, `(n, g, m, m)`, as the one trained number of the kernel.

    Args:
        conv: its kernel is the basis.
        gain: scales the map so that a refocused kernel moves that much faster than a plain one.
    """

    def __init__(self, conv: nn.Conv2d, map_k: int = 3, gain: float | None = None, identity: bool = True) -> None:
        super().__init__(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,
            conv.groups, conv.bias is not None, conv.padding_mode, dtype=conv.weight.dtype,
        )  # fmt: skip
        self.load_state_dict(conv.state_dict())
        self.weight.requires_grad_(False)
        slices = self.out_channels * self.in_channels // self.groups
        self.convmap = nn.Parameter(self.weight.new_zeros(slices, self.groups, map_k, map_k))
        self.identity = identity
        images = self.weight.reshape(-1, self.groups, *self.kernel_size)
        unfolded = F.unfold(images, map_k, padding=map_k // 2)  # U of each group
        mean = unfolded.square().sum() / (len(unfolded) * unfolded.shape[-1])
        self.scale = 1.0 if gain is None else (gain / mean).sqrt().item()

    def kernel(self) -> Tensor:
        """The effective kernel."""
        slices, width = self.convmap.shape[:2]
        image = self.weight.reshape(1, slices, *self.kernel_size)
        update = F.conv2d(image, self.convmap, padding=self.convmap.shape[-1] // 2, groups=slices // width)
        update = self.scale * update.view_as(self.weight)
        return self.weight + update if self.identity else update

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.kernel(), self.bias)

    def state(self) -> dict[str, Tensor]:
        """The state dict under the keys of the released code."""
        state = {'weight': self.weight, 'convmap.weight': self.convmap.detach() * self.scale}
        return state if self.bias is None else {**state, 'bias': self.bias}


def random_(layer: ReleasedLayer, scale: float = 0.05, seed: int = 3) -> ReleasedLayer:
    """Gives the layer a random map."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.convmap.copy_(torch.randn(layer.convmap.shape, generator=generator) * scale)
    return layer
