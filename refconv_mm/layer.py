"""RefConv2d: a convolution whose kernel is a frozen basis plus a trainable transformation of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import torch
import torch.fx
from mmengine.registry import MODELS
from packaging.version import Version
from torch import Tensor, nn

from . import functional as RF
from .options import DEFAULTS, RefConvOptions, kind_of
from .stored import TRAINED, adopt_stored

Conv = TypeVar('Conv', bound=nn.Conv2d)


@MODELS.register_module(name='RefConv')
class RefConv2d(nn.Conv2d):
    """Re-parameterized Refocusing Convolution (arXiv 2310.10563, section 3), a drop-in for `nn.Conv2d`.

    The kernel is `Wt = Wb + refocus(Wb)`. The basis `Wb` is a buffer under the key `weight`, so a plain checkpoint
    fills it unrenamed. The only trainable part of the kernel is the parameter `refocus`, the update: of the kernel's
    shape, with its gradient multiplied by the Gram matrix of the basis (:mod:`refconv_mm.functional`). `.weight`
    *reads* as the effective kernel `Wt`, for code that computes with a convolution's kernel (mmcv's `fuse_conv_bn`,
    exporters). `.basis` is the frozen kernel.

    A pointwise layer (kernel 1 x 1) has nothing to refocus, and a kernel smaller than the map cannot be: both are
    ordinary trainable convolutions, and so is a layer that is not of the `kinds`.

    Loading a checkpoint without an update makes its kernel the basis and puts the update back to its start.

    `.weight` is computed when it is read. So a write into it is lost: `nn.init.*(layer.weight)`, mmengine's
    `kaiming_init(layer)`, `layer.weight.data`, `layer.weight.copy_`. Write into `layer.basis` instead, under
    `torch.no_grad()`, and call :meth:`restart` (or :meth:`refresh`, to keep the update). :meth:`reset_parameters`
    draws a new basis.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype:
            as in `nn.Conv2d`.
        **options: `map_k`, `init`, `identity`, `form`, `gain`, `kinds`; see :class:`RefConvOptions`.

    Attributes:
        options: the options.
        form: what trains: `'update'` or `'explicit'`; `'plain'` in an ordinary convolution.
        basis_source: where the basis came from: `'random'`, `'checkpoint'` or `'model'` (surgery).
        trained_source: where the update came from: `'start'` or `'checkpoint'`.

    Raises:
        TypeError, ValueError: a bad option.
        TypeError: the kernel is parametrized (weight norm, spectral norm) or the update pruned afterwards.

    Example:
        >>> conv = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        >>> layer = RefConv2d(8, 8, 3, padding=1, groups=8)
        >>> _ = layer.load_state_dict(conv.state_dict())
        >>> x = torch.randn(1, 8, 5, 5)
        >>> bool(torch.allclose(layer(x), conv(x)))
        True
    """

    # The class that the layer stands for: its forward computes, with `.weight` as the kernel. Fusing returns to it.
    plain_type: type[nn.Conv2d] = nn.Conv2d

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | str | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = 'zeros',
        device: Any = None,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        chosen = RefConvOptions.of(options)
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype
        )
        self._begin(chosen)

    def _begin(self, options: RefConvOptions) -> None:
        """Makes the kernel of an ordinary convolution the basis."""
        self.options, self.form = options, 'plain'
        self.basis_source, self.trained_source = 'random', 'start'
        kernel = self._parameters['weight']
        assert kernel is not None
        if max(self.kernel_size) < max(options.map_k, 2) or kind_of(self) not in options.kinds:
            self.register_parameter('refocus', None)
            return
        self.geometry = RF.geometry(kernel.shape, self.groups, options.map_k)
        self.form = 'explicit' if options.form == 'explicit' else 'update'
        # Drawn only where it is used: with a zero start the rest of the model draws as without RefConv.
        self._seed = int(torch.randint(2**31, ())) if options.start.random else 0
        del self._parameters['weight']
        basis = kernel.detach()
        self.register_buffer('weight', basis)
        self.register_buffer('metric', None, persistent=False)
        trained = basis.new_zeros(self.geometry.map_shape) if self.form == 'explicit' else torch.zeros_like(basis)
        self.register_parameter(self.trained_name, nn.Parameter(trained, kernel.requires_grad))
        self.restart()

    # -- the kernel ----------------------------------------------------------------------------------------

    @property
    def is_refocused(self) -> bool:
        """Whether the kernel is a transformed basis (False: an ordinary convolution)."""
        return 'weight' in self._buffers

    @property
    def basis(self) -> Tensor:
        """The frozen kernel `Wb`, `(O, I/g, KH, KW)`.

        Raises:
            ValueError: an ordinary convolution has none.
        """
        basis = self._buffers.get('weight')
        if basis is None:
            raise ValueError('this layer is an ordinary convolution (pointwise, or its kernel was assigned): no basis')
        return basis

    @property
    def trained_name(self) -> str:
        """Name of the parameter that trains, which says what its numbers mean (:mod:`refconv_mm.stored`)."""
        return TRAINED[self.form, self.options.identity]

    @property
    def trained(self) -> nn.Parameter:
        """The parameter that trains: the update, `(O, I/g, KH, KW)`, or the explicit map, `(n, g, m, m)`."""
        trained = self._parameters['weight' if self.form == 'plain' else self.trained_name]
        assert trained is not None
        return trained

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The effective kernel `Wt`, `(O, I/g, KH, KW)`; differentiable with respect to the update."""
        plain = self._parameters.get('weight')
        if plain is not None:
            return plain
        if 'weight' not in self._buffers:  # nn.Module asks while it replaces one by the other
            raise AttributeError('weight')
        kernel, update = self._compose(self.basis, self.trained), self.form == 'update'
        if kernel.requires_grad and (update or self.metric is not None):
            RF.precondition(kernel, self.metric, self.basis if update else None, self.options.map_k)
        return kernel

    def _compose(self, basis: Tensor, trained: Tensor) -> Tensor:
        if self.form == 'explicit':
            # Autocast would round the update to half precision. The kernel is rounded once, by the convolution.
            with torch.autocast(basis.device.type, enabled=False):
                trained = RF.explicit_update(basis, trained, self.geometry.groups).view_as(basis)
        return basis + trained if self.options.identity else trained.view_as(trained)

    def exact_kernel(self) -> Tensor:
        """The effective kernel composed in float64, detached."""
        if not self.is_refocused:
            return self.weight.detach().double()
        return self._compose(self.basis.double(), self.trained.detach().double())

    def forward(self, input: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, O, H', W')`, as `nn.Conv2d`."""
        if isinstance(input, torch.fx.Proxy):
            # A traced kernel would be a constant. Like torch.nn's, this layer stays one node (efficient_conv_bn_eval).
            tracer = input.tracer
            assert isinstance(tracer, torch.fx.Tracer)
            return tracer.create_proxy('call_module', tracer.path_of_module(self), (input,), {})  # type: ignore[return-value]
        return self.plain_type.forward(self, input)

    def __prepare_scriptable__(self) -> nn.Conv2d:
        # TorchScript knows no hooks, so it cannot train the layer; and what this returns replaces the user's layer.
        raise TypeError('torch.jit.script does not compile RefConv layers: fuse a copy of the model and script that')

    # -- start and conversion ------------------------------------------------------------------------------

    @torch.no_grad()
    def refresh(self) -> None:
        """Derives the metric from the basis: Gram matrices, or the gain's factor where none are kept.

        Loading, assigning and restarting do it; a basis that is written in place needs this call. The metric is a
        buffer: it moves and is cast with the layer, and state dicts leave it out.
        """
        basis, geo, options = self.basis, self.geometry, self.options
        factor = 1.0 if basis.is_meta else RF.gain_factor(basis, geo, options.gain)
        if self.form == 'update' and geo.width > 1:
            self.metric = (RF.gram_matrices(basis, geo) * factor).to(basis)
        elif options.gain is not None:
            self.metric = basis.new_tensor(factor)

    @torch.no_grad()
    def restart(self) -> None:
        """Puts the update to its start, as it follows from `init` and the basis."""
        if not self.is_refocused:
            return
        self.refresh()
        self.trained_source = 'start'
        basis, geo, options = self.basis, self.geometry, self.options
        if self.trained.device != basis.device:  # the basis came by assignment into a layer on meta
            made = torch.zeros_like(self.trained, device=basis.device)
            self.register_parameter(self.trained_name, nn.Parameter(made, self.trained.requires_grad))
        if options.start.rows is None or basis.is_meta or not torch.isfinite(basis).all():
            self.trained.zero_()  # a basis that is not finite is for RefConvHook to name
            return
        scale = math.sqrt(RF.gain_factor(basis, geo, options.gain))
        if self.form == 'explicit':
            self.trained.copy_(RF.starting_map(geo, options.start, scale, self._seed))
        else:
            self.trained.copy_(RF.starting_update(basis, geo, options.start, scale, self._seed))

    def reset_parameters(self) -> None:
        """Draws a new basis (and bias), as `nn.Conv2d` draws its kernel, and puts the update to its start.

        Deferred initialisation calls it after `to_empty`.
        """
        basis = self._buffers.get('weight')
        if basis is None:
            super().reset_parameters()
            return
        drawn = nn.Conv2d(self.in_channels, self.out_channels, self.kernel_size, groups=self.groups)
        with torch.no_grad():
            basis.copy_(drawn.weight)
            if self.bias is not None:
                self.bias.copy_(drawn.bias)
        self.basis_source = 'random'
        self.restart()

    @torch.no_grad()
    def to_conv2d(self) -> nn.Conv2d:
        """A plain convolution with the effective kernel, in this layer's class, dtype and memory format."""
        conv = _twin(self, self.plain_type, leave=('weight', 'metric', *TRAINED.values()))
        for name in _OWN & vars(conv).keys():
            del conv.__dict__[name]
        # A sum is as exact as it can be; the sums of an explicit map are composed in float64.
        kernel = self.exact_kernel().to(self.basis) if self.form == 'explicit' else self.weight.detach().clone()
        conv._parameters = {'weight': nn.Parameter(kernel, self.trained.requires_grad), **conv._parameters}
        return conv

    @classmethod
    @torch.no_grad()
    def from_conv2d(cls, conv: nn.Conv2d, options: RefConvOptions = DEFAULTS) -> RefConv2d:
        """A RefConv layer with `conv`'s kernel as its basis; inverse of :meth:`to_conv2d` at the zero start."""
        layer = _twin(conv, cls)
        layer.plain_type = type(conv)
        layer._begin(options)
        layer.basis_source = 'model'
        return layer

    # -- what nn.Module does, where a derived kernel matters -----------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if name == 'weight' and self.__dict__.get('_buffers', {}).get(name) is not None:
            if not isinstance(value, nn.Parameter):
                # load_state_dict(assign=True): a new basis. nn.Module would read `.weight` first, and compose it.
                self._buffers[name] = value
                return
            # Who assigns a parameter (mmcv's fuse_conv_bn) means the effective kernel: an ordinary layer from now on.
            del self._parameters[self.trained_name]
            self.refocus, self.metric, self.form = None, None, 'plain'
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name == 'weight' and self.is_refocused:
            raise TypeError(
                "weight norm, spectral norm and other parametrizations do not go with a RefConv layer's kernel, whose "
                'basis is frozen; fuse the model first'
            )
        super().__delattr__(name)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        if name.removesuffix('_orig') in TRAINED.values() and name.endswith('_orig'):
            raise TypeError(f'{name.removesuffix("_orig")}: the update is not a kernel to prune; fuse the model first')
        super().register_parameter(name, param)

    def extra_repr(self) -> str:
        if not self.is_refocused:
            return super().extra_repr()
        options = asdict(self.options)
        del options['kinds']  # this layer is one of them
        return ', '.join([super().extra_repr(), *(f'{name}={value}' for name, value in options.items())])

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        basis_key, key = prefix + 'weight', prefix + (self.trained_name if self.is_refocused else 'refocus')
        adopt_stored(state_dict, prefix, self.form, self.options.identity, self.geometry if self.is_refocused else None)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        if not self.is_refocused:
            return
        if key in state_dict:
            self.trained_source = 'checkpoint'
        if basis_key in state_dict and state_dict[basis_key].shape == self.basis.shape:
            self.basis_source = 'checkpoint'
            self.refresh() if key in state_dict else self.restart()
        # Only a checkpoint that has neither is incomplete; one without an update is a plain one.
        if basis_key in state_dict and key in missing_keys:
            missing_keys.remove(key)


if Version(torch.__version__) < Version('2.6'):
    # The compiler of torch 2.1 takes the basis for `.weight`, without a word; it does not see a disabled function.
    RefConv2d.forward = torch.compiler.disable(RefConv2d.forward)  # type: ignore[method-assign]

# What a RefConv layer has and a plain one has not, beside parameters and buffers.
_OWN = {'options', 'form', 'basis_source', 'trained_source', 'geometry', 'plain_type', '_seed'}


def _twin(conv: nn.Conv2d, kind: type[Conv], leave: Sequence[str] = ()) -> Conv:
    """A convolution of another class with the same attributes and copies of the parameters and buffers.

    Args:
        leave: names of the parameters and buffers that it does not get.
    """
    new: Conv = object.__new__(kind)
    nn.Module.__init__(new)
    new.__dict__.update({name: value for name, value in vars(conv).items() if name not in vars(new)})
    for name, parameter in conv._parameters.items():
        if name not in leave:
            copied = None if parameter is None else nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
            new.register_parameter(name, copied)
    for name, buffer in conv._buffers.items():
        if name not in leave:
            new.register_buffer(name, None if buffer is None else buffer.clone())
    return new.train(conv.training)
