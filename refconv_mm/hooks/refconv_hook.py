"""RefConvHook: guards at the start of training and of evaluation, fused files at the end."""

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
from ..layer import RefConv2d
from ..surgery import Report, bare, layer_row, named_refconvs, trainable, trained_bytes
from ..version import __version__


@HOOKS.register_module()
class RefConvHook(Hook):
    """Says what is refocused, refuses what would go wrong in silence, and fuses when it is time.

    - Before training: every basis came from a checkpoint (or from the model that was operated on), is finite
      and not all zero; every update trains and is known to the optimizer, or stands at a start that leaves the
      kernel as it is. Then a table.
    - Before val and test: the log says what is evaluated. A random start that was never trained is refused: a plain
      or fused checkpoint under a refocused config would be tested with kernels that it does not have.
    - After training: `fused.pth` and `fused.py` in the work dir, verified; averaged weights where the run has
      them. Files of an earlier run are kept under their time.

    Args:
        fuse_after_train: False leaves out the last step.
    """

    # After EMAHook (NORMAL), before CheckpointHook (VERY_LOW).
    priority = 'LOW'

    def __init__(self, fuse_after_train: bool = True) -> None:
        self.fuse_after_train = fuse_after_train

    def before_run(self, runner: Runner) -> None:
        compat.apply()

    # -- training ------------------------------------------------------------------------------------------

    def before_train(self, runner: Runner) -> None:
        """Raises ValueError, with every layer concerned, before the first step."""
        model = bare(runner.model)
        model.train()  # backbones freeze their stages here; the loop is about to call it anyway
        layers = named_refconvs(model)
        if not layers:
            raise ValueError(
                'RefConvHook: the model has no RefConv layer. Does conv_cfg reach the backbone, and has it kernels '
                'larger than 1x1? (For a plain run, leave the hook out.)'
            )
        known = {id(p) for group in _param_groups(runner) for p in group['params']}
        if problems := [problem for name, layer in layers for problem in check_layer(name, layer, known)]:
            raise ValueError('RefConvHook: training would go wrong:\n  ' + '\n  '.join(problems))
        for _, layer in layers:
            # Random starts are drawn when the checkpoint is loaded, after DDP has made the processes agree.
            broadcast(layer.trained.data, src=0)
        report = training_report(model)
        report.note = '; '.join(dict.fromkeys(what_optimizer_means(w, layers) for w in _wrappers(runner)))
        runner.logger.info(f'RefConvHook\n{report}')

    def after_train(self, runner: Runner) -> None:
        if not self.fuse_after_train or not is_main_process():
            return
        if not isinstance(runner.cfg.get('model'), dict):
            runner.logger.warning(
                'RefConvHook: the runner has no model config, so no fused.py can be written; use fuse()'
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

    def before_test_epoch(self, runner: Runner) -> None:
        _before_evaluation(runner, 'tests')


def _before_evaluation(runner: Runner, what: str) -> None:
    """Logs what is evaluated; refuses kernels that stand at a random start."""
    layers = named_refconvs(bare(runner.model))
    untrained = [name for name, layer in layers if stands_at_random(layer)]
    if untrained and runner.iter == 0:
        raise ValueError(
            f'RefConvHook: {len(untrained)} layers stand at their random start (first: {untrained[0]}): the '
            'checkpoint is plain or fused and the config refocused. Test it with its plain config (fused.py), or '
            'with our tools/test.py.'
        )
    hook = ema_hook(runner)
    # mmpretrain's EMAHook can be told to evaluate the trained weights.
    weights = 'trained' if hook is None or not getattr(hook, 'evaluate_on_ema', True) else 'averaged (EMA)'
    state = f'{len(layers)} refocused kernels' if layers else 'a plain or fused model'
    runner.logger.info(f'RefConvHook: {what} {state}, {weights} weights')


def stands_at_random(layer: RefConv2d) -> bool:
    """Whether a layer's kernel differs from its basis by chance alone."""
    return layer.options.start.random and layer.trained_source == 'start'


def ema_hook(runner: Runner) -> EMAHook | None:
    """The run's EMAHook, once it has averaged weights."""
    return next((h for h in runner.hooks if isinstance(h, EMAHook) and hasattr(h, 'ema_model')), None)


def check_layer(name: str, layer: RefConv2d, known: set[int]) -> list[str]:
    """What is wrong with a layer about to be trained; `known` has the ids of the optimizer's parameters."""
    problems = []
    if layer.basis_source == 'random':
        problems.append(
            f'{name}: its basis was never loaded and is random; start from a checkpoint (--init, load_from or a '
            f'Pretrained init_cfg) that has the key {name}.weight in this shape'
        )
    elif not torch.isfinite(layer.basis).all():
        problems.append(f'{name}: its basis holds values that are not finite; the checkpoint is broken')
    elif not layer.basis.any():
        problems.append(f'{name}: its basis is all zero, so its update gets no gradient')
    if not layer.trained.requires_grad:
        if stands_at_random(layer):
            problems.append(
                f'{name}: its update is frozen (frozen_stages?) and started at random (init={layer.options.init!r}), '
                "which perturbs the kernel for good; use init='zero' or do not refocus frozen layers"
            )
    elif id(layer.trained) not in known:
        problems.append(
            f'{name}: the optimizer does not know its {layer.trained_name}; refocus the model before the optimizer is '
            'built'
        )
    return problems


def training_report(model: nn.Module) -> Report:
    """The report of a model that is refocused already, against plain fine-tuning of the same layers."""
    report = Report('RefConv')
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


# Linear in gradients and parameters, element by element alike: what they do to the map they do to the update.
_LINEAR = (torch.optim.SGD, torch.optim.ASGD)


def what_optimizer_means(wrapper: OptimWrapper, layers: list[tuple[str, RefConv2d]]) -> str:
    """Whether the update form is the released layer's training under an optimizer, in a sentence.

    It is where a step is a linear map of gradients and parameters (docs/performance.md, "Any optimizer").
    """
    if not any(layer.form == 'update' for _, layer in layers):
        return "all layers train explicit maps: the released layer's training, under any optimizer"
    name = type(wrapper.optimizer).__name__
    if not isinstance(wrapper.optimizer, _LINEAR):
        return (
            f"{name} scales each element by itself: the update form is a method of its own here. form='explicit' is "
            "the released layer's training"
        )
    if wrapper.clip_grad_kwargs:
        return f"{name} with clipped gradients: steps that are clipped differ from the released layer's"
    return f"{name}: the update form is the released layer's training"


def _wrappers(runner: Runner) -> list[OptimWrapper]:
    wrapper = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, dict) else getattr(wrapper, 'optim_wrappers', {}).values()
    return list(wrappers) or [wrapper]


def _param_groups(runner: Runner) -> list[dict]:
    return [group for wrapper in _wrappers(runner) for group in wrapper.param_groups]


def _keep_earlier(work_dir: Path) -> None:
    for path in (work_dir / 'fused.pth', work_dir / 'fused.py'):
        if path.exists():
            stamp = time.strftime('%Y%m%d_%H%M%S', time.localtime(path.stat().st_mtime))
            path.rename(path.with_stem(f'{path.stem}_{stamp}'))
