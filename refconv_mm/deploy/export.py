"""Exports a checkpoint as an ONNX file."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from packaging.version import Version

from ..checkpoints.fusing import as_plain
from ..checkpoints.verify import example_input
from ..files.errors import MissingPackageError
from ..files.writing import check_free, write_whole
from ..openmmlab.models import build_model, load_whole, normalization
from .end_to_end import EndToEndModel
from .onnx_graph import Graph, make_graph

OLDEST_TORCH = Version('2.7')  # the exporter of 2.6 fails on batch norm and on names of axes
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
            text = f'ONNX needs {name}, which does not import ({error}): pip install onnx onnxscript onnxruntime'
            raise MissingPackageError(text) from error


def export_checkpoint(
    cfg: Config,
    checkpoint: dict[str, Any],
    *,
    ema: bool | None = None,
    source: str = '',
    shape: tuple[int, int] | None = None,
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
        decode, normalize: as in :class:`refconv_mm.deploy.end_to_end.EndToEndModel`.

    Raises:
        MissingPackageError: a package is not installed, or torch is too old for its exporter.
        CheckpointError, FuseError: the checkpoint belongs to another model or cannot be fused.
        ExportError: the model has no raw outputs or does not become ONNX, or onnxruntime computes something else.
    """
    check_packages()
    cfg, state, description = as_plain(cfg, checkpoint, ema=ema, source=source, shape=shape)
    model = build_model(cfg)
    load_whole(model, state, source or 'the checkpoint')
    end_to_end, preprocessor = EndToEndModel(model, decode, normalize), model.data_preprocessor
    multiple = getattr(preprocessor, 'pad_size_divisor', 1)
    image = example_input(cfg, shape, limit=2**30, multiple=multiple)
    graph = make_graph(end_to_end, image * preprocessor.std + preprocessor.mean if normalize else image)
    classes = (checkpoint['meta'].get('dataset_meta') or {}).get('classes')
    record = dict(
        input=dict(shape=graph.shape, graph_normalizes=normalize, **normalization(preprocessor)), decoded=decode,
        checkpoint=description, classes=list(map(str, classes)) if classes else None, difference=graph.difference,
    )  # fmt: skip
    entry = graph.proto.metadata_props.add()
    entry.key, entry.value = RECORD, json.dumps(record)
    return graph


def check_target(path: str | Path, overwrite: bool = False) -> None:
    """Raises a FileExistsError if a file would be overwritten unasked, and a ValueError if its name is not `.onnx`."""
    if Path(path).suffix != '.onnx':
        raise ValueError(f'{path} does not end with .onnx')
    check_free(Path(path).parent, [Path(path).name], overwrite)


def write_onnx(graph: Graph, path: Path) -> None:
    """Writes a graph into one file, completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda temporary: Path(temporary).write_bytes(graph.proto.SerializeToString()))
