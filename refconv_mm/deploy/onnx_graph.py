"""Exports a model as an ONNX graph and compares it with the model under onnxruntime."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..checkpoints.verify import relative_difference
from ..files.errors import ExportError
from .box_decoding import onnx_operators
from .end_to_end import EndToEndModel

INPUT = 'inputs'  # the name of the graph's input
# torch's exporter folds batch norm if it can, onnxruntime when it opens a graph. Folding rounds once more, and a
# small running variance makes its factors large.
TOLERANCE = 1e-3
# The share of boxes that may have no counterpart: an overlap or a score within rounding of a limit decides for another.
FLIPPED = 0.02


@dataclass
class Graph:
    """An ONNX graph that agrees with its model."""

    proto: Any  # the onnx.ModelProto
    shape: list[str | int]  # of the input; the batch is 'batch' if it is dynamic
    difference: float  # the largest between onnxruntime and torch, relative to the largest magnitude of the output
    faults: list[str]  # of the export with a dynamic batch

    def __str__(self) -> str:
        shape, outputs = ' x '.join(map(str, self.shape)), ', '.join(o.name for o in self.proto.graph.output)
        proof = f'onnxruntime differs from torch by {self.difference:.1e} of the largest output (limit {TOLERANCE:.0e})'
        return '\n'.join([f'{INPUT}: {shape}; outputs: {outputs}', proof, *self.faults])


def make_graph(model: EndToEndModel, image: Tensor) -> Graph:
    """Exports a model for images of one size, and compares the graph with it.

    The batch is dynamic if that works. Torch can call it dynamic and still treat its size as a constant (Swin), so the
    graph is compared on another batch than the one it was traced with.

    Args:
        model: the model to export.
        image: one example, `(1, C, H, W)`.

    Raises:
        ExportError: the model has no raw outputs or does not become ONNX, or onnxruntime computes something else.
    """
    batch, faults = torch.cat([image, image.flip(-1), image.flip(-2)]), []
    for dynamic in (True, False):
        traced, images = (batch, batch[:2]) if dynamic else (image, image)
        expected = run_model(model, images)
        try:
            print_log(f'torch writes the graph, with a {"dynamic" if dynamic else "fixed"} batch')
            proto = _to_onnx(model, traced, list(expected), dynamic)
            print_log('onnxruntime runs the graph, to compare it with torch')
            difference = _difference(proto, images, expected)
        except Exception as error:  # torch raises any error of the model's code, onnxruntime classes of its own
            faults.append(f'not with a {"dynamic" if dynamic else "fixed"} batch: {_brief(error)}')
            continue
        return Graph(proto, ['batch' if dynamic else 1, *image.shape[1:]], difference, faults)
    raise ExportError('\n  '.join(['the model does not become ONNX; nothing was written', *faults]))


@torch.no_grad()
def run_model(model: EndToEndModel, images: Tensor) -> dict[str, Tensor]:
    """The outputs of a model by name.

    Raises:
        ExportError: the model returns nothing without annotations, or does not run on the images.
    """
    try:
        return model.outputs(images)
    except (RuntimeError, AssertionError, AttributeError, TypeError, IndexError, KeyError) as error:
        raise ExportError(
            f'{type(model.model).__name__} returns no raw outputs for images of shape {tuple(images.shape)}: '
            f'{_brief(error)}. If it takes another size, name it: --shape HEIGHT WIDTH. Classifiers, segmenters and '
            'single-stage detectors are exported; two-stage detectors and DETR are not.'
        ) from error


def _to_onnx(model: EndToEndModel, images: Tensor, names: list[str], dynamic: bool) -> Any:
    """The checked graph, without the stack traces that torch stores in it."""
    import onnx

    program = torch.onnx.export(
        model,
        (images,),
        dynamo=True,
        dynamic_shapes=({0: 'batch'},) if dynamic else None,
        input_names=[INPUT],
        output_names=names,
        verbose=False,
        custom_translation_table=onnx_operators(),
    )
    proto = program.model_proto
    graph = proto.graph
    for item in (*graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        item.ClearField('metadata_props')
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _difference(proto: Any, images: Tensor, expected: dict[str, Tensor]) -> float:
    """The largest difference between onnxruntime and torch; an ExportError if it exceeds the tolerance."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised; the log would repeat them
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, ['CPUExecutionProvider'])
    arrays = session.run(list(expected), {INPUT: images.numpy()})
    worst = largest_difference(expected, dict(zip(expected, map(torch.from_numpy, arrays), strict=True)))
    if not worst <= TOLERANCE:
        raise ExportError(
            f'onnxruntime differs from torch by {worst:.1e} of the largest output on images of shape '
            f'{tuple(images.shape)} (tolerance {TOLERANCE:.0e})'
        )
    return worst


def largest_difference(expected: dict[str, Tensor], got: dict[str, Tensor]) -> float:
    """The largest difference of two runs' outputs, relative to the largest magnitude; NaN if one is not finite.

    Labels count by the share that differs. Each box is compared with the nearest one of the same label, because boxes
    of nearly equal scores change places; up to `FLIPPED` of them may have none.
    """
    if 'boxes' in expected:
        scale = expected['boxes'].abs().max().clamp(min=1)
        pairs = zip(_rows(expected, scale), _rows(got, scale), strict=True)
        found = [_farthest(*pair) for one, other in pairs for pair in ((one, other), (other, one))]
    else:
        found = [
            relative_difference(value, got[name])
            if value.is_floating_point()
            else (value != got[name]).double().mean().item()
            for name, value in expected.items()
        ]
    return torch.tensor(found).max().item()  # Python's max() can lose a NaN


def _rows(outputs: dict[str, Tensor], scale: Tensor) -> list[Tensor]:
    """For each image, corners, score and label of its boxes `(K, 6)`, without the unused places."""
    scores, labels = (outputs[name][..., None] for name in ('scores', 'labels'))
    return [rows[rows[:, 5] >= 0] for rows in torch.cat([outputs['boxes'] / scale, scores, labels], -1)]


def _farthest(one: Tensor, other: Tensor) -> float:
    """The largest distance of a box to its nearest in the other list, without the worst `FLIPPED`."""
    if not len(one) or not len(other):
        return float(len(one) != len(other))
    nearest = torch.cdist(one, other, p=float('inf')).amin(1).sort().values
    return nearest[: len(nearest) - int(FLIPPED * len(nearest))][-1].item()


def _brief(error: Exception) -> str:
    """The line of an error that names the fault; torch's exporter adds a page of advice."""
    text = str(error.__cause__ or error)
    line = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return re.sub(r'\x1b\[\d*m', '', line)[:300]
