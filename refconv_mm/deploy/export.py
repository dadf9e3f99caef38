"""Exports a checkpoint as an ONNX file."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from packaging.version import Version
from torch import nn

from ..checkpoints.fusing import as_plain
from ..checkpoints.verify import example_input
from ..files.errors import MissingPackageError
from ..files.writing import write_whole
from ..openmmlab.models import build_model, load_whole
from .end_to_end import EndToEndModel
from .onnx_graph import Graph, make_graph

OLDEST_TORCH = Version('2.6')  # its exporter takes operators of one's own and dynamic axes
RECORD = 'refconv_mm'  # the key of our record among the model's metadata


def check_packages() -> None:
    """Raises a MissingPackageError if torch is too old or another package does not import."""
    if (have := Version(torch.__version__)) < OLDEST_TORCH:
        raise MissingPackageError(
            f'exporting to ONNX needs torch {OLDEST_TORCH} or newer, this is {have}: fuse the checkpoint here, and '
            'export fused.pth with its config in another environment'
        )
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        try:
            importlib.import_module(name)
        except ImportError as error:
            text = f"ONNX needs {name}, which does not import ({error}): pip install 'refconv_mm[onnx]'"
            raise MissingPackageError(text) from error


def export_checkpoint(
    cfg: Config,
    checkpoint: dict[str, Any],
    *,
    ema: bool | None = None,
    source: str = '',
    shape: tuple[int, int] | None = None,
    opset: int | None = None,
    decode: bool = False,
    normalize: bool = False,
) -> Graph:
    """Exports the raw outputs or the predictions of a checkpoint's plain model; a refocused one is fused first.

    The graph agrees with the plain model, and its metadata have a record for its user: classes, size and
    normalisation of the images.

    Args:
        cfg: a refocused or a plain config.
        checkpoint: as :func:`refconv_mm.checkpoints.fusing.read_checkpoint` returns it; not changed.
        ema, source: as in :func:`refconv_mm.checkpoints.fusing.as_plain`.
        shape: height and width of the images; by default the config's test size.
        opset: version of the ONNX operators; None is torch's choice.
        decode, normalize: as in :class:`refconv_mm.deploy.end_to_end.EndToEndModel`.

    Raises:
        MissingPackageError: a package is not installed, or torch is too old for its exporter.
        CheckpointError, FuseError: the checkpoint belongs to another model or cannot be fused.
        ExportError: the model has no raw outputs or does not become ONNX, or onnxruntime computes something else.
    """
    check_packages()
    plain = as_plain(cfg, checkpoint, ema=ema, source=source, shape=shape)
    model = build_model(plain.cfg)
    load_whole(model, plain.state_dict, source or 'the checkpoint')
    end_to_end, preprocessor = EndToEndModel(model, decode, normalize), model.data_preprocessor
    multiple = getattr(preprocessor, 'pad_size_divisor', 1)
    image = example_input(plain.cfg, shape, limit=2**30, multiple=multiple)
    graph = make_graph(end_to_end, image * preprocessor.std + preprocessor.mean if normalize else image, opset)
    classes = (checkpoint['meta'].get('dataset_meta') or {}).get('classes')
    record = dict(
        checkpoint=plain.what, input=dict(shape=graph.shape, graph_normalizes=normalize, **normalization(preprocessor)),
        decoded=decode, classes=list(map(str, classes)) if classes else None, difference=graph.difference,
    )  # fmt: skip
    entry = graph.proto.metadata_props.add()
    entry.key, entry.value = RECORD, json.dumps(record)
    return graph


def normalization(preprocessor: nn.Module) -> dict[str, Any]:
    """The mean and std that a data preprocessor normalises with (None for none), and the order of channels it makes."""
    found: dict[str, Any] = {}
    for name in ('mean', 'std'):  # seven digits, as many as float32 holds
        values = getattr(preprocessor, name, None)
        found[name] = None if values is None else [float(f'{value:.7g}') for value in values.flatten().tolist()]
    # The three libraries' names for the same switch, from BGR to RGB.
    switches = ('_channel_conversion', 'channel_conversion', 'to_rgb')
    return dict(found, channels='RGB' if any(getattr(preprocessor, name, False) for name in switches) else 'BGR')


def check_target(path: str | Path, overwrite: bool = False) -> None:
    """Raises a FileExistsError if a file would be overwritten unasked, and a ValueError if its name is not `.onnx`."""
    if Path(path).suffix != '.onnx':
        raise ValueError(f'{path} does not end with .onnx')
    if Path(path).exists() and not overwrite:
        raise FileExistsError(f'{path} exists and is left alone; name another file or pass --force')


def write_onnx(graph: Graph, path: Path, overwrite: bool = False) -> None:
    """Writes a graph into one file, completely or not at all; raises as :func:`check_target` does."""
    check_target(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda temporary: Path(temporary).write_bytes(graph.proto.SerializeToString()))
