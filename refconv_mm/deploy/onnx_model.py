"""An exported ONNX model: its record, and its outputs nested as the head returns them."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .decoding import Deployed
from ..files.errors import CheckpointError, ExportError, MissingPackageError

RECORD = 'refconv_mm'  # the key of our record among the model's metadata
INPUT = 'inputs'
# The heads whose prediction starts from what `mode='tensor'` returns, and the name of an only output.
HEADS = {'decode_head': 'seg_logits', 'bbox_head': 'output', 'head': 'cls_score'}
_NEEDED = ('version', 'note', 'input', 'outputs')


def needed(name: str) -> Any:
    """Imports a module that only ONNX needs.

    Raises:
        MissingPackageError: the module does not import.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPackageError(
            f"ONNX needs {name}, which does not import ({error}): pip install 'refconv_mm[onnx]'"
        ) from error


def open_session(model: str | bytes) -> Any:
    """An onnxruntime session of a file or its content, on the GPU if onnxruntime has one, with torch's threads."""
    runtime = needed('onnxruntime')
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Otherwise idle threads of one session keep spinning and slow down another session of the process.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    options.log_severity_level = 4  # errors are raised; the log would repeat them
    wanted = ('CUDAExecutionProvider', 'CPUExecutionProvider')
    return runtime.InferenceSession(model, options, [p for p in wanted if p in runtime.get_available_providers()])


# -- nested outputs ----------------------------------------------------------------------------------------


def flatten(value: Any, name: str, into: dict[str, Tensor]) -> Any:
    """The structure of nested outputs, for the record; inverse of :func:`restore`.

    Args:
        value: a tensor, or tuples, lists and dicts of tensors.
        name: of the output; those inside a list are called `name_0`, `name_1`, ...
        into: gets the tensors by name.

    Raises:
        ExportError: the outputs hold something else.

    Example:
        >>> into = {}
        >>> flatten(([torch.zeros(1)], None), 'x', into), list(into)
        ({'tuple': [{'list': ['x_0_0']}, None]}, ['x_0_0'])
    """
    if isinstance(value, Tensor):
        into[name] = value
        return name
    if isinstance(value, list | tuple):
        items = [flatten(item, f'{name}_{i}', into) for i, item in enumerate(value)]
        return {'tuple' if isinstance(value, tuple) else 'list': items}
    if isinstance(value, dict):
        return {'dict': {key: flatten(item, f'{name}_{key}', into) for key, item in value.items()}}
    if value is None:
        return None
    raise ExportError(f"the model's raw outputs hold a {type(value).__name__}; ONNX knows tensors only")


def restore(structure: Any, tensors: dict[str, Tensor]) -> Any:
    """The nested outputs of a structure; inverse of :func:`flatten`."""
    if isinstance(structure, str):
        return tensors[structure]
    if structure is None:
        return None
    (kind, items), *_ = structure.items()
    if kind == 'dict':
        return {key: restore(item, tensors) for key, item in items.items()}
    nested = [restore(item, tensors) for item in items]
    return tuple(nested) if kind == 'tuple' else nested


def flatten_outputs(model: nn.Module, outputs: Any) -> tuple[Any, dict[str, Tensor]]:
    """:func:`flatten` with the names that the task uses: `seg_logits`, `cls_score`, `bbox_preds_0`, ..."""
    if isinstance(model, Deployed):
        if model.decode:
            values = outputs.values() if isinstance(outputs, dict) else outputs
            outputs = dict(zip(model.output_names, values, strict=True))
            return {'dict': {name: name for name in outputs}}, outputs
        model = model.model
    kind, head = head_of(model)
    tensors: dict[str, Tensor] = {}
    predict = getattr(head, 'predict_by_feat', None)
    if kind == 'bbox_head' and isinstance(outputs, tuple) and predict is not None:
        names = list(inspect.signature(predict).parameters)  # cls_scores, bbox_preds, ...: what the head returns
        if len(names) >= len(outputs):
            return {'tuple': [flatten(v, n, tensors) for n, v in zip(names, outputs, strict=False)]}, tensors
    return flatten(outputs, HEADS.get(kind, 'output'), tensors), tensors


def head_of(model: nn.Module) -> tuple[str, nn.Module | None]:
    """Name and module of the head, or `('', None)` if the model has none of `HEADS`."""
    for name in HEADS:
        head = getattr(model, name, None)
        if isinstance(head, nn.Module) and not isinstance(head, nn.ModuleList):  # a list: a cascade
            return name, head
    return '', None


