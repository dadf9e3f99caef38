"""RefConv2d: a convolution whose kernel is a frozen basis plus a trained transformation of it."""

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn

from . import transformation as RF
from .checkpoint_keys import adopt_stored
from .options import RefConvOptions, split_options

is_compiling = getattr(torch.compiler, 'is_compiling', torch._utils.is_compiling)  # torch 2.3 and newer
# The compiler of torch 2.1 and `torch.export` of 2.6 take the basis for `.weight`, without a word; 2.14 does not.
SHADOWED = torch.__version__ < (2, 14)  # type: ignore[operator]


class RefConv2d(nn.Conv2d):
    """Re-parameterized Refocusing Convolution (arXiv 2310.10563, section 3) in place of `nn.Conv2d`.

        Wt = Wb + V A        y = conv(x, Wt)

    The basis `Wb` is a buffer under the key `weight`, so a plain checkpoint fills it unrenamed. `V` is the parameter
    `refocus`, of the kernel's shape; `A` the buffer `root`, `(G, P, P)`. Where the released layer's map is no larger
    than the kernel, the map trains: `Wt = Wb + s F(Wb)`, `refocus_map` and a scalar `root` (:mod:`.transformation`).

    `.weight` reads as the kernel `Wt`. It is computed, so a write into it is lost; assigning makes an ordinary
    convolution. Until the layer is loaded, trained or made from a convolution, it *is* the basis, and code that
    initializes it works as with `nn.Conv2d`. A plain checkpoint fills the basis and initializes `refocus`.

    Args:
        *args, **kwargs: those of `nn.Conv2d`, and by name those of :class:`RefConvOptions`, its attribute `options`.

    Attributes:
        trained_name: name of the trained parameter, which says what its numbers mean.
        source: origin of the values: None (not filled yet), `'random'` (trained from there), `'copied'` (by DDP and the
            like), `'plain checkpoint'`, `'refocused checkpoint'`, or `'model'` (surgery).

    Raises:
        TypeError, ValueError: a bad option; a kernel that is pointwise, smaller than the map, complex, or empty.
    """

    plain_type: type[nn.Conv2d] = nn.Conv2d
    source: str | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        options, rest = split_options(kwargs, self.plain_type)
        super().__init__(*args, **rest)
        refocus_layer(self, type(self), options)

    def __init_subclass__(cls) -> None:
        """A layer in place of another class of convolutions inherits from both; fusing returns to that class."""
        cls.plain_type = cls.__mro__[cls.__mro__.index(RefConv2d) + 1]
        REFCONV_FOR.setdefault(cls.plain_type, cls)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The kernel `Wt`, `(O, I/g, KH, KW)`, differentiable with respect to the trained parameter."""
        basis = self._buffers.get('weight')
        if basis is None:  # while nn.Conv2d constructs itself
            return self.__getattr__('weight')
        if self.source is None and self._is_unfilled():
            return basis
        try:
            values = basis, getattr(self, self.trained_name), self._buffers['root'], self.options.identity
            if not RF.autocasts(device := basis.device.type):
                return RF.refocused_kernel(*values)
            with torch.autocast(device, enabled=False):  # the convolution rounds the kernel, once
                return RF.refocused_kernel(*values)
        except AttributeError as error:  # nn.Module would answer it with the buffer of this name, the basis
            raise RuntimeError(f'the kernel of a RefConv layer cannot be computed: {error}') from error

    @property
    def basis(self) -> Tensor:
        """The frozen kernel `Wb`, `(O, I/g, KH, KW)`."""
        return self._buffers['weight']

    @property
    def trained(self) -> nn.Parameter:
        """The trained parameter: `V`, `(O, I/g, KH, KW)`, or the map, `(n, g, m, m)`."""
        return getattr(self, self.trained_name)

    def forward(self, input: Tensor) -> Tensor:
        """Convolves `(N, C, H, W)` to `(N, O, H', W')`, as `nn.Conv2d`."""
        if isinstance(input, fx.Proxy):
            # A traced kernel would be a constant. Like torch.nn's, this layer stays one node (efficient_conv_bn_eval).
            return input.tracer.create_proxy('call_module', input.tracer.path_of_module(self), (input,), {})
        if self.source is None and self.training and torch.is_grad_enabled() and self._is_unfilled():
            self.restart()
        if SHADOWED and is_compiling() and self.source is not None and self.weight is self.basis:
            raise RuntimeError('this compiler takes the basis for the kernel: export with strict=False, or fuse first')
        return super().forward(input)

    def _is_unfilled(self) -> bool:
        """Whether nothing has filled a layer without a source; values may come by DDP or into an averaged model."""
        if is_compiling():  # values cannot be looked at
            raise RuntimeError('the origin of the kernel is not known: load or call the RefConv layer before compiling')
        self.source = 'copied' if RF.has_values(root := self._buffers['root']) and root.any() else None
        return self.source is None

    @torch.no_grad()
    def restart(self) -> None:
        """Computes the root of the basis and initializes the trained parameter. Call it after writing into `basis`."""
        values = RF.initial_values(self.basis, self.groups, self.options)
        self.trained.copy_(values[0]), self._buffers['root'].copy_(values[1])
        self.source = self.source or 'random'

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draws a basis (and a bias) as `nn.Conv2d` draws its kernel; deferred initialization calls it."""
        if 'weight' in self._buffers:
            self.source = None
            self.trained.zero_(), self._buffers['root'].zero_()
        super().reset_parameters()

    def to_conv2d(self) -> nn.Conv2d:
        """Returns a plain convolution with this kernel; inverse of :meth:`from_conv2d`."""
        return fuse_layer(copy.deepcopy(self))

    @classmethod
    def from_conv2d(cls, conv: nn.Conv2d, options: RefConvOptions = RefConvOptions()) -> 'RefConv2d':  # noqa: B008
        """Returns a RefConv layer with a convolution's kernel as its basis; TypeError for a class of other layers."""
        if type(conv) is not cls.plain_type:
            raise TypeError(f'{cls.__name__} is for {cls.plain_type.__name__} layers, got {type(conv).__name__}')
        return refocus_layer(copy.deepcopy(conv), cls, options, RF.initial_values(conv.weight, conv.groups, options))

    def __setattr__(self, name: str, value: Any) -> None:
        if name != 'weight' or 'weight' not in self.__dict__.get('_buffers', ()):
            super().__setattr__(name, value)
        elif '_is_replica' in self.__dict__:  # of nn.DataParallel
            self._buffers['weight'] = value
        elif value is not self.basis:  # the basis itself comes from load_state_dict(assign=True)
            if not isinstance(value, Tensor) or value.shape != self.basis.shape:
                raise ValueError(f'weight must be of {self.basis.shape}, got {getattr(value, "shape", value)}')
            fuse_layer(self, value)

    def __delattr__(self, name: str) -> None:
        if name == 'weight':
            raise TypeError('a RefConv layer takes no parametrization, since its basis is frozen: fuse it first')
        super().__delattr__(name)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *args: Any) -> None:
        assign = bool(local_metadata.get('assign_to_params_buffers'))
        if (found := adopt_stored(self, state_dict, prefix, assign)) and assign:
            self._buffers['weight'] = state_dict[prefix + 'weight']
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)
        if found:
            self.source = None if self.basis.is_meta else found


