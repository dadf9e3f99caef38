"""Exports a torch model as an ONNX graph, whose batch and size stay open as far as a proof on other inputs holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .decoding import Deployed, decoded_difference, translations
from ..files.errors import ExportError, MissingPackageError
from .onnx_model import INPUT, flatten_outputs, needed, open_session
from ..checkpoints.verify import FOLDED_TOLERANCE, relative_difference

AXES = {'batch': 0, 'height': 2, 'width': 3}
# The sets of open axes, tried in this order.
LEVELS = (('batch', 'height', 'width'), ('batch',), ())
OLDEST_OPSET = 18  # torch's exporter writes no older one; few graphs stay valid if they are converted down
# As for folded batch norm: torch's exporter folds it if it can, and onnxruntime folds it when it opens a graph.
TOLERANCE = FOLDED_TOLERANCE


class _NotOpenError(Exception):
    """The graph is right for the size of the example and wrong for another one."""


@dataclass
class Graph:
    """A graph and its proof.

    Attributes:
        proto: the `onnx.ModelProto`.
        outputs: structure of the outputs, as :func:`refconv_mm.deploy.onnx_model.flatten` describes it.
        dynamic: the open axes, of `AXES`.
        reasons: why the other axes are not open.
        proven: shapes of the inputs on which onnxruntime was compared with torch.
        difference: the largest difference, relative to the largest magnitude of the output.
    """

    proto: Any
    outputs: Any
    dynamic: list[str]
    reasons: list[str]
    proven: list[list[int]]
    difference: float

    def __str__(self) -> str:
        shapes = ' and '.join('x'.join(map(str, shape)) for shape in self.proven)
        opset = self.proto.opset_import[0].version
        proof = f'onnxruntime on {shapes}: maximum difference {self.difference:.1e} of the largest output'
        lines = [
            f'{len(self.proto.graph.node)} nodes, {len(self.proto.graph.output)} outputs, opset {opset}',
            f'dynamic: {", ".join(self.dynamic) or "nothing"}; {proof} (tolerance {TOLERANCE:.0e})',
        ]
        return '\n'.join([*lines, *self.reasons])


def make_graph(
    model: nn.Module, reference: nn.Module, image: Tensor, whole: Tensor | None = None, opset: int | None = None
) -> Graph:
    """Exports the raw outputs of a model with as many open axes as possible.

    Torch can name an axis as open and still treat its size as a constant (PSP heads, Swin). So an axis counts as open
    only if another batch and another size give the same numbers.

    Args:
        model: the model to export, in eval mode; a `Deployed` also has what stands before and behind it.
        reference: the model to compare with; the same model, or its state before batch norm was folded.
        image: one example, `(1, C, H, W)`.
        whole: an example of the size that the graph gets if its size cannot stay open; by default `image`.
        opset: version of the ONNX operators; None is torch's choice.

    Raises:
        ExportError: the model has no raw outputs or does not become ONNX, or onnxruntime computes something else.
    """
    reasons: list[str] = []
    levels: Sequence[tuple[str, ...]] = LEVELS
    if isinstance(model, Deployed) and model.fixed_size:
        levels, reasons = LEVELS[1:], ['not dynamic in height, width: boxes are decoded for images of one size']
    for level in levels:
        x = image if 'height' in level or whole is None else whole
        # Two different images: with one, torch could treat the batch size as a constant.
        inputs = torch.cat([x, x.flip(-1)]) if level else x
        structure, expected = raw_outputs(reference, inputs)
        try:
            proto = _to_onnx(model, inputs, level, list(expected), opset)
            proven, worst = _prove(proto, reference, inputs, expected)
        except (ExportError, MissingPackageError):
            raise
        except Exception as error:  # torch raises any error of the model's code, onnxruntime classes of its own
            reasons.append(f'{_not_dynamic(level)}: {_brief(error)}')
            continue
        dynamic = [name for name, axis in AXES.items() if isinstance(_input_shape(proto)[axis], str)]
        return Graph(proto, structure, dynamic, reasons, proven, worst)
    raise ExportError('the model does not become ONNX:\n  ' + '\n  '.join(reasons))


def check_opset(opset: int | None) -> None:
    """Raises a ValueError for a version that torch or onnx does not know; torch would write another one instead."""
    newest = needed('onnx').defs.onnx_opset_version()
    if opset is not None and not OLDEST_OPSET <= opset <= newest:
        raise ValueError(
            f'--opset: torch and the installed onnx write versions {OLDEST_OPSET} to {newest}, got {opset}'
        )


@torch.no_grad()
def raw_outputs(model: nn.Module, inputs: Tensor) -> tuple[Any, dict[str, Tensor]]:
    """Structure and tensors of the outputs of `mode='tensor'`.

    Raises:
        ExportError: the model returns nothing without annotations, or does not run on the inputs.
    """
    try:
        return flatten_outputs(model, model(inputs, mode='tensor'))
    except (RuntimeError, AssertionError, AttributeError, TypeError, IndexError, KeyError) as error:
        # A model that needs annotations fails on None, without a message; one that refuses the size says so.
        says = isinstance(error, RuntimeError | AssertionError) and not isinstance(error, NotImplementedError)
        if says and str(error):
            raise ExportError(
                f'the model does not run on an input of shape {tuple(inputs.shape)}: {_brief(error)}; name the size '
                'that it takes: --shape HEIGHT WIDTH'
            ) from error
        raise ExportError(
            f"{type(model).__name__} has no raw outputs: mode='tensor' without annotations fails ({_brief(error)}). "
            'Classifiers, segmenters and single-stage detectors are exported; two-stage detectors and DETR are not.'
        ) from error


def _to_onnx(model: nn.Module, inputs: Tensor, level: tuple[str, ...], outputs: list[str], opset: int | None) -> Any:
    """The checked graph, with the axes of `level` open and without the stack traces that torch stores in it."""
    program = torch.onnx.export(
        model,
        (inputs,),
        dynamo=True,
        dynamic_shapes=({AXES[name]: name for name in level},) if level else None,
        input_names=[INPUT],
        output_names=outputs,
        opset_version=opset,
        verbose=False,
        custom_translation_table=translations(),
    )
    proto = program.model_proto
    graph = proto.graph
    for item in (*graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        item.ClearField('metadata_props')
    needed('onnx').checker.check_model(proto, full_check=True)
    return proto


def _prove(
    proto: Any, reference: nn.Module, inputs: Tensor, expected: dict[str, Tensor]
) -> tuple[list[list[int]], float]:
    """Compares onnxruntime with torch on the example and, if axes are open, on another batch and size.

    Returns:
        The shapes of the inputs, and the largest difference.

    Raises:
        ExportError: the outputs differ on the example.
        _NotOpenError: the outputs differ on the other input.
    """
    session = open_session(proto.SerializeToString())
    decoded = isinstance(reference, Deployed) and reference.decode
    worst = _worst(session, inputs, expected, decoded)
    if not worst <= TOLERANCE:
        raise ExportError(
            f'the ONNX model is not the plain one: on an input of shape {tuple(inputs.shape)} onnxruntime differs by '
            f'{worst:.1e} of the largest output (tolerance {TOLERANCE:.0e}); nothing was written'
        )
    if not any(isinstance(size, str) for size in _input_shape(proto)):
        return [list(inputs.shape)], worst
    other, wanted = _another(reference, inputs, _input_shape(proto))
    try:
        second = _worst(session, other, wanted, decoded)
    except Exception as error:  # onnxruntime's own classes have no nearer base
        raise _NotOpenError(f'onnxruntime fails on {tuple(other.shape)}: {_brief(error)}') from None
    if not second <= TOLERANCE:
        raise _NotOpenError(f'on an input of shape {tuple(other.shape)} onnxruntime differs by {second:.1e}')
    return [list(inputs.shape), list(other.shape)], max(worst, second)


def _another(model: nn.Module, inputs: Tensor, shape: Sequence[int | str]) -> tuple[Tensor, dict[str, Tensor]]:
    """An input that differs in every open axis, and the outputs of the model for it.

    If the graph and the model take any size, the sides grow by an odd number, which changes every rounding in the
    model. Some models take only multiples, mostly of 32.
    """
    batch, _, *sides = (isinstance(size, str) for size in shape)
    any_size = all(isinstance(size, int) or size.isidentifier() for size in shape)
    for step in (13, 32) if any_size else (32,):
        size = [n + times * step * is_open for n, times, is_open in zip(inputs.shape[2:], (1, 2), sides, strict=True)]
        generator = torch.Generator().manual_seed(1)
        other = torch.randn(1 if batch else len(inputs), inputs.shape[1], *size, generator=generator)
        other = other * inputs.std() + inputs.mean()  # the inputs can be pixels
        try:
            return other, raw_outputs(model, other)[1]
        except ExportError as error:
            reason = error
    raise _NotOpenError(str(reason))


def _worst(session: Any, inputs: Tensor, expected: dict[str, Tensor], decoded: bool) -> float:
    """The largest difference of an output, relative to its largest magnitude; NaN if any is not finite."""
    arrays = session.run(list(expected), {INPUT: inputs.numpy()})
    got = dict(zip(expected, map(torch.from_numpy, arrays), strict=True))
    if decoded:
        return decoded_difference(expected, got)
    found = [relative_difference(expected[name], got[name]) for name in expected]
    return float('nan') if any(d != d for d in found) else max(found)


def _input_shape(proto: Any) -> list[int | str]:
    """Axes of the graph's input: numbers for the fixed ones, names for the open ones."""
    return [d.dim_param or d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]


def _not_dynamic(level: tuple[str, ...]) -> str:
    return f'not dynamic in {", ".join(level)}' if level else 'not with fixed sizes either'


def _brief(error: Exception) -> str:
    """The line of an error that names the fault; torch's exporter adds a page of advice."""
    text = str(error.__cause__ or error)
    line = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return re.sub(r'\x1b\[\d*m', '', line)[:300]
