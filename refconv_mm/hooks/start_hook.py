"""StartHook: says before the first step what a run starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner, find_latest_checkpoint
from torch import Tensor, nn

from ..files.errors import CheckpointError
from ..layers import RefConv2d
from ..layers.checkpoint_keys import KEYS
from ..openmmlab.models import unwrapped
from ..surgery import named_refconvs
from ..surgery.selection import as_patterns


@dataclass
class Part:
    """A part of the model (backbone, neck, a head), and where its parameters came from.

    Attributes:
        sources: the number of parameters by checkpoint.
        left: the names of the parameters that no checkpoint filled.
    """

    name: str
    sources: dict[str, int] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        filled = sum(self.sources.values())
        if not filled:
            return f'{self.name}: random, no checkpoint filled it'
        total = filled + len(self.left)
        text = ', '.join(f'{n} of {total} parameters from {source}' for source, n in self.sources.items())
        some = ', '.join(self.left[:3]) + (', ...' if len(self.left) > 3 else '')
        return f'{self.name}: {text}' + (f'; random: {some}' if self.left else '')


@HOOKS.register_module(name='RefConvStartHook')
class StartHook(Hook):
    """Logs before the first step which parts of the model come from which checkpoint, and which are random.

    It refuses a refocused run with a part that no checkpoint filled: a refocused net is a trained one, and a random
    head behind trained kernels usually means that `load_from` or `--init` was forgotten. It also refuses a head
    with another number of classes than the data. RefConvHook and `refconv train` add it to a run.

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
        self.handles = [
            # The public method is in torch 2.5 and newer.
            module._register_load_state_dict_pre_hook(self._note(pretrained), with_module=True)
            for module, pretrained in _with_pretrained(unwrapped(runner.model), None)
        ]

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self.source = getattr(runner, '_load_from', None) or find_latest_checkpoint(runner.work_dir) or 'a checkpoint'

    def before_train(self, runner: Runner) -> None:
        """Logs the start.

        Raises:
            GpuOpsError: mmcv's ops are missing on the GPU.
            ValueError: a part of a refocused model is random and not among `random_parts`, or a head has another number
                of classes than the data.
        """
        for handle in self.handles:
            handle.remove()
        model = unwrapped(runner.model)
        if self.lost:
            raise CheckpointError(
                f'the checkpoint of init_cfg refocuses layers that are plain in this model ({", ".join(self.lost[:3])}): '
                'their kernels were loaded without their updates. Set conv_cfg as in its run, or fuse it first (refconv '
                'fuse CONFIG CKPT) and start from fused.pth'
            )
        if any(parameter.device.type != 'cpu' for parameter in model.parameters()):
            from ..openmmlab.gpu_ops import check_ops  # imports torchvision and all ops of mmcv

            check_ops(model)
        parts = [self._part(name, child) for name, child in model.named_children()]
        parts = [part for part in parts if part.sources or part.left]
        runner.logger.info('refconv_mm: this run starts from\n' + '\n'.join(f'  {part}' for part in parts))
        check_class_count(model, getattr(runner.train_dataloader, 'dataset', None))
        if not any(layer.source in ('plain checkpoint', 'refocused checkpoint') for _, layer in named_refconvs(model)):
            return
        bare_parts = [part.name for part in parts if not part.sources and not self._may_be_random(part.name)]
        if bare_parts:
            raise ValueError(
                f'the kernels are refocused and {" and ".join(bare_parts)} would start at random: no checkpoint filled '
                'them. Start from a checkpoint of the whole model (--init CKPT, or load_from=CKPT in the config). If '
                f"that is meant: default_hooks=dict(start=dict(type='RefConvStartHook', random_parts={bare_parts}))"
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

    def _part(self, name: str, module: nn.Module) -> Part:
        part = Part(name)
        for inner, child in module.named_modules():
            for own in _own(child):
                source = self.filled.get((id(child), own))
                if source is None and isinstance(child, RefConv2d) and child.source == 'model':
                    source = 'the model that was refocused'
                if source is None:
                    part.left.append('.'.join(filter(None, [name, inner, own])))
                else:
                    part.sources[source] = part.sources.get(source, 0) + 1
        return part


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
        count = getattr(module, 'num_classes', None)
        if not name.rpartition('.')[2].endswith('head') or name.endswith('rpn_head') or not isinstance(count, int):
            continue
        if count > 0 and count != len(classes):
            some = ', '.join(map(str, classes[:8])) + (', ...' if len(classes) > 8 else '')
            raise ValueError(
                f'model.{name}.num_classes is {count}, and the training data has {len(classes)} classes ({some}): set '
                f'num_classes={len(classes)}, or name the classes in metainfo of the data sets'
            )
