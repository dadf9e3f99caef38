"""RefConvHook: checks before training and evaluation, and fused files after training."""

from __future__ import annotations

import time
from itertools import chain
from pathlib import Path

import torch
from mmengine.dist import broadcast, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.runner.checkpoint import get_state_dict

from ..checkpoints.fusing import FUSED, fuse_checkpoint, write_fused
from ..checkpoints.states import check_updates_are_taken, is_random
from ..layers import RefConv2d, RefConvOptions
from ..openmmlab import prepare
from ..openmmlab.layers import check_padding
from ..openmmlab.models import unwrapped
from ..surgery import named_refconvs, trainable
from ..surgery.selection import count_reasons, hint_on_dense, named_convs, note_on, why_not
from .finite_hook import FiniteHook
from .start_hook import StartHook

NO_FLEXIBLE_RUNNER = "mmengine's FlexibleRunner does not tell whether a checkpoint filled the model; use its Runner"


@HOOKS.register_module()
class RefConvHook(Hook):
    """Checks the RefConv layers before training and evaluation, and fuses them after training.

    - Before training it checks that every basis came from a checkpoint (or from the model that was refocused), is
      finite and not all zero. Every trained parameter must be in the optimizer, or be frozen at an initialization that
      does not change the kernel. The log names the convolutions that stayed plain.
    - Before val and test it refuses kernels with an untrained random initialization: a plain or fused checkpoint
      under a refocused config would be tested with other kernels.
    - It adds StartHook and FiniteHook, unless the config has them.
    - After training it writes `fused.pth` and `fused.py`, verified, into the work dir, with the averaged weights if
      the run has them. Files of an earlier run get their time as a suffix.

    Args:
        fuse_after_train: False leaves out the last step.
    """

    # After EMAHook (NORMAL), before CheckpointHook (VERY_LOW).
    priority = 'LOW'

    def __init__(self, fuse_after_train: bool = True) -> None:
        self.fuse_after_train = fuse_after_train

    def before_run(self, runner: Runner) -> None:
        if hasattr(runner, 'strategy'):
            raise ValueError(f'RefConvHook: {NO_FLEXIBLE_RUNNER}')
        prepare()
        add_guards(runner)
        check_padding(unwrapped(runner.model))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuses a checkpoint with updates that no layer of the model takes; mmengine would load the bases alone."""
        source = getattr(runner, '_load_from', None) or 'the checkpoint'
        check_updates_are_taken(unwrapped(runner.model), checkpoint.get('state_dict', checkpoint), str(source))

    def before_train(self, runner: Runner) -> None:
        """Checks the layers before the first step.

        Raises:
            ValueError: lists every layer with a fault.
        """
        model = unwrapped(runner.model)
        model.train()  # backbones freeze their stages here; the training loop calls it again
        layers = named_refconvs(model)
        if not layers:
            reasons = {name: why_not(conv, RefConvOptions()) or '' for name, (conv, _) in named_convs(model).items()}
            raise ValueError(
                'RefConvHook: the model has no RefConv layer. Is conv_cfg in the config, does the backbone take it? '
                "type='RefocusedBackbone' around a backbone reaches all its convolutions. (Remove the hook for a plain "
                f'run.) The convolutions: {count_reasons(reasons)}{hint_on_dense(reasons)}'
            )
        groups = runner.optim_wrapper.param_groups
        each = chain.from_iterable(groups.values()) if isinstance(groups, dict) else groups  # of several optimizers
        known = {id(p) for group in each for p in group['params']}
        if problems := [problem for name, layer in layers for problem in check_layer(name, layer, known)]:
            raise ValueError('RefConvHook: these layers cannot be trained:\n  ' + '\n  '.join(problems))
        for _, layer in layers:
            # Loading a checkpoint draws the random initializations, after DDP has synchronised the processes.
            broadcast(layer.trained.data, src=0)
        plain = f'; {note}' if (note := note_on(model)) else ''
        runner.logger.info(f'RefConvHook: {len(layers)} RefConv layers, {trainable(model):,} trained parameters{plain}')

    def after_train(self, runner: Runner) -> None:
        if not self.fuse_after_train or not is_main_process():
            return
        if not isinstance(runner.cfg.get('model'), dict):
            runner.logger.warning(
                'RefConvHook: the runner has no model config, so fused.py cannot be written; call fuse() yourself'
            )
            return
        hook = next((h for h in runner.hooks if isinstance(h, EMAHook) and hasattr(h, 'ema_model')), None)
        model = unwrapped(runner.model) if hook is None else hook.ema_model.module
        data = getattr(runner.train_dataloader.dataset, 'metainfo', None)
        meta = dict(epoch=runner.epoch, iter=runner.iter, seed=runner.seed, dataset_meta=data)
        checkpoint = dict(state_dict=get_state_dict(model), meta=meta)
        if hook is not None:  # as EMAHook saves them: the averaged weights are the state dict
            checkpoint['ema_state_dict'] = {}
        fused = fuse_checkpoint(runner.cfg, checkpoint, source=runner.work_dir)
        keep_earlier(Path(runner.work_dir))
        paths = write_fused(fused, runner.work_dir)
        weights = fused.checkpoint['meta']['refconv']['weights']
        runner.logger.info(
            f'RefConvHook: wrote {paths[0]} and {paths[1]} from the {weights} weights; {fused.comparison}'
        )

    def before_val_epoch(self, runner: Runner) -> None:
        """Refuses random initializations that were neither trained nor loaded."""
        layers = named_refconvs(unwrapped(runner.model)) if runner.iter == 0 else []
        if untrained := [name for name, layer in layers if is_random(layer)]:
            raise ValueError(
                f'RefConvHook: {len(untrained)} layers have an untrained random initialization ({untrained[0]}, ...); '
                'the checkpoint is plain or fused, the config refocused. Use its config (fused.py) or refconv test'
            )

    before_test_epoch = before_val_epoch


def add_guards(runner: Runner) -> None:
    """Adds StartHook and FiniteHook to a run that has none.

    A hook may call it in `before_run`: both come behind it, as they have RefConvHook's priority.
    """
    for kind in (StartHook, FiniteHook):
        if not any(isinstance(hook, kind) for hook in runner.hooks):
            runner.register_hook(kind())


def check_layer(name: str, layer: RefConv2d, known: set[int]) -> list[str]:
    """The faults of a layer that is to be trained; `known` has the ids of the optimizer's parameters."""
    problems = []
    if layer.source in (None, 'random', 'copied'):
        problems.append(
            f'{name}: the basis was never loaded and is random; start from a checkpoint (--init, load_from or a '
            f'Pretrained init_cfg) that has the key {name}.weight in this shape'
        )
    elif not torch.isfinite(layer.basis).all():
        problems.append(f'{name}: the basis has values that are not finite; the checkpoint is damaged')
    elif not layer.basis.any():
        problems.append(f'{name}: the basis is all zero, so the update gets no gradient')
    if not layer.trained.requires_grad:
        if is_random(layer):
            problems.append(
                f'{name}: the update is frozen (frozen_stages?) at a random initialization, which changes the kernel '
                "permanently; use init='zero' or do not refocus frozen layers"
            )
    elif id(layer.trained) not in known:
        problems.append(
            f'{name}: the optimizer does not have the parameter {layer.trained_name}; refocus the model before the '
            'optimizer is built'
        )
    return problems


def keep_earlier(work_dir: Path) -> None:
    """Gives the fused files of an earlier run their time as a suffix."""
    for path in (work_dir / name for name in FUSED):
        if path.exists():
            stamp = time.strftime('%Y%m%d_%H%M%S', time.localtime(path.stat().st_mtime))
            path.rename(path.with_stem(f'{path.stem}_{stamp}'))
