"""StartHook: says before the first step which checkpoint filled which part of the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner, find_latest_checkpoint
from torch import Tensor, nn

from ..console import shorten
from ..files.errors import CheckpointError
from ..layers import RefConv2d
from ..layers.checkpoint_keys import KEYS
from ..openmmlab.extension import check_ops
from ..openmmlab.models import normalization, unwrapped
from ..surgery import named_refconvs
from ..surgery.selection import as_patterns

# The settings of mmengine's schedulers that a longer training changes.
SCHEDULE = ('begin', 'end', 'T_max', 'total_iters', 'milestones', 'step_size', 'base_values')


@HOOKS.register_module(name='RefConvStartHook')
class StartHook(Hook):
    """Logs before the first step which parts of the model come from which checkpoint, and which are random.

    It refuses a refocused run with a part that no checkpoint filled: a refocused net is a trained one, and a random
    head behind trained kernels usually means that `load_from` or `--init` was forgotten. It refuses a checkpoint that
    leaves most of the backbone random, and a head with another number of classes than the data. RefConvHook and
    `refconv train` add it to a run.

    Args:
        random_parts: the parts that may be random in a refocused run, as globs such as `'*head'`.
    """

    priority = 'LOW'

    def __init__(self, random_parts: str | Sequence[str] = ()) -> None:
        self.random_parts = as_patterns('random_parts', random_parts)

    def before_run(self, runner: Runner) -> None:
        self.filled: dict[tuple[int, str], str] = {}
        self.lost: list[str] = []
        self.source: str | None = None  # during init_weights each module's init_cfg names it
        self.keys: list[str] = []  # of that checkpoint
        self.handles = [
            # The public method is in torch 2.5 and newer.
            module._register_load_state_dict_pre_hook(self._note(pretrained), with_module=True)
            for module, pretrained in _with_pretrained(unwrapped(runner.model), None)
        ]

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self.source = getattr(runner, '_load_from', None) or find_latest_checkpoint(runner.work_dir) or 'a checkpoint'
        self.keys = list(checkpoint.get('state_dict', checkpoint))
        if getattr(runner, '_resume', False) and (changed := changed_schedule(runner.param_schedulers, checkpoint)):
            runner.logger.warning(
                f'mmengine resumes the schedule of the checkpoint, not that of the config: {changed}. For the schedule '
                'of the config, start from the checkpoint with --init or load_from'
            )

    def before_train(self, runner: Runner) -> None:
        """Logs the origin of each part.

        Raises:
            GpuOpsError: mmcv's ops are missing on the GPU.
            CheckpointError: the checkpoint belongs to another net.
            ValueError: a part of a refocused model is random and not among `random_parts`, or a head has another number
                of classes than the data.
        """
        for handle in self.handles:
            handle.remove()
        model = unwrapped(runner.model)
        if self.lost:
            raise CheckpointError(
                f'the checkpoint refocuses layers that are plain in this model ({", ".join(self.lost[:3])}); their '
                'updates would be lost. Set conv_cfg as in its run, or fuse it first (refconv fuse CONFIG CKPT)'
            )
        check_ops(model)
        origins = {name: self._origins(name, child) for name, child in model.named_children()}
        origins = {name: found for name, found in origins.items() if found}
        lines = [f'\n  {name}: {_described(found)}' for name, found in origins.items()]
        lines += [f'\n  images: {_described_images(model)}']
        runner.logger.info(f'refconv_mm: this run starts from{"".join(lines)}')
        self._check_backbone(origins)
        check_class_count(model, getattr(runner.train_dataloader, 'dataset', None))
        if not any(layer.source in ('plain checkpoint', 'refocused checkpoint') for _, layer in named_refconvs(model)):
            return
        empty = [name for name, found in origins.items() if not any(found.values()) and not self._may_be_random(name)]
        if empty:
            raise ValueError(
                f'the kernels are refocused and {" and ".join(empty)} would start at random: no checkpoint filled '
                'them. Start from a checkpoint of the whole model (--init CKPT, or load_from=CKPT in the config). If '
                f"that is meant: default_hooks=dict(start=dict(type='RefConvStartHook', random_parts={empty}))"
            )

    def _check_backbone(self, origins: Mapping[str, Mapping[str, str | None]]) -> None:
        """Refuses a loaded checkpoint of another net: mmdet's MobileNetV2 has other names than mmpretrain's."""
        sources = origins.get('backbone', {}).values()
        filled = sum(source is not None for source in sources)
        if self.keys and filled * 2 < len(sources):
            names, own = (', '.join(list(each)[6:8]) for each in (self.keys, origins['backbone']))
            raise CheckpointError(
                f'{self.source} fills {filled} of {len(sources)} parameters of the backbone; the others would start '
                f'at random: names or shapes differ. The checkpoint has {names}, ...; the model {own}, ...'
            )

    def _may_be_random(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.random_parts)

    def _note(self, pretrained: str | None) -> Any:
        def note(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
            if not isinstance(module, RefConv2d) and any(prefix + key in state for key in KEYS):
                self.lost.append(prefix[:-1])
            for name, parameter in _own(module).items():
                value = state.get(prefix + name)
                if value is not None and value.shape == parameter.shape:
                    self.filled[id(module), name] = self.source or pretrained or 'the checkpoint of its init_weights'

        return note

    def _origins(self, part: str, module: nn.Module) -> dict[str, str | None]:
        """The checkpoint of each parameter of a part; None for a random one."""
        found: dict[str, str | None] = {}
        for inner, child in module.named_modules():
            given = isinstance(child, RefConv2d) and child.source == 'model'
            for own in _own(child):
                source = self.filled.get((id(child), own)) or ('the model that was refocused' if given else None)
                found['.'.join(filter(None, [part, inner, own]))] = source
        return found


def _described(origins: dict[str, str | None]) -> str:
    random = [name for name, source in origins.items() if source is None]
    counts = Counter(source for source in origins.values() if source)
    if not counts:
        return 'random, no checkpoint filled it'
    text = ', '.join(f'{n} of {len(origins)} parameters from {source}' for source, n in counts.items())
    return text + (f'; random: {", ".join(random[:3])}{", ..." if random[3:] else ""}' if random else '')


def _described_images(model: nn.Module) -> str:
    """The images that reach the net; a checkpoint wants those of its training."""
    found = normalization(getattr(model, 'data_preprocessor', None))
    if found['mean'] is None:
        return f'{found["channels"]}, not normalised by the model'
    return f'{found["channels"]}, (pixels - {found["mean"]}) / {found["std"]}'


def changed_schedule(schedulers: Any, checkpoint: Mapping[str, Any]) -> str:
    """The settings of schedulers that those of a checkpoint replace when a run is resumed, with both values."""
    changes = {
        f'{key} {shorten(str(state[key]), 40)} in place of {shorten(str(getattr(scheduler, key)), 40)}': None
        for scheduler, state in zip(schedulers or (), checkpoint.get('param_schedulers') or (), strict=False)
        for key in SCHEDULE
        if isinstance(state, dict) and key in state and getattr(scheduler, key, None) != state[key]
    }
    return ', '.join(changes)


def _own(module: nn.Module) -> dict[str, Tensor]:
    """A module's own parameters by their keys; of a refocused layer the basis, since its update may start anew."""
    if isinstance(module, RefConv2d):
        bias = {} if module.bias is None else {'bias': module.bias}
        return {'weight': module.basis, **bias}
    return dict(module.named_parameters(recurse=False))


