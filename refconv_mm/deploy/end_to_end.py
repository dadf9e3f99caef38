"""A model from images to named outputs: normalisation before it and the decoding of its predictions behind it."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ..files.errors import ExportError
from .box_decoding import check_test_settings, decode_boxes

# By the name of the head: the name of a single raw output, and the names of the predictions.
RAW = {'decode_head': 'seg_logits', 'bbox_head': 'output', 'head': 'cls_score'}
PREDICTIONS = {'bbox_head': ('boxes', 'scores', 'labels'), 'decode_head': ('labels',), 'head': ('scores', 'labels')}
# The methods that make predictions of raw outputs; a head that overrides one decodes in another way.
_DECODED_BY = {
    'bbox_head': ('BaseDenseHead.predict_by_feat', 'BaseDenseHead._predict_by_feat_single'),
    'decode_head': ('BaseDecodeHead.predict_by_feat',),
    'head': ('ClsHead._get_predictions',),
}


class EndToEndModel(nn.Module):
    """A model of mmdet, mmseg or mmpretrain in eval mode; returns its raw outputs or its predictions.

    Args:
        model: the model.
        decode: return predictions: boxes, scores and labels of a detector as
            :func:`refconv_mm.deploy.box_decoding.decode_boxes` describes them; `labels` `(N, H, W)` of a segmenter;
            `scores` `(N, classes)` and `labels` `(N,)` of a classifier.
        normalize: the input is pixels of 0 to 255, not normalised images.

    Raises:
        ExportError: the head decodes in a way that is not known here, or the model does not normalise.
    """

    def __init__(self, model: nn.Module, decode: bool = False, normalize: bool = False) -> None:
        super().__init__()
        self.model, self.decode, self.normalize = model, decode, normalize
        # A cascade of heads is a ModuleList; its outputs have no names here.
        heads = [name for name in RAW if not isinstance(getattr(model, name, None), nn.ModuleList | None)]
        self.kind = heads[0] if heads else ''
        if normalize and getattr(model.data_preprocessor, 'mean', None) is None:
            raise ExportError('--normalize: the data_preprocessor of the config has no mean and std')
        if decode:
            self._check_decodable()
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The values of :meth:`outputs`."""
        return tuple(self.outputs(images).values())

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Raw outputs or predictions by name."""
        if self.normalize:
            images = (images - self.model.data_preprocessor.mean) / self.model.data_preprocessor.std
        raw = self.model(images, mode='tensor')
        if not self.decode:
            return self._name_raw(raw)
        head = getattr(self.model, self.kind)
        if self.kind == 'bbox_head':
            values: tuple[Tensor, ...] = decode_boxes(head, *raw, image_shape=tuple(images.shape[2:]))
        elif self.kind == 'head':
            scores = F.softmax(raw, dim=1)
            values = scores, scores.argmax(1)
        else:
            logits, one = head.predict_by_feat(raw, [dict(img_shape=images.shape[2:])]), head.out_channels == 1
            values = ((logits[:, 0].sigmoid() > head.threshold).long() if one else logits.argmax(1),)
        return dict(zip(PREDICTIONS[self.kind], values, strict=True))

    def _name_raw(self, raw: Any) -> dict[str, Tensor]:
        """The tensors of raw outputs, named as the head of a detector names them: `cls_scores_0`, ..."""
        if self.kind == 'bbox_head' and isinstance(raw, tuple):
            names = inspect.signature(self.model.bbox_head.predict_by_feat).parameters
            return _flat(dict(zip(names, raw, strict=False)))
        return _flat(raw, RAW.get(self.kind, 'output'))

    def _check_decodable(self) -> None:
        head: Any = getattr(self.model, self.kind, None)
        if not self.kind:
            raise ExportError(f'--decode: {type(self.model).__name__} has no {", ".join(_DECODED_BY)}')
        for wanted in _DECODED_BY[self.kind]:
            have = getattr(getattr(head, wanted.partition('.')[2], None), '__qualname__', 'nothing')
            if have != wanted:
                raise ExportError(
                    f'--decode: {type(head).__name__} makes its predictions by {have}, and only {wanted} can be '
                    'written into the graph; export the raw outputs'
                )
        if self.kind == 'bbox_head':
            check_test_settings(head)
        if self.kind == 'decode_head' and (mode := self.model.test_cfg.get('mode', 'whole')) != 'whole':
            raise ExportError(f"--decode: the graph sees whole images, test_cfg.mode is '{mode}'")


def _flat(value: Any, name: str = '') -> dict[str, Tensor]:
    """The tensors inside tuples, lists and dicts: those of a list `name` are called `name_0`, `name_1`, ..."""
    if isinstance(value, Tensor):
        return {name: value}
    if value is None:
        return {}
    if not isinstance(value, list | tuple | dict):
        raise ExportError(f"the model's raw outputs hold a {type(value).__name__}; ONNX knows tensors only")
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {key: tensor for i, item in items for key, tensor in _flat(item, f'{name}_{i}'.strip('_')).items()}
