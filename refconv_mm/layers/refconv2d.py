"""RefConv2d: a convolution whose kernel is a frozen basis plus a trained transformation of it."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.fx
from packaging.version import Version
from torch import Tensor, nn

from . import transformation as RF
from .checkpoint_keys import TRAINED, adopt_stored
from .in_place import begin, fuse_layer, initial_values, refocus_layer
from .options import RefConvOptions, split_options


class RefConv2d(nn.Conv2d):
    """Re-parameterized Refocusing Convolution (arXiv 2310.10563, section 3) in place of `nn.Conv2d`.

        Wt = Wb + V A        y = conv(x, Wt)

    The basis `Wb` is a buffer under the key `weight`, so a plain checkpoint fills it unrenamed. `V` is the parameter
    `refocus`, of the kernel's shape; `A` the buffer `root`, `(G, P, P)`. Where the released layer's map is no larger
    than the kernel, it trains itself: `Wt = Wb + s F(Wb)`, `refocus_map` and a scalar `root` (:mod:`.transformation`).

    `.weight` reads as the kernel `Wt`. It is computed, so a write into it is lost. Until the layer is loaded, trained
    or made from a convolution, it *is* the basis, and code that initializes it works as with `nn.Conv2d`. Assigning to
    `.weight` makes an ordinary convolution. A checkpoint without `refocus` fills the basis and initializes `refocus`.

    Args:
        *args, **kwargs: those of `nn.Conv2d`, and the options of :class:`RefConvOptions` by name. (`kinds` selects
            layers of a model; a RefConv2d is always refocused.)

    Attributes:
        options: the options.
        source: origin of basis and trained parameter: None (not filled yet), `'random'` (started from that), `'copied'`
            (by DDP and the like), `'plain checkpoint'`, `'refocused checkpoint'`, or `'model'` (surgery).

    Raises:
        TypeError, ValueError: a bad option, a pointwise layer, or a kernel smaller than the map.

    Example:
        >>> conv = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        >>> layer = RefConv2d(8, 8, 3, padding=1, groups=8)
        >>> _ = layer.load_state_dict(conv.state_dict())
        >>> x = torch.randn(1, 8, 5, 5)
        >>> bool(torch.allclose(layer(x), conv(x)))
        True
    """

    # The class that fusing returns to; a layer in place of another class inherits from both.
    plain_type: type[nn.Conv2d] = nn.Conv2d
    options: RefConvOptions
    source: str | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        options, rest = split_options(kwargs, self.plain_type)
        super().__init__(*args, **rest)
        if max(self.kernel_size) < max(2, options.map_k) or self.weight.is_complex():
            raise ValueError(f'RefConv2d takes real kernels of at least 2x1 and map_k, got {self.weight.shape}')
        begin(self, type(self), options)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The kernel `Wt`, `(O, I/g, KH, KW)`, differentiable with respect to the trained parameter."""
        basis = self._buffers.get('weight')
        if basis is None:  # while nn.Conv2d constructs itself
            return self.__getattr__('weight')
        if self.source is None and not self._was_filled():
            return basis
        try:
            trained, root, identity = getattr(self, self.trained_name), self._buffers['root'], self.options.identity
            if basis.is_meta or not _autocasts(basis.device.type):
                return RF.refocused_kernel(basis, trained, root, identity)
            with torch.autocast(basis.device.type, enabled=False):  # the convolution rounds the kernel, once
                return RF.refocused_kernel(basis, trained, root, identity)
        except AttributeError as error:  # nn.Module would answer it with the buffer of this name, the basis
            raise RuntimeError(f'the kernel of a RefConv layer cannot be computed: {error}') from error

    @property
    def basis(self) -> Tensor:
        """The frozen kernel `Wb`, `(O, I/g, KH, KW)`."""
        return self._buffers['weight']  # type: ignore[return-value]

    @property
    def trained_name(self) -> str:
        """Name of the trained parameter, which says what its numbers mean."""
        return TRAINED[self._buffers['root'].ndim == 0, self.options.identity]  # type: ignore[union-attr]

    @property
    def trained(self) -> nn.Parameter:
        """The trained parameter: `V`, `(O, I/g, KH, KW)`, or the map, `(n, g, m, m)`."""
        return getattr(self, self.trained_name)  # type: ignore[no-any-return]

    def forward(self, input: Tensor) -> Tensor:
        """Convolves `(N, C, H, W)` to `(N, O, H', W')`, as `nn.Conv2d`."""
        if isinstance(input, torch.fx.Proxy):
            # A traced kernel would be a constant. Like torch.nn's, this layer stays one node (efficient_conv_bn_eval).
            tracer = input.tracer
            assert isinstance(tracer, torch.fx.Tracer)
            node: Any = tracer.create_proxy('call_module', tracer.path_of_module(self), (input,), {})
            return node
        if self.source is None and self.training and torch.is_grad_enabled() and not self._was_filled():
            self.restart()
        return super().forward(input)

    def _was_filled(self) -> bool:
        """Whether values were copied into an unfilled layer from outside (by DDP, or into an averaged model)."""
        root = self._buffers['root']
        assert root is not None
        if not torch.compiler.is_compiling() and RF.has_values(root) and root.any():
            self.source = 'copied'
        return self.source is not None

    @torch.no_grad()
    def restart(self) -> None:
        """Computes the root of the basis and initializes the trained parameter. Call it after writing into `basis`."""
        value, self._buffers['root'] = initial_values(self.basis, self.groups, self.options)
        self.source = self.source or 'random'
        if self.trained.device == value.device:
            self.trained.copy_(value)
        else:  # the basis came by assignment into a layer on meta
            self.register_parameter(self.trained_name, nn.Parameter(value, self.trained.requires_grad))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draws a basis (and a bias) as `nn.Conv2d` draws its kernel; deferred initialization calls it."""
        if 'weight' in self._buffers:
            self.source = None
            self.trained.zero_(), self._buffers['root'].zero_()  # type: ignore[union-attr]
        super().reset_parameters()

    def to_conv2d(self) -> nn.Conv2d:
        """Returns a plain convolution with this kernel; inverse of :meth:`from_conv2d`."""
        return fuse_layer(copy.deepcopy(self))

    @classmethod
    def from_conv2d(cls, conv: nn.Conv2d, options: RefConvOptions | None = None) -> RefConv2d:
        """Returns a RefConv layer with a convolution's kernel as its basis."""
        options = options or RefConvOptions()
        values = initial_values(conv.weight, conv.groups, options)
        return refocus_layer(copy.deepcopy(conv), cls, options, values)

    # -- nn.Module, where a computed kernel matters --------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if name != 'weight' or 'weight' not in self.__dict__.get('_buffers', ()):
            super().__setattr__(name, value)
        elif '_is_replica' in self.__dict__:  # of nn.DataParallel
            self._buffers['weight'] = value
        elif value is not self.basis:  # the basis itself comes from load_state_dict(assign=True)
            if not isinstance(value, Tensor) or value.shape != self.basis.shape:
                got = tuple(value.shape) if isinstance(value, Tensor) else repr(value)
                raise ValueError(f'weight must be a tensor of shape {tuple(self.basis.shape)}, got {got}')
            fuse_layer(self, value)

    def __delattr__(self, name: str) -> None:
        if name == 'weight':
            raise TypeError(
                'the kernel of a RefConv layer takes no parametrization: its basis is frozen; fuse it first'
            )
        super().__delattr__(name)

    def extra_repr(self) -> str:
        return f'{super().extra_repr()}, map_k={self.options.map_k}, gain={self.options.gain}'

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, metadata: Any, strict: bool, missing_keys: list[str], *args: Any
    ) -> None:
        found, key = adopt_stored(state_dict, prefix, self.trained, self.groups, self.options), prefix + 'weight'
        fits = bool(found) and state_dict[key].shape == self.basis.shape
        if fits:
            self.source = None  # `.weight` is the basis, for classes that read it while they load
            if metadata.get('assign_to_params_buffers'):
                state_dict[key] = self._buffers['weight'] = state_dict[key].detach()
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing_keys, *args)
        if fits and found == 'plain checkpoint':
            self.restart()
            ours = (prefix + self.trained_name, prefix + 'root')
            missing_keys[:] = [name for name in missing_keys if name not in ours]
        self.source = (None if self.basis.is_meta else found) if fits else self.source


if Version(torch.__version__) < Version('2.6'):
    # The compiler of torch 2.1 takes the basis for `.weight`, without a word; it does not see a disabled function.
    RefConv2d.forward = torch.compiler.disable(RefConv2d.forward)  # type: ignore[method-assign]


def _autocasts(device: str) -> bool:
    if hasattr(torch, 'get_autocast_dtype'):  # torch 2.4 and newer
        return torch.is_autocast_enabled(device)
    return torch.is_autocast_cpu_enabled() if device == 'cpu' else torch.is_autocast_enabled()
