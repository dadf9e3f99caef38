"""Predictions for pictures, with the inferencers and visualizers of mmdet, mmseg and mmpretrain."""

from __future__ import annotations

import copy
import glob
import importlib
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
import mmcv.cnn
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from ..openmmlab import compat
from ..checkpoints.fusing import as_plain, load_whole, read_checkpoint
from ..openmmlab.config import drop_pretrained, is_refocused_config, plain_config
from ..data.layouts.base import IMAGES, images_in
from ..files.errors import CheckpointError, MissingPackageError
from ..files.writing import write_whole
from .onnx_model import OnnxModel
from .onnx_runner import run_on

# The inferencer of each library, by the scope that configs name.
INFERENCERS = {
    'mmdet': ('mmdet.apis', 'DetInferencer'),
    'mmseg': ('mmseg.apis', 'MMSegInferencer'),
    'mmpretrain': ('mmpretrain.apis', 'ImageClassificationInferencer'),
}


def find_images(patterns: Sequence[str], out_dir: str | Path) -> dict[Path, Path]:
    """The images of files, folders and globs, each once, and where each lies below the folder that all have in common.

    Args:
        patterns: a folder means all images below it.
        out_dir: images in this folder are left out: pictures that an earlier call wrote.

    Raises:
        FileNotFoundError: a pattern names no image.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        names = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))
        own = [image.resolve() for name in names for image in _images_of(Path(name), given=name == pattern)]
        if not own:
            raise FileNotFoundError(f'no image at {pattern} (images end with {", ".join(IMAGES)})')
        found.update(dict.fromkeys(image for image in own if not image.is_relative_to(Path(out_dir).resolve())))
    if not found:
        raise FileNotFoundError(f'no image outside {out_dir}, where the pictures go')
    common = Path(os.path.commonpath([image.parent for image in found]))
    return {image: image.relative_to(common) for image in found}


def _images_of(path: Path, given: bool) -> list[Path]:
    """A file that is given by name counts as an image whatever its name is."""
    if path.is_dir():
        return images_in(path, deep=True)
    return [path] if given or path.suffix.lower() in IMAGES else []


class Predictor:
    """A checkpoint or an ONNX model in the inferencer of its library; called with the path of an image.

    Args:
        cfg: a refocused or a plain config; its `default_scope` names the library.
        path: a refocused, fused or plain checkpoint, or an ONNX model of `refconv export`.
        ema, trust: as in :func:`refconv_mm.running.runner.runner_for_checkpoint`.
        threshold: the lowest score of a box; None is 0.3.

    Attributes:
        what: a description of the model, in a sentence.
        classes: names of the classes; None if neither the checkpoint nor the data set of the config has them.

    Raises:
        FileNotFoundError, CheckpointError, FuseError, ExportError: the model cannot be opened.
        ValueError: the library has no inferencer here, or `threshold` is given for another model than a detector.
        MissingPackageError: the library is not installed.
    """

    def __init__(
        self, cfg: Config, path: str, ema: bool | None = None, trust: bool = False, threshold: float | None = None
    ) -> None:
        self.scope = str(cfg.get('default_scope'))
        if self.scope not in INFERENCERS:
            raise ValueError(f'default_scope of the config must be one of {", ".join(INFERENCERS)}, got {self.scope!r}')
        if threshold is not None and self.scope != 'mmdet':
            raise ValueError(f'--threshold is the lowest score of a box; a model of {self.scope} has no boxes')
        self.threshold = 0.3 if threshold is None else threshold
        onnx = OnnxModel.read(path) if Path(path).suffix == '.onnx' else None
        if onnx is None:
            checkpoint = read_checkpoint(path, trust)
            plain = as_plain(cfg, checkpoint, ema=ema, source=path)
            self.what, meta = plain.what, checkpoint['meta'].get('dataset_meta')
            self._inferencer = self._build(plain.cfg)
            if plain.folded_bn:
                mmcv.cnn.fuse_conv_bn(self._inferencer.model)
            load_whole(self._inferencer.model, plain.state_dict, path)
        else:
            if ema is not None:
                raise ValueError('--ema, --no-ema: an ONNX model holds the weights of its export')
            self.what, meta = f'an ONNX model, of {onnx.record["note"]}', dict(classes=onnx.record.get('classes'))
            self._inferencer = self._build(plain_config(cfg) if is_refocused_config(cfg) else cfg)
            run_on(self._inferencer.model, onnx)
        self.classes = self._name_classes(meta or {}, cfg)

    def _build(self, cfg: Config) -> Any:
        """The inferencer with a model of random weights."""
        module, name = INFERENCERS[self.scope]
        try:
            inferencer = getattr(importlib.import_module(module), name)
        except ImportError as error:
            raise MissingPackageError(f'{self.scope} does not import ({error}); the config needs it') from error
        cfg = copy.deepcopy(cfg)
        drop_pretrained(cfg.model)
        if isinstance(cfg.test_dataloader.get('collate_fn'), dict):  # mmengine's runner wants it so, its inferencer not
            del cfg.test_dataloader.collate_fn
        options = dict(pretrained=False) if self.scope == 'mmpretrain' else {}
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of weights and class names, which follow
            built = inferencer(cfg, **options)
        compat.prepare()
        built.show_progress = False
        return built

    def _name_classes(self, meta: dict[str, Any], cfg: Config) -> list[str] | None:
        """Gives model and visualizer the names and colours of the classes: the checkpoint's, else the config's."""
        with DefaultScope.overwrite_default_scope(self.scope):
            dataset = copy.deepcopy(cfg.test_dataloader.dataset)
            known = DATASETS.build({**dataset, 'lazy_init': True}).metainfo
        merged = {name: meta.get(name) or known.get(name) for name in ('classes', 'palette')}
        if merged['classes'] and len(merged['palette'] or ()) != len(merged['classes']):
            # mmdet and mmseg draw such colours, too. Those of the config can belong to other classes.
            colours = np.random.RandomState(42).randint(0, 256, (len(merged['classes']), 3)).tolist()
            merged['palette'] = [tuple(colour) for colour in colours]  # a list would be taken for several colours
        inferencer, classes = self._inferencer, merged['classes']
        inferencer.model.dataset_meta = merged
        if self.scope == 'mmdet':
            inferencer.visualizer.dataset_meta = merged
        inferencer.classes = classes
        return list(map(str, classes)) if classes else None

    @torch.no_grad()
    def __call__(self, image: str) -> tuple[np.ndarray, dict[str, Any], np.ndarray | None]:
        """Predicts one image.

        Returns:
            The picture, RGB; what is predicted, for JSON; and the labels of the pixels `(H, W)` from a segmenter.

        Raises:
            CheckpointError: the file is not an image that OpenCV reads.
        """
        pixels = mmcv.imread(image)
        if pixels is None:
            raise CheckpointError(f'{image} is damaged or not an image')
        data = next(iter(self._inferencer.preprocess([image], batch_size=1)))
        samples = self._inferencer.forward(data[1] if self.scope == 'mmdet' else data)
        result = self._describe(samples[0])
        return self._draw(image, samples, min(pixels.shape[:2])), result, result.pop('pixels', None)

    def _draw(self, image: str, samples: list, side: int) -> np.ndarray:
        if self.scope == 'mmdet':
            options: dict[str, Any] = dict(return_vis=True, pred_score_thr=self.threshold)
        elif self.scope == 'mmseg':
            options = dict(return_vis=True)
        else:  # a label is not legible in a small image
            options = dict(resize=max(side, 256))
        with tempfile.TemporaryDirectory() as folder:  # mmpretrain draws only into a file
            if self.scope == 'mmpretrain':
                options['show_dir'] = folder
            return self._inferencer.visualize([image], samples, **options)[0]

    def _describe(self, sample: Any) -> dict[str, Any]:
        if self.scope == 'mmdet':
            found = self._inferencer.pred2dict(sample)
            kept = [i for i, score in enumerate(found['scores']) if score >= self.threshold]
            named = {'boxes' if key == 'bboxes' else key: [values[i] for i in kept] for key, values in found.items()}
            return named | dict(names=list(map(self._name, named['labels'])))
        if self.scope == 'mmseg':
            pixels = sample.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8)
            shares = {self._name(label): float((pixels == label).mean()) for label in np.unique(pixels)}
            return dict(shares=shares, pixels=pixels)
        (best,) = self._inferencer.postprocess([sample], None)
        label = best['pred_label']
        return dict(label=label, name=self._name(label), score=best['pred_score'], scores=best['pred_scores'])

    def _name(self, label: int) -> str:
        known = self.classes is not None and label < len(self.classes)
        return self.classes[label] if known else str(label)  # type: ignore[index]


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Writes an RGB picture or a mask, completely or not at all, and makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda temporary: mmcv.imwrite(picture[..., ::-1] if picture.ndim == 3 else picture, temporary))
