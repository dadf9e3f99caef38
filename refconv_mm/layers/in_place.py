"""A convolution becomes a RefConv layer in place, and the reverse.

The class of the object changes, as in :mod:`torch.nn.utils.parametrize`, and its kernel moves from the parameters to
the buffers. So hooks, shared layers and references that somebody holds stay valid.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from . import transformation as RF
from .checkpoint_keys import TRAINED
from .options import RefConvOptions


@torch.no_grad()
def initial_values(basis: Tensor, groups: int, options: RefConvOptions) -> tuple[Tensor, Tensor]:
    """Computes the trained parameter and the root with which a layer of this basis begins, in the basis' dtype."""
    root, inverse = RF.make_roots(basis, groups, options.map_k, options.gain)
    if options.init == 'zero' or not RF.has_values(basis):
        return basis.new_zeros(RF.shapes(basis, groups, options.map_k)[0]), root.to(basis)
    kernel_map = RF.initial_map(options.init, len(basis) * basis.shape[1], groups, options.map_k)
    if options.init == 'kaiming':  # drawn as released; a gain scales what it does
        kernel_map *= RF.gain_scale(basis, groups, options.map_k, options.gain)
    return RF.coordinates(kernel_map, basis, inverse).to(basis), root.to(basis)


def begin(conv: nn.Conv2d, kind: type, options: RefConvOptions) -> Any:
    """Turns a convolution that nothing has filled yet into a RefConv layer in that state, in place, and returns it."""
    shapes = RF.shapes(conv.weight, conv.groups, options.map_k)
    refocus_layer(conv, kind, options, (conv.weight.new_zeros(shapes[0]), conv.weight.new_zeros(shapes[1])))
    conv.__dict__['source'] = None
    return conv


def refocus_layer(conv: nn.Conv2d, kind: type, options: RefConvOptions, values: tuple[Tensor, Tensor]) -> Any:
    """Turns a convolution into a RefConv layer, in place, and returns it; inverse of :func:`fuse_layer`.

    The trained parameter takes the first place among the parameters, which the kernel had.

    Args:
        kind: the class of the layer; its `plain_type` is the convolution's class.
        values: of :func:`initial_values`.
    """
    kernel, (trained, root) = conv._parameters.pop('weight'), values
    assert kernel is not None
    # A copy: an optimizer that has the kernel must not step the basis.
    conv._buffers = {'weight': kernel.detach().clone(), 'root': root, **conv._buffers}
    name = TRAINED[root.ndim == 0, options.identity]
    conv._parameters = {name: nn.Parameter(trained, kernel.requires_grad), **conv._parameters}
    conv.__dict__.update(options=options, source='model')
    conv.__class__ = kind
    return conv


def fuse_layer(layer: Any, kernel: Tensor | None = None) -> Any:
    """Turns a RefConv layer into a convolution with its kernel (or with another one), in place, and returns it."""
    kernel = layer.weight.detach().clone() if kernel is None else kernel
    trained = layer._parameters.pop(layer.trained_name)
    del layer._buffers['weight'], layer._buffers['root'], layer.options, layer.source
    layer.__class__ = layer.plain_type
    parameter = kernel if isinstance(kernel, nn.Parameter) else nn.Parameter(kernel.detach(), trained.requires_grad)
    layer._parameters = {'weight': parameter, **layer._parameters}
    return layer
