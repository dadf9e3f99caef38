"""Compares a refocused model with its plain model on an input, layer by layer and end to end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from ..files.errors import FuseError
from ..layers import RefConv2d
from ..openmmlab.image_size import tested_size
from ..surgery import named_refconvs

# Relative to the largest magnitude of the refocused output. Both models compute in float32 with kernels that differ
# by its rounding (6e-8): the outputs of a layer differ by about 1e-6, those of fifty layers by ten times that.
LAYER_TOLERANCE = 1e-5
MODEL_TOLERANCE = 1e-4


@dataclass
class Comparison:
    """Differences between a refocused and a plain model, relative to the largest output.

    Attributes:
        layers: by name of the RefConv layer, on the same input.
        model: end to end.
        outputs: the method whose outputs were compared end to end, `'forward'` or `'extract_feat'`.
        shape: of the input.
    """

    layers: dict[str, float] = field(default_factory=dict)
    model: float = float('nan')
    outputs: str = ''
    shape: tuple[int, ...] = ()

    @property
    def worst(self) -> tuple[str, float]:
        """Name and difference of the worst layer; a NaN counts as the worst."""
        return max(self.layers.items(), key=lambda item: float('inf') if item[1] != item[1] else item[1])

    def check(self) -> None:
        """Raises a FuseError that names the worst layer if a difference exceeds its tolerance or is not finite."""
        name, difference = self.worst
        if not difference <= LAYER_TOLERANCE:
            raise FuseError(
                f'the fused model is not the refocused one: layer {name} differs by {difference:.1e} of its largest '
                f'output (tolerance {LAYER_TOLERANCE:.0e}); nothing was written'
            )
        if not self.model <= MODEL_TOLERANCE:
            raise FuseError(
                f'the fused model is not the refocused one: end to end ({self.outputs}) it differs by '
                f'{self.model:.1e} of the largest output (tolerance {MODEL_TOLERANCE:.0e}), while its layers '
                f'agree; the worst of them is {name} with {difference:.1e}; nothing was written'
            )

    def __str__(self) -> str:
        name, difference = self.worst
        part = 'features' if self.outputs == 'extract_feat' else 'outputs'
        return (
            f'the {part} of the fused and the refocused model differ by {self.model:.2g} of the largest, those of the '
            f'{len(self.layers)} layers by at most {difference:.2g} ({name}); input {"x".join(map(str, self.shape))}'
        )


@torch.no_grad()
def compare_models(refocused: nn.Module, plain: nn.Module, inputs: Tensor) -> Comparison:
    """Compares a refocused and a plain model on an input, end to end and layer by layer.

    Each RefConv layer is compared on the input that it got in the refocused model, so differences of earlier layers do
    not count. A layer that the input does not reach is compared on a random input.

    Args:
        refocused: the model with RefConv layers, in eval mode.
        plain: the same architecture with ordinary convolutions, in eval mode.
        inputs: normalised images, `(N, C, H, W)`.

    Returns:
        The differences; `check()` refuses those above the tolerances.

    Raises:
        FuseError: the refocused model does not run on the inputs.
    """
    layers, seen = named_refconvs(refocused), dict[nn.Module, Tensor]()

    def note(layer: nn.Module, args: tuple) -> None:
        seen.setdefault(layer, args[0])

    handles = [layer.register_forward_pre_hook(note) for _, layer in layers]
    try:
        expected, how = _outputs(refocused, inputs)
    except (RuntimeError, AssertionError, ValueError) as error:  # of a net that takes one size
        raise FuseError(
            f'the refocused model does not run on an input of shape {tuple(inputs.shape)}, so nothing can be compared: '
            f'{error}; name the size that it takes (--shape HEIGHT WIDTH)'
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    result = Comparison(outputs=how, shape=tuple(inputs.shape))
    for name, layer in layers:
        x = seen[layer] if layer in seen else random_input(layer)
        result.layers[name] = relative_difference(layer(x), plain.get_submodule(name)(x))
    got, _ = _outputs(plain, inputs, how)
    differences = [relative_difference(a, b) for a, b in zip(tensors_of(expected), tensors_of(got), strict=True)]
    result.model = torch.tensor(differences).max().item()  # Python's max() can lose a NaN
    return result


def random_input(layer: RefConv2d) -> Tensor:
    """A seeded normal input that the kernel fits into, `(1, C, H, W)`."""
    kh, kw = (d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.kernel_size, strict=True))
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, layer.in_channels, kh + 8, kw + 8, generator=generator).to(layer.basis)


def relative_difference(expected: Tensor, got: Tensor) -> float:
    """The largest difference relative to the largest expected magnitude; NaN if a value is not finite."""
    if expected.shape != got.shape:
        return float('inf')
    if not expected.numel():
        return 0.0
    scale = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    return ((expected - got).abs().max() / scale).item()


def _outputs(model: nn.Module, inputs: Tensor, how: str | None = None) -> tuple[Any, str]:
    """Raw outputs; only the features if the model needs annotations to run (two-stage detectors)."""
    if how != 'extract_feat':
        try:
            if not hasattr(model, 'data_preprocessor'):
                return model(inputs), 'forward'
            return model(inputs, mode='tensor'), 'forward'
        except (AttributeError, TypeError, IndexError, KeyError, AssertionError):
            if not hasattr(model, 'extract_feat') or how == 'forward':
                raise
    return model.extract_feat(inputs), 'extract_feat'


def tensors_of(value: Any) -> list[Tensor]:
    """Lists the floating-point tensors inside dicts, lists and tuples."""
    if isinstance(value, Tensor):
        return [value] * value.is_floating_point()
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in items for tensor in tensors_of(item)]


def example_input(cfg: Config, shape: tuple[int, int] | None = None, limit: int = 320, multiple: int = 32) -> Tensor:
    """A seeded normal input of a config's test size, halved until the longer side fits `limit`.

    Args:
        shape: height and width; by default the config's.

    Returns:
        Shape `(1, C, H, W)`. The config's sides are rounded up to a `multiple`; feature pyramids need 32.
    """
    if shape is None:
        size = tested_size(cfg) or (224, 224)
        while max(size) > limit:
            size = (size[0] // 2, size[1] // 2)
        shape = max(32, -(-size[0] // multiple) * multiple), max(32, -(-size[1] // multiple) * multiple)
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    channels = len(preprocessor.get('mean') or [0, 0, 0])
    return torch.randn(1, channels, *shape, generator=torch.Generator().manual_seed(0))