def _with_pretrained(module: nn.Module, above: str | None) -> list[tuple[nn.Module, str | None]]:
    """Every module, with the checkpoint of the nearest `Pretrained` init_cfg around it."""
    init = getattr(module, 'init_cfg', None)
    for each in init if isinstance(init, list | tuple) else [init]:
        if isinstance(each, dict) and each.get('type') in ('Pretrained', 'PretrainedInit'):
            above = str(each.get('checkpoint'))
    below = [item for child in module.children() for item in _with_pretrained(child, above)]
    return [(module, above), *below]


def check_class_count(model: nn.Module, dataset: Any) -> None:
    """Raises a ValueError if a head has another number of classes than the data set."""
    metainfo = getattr(dataset, 'metainfo', None) or {}
    classes = metainfo.get('classes')
    if not isinstance(classes, list | tuple) or not classes or 'thing_classes' in metainfo:
        return  # of panoptic data, heads have a part of the classes
    for name, module in model.named_modules():
        count, last = getattr(module, 'num_classes', None), name.rpartition('.')[2]
        if last in ('rpn_head', 'semantic_head'):  # of objects against background; of stuff classes
            continue
        if last.endswith('head') and isinstance(count, int) and 0 < count != len(classes):
            some = ', '.join(map(str, classes[:8])) + (', ...' if len(classes) > 8 else '')
            raise ValueError(
                f'model.{name}.num_classes is {count}, and the training data has {len(classes)} classes ({some}): set '
                f'num_classes={len(classes)}, or name the classes in metainfo of the data sets'
            )