def preprocessing(model: nn.Module) -> dict[str, Any]:
    """The mean, the std (None for none) and the order of channels that a model's data preprocessor applies."""
    module = getattr(model, 'data_preprocessor', None)
    # The three libraries' names for the same switch, from BGR to RGB.
    converted = any(getattr(module, name, False) for name in ('_channel_conversion', 'channel_conversion', 'to_rgb'))
    values = {name: getattr(module, name, None) for name in ('mean', 'std')}
    # Seven digits, as many as float32 holds.
    numbers = {k: None if v is None else [float(f'{x:.7g}') for x in v.flatten().tolist()] for k, v in values.items()}
    return {**numbers, 'channels': 'RGB' if converted else 'BGR'}


# -- the model ---------------------------------------------------------------------------------------------


class OnnxModel:
    """An ONNX model of ours under onnxruntime; called with images, it returns what the plain model's head returns.

    Attributes:
        record: the record that the export wrote into the metadata.
        provider: the execution provider of onnxruntime.
    """

    def __init__(self, session: Any, record: dict[str, Any]) -> None:
        self.record, self._session = record, session
        self.provider = session.get_providers()[0]
        self._names = [output.name for output in session.get_outputs()]
        self._last: Any = None

    @classmethod
    def read(cls, path: str | Path) -> OnnxModel:
        """Opens a file that `refconv export` wrote.

        Raises:
            FileNotFoundError: the file does not exist.
            MissingPackageError: onnxruntime is not installed.
            CheckpointError: the file is damaged, or another tool wrote it.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f'no ONNX model at {path}')
        needed('onnxruntime')
        try:
            session = open_session(str(path))
        except Exception as error:  # onnxruntime's own classes have no nearer base
            raise CheckpointError(f'{path} is damaged or not an ONNX model: {error}') from error
        try:
            record = json.loads(session.get_modelmeta().custom_metadata_map[RECORD])
            missing = [key for key in _NEEDED if key not in record]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f'{path} is an ONNX model that refconv export did not write: its metadata has no record "{RECORD}", '
                'which describes the input and the outputs. Export the checkpoint again.'
            ) from error
        if missing:
            raise CheckpointError(f'{path}: the record lacks {", ".join(missing)}; export the checkpoint again')
        return cls(session, record)

    def __call__(self, inputs: Tensor) -> Any:
        """Raw outputs, nested as the head nests them, on the device of the inputs.

        Args:
            inputs: normalised images, `(N, C, H, W)`. A graph with a fixed batch gets them in batches of that size.

        Raises:
            ExportError: the graph has a fixed size and the images have another.
        """
        batch, *size = self._session.get_inputs()[0].shape
        fixed = [isinstance(a, int) and a != b for a, b in zip(size, inputs.shape[1:], strict=True)]
        if any(fixed):
            raise ExportError(
                f'the ONNX model takes images of {"x".join(map(str, size))} only, and got '
                f'{"x".join(map(str, inputs.shape[1:]))}: export it with --shape {inputs.shape[2]} {inputs.shape[3]}'
            )
        if (record := self.record.get('input', {})).get('graph_normalizes'):  # images come normalised here
            mean, std = (inputs.new_tensor(record[name]).view(-1, 1, 1) for name in ('mean', 'std'))
            inputs = inputs * std + mean
        parts = inputs.split(batch) if isinstance(batch, int) else [inputs]
        runs = [self._session.run(self._names, {INPUT: part.cpu().numpy()}) for part in parts]
        values = [torch.cat([torch.from_numpy(array) for array in arrays]) for arrays in zip(*runs, strict=True)]
        tensors = {n: v.to(inputs.device) for n, v in zip(self._names, values, strict=True)}
        self._last = restore(self.record['outputs'], tensors)
        return self._last

    def hand_on(self, outputs: Any) -> Any:
        """Replaces the head's forward: returns its input, which holds the head's outputs already.

        Raises:
            ExportError: the input is not what the ONNX model returned last.
        """
        if outputs is not self._last:
            raise ExportError("this model's prediction does not start from its raw outputs; it can't be tested as ONNX")
        return outputs

    def __deepcopy__(self, memo: dict) -> OnnxModel:
        return self  # EMA hooks copy the model; a session cannot be copied and does not change
