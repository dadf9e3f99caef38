"""Predictions for image files, with the inferencers of mmdet, mmseg and mmpretrain."""

from __future__ import annotations

import copy
import importlib
import tempfile
import warnings
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope

from ..checkpoints.fusing import as_plain, read_checkpoint
from ..data.loading import leaves
from ..files.errors import MissingPackageError
from ..openmmlab import prepare
from ..openmmlab.config import drop_pretrained
from ..openmmlab.models import load_whole
from ..running.terminal import worth_showing

INFERENCERS = dict(mmdet='DetInferencer', mmseg='MMSegInferencer', mmpretrain='ImageClassificationInferencer')
PANOPTIC = 1000  # mmdet's panoptic ids are the class + 1000 * the number of the instance
LINE, LETTER, LEAST = 18, 7, 240  # of a legend in pixels: height of a line, width of a letter, its least width


class Predictor:
    """A refocused, fused or plain checkpoint in the inferencer of its library; called with the path of an image.

    Args:
        cfg, path: a refocused or a plain config, whose `default_scope` names the library, and the checkpoint.
        ema, trust: as in `as_plain` and `read_checkpoint` of :mod:`refconv_mm.checkpoints.fusing`.
        threshold: the lowest score of a box; None is 0.3.

    Attributes:
        description: of the checkpoint, in a sentence.
        classes: names, of the checkpoint or else of the config's data; None if neither has them.

    Raises:
        FileNotFoundError, CheckpointError, FuseError: the checkpoint cannot be loaded.
        ValueError: the library has no inferencer or is not installed, or the `threshold` is for a model without boxes.
    """

    def __init__(
        self, cfg: Config, path: str, ema: bool | None = None, trust: bool = False, threshold: float | None = None
    ) -> None:
        self.scope, self.threshold = str(cfg.get('default_scope')), 0.3 if threshold is None else threshold
        if self.scope not in INFERENCERS:
            raise ValueError(f'default_scope of the config must be one of {", ".join(INFERENCERS)}, got {self.scope!r}')
        if threshold is not None and self.scope != 'mmdet':
            raise ValueError(f'--threshold is the lowest score of a box; a model of {self.scope} has no boxes')
        checkpoint = read_checkpoint(path, trust)
        plain, state, self.description = as_plain(cfg, checkpoint, ema=ema, source=path)
        self._inferencer = self._build(copy.deepcopy(plain))
        load_whole(self._inferencer.model, state, path)
        self._name_classes(checkpoint['meta'].get('dataset_meta') or {})

    def _build(self, cfg: Config) -> Any:
        """The inferencer with a model of random weights."""
        try:
            kind = getattr(importlib.import_module(f'{self.scope}.apis'), INFERENCERS[self.scope])
        except ImportError as error:
            raise MissingPackageError(f'{self.scope} does not import ({error}); the config needs it') from error
        drop_pretrained(cfg.model)
        if not cfg.get('test_dataloader'):
            raise ValueError('the config has no test_dataloader, whose pipeline prepares the images')
        cfg.test_dataloader.pop('collate_fn', None)
        data: Any = next(leaves(cfg.test_dataloader.dataset))
        cfg.test_dataloader.dataset = data
        data.pipeline = [step for step in data.pipeline if 'Annotation' not in str(step['type'])]
        with DefaultScope.overwrite_default_scope(self.scope), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of weights and class names, which follow
            self._data = DATASETS.build(copy.deepcopy({**data, 'pipeline': [], 'lazy_init': True}))
            self._palette = (data.get('metainfo') or {}).get('palette')
            MMLogger.get_current_instance().addFilter(worth_showing)
            self._load = TRANSFORMS.build(next(dict(step) for step in data.pipeline if 'Load' in str(step['type'])))
            inferencer = kind(cfg, device=get_device(), **dict(pretrained=False) if self.scope == 'mmpretrain' else {})
        prepare()
        inferencer.show_progress = False
        return inferencer

    def _name_classes(self, meta: dict[str, Any]) -> None:
        """Gives model and visualizer the names and colours of the classes."""
        classes, own = meta.get('classes') or self._data.metainfo.get('classes'), self._data.METAINFO
        # The data set's colours, unless it drew them at random or they belong to other classes.
        palette = self._palette or (list(classes or ()) == list(own.get('classes') or ()) and own.get('palette'))
        if classes and len(palette or ()) != len(classes):
            hues = colormaps['hsv'](np.arange(len(classes)) / len(classes))[:, :3]
            palette = list(map(tuple, (255 * hues).astype(int).tolist()))
        self._inferencer.model.dataset_meta = dict(classes=classes, palette=palette)
        if self.scope == 'mmdet':
            self._inferencer.visualizer.dataset_meta = self._inferencer.model.dataset_meta
        self._inferencer.classes, self.classes = classes, list(map(str, classes)) if classes else None
        self._colours = dict(enumerate(palette or ()))

    def __call__(self, image: str) -> tuple[np.ndarray, dict[str, Any], np.ndarray | None]:
        """The picture (RGB), the prediction for JSON, and the mask of a segmenter or a panoptic model."""
        pixels = self._load(dict(img_path=image))['img']  # mmpretrain's inferencer drops the options of loading
        data = next(iter(self._inferencer.preprocess([pixels if self.scope == 'mmpretrain' else image])))
        samples = self._inferencer.forward(data[1] if self.scope == 'mmdet' else data)
        drawing: dict[str, Any] = dict(return_vis=True)
        drawing |= dict(mmdet=dict(pred_score_thr=self.threshold), mmseg=dict(opacity=0.5)).get(self.scope, {})
        with tempfile.TemporaryDirectory() as folder:
            if self.scope == 'mmpretrain':  # draws only into a file, and a label is not legible in a small image
                drawing = dict(show_dir=folder, resize=max(min(pixels.shape[:2]), 256))
            picture = self._inferencer.visualize([image], samples, **drawing)[0]
        result, mask = self._describe(samples[0])
        return self._with_legend(picture, result), result, mask

    def _describe(self, sample: Any) -> tuple[dict[str, Any], np.ndarray | None]:
        if self.scope == 'mmpretrain':
            (best,) = self._inferencer.postprocess([sample], None)
            result = {key: best[f'pred_{key}'] for key in ('label', 'score', 'scores')}
            return dict(result, name=self._name(result['label'])), None
        if self.scope == 'mmseg' or 'pred_panoptic_seg' in sample:
            data = sample.pred_sem_seg.data if self.scope == 'mmseg' else sample.pred_panoptic_seg.sem_seg
            mask = data[0].cpu().numpy()
            shares = {int(i): float((mask == i).mean()) for i in np.unique(mask)}
            segments = [dict(id=i, name=self._name(i % PANOPTIC), share=share) for i, share in shares.items()]
            if self.scope == 'mmdet' or mask.max() > 255:  # as COCO's panoptic masks: id = R + 256 G + 65536 B
                mask = np.stack([mask % 256, mask // 256 % 256, mask // 65536], -1)
            return dict(segments=segments), mask.astype(np.uint8)
        found = self._inferencer.pred2dict(sample)
        kept = [i for i, score in enumerate(found['scores']) if score >= self.threshold]
        result = {'boxes' if key == 'bboxes' else key: [values[i] for i in kept] for key, values in found.items()}
        return dict(result, names=list(map(self._name, result['labels']))), None

    def _with_legend(self, picture: np.ndarray, result: dict[str, Any]) -> np.ndarray:
        """Names the colours in a picture, and the threshold of its boxes; a label stands in its picture anyway."""
        if self.scope == 'mmpretrain':
            return picture
        found = result.get('labels') or [segment['id'] % PANOPTIC for segment in result.get('segments', ())]
        note = f'boxes with a score of {self.threshold:g} and more' if 'boxes' in result else ''
        names = [(self._name(label), tuple(self._colours[label])) for label in sorted(set(found) & set(self._colours))]
        return with_legend(picture, names, note)

    def _name(self, label: int) -> str:
        return self.classes[label] if self.classes and label < len(self.classes) else str(label)


def with_legend(picture: np.ndarray, names: list[tuple[str, Any]], note: str) -> np.ndarray:
    """Adds a strip below a picture (RGB): a note, and names, each behind a patch of its colour."""
    if not names and not note:
        return picture
    patches = [Patch(color=f'#{bytes(colour).hex()}', label=name) for name, colour in names]
    width = max(picture.shape[1], LEAST)
    columns = max(1, width // (LETTER * max((len(name) for name, _ in names), default=1) + 3 * LINE))
    rows = -(-len(names) // columns) + bool(note) + 0.5
    canvas = FigureCanvasAgg(Figure(figsize=(width / 100, LINE * rows / 100), dpi=100))
    look: dict[str, Any] = dict(fontsize=8, title_fontsize=8, frameon=False, borderpad=0)
    canvas.figure.legend(handles=patches, title=note, loc='center', ncols=columns, **look)
    canvas.draw()
    strip = np.asarray(canvas.buffer_rgba())[..., :3]
    right = ((0, 0), (0, strip.shape[1] - picture.shape[1]), (0, 0))
    return np.vstack([np.pad(picture, right, constant_values=255), strip])