def refocus_layer(conv: Any, cls: type, options: RefConvOptions, values: tuple[Tensor, Tensor] | None = None) -> Any:
    """Turns a convolution into a layer of the class `cls`, in place, and returns it; inverse of :func:`fuse_layer`.

    The object's class changes, as in :mod:`torch.nn.utils.parametrize`, so hooks and references stay valid. The trained
    parameter takes the kernel's place, the first. `values`: :func:`.transformation.initial_values`, or None: unfilled.
    """
    kernel = conv._parameters.pop('weight')
    trained, root = values or map(kernel.new_zeros, RF.shapes(kernel, conv.groups, options.map_k))
    name = 'refocus' + '_map' * (root.ndim == 0) + '_alone' * (not options.identity)
    # A copy: an optimizer that has the kernel must not step the basis.
    conv._buffers = {'weight': kernel.detach().clone(), 'root': root, **conv._buffers}
    conv._parameters = {name: nn.Parameter(trained, kernel.requires_grad), **conv._parameters}
    conv.__dict__.update(options=options, trained_name=name, source='model' if values else None)
    conv.__class__ = cls
    return conv


def fuse_layer(layer: Any, kernel: Tensor | None = None) -> Any:
    """Turns a RefConv layer into a convolution with its kernel (or with another one), in place, and returns it."""
    kernel = layer.weight.detach().clone() if kernel is None else kernel
    if not isinstance(kernel, nn.Parameter):
        kernel = nn.Parameter(kernel.detach(), layer.trained.requires_grad)
    del layer._parameters[layer.trained_name], layer._buffers['weight'], layer._buffers['root']
    del layer.options, layer.trained_name, layer.source
    layer.__class__ = layer.plain_type
    layer._parameters = {'weight': kernel, **layer._parameters}
    return layer


REFCONV_FOR: dict[type, type[RefConv2d]] = {nn.Conv2d: RefConv2d}  # by the class of a convolution
