"""Which models the sweep checks: one of each family of the installed libraries, and how each is built."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any

import torch
from mmcv.cnn.bricks.conv_ws import ConvAWS2d
from mmengine.config import Config
from torch import Tensor, nn

from refconv_mm.openmmlab.models import build_model
from refconv_mm.checkpoints.verify import example_input

OPENMMLAB = ('mmpretrain', 'mmdet', 'mmseg')
LIBRARIES = (*OPENMMLAB, 'torchvision', 'timm')
# Words in the names of small models, most wanted first.
_SMALL: tuple[str, ...] = (
    'atto',
    'femto',
    'pico',
    'nano',
    'mini',
    'tiny',
    't',
    'xs',
    'xxs',
    'small',
    's',
    's0',
    'a0',
    'b0',
    '18',
    'r18',
)
_SMALL += ('resnet18', 'mobilenetv2', '50', 'r50', '400mf', '800mf', '002', 'slim', 'base', 'b')
# Folders of recipes: other data, pre-training or augmentation for models of other folders. They come last.
RECIPES = (
    'albu_example', 'barlowtwins', 'byol', 'cityscapes', 'common', 'deepfashion', 'densecl', 'dsdl', 'instaboost',
    'legacy_1.x', 'lvis', 'misc', 'mocov2', 'mocov3', 'objects365', 'openimages', 'pascal_voc', 'resnet_strikes_back',
    'scratch', 'seesaw_loss', 'selfsup_pretrain', 'simclr', 'simple_copy_paste', 'simsiam', 'strong_baselines', 'swav',
    'timm_example', 'v3det', 'wider_face',
)  # fmt: skip


def families(library: str) -> dict[str, str]:
    """One model of each family of a library: a config below its `.mim/configs`, or a name in its list of models.

    A family is a folder of configs of an OpenMMLab library, and a module of models of timm and torchvision. The model
    is the one whose name says that it is small, else the one of the shortest name.

    Returns:
        Family to model; empty if the library is not installed.
    """
    if importlib.util.find_spec(library) is None:
        return {}
    found: dict[str, list[str]] = {}
    for family, model in _configs(library) if library in OPENMMLAB else _listed(library):
        found.setdefault(family, []).append(model)
    return {family: min(models, key=_preference) for family, models in sorted(found.items())}


def _preference(model: str) -> tuple[int, int, str]:
    name = model.rpartition('/')[2]
    words = re.split('[-_.]', name.lower())
    return next((i for i, word in enumerate(_SMALL) if word in words), len(_SMALL)), len(name), name


def config_folder(library: str) -> Path:
    """Where an OpenMMLab library keeps its configs."""
    return Path(str(importlib.import_module(library).__file__)).parent / '.mim' / 'configs'


def _configs(library: str) -> list[tuple[str, str]]:
    root = config_folder(library)
    paths = [
        path.relative_to(root) for path in root.rglob('*.py') if '_base_' not in path.parts and path.stem[0] != '_'
    ]
    return [(path.parts[0], str(path)) for path in paths]


def _listed(library: str) -> list[tuple[str, str]]:
    module = importlib.import_module('timm' if library == 'timm' else 'torchvision.models')
    builder = module.model_entrypoint if library == 'timm' else module.get_model_builder
    # timm's test_* are made for its own tests; torchvision's quantized ones are other nets.
    names = [name for name in module.list_models() if not name.startswith(('test_', 'quantized_'))]
    return [(builder(name).__module__.removeprefix(f'{library}.models.'), name) for name in names]


class Subject:
    """A model of the sweep, which can be built many times, and inputs for it, the smallest first."""

    def __init__(self, library: str, model: str) -> None:
        self.cfg: Config | None = None
        if library in OPENMMLAB:
            self.cfg = Config.fromfile(config_folder(library) / model)
            self.cfg.setdefault('default_scope', library)
        self.library, self.model = library, model

    def build(self) -> nn.Module:
        """A new model in eval mode with seeded weights; nothing is downloaded."""
        torch.manual_seed(0)
        if self.cfg is not None:
            model = build_model(self.cfg)
            for module in model.modules():
                if isinstance(module, ConvAWS2d):  # derives its statistics from a kernel that it loads
                    module.load_state_dict({'weight': module.weight.detach().clone()}, strict=False)
            return model
        if self.library == 'timm':
            return importlib.import_module('timm').create_model(self.model, pretrained=False).eval()
        builder = importlib.import_module('torchvision.models').get_model_builder(self.model)
        options = {'weights_backbone': None} if 'weights_backbone' in inspect.signature(builder).parameters else {}
        return builder(weights=None, **options).eval()

    def build_backbone(self, **changes: Any) -> nn.Module:
        """Only the backbone of a config, with other arguments."""
        assert self.cfg is not None
        cfg = Config(dict(model=self.cfg.model.backbone.to_dict() | changes, default_scope=self.cfg.default_scope))
        return build_model(cfg)

    def inputs(self, model: nn.Module) -> list[Tensor]:
        """Inputs to try in turn: small ones, and one of the size that the model is made for."""
        small = (128, 128) if self.library == 'mmdet' else (64, 64)
        if self.cfg is not None:
            return [example_input(self.cfg, small), example_input(self.cfg, limit=704)]
        channels, *size = getattr(model, 'pretrained_cfg', {}).get('input_size', (3, 224, 224))
        generator = torch.Generator().manual_seed(0)
        return [torch.randn(1, channels, *sides, generator=generator) for sides in (small, size, (320, 320))]
