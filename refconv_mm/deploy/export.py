"""Exports a checkpoint as an ONNX model, with the record that its test reads."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmcv.cnn
import torch
from mmengine.config import Config
from packaging.version import Version
from torch import Tensor, nn

from ..checkpoints.fusing import Plain, as_plain
from .decoding import Deployed
from ..files.errors import ExportError, MissingPackageError
from ..files.writing import write_whole
from ..openmmlab.models import build_model, load_whole
from .graph import TOLERANCE, Graph, check_opset, make_graph
from .onnx_model import INPUT, RECORD, head_of, needed, preprocessing
from ..checkpoints.verify import example_input
from ..version import __version__

OLDEST_TORCH = Version('2.6')  # its exporter takes operators of one's own and open axes


@dataclass
class Exported:
    """An ONNX model.

    Attributes:
        graph: the graph with the record in its metadata, and its proof.
        record: the origin of the model, its preprocessing, the nesting of its outputs and the proven difference.
    """

    graph: Graph
    record: dict[str, Any]

    def __str__(self) -> str:
        return f'{self.record["note"]}\n{self.graph}'


def export_checkpoint(
    cfg: Config,
    checkpoint: dict[str, Any],
    *,
    ema: bool | None = None,
    fold_bn: bool = False,
    source: str = '',
    shape: tuple[int, int] | None = None,
    opset: int | None = None,
    decode: bool = False,
    normalize: bool = False,
) -> Exported:
    """Exports the raw outputs (`mode='tensor'`) or the predictions of a checkpoint's plain model.

    A refocused checkpoint is fused first, with its proof. The graph is compared under onnxruntime with the plain
    model under torch, its batch norm unfolded.

    Args:
        cfg: a refocused or a plain config.
        checkpoint: as :func:`refconv_mm.checkpoints.fusing.read_checkpoint` returns it; not changed.
        ema: as in :func:`refconv_mm.checkpoints.fusing.choose_weights`.
        fold_bn: fold batch norm first, also where torch's exporter would not.
        source: the path of the checkpoint, for the record.
        shape: height and width of the example input. The default is the config's test size, halved for speed; if the
            graph cannot leave the size open, it is fixed at the test size.
        opset: version of the ONNX operators; None is torch's choice.
        decode: export predictions, as :class:`refconv_mm.deploy.decoding.Deployed` describes them.
        normalize: the graph normalises pixels of 0 to 255.

    Raises:
        MissingPackageError: a package is not installed, or torch is too old for its exporter.
        CheckpointError, FuseError: the checkpoint belongs to another model or cannot be fused.
        ExportError: the model has no raw outputs or does not become ONNX, or onnxruntime computes something else.
        ValueError: torch does not write this opset.
    """
    if (have := Version(torch.__version__)) < OLDEST_TORCH:
        raise MissingPackageError(
            f'exporting to ONNX needs torch {OLDEST_TORCH} or newer, this is {have}: fuse the checkpoint here, and '
            'export fused.pth with its config in another environment'
        )
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        needed(name)
    check_opset(opset)
    plain = as_plain(cfg, checkpoint, ema=ema, source=source, shape=shape)
    reference = build_model(plain.cfg)
    if plain.folded_bn:
        mmcv.cnn.fuse_conv_bn(reference)
    load_whole(reference, plain.state_dict, source or 'the checkpoint')
    model = mmcv.cnn.fuse_conv_bn(copy.deepcopy(reference)) if fold_bn and not plain.folded_bn else reference
    image, whole = example_input(plain.cfg, shape), example_input(plain.cfg, shape, limit=2**30)
    facts = dict(preprocessing(reference), graph_normalizes=normalize)
    kind, head = head_of(reference)
    if decode or normalize:
        mean, std = _normalisation(reference) if normalize else (None, None)
        model, reference = (Deployed(m, kind, decode, mean, std) for m in (model, reference))
        if reference.fixed_size:
            multiple = getattr(reference.model.data_preprocessor, 'pad_size_divisor', 1)
            whole = example_input(plain.cfg, shape, limit=2**30, multiple=multiple)
        if normalize:
            image, whole = image * std + mean, whole * std + mean
    graph = make_graph(model, reference, image, whole, opset)
    classes = (checkpoint['meta'].get('dataset_meta') or {}).get('classes')
    record = {**_origin(plain, source, fold_bn), **_proof(graph, facts), 'model': plain.cfg.model.type}
    record |= dict(decoded=decode, num_classes=getattr(head, 'num_classes', None))
    record['classes'] = list(map(str, classes)) if classes else None
    entry = graph.proto.metadata_props.add()
    entry.key, entry.value = RECORD, json.dumps(record)
    return Exported(graph, record)


def _normalisation(model: nn.Module) -> tuple[Tensor, Tensor]:
    preprocessor = getattr(model, 'data_preprocessor', None)
    mean, std = getattr(preprocessor, 'mean', None), getattr(preprocessor, 'std', None)
    if mean is None or std is None:
        raise ExportError('--normalize: the data_preprocessor of the config has no mean and std')
    return mean.detach().clone(), std.detach().clone()


def _origin(plain: Plain, source: str, fold_bn: bool) -> dict[str, Any]:
    folded = fold_bn or plain.folded_bn
    note = plain.what + ('; batch norm folded' if folded else '')
    facts = dict(fused=plain.fused, folded_bn=folded, source=str(source))
    return dict(version=__version__, note=note, **facts)


def _proof(graph: Graph, facts: dict[str, Any]) -> dict[str, Any]:
    return dict(
        input=dict(name=INPUT, shape=graph.proven[0], **facts),
        outputs=graph.outputs,
        dynamic=graph.dynamic,
        proven=graph.proven,
        tolerance=TOLERANCE,
        difference=graph.difference,
    )


def check_target(path: str | Path, overwrite: bool = False) -> Path:
    """Checks the path to write to before the work begins.

    Raises:
        ValueError: the path does not end with `.onnx`, by which `refconv test` recognises ONNX models.
        FileExistsError: the file exists and `overwrite` is False.
    """
    path = Path(path)
    if path.suffix != '.onnx':
        raise ValueError(f'{path} does not end with .onnx, by which refconv test recognises an ONNX model')
    if path.exists() and not overwrite:
        raise FileExistsError(f'{path} exists and is left alone; name another file or pass --force')
    return path


def write_onnx(exported: Exported, path: str | Path, overwrite: bool = False) -> Path:
    """Writes the model into one file, completely or not at all.

    Raises:
        ValueError, FileExistsError: as :func:`check_target`; nothing was written.
    """
    path = check_target(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda temporary: needed('onnx').save(exported.graph.proto, temporary))
    return path
