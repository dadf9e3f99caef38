"""RefConvHook: checks before training and evaluation, and fused files after training."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from mmengine.dist import broadcast, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.runner.checkpoint import get_state_dict
from torch import nn

from .. import compat
from ..checkpoint import fuse_checkpoint, write_fused
from ..conv_types import pad_as_replaced
from ..layer import RefConv2d
from ..surgery import Report, bare, layer_row, named_refconvs, trainable, trained_bytes
from ..targets import count_reasons, named_convs, note_on, why_not
from ..turning import turned_so_far
from ..version import __version__
from .finite_hook import FiniteHook, optim_wrappers
from .start_hook import StartHook

# Degrees by which the kernels have turned, as mmengine's message hub knows them.
TURNED = 'val/turned'


@HOOKS.register_module()
class RefConvHook(Hook):
    """Checks the RefConv layers before training and evaluation, and fuses them after training.

    - Before training it checks that every basis came from a checkpoint (or from the model that was refocused), is
      finite and not all zero. Every update must be in the optimizer, or be frozen at a start that does not change the
      kernel. The log gets a table of the layers.
    - Before val and test the log names the evaluated weights. The hook refuses kernels with an untrained random start:
      a plain or fused checkpoint under a refocused config would be tested with kernels that it does not have.
    - It adds StartHook and FiniteHook, unless the config has them.
    - At each validation the log gets `turned`, the degrees by which the kernels have turned so far.
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
        compat.apply()
        add_guards(runner)
        if changed := pad_as_replaced(bare(runner.model)):
            runner.logger.info(
                f'RefConvHook: {len(changed)} layers (first: {changed[0]}) pad as Conv2dAdaptivePadding, which '
                'conv_cfg replaces in this backbone'
            )

    # -- training ------------------------------------------------------------------------------------------

    def before_train(self, runner: Runner) -> None:
        """Checks the layers before the first step.

        Raises:
            ValueError: lists every layer with a fault.
        """
        model = bare(runner.model)
        model.train()  # backbones freeze their stages here; the training loop calls it again
        layers = named_refconvs(model)
        if not layers:
            if ordinary := training_report(model).skipped:
                reasons = count_reasons(ordinary)
                raise ValueError(f'RefConvHook: each RefConv layer of the model is an ordinary convolution: {reasons}')
            raise ValueError(
                'RefConvHook: the model has no RefConv layer. Does the backbone use conv_cfg, and does it have kernels '
                "of at least map_k? type='RefocusedBackbone' around a backbone reaches all its convolutions. (Remove "
                'the hook for a plain run.)'
            )
        known = {id(p) for group in _param_groups(runner) for p in group['params']}
        if problems := [problem for name, layer in layers for problem in check_layer(name, layer, known)]:
            raise ValueError('RefConvHook: these layers cannot be trained:\n  ' + '\n  '.join(problems))
        for _, layer in layers:
            # Loading a checkpoint draws the random starts, after DDP has synchronised the processes.
            broadcast(layer.trained.data, src=0)
        report = training_report(model)
        means = dict.fromkeys(what_optimizer_means(wrapper, layers) for wrapper in optim_wrappers(runner))
        report.note = '; '.join(filter(None, [report.note, *means]))
        runner.logger.info(
            f'RefConvHook: {len(layers)} RefConv layers, {report.params_after:,} trained parameters '
            f'({report.params_before:,} in a plain run); {report.note}'
        )
        runner.logger.info(f'The layers that RefConvHook checked:\n{report}')

    def after_train(self, runner: Runner) -> None:
        if not self.fuse_after_train or not is_main_process():
            return
        if not isinstance(runner.cfg.get('model'), dict):
            runner.logger.warning(
                'RefConvHook: the runner has no model config, so fused.py cannot be written; call fuse() yourself'
            )
            return
        hook = ema_hook(runner)
        model = bare(runner.model) if hook is None else hook.ema_model.module
        weights = 'trained' if hook is None else 'averaged (EMA)'
        meta = dict(
            epoch=runner.epoch,
            iter=runner.iter,
            seed=runner.seed,
            experiment_name=runner.experiment_name,
            dataset_meta=getattr(runner.train_dataloader.dataset, 'metainfo', None),
        )
        checkpoint = dict(state_dict=get_state_dict(model), meta=meta)
        fused = fuse_checkpoint(runner.cfg, checkpoint, source=runner.work_dir)
        fused.checkpoint['meta']['refconv']['weights'] = weights
        _keep_earlier(Path(runner.work_dir))
        paths = write_fused(fused, runner.work_dir)
        runner.logger.info(
            f'RefConvHook: wrote {paths[0]} and {paths[1]} from the {weights} weights; {fused.comparison}'
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Marks the file as refocused."""
        checkpoint.setdefault('meta', {})['refconv'] = dict(fused=False, version=__version__)

    # -- evaluation ----------------------------------------------------------------------------------------

    def before_val_epoch(self, runner: Runner) -> None:
        _before_evaluation(runner, 'validates')
        degrees = turned_so_far(bare(runner.model))
        if degrees is not None:
            # LoggerHook writes it into the log and to the visualizer, beside the metrics of this validation.
            runner.message_hub.update_scalar(TURNED, degrees)

    def before_test_epoch(self, runner: Runner) -> None:
        _before_evaluation(runner, 'tests')


def add_guards(runner: Runner) -> None:
    """Adds StartHook and FiniteHook to a run that has none.

    A hook may call it in `before_run`: both come behind it, as they have RefConvHook's priority.
    """
    for kind in (StartHook, FiniteHook):
        if not any(isinstance(hook, kind) for hook in runner.hooks):
            runner.register_hook(kind())


def _before_evaluation(runner: Runner, what: str) -> None:
    """Logs the evaluated weights; refuses kernels with an untrained random start."""
    layers = named_refconvs(bare(runner.model))
    untrained = [name for name, layer in layers if stands_at_random(layer)]
    if untrained and runner.iter == 0:
        raise ValueError(
            f'RefConvHook: {len(untrained)} layers have an untrained random start (first: {untrained[0]}): the '
            'checkpoint is plain or fused and the config is refocused. Test it with its plain config (fused.py), or '
            'with refconv test.'
        )
    hook = ema_hook(runner)
    # mmpretrain's EMAHook has an option to evaluate the trained weights.
    weights = 'trained' if hook is None or not getattr(hook, 'evaluate_on_ema', True) else 'averaged (EMA)'
    state = f'{len(layers)} refocused kernels' if layers else 'a plain or fused model'
    runner.logger.info(f'RefConvHook: {what} {state}, {weights} weights')


def stands_at_random(layer: RefConv2d) -> bool:
    """Whether a layer's update is a random start that was neither trained nor loaded."""
    return layer.options.start.random and layer.trained_source == 'start'


def ema_hook(runner: Runner) -> EMAHook | None:
    """The run's EMAHook, once it has averaged weights."""
    return next((h for h in runner.hooks if isinstance(h, EMAHook) and hasattr(h, 'ema_model')), None)


def check_layer(name: str, layer: RefConv2d, known: set[int]) -> list[str]:
    """The faults of a layer that is to be trained; `known` has the ids of the optimizer's parameters."""
    problems = []
    if layer.basis_source == 'random':
        problems.append(
            f'{name}: the basis was never loaded and is random; start from a checkpoint (--init, load_from or a '
            f'Pretrained init_cfg) that has the key {name}.weight in this shape'
        )
    elif not torch.isfinite(layer.basis).all():
        problems.append(f'{name}: the basis has values that are not finite; the checkpoint is damaged')
    elif not layer.basis.any():
        problems.append(f'{name}: the basis is all zero, so the update gets no gradient')
    if not layer.trained.requires_grad:
        if stands_at_random(layer):
            problems.append(
                f'{name}: the update is frozen (frozen_stages?) at a random start (init={layer.options.init!r}), '
                "which changes the kernel permanently; use init='zero' or do not refocus frozen layers"
            )
    elif id(layer.trained) not in known:
        problems.append(
            f'{name}: the optimizer does not have the parameter {layer.trained_name}; refocus the model before the '
            'optimizer is built'
        )
    return problems


def training_report(model: nn.Module) -> Report:
    """The report of a refocused model, compared with plain fine-tuning of the same layers."""
    report = Report('RefConv', note=note_on(model))
    for name, (conv, _) in named_convs(model).items():
        if isinstance(conv, RefConv2d) and not conv.is_refocused:
            report.skipped[name] = why_not(conv) or ''
    report.params_after, report.bytes_after = trainable(model), trained_bytes(model)
    plain_params, plain_bytes = report.params_after, report.bytes_after
    for name, layer in named_refconvs(model):
        trains = layer.trained.requires_grad
        bias = layer.bias.numel() if layer.bias is not None and layer.bias.requires_grad else 0
        before = layer.basis.numel() * trains + bias
        row = layer_row(name, layer, before, trainable(layer))
        row.note = f'basis: {layer.basis_source}' + ('' if trains else ', frozen')
        report.rows.append(row)
        plain_params += row.before - row.after
        plain_bytes += 3 * layer.basis.element_size() * (row.before - row.after)
    report.params_before, report.bytes_before = plain_params, plain_bytes
    return report


# Their step is linear in gradients and parameters and the same for each element: for the map as for the update.
_LINEAR = (torch.optim.SGD, torch.optim.ASGD)


def what_optimizer_means(wrapper: OptimWrapper, layers: list[tuple[str, RefConv2d]]) -> str:
    """Whether the update form equals the released layer's training under an optimizer, in a sentence.

    It does if a step is a linear function of gradients and parameters.
    """
    if not any(layer.form == 'update' for _, layer in layers):
        return "all layers train explicit maps: the released layer's training, under any optimizer"
    name = type(wrapper.optimizer).__name__
    if not isinstance(wrapper.optimizer, _LINEAR):
        return (
            f"{name} scales each element separately, so the update form differs from the released layer's training; "
            "form='explicit' equals it"
        )
    if wrapper.clip_grad_kwargs:
        return f"{name} with clipped gradients: clipped steps differ from the released layer's"
    return f"{name}: the update form is the released layer's training"


def _param_groups(runner: Runner) -> list[dict]:
    return [group for wrapper in optim_wrappers(runner) for group in wrapper.param_groups]


def _keep_earlier(work_dir: Path) -> None:
    for path in (work_dir / 'fused.pth', work_dir / 'fused.py'):
        if path.exists():
            stamp = time.strftime('%Y%m%d_%H%M%S', time.localtime(path.stat().st_mtime))
            path.rename(path.with_stem(f'{path.stem}_{stamp}'))
