"""The sweep: refocuses and fuses one model of each family that OpenMMLab, torchvision and timm ship.

A family is a folder of configs (OpenMMLab) or a module of models (torchvision, timm); its model is one whose name says
that it is small. test_sweep.py runs it and writes the table of docs/models.md.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmcv.cnn.bricks.conv_ws import ConvAWS2d
from mmengine.config import Config
from torch import Tensor, nn

from refconv_mm.checkpoints.fusing import read_checkpoint
from refconv_mm.checkpoints.verify import compare_models, example_input, random_input, tensors_of
from refconv_mm.layers.options import KINDS
from refconv_mm.openmmlab import prepare
from refconv_mm.openmmlab.models import build_model, load_whole
from refconv_mm.surgery import fuse, named_refconvs, refocus
from refconv_mm.surgery.selection import named_convs

OPENMMLAB = ('mmpretrain', 'mmdet', 'mmseg')
LIBRARIES = (*OPENMMLAB, 'torchvision', 'timm')
# Words in the names of small models, most wanted first.
SMALL = (
    'atto', 'femto', 'pico', 'nano', 'mini', 'tiny', 't', 'xs', 'xxs', 'small', 's', 's0', 'a0', 'b0', '18', 'r18',
    'resnet18', 'mobilenetv2', '50', 'r50', '400mf', '800mf', '002', 'slim', 'base', 'b',
)  # fmt: skip
# The ways to run a model: its raw outputs, those of a part that needs no annotations, optical flow.
WAYS: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    'forward': lambda model, x: model(x, mode='tensor') if hasattr(model, 'data_preprocessor') else model(x),
    'extract_feat': lambda model, x: model.extract_feat(x),
    'backbone': lambda model, x: next(m for n, m in model.named_modules() if n.rpartition('.')[2] == 'backbone')(x),
    'two images': lambda model, x: model(x, x),
}


class Forward(nn.Module):
    """A model with the way to run it."""

    def __init__(self, model: nn.Module, way: str) -> None:
        super().__init__()
        self.model, self.way = model, way

    def forward(self, x: Tensor) -> Any:
        torch.manual_seed(0)
        return WAYS[self.way](self.model, x)


def families(library: str) -> dict[str, str]:
    """One model of each family of a library, a config or a name in its list; empty if the library is not installed."""
    if importlib.util.find_spec(library) is None:
        return {}
    if library in OPENMMLAB:
        root = config_folder(library)
        paths = [path.relative_to(root) for path in root.rglob('*.py')]
        pairs = [(p.parts[0], str(p)) for p in paths if '_base_' not in p.parts and p.stem[0] != '_']
    else:
        module = importlib.import_module('timm' if library == 'timm' else 'torchvision.models')
        builder = module.model_entrypoint if library == 'timm' else module.get_model_builder
        names = [name for name in module.list_models() if not name.startswith(('test_', 'quantized_'))]  # other nets
        pairs = [(builder(name).__module__.removeprefix(f'{library}.models.'), name) for name in names]
    pairs.sort(key=lambda pair: (pair[0], *_preference(pair[1])))
    return dict(reversed(pairs))  # of a family, the first one stays


def _preference(model: str) -> tuple[int, int, str]:
    name = model.rpartition('/')[2]
    words = re.split('[-_.]', name.lower())
    return next((i for i, word in enumerate(SMALL) if word in words), len(SMALL)), len(name), name


def config_folder(library: str) -> Path:
    """The configs of an OpenMMLab library."""
    return Path(str(importlib.import_module(library).__file__)).parent / '.mim' / 'configs'


def build(library: str, name: str) -> tuple[nn.Module, Config | None, list[Tensor]]:
    """A model in eval mode with seeded weights (nothing is downloaded), its config, and inputs to try in turn."""
    torch.manual_seed(0)
    small = (128, 128) if library == 'mmdet' else (64, 64)
    if library in OPENMMLAB:
        cfg = Config.fromfile(config_folder(library) / name)
        cfg.setdefault('default_scope', library)
        model = build_model(cfg)
        for module in model.modules():
            if isinstance(module, ConvAWS2d):  # derives its statistics from a kernel that it loads
                module.load_state_dict({'weight': module.weight.detach().clone()}, strict=False)
        return model, cfg, [example_input(cfg, small), example_input(cfg, limit=704)]
    if library == 'timm':
        model = importlib.import_module('timm').create_model(name, pretrained=False).eval()
    else:
        builder = importlib.import_module('torchvision.models').get_model_builder(name)
        options = {'weights_backbone': None} if 'weights_backbone' in inspect.signature(builder).parameters else {}
        model = builder(weights=None, **options).eval()
    channels, *size = getattr(model, 'pretrained_cfg', {}).get('input_size', (3, 224, 224))
    return model, None, [torch.randn(1, channels, *sides) for sides in (small, size, (320, 320))]


def check_model(library: str, name: str) -> dict[str, str]:
    """Refocuses a model, trains a step, fuses it, and compares; `result` is `'right'` or the reason."""
    prepare()
    try:
        plain, cfg, inputs = build(library, name)
    except Exception as error:
        return dict(result=f'not built: {_line(error)}')
    refocused = copy.deepcopy(plain)
    try:
        rows = refocus(refocused, kinds=KINDS).rows
    except ValueError:
        return dict(result='nothing to refocus')
    try:
        way, x = find_way(plain, inputs)
    except Exception as error:
        return dict(result=f'does not run here: {_line(error)}')
    if lost := copy.deepcopy(plain).load_state_dict(plain.state_dict(), strict=False).missing_keys:
        return dict(result=f'does not run here: the plain model does not load its own state ({lost[0]})')
    found = dict(result='right', refocused=f'{len(rows)}/{len(named_convs(plain))}')
    try:
        check_round(plain, refocused, way, x)
        if cfg is not None:
            found['conv_cfg'] = check_conv_cfg(cfg, plain, inputs)
    except Exception as error:
        no_room = isinstance(error, MemoryError) or 'allocate memory' in str(error)
        found['result'] = ('does not run here: ' if no_room else 'WRONG: ') + _line(error)
    return found


def find_way(model: nn.Module, inputs: list[Tensor]) -> tuple[str, Tensor]:
    """The first way and input with which a model runs and gives finite tensors."""
    first: Exception | None = None
    # torchvision's detectors give boxes, which random weights do not have.
    for way in ['backbone'] if hasattr(model, 'transform') and hasattr(model, 'backbone') else WAYS:
        for x in inputs:
            try:
                with torch.no_grad():
                    outputs = [t for t in tensors_of(Forward(model, way)(x)) if t.numel()]
                if outputs and all(t.isfinite().all() for t in outputs):
                    return way, x
            except Exception as error:
                first = first or error
    raise first or ValueError('no finite outputs')


def check_round(plain: nn.Module, refocused: nn.Module, way: str, x: Tensor) -> None:
    """From the initialization to the fused file; raises where a step is not right."""
    compare_models(Forward(refocused, way), Forward(plain, way), x).check()
    fused = copy.deepcopy(refocused)  # before the step: RAFT keeps tensors of its graph, which cannot be copied
    train_step(refocused, way, x)
    for _, layer in named_refconvs(fused):
        layer.basis.zero_(), layer.restart()
    load_whole(fused, _through_file(refocused), 'the refocused state')
    fuse(fused)
    if list(fused.state_dict()) != list(plain.state_dict()):
        raise ValueError('the keys of the fused state differ from the plain ones')
    if [type(m) for m in fused.modules()] != [type(m) for m in plain.modules()]:
        raise ValueError('the classes of the fused model differ from the plain ones')
    fresh = copy.deepcopy(plain)  # building it again takes most of the time; none of its numbers stays
    with torch.no_grad():
        for tensor in fresh.state_dict().values():
            tensor.fill_(1)
    load_whole(fresh, _through_file(fused), 'the fused state')
    compare_models(Forward(refocused, way), Forward(fresh, way), x).check()


def train_step(model: nn.Module, way: str, x: Tensor) -> None:
    """A step of SGD on the mean square of the outputs (scaled to a norm of 1 at most), then noise on every update."""
    layers = named_refconvs(model)
    outputs = [t for t in tensors_of(Forward(model, way)(x)) if t.requires_grad]
    outputs += [layer(random_input(layer)) for _, layer in layers]  # the input may not reach some of them
    # Random weights give some nets outputs of 1e11; the square of a gradient's norm would overflow.
    sum((output / output.detach().norm().clamp(min=1)).square().mean() for output in outputs).backward()
    trained = [layer.trained for _, layer in layers]
    if not torch.nn.utils.clip_grad_norm_(trained, 0.1).isfinite():
        raise ValueError('a gradient is not finite')
    torch.optim.SGD(trained, lr=0.1).step()
    with torch.no_grad():
        for _, layer in layers:
            layer.trained.add_(torch.randn_like(layer.trained) * layer.basis.std() / 100)
    model.zero_grad()


def check_conv_cfg(cfg: Config, plain: nn.Module, inputs: list[Tensor]) -> str:
    """How many KxK convolutions of the backbone `conv_cfg` reaches, of those that refocusing reaches."""
    config = cfg.model.get('backbone')
    if config is None or config.get('conv_cfg'):
        return 'no backbone' if config is None else 'has its own'
    whole = len(refocus(nn.ModuleList([copy.deepcopy(plain.backbone)]), kinds=KINDS, dry_run=True).rows)
    kind = 'RefConvAdaptivePadding' if config['type'].rpartition('.')[2].startswith('EfficientNet') else 'RefConv'
    changed = config.to_dict() | dict(conv_cfg=dict(type=kind, kinds=list(KINDS)))
    try:
        reached = build_model(Config(dict(model=changed, default_scope=cfg.default_scope)))
    except TypeError as error:
        if "unexpected keyword argument 'conv_cfg'" in str(error):
            return 'not taken'
        raise
    if layers := named_refconvs(reached):
        load_whole(reached, plain.backbone.state_dict(), 'the plain state')
        compare_models(reached, plain.backbone, find_way(plain.backbone, inputs)[1]).check()
    return f'{len(layers)}/{whole}'


def _through_file(model: nn.Module) -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        torch.save(dict(state_dict=model.state_dict(), meta={}), Path(folder, 'state.pth'))
        return read_checkpoint(Path(folder, 'state.pth'))['state_dict']


def _line(error: Exception) -> str:
    return f'{type(error).__name__}: {" ".join(str(error).split())[:100]}'
