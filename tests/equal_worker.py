"""A training split among any number of processes: run by torchrun, and by test_distributed.py in one process.

torchrun ... -m tests.equal_worker OUT START JOB [JOB ...]

A job is NAME or NAME=PATH (see JOBS); each process leaves `OUT/NAME_<rank>.pth`.
"""

from __future__ import annotations

import copy
import os
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, get_dist_info
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, HOOKS, MODELS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from refconv_mm.openmmlab.models import build_model, unwrapped
from refconv_mm.running.runner import build_runner, leave_process_group
from refconv_mm.running.settings import set_launcher, set_resume
from refconv_mm.surgery import fuse, named_refconvs

RANK, WORLD = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
LAUNCHER = 'pytorch' if 'WORLD_SIZE' in os.environ else 'none'
BATCH, SAMPLES, EPOCHS, MAX_NORM = 8, 24, 4, 0.5
STEPS = EPOCHS * SAMPLES // BATCH
REFCONV = dict(type='RefConv', kernel_size=3, init='kaiming', kinds=['depthwise', 'grouped', 'dense'])
LAYERS = [
    dict(REFCONV, in_channels=3, out_channels=8, padding=1),
    dict(type='ReLU'),
    dict(REFCONV, in_channels=8, out_channels=8, padding=1, groups=8),
    dict(type='BN', num_features=8),
    dict(type='RefConv', in_channels=8, out_channels=8, kernel_size=1),
    dict(type='ReLU'),
    dict(REFCONV, in_channels=8, out_channels=8, groups=4),
    dict(REFCONV, in_channels=8, out_channels=4),
]


@MODELS.register_module()
class SplitNet(BaseModel):
    """Depthwise, grouped, dense and pointwise layers, in float64."""

    def __init__(self, layers: list[dict]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*[MODELS.build(layer) for layer in layers]).double()

    def forward(self, inputs: Tensor, targets: Tensor, mode: str = 'tensor') -> Any:
        outputs = self.layers(inputs).mean((2, 3))
        return dict(loss=(outputs - targets).square().mean()) if mode == 'loss' else outputs


@DATASETS.register_module()
class SplitData(torch.utils.data.Dataset):
    """Fixed random images and targets in float64."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.inputs = torch.randn(SAMPLES, 3, 9, 9, dtype=torch.float64, generator=generator)
        self.targets = torch.randn(SAMPLES, 4, dtype=torch.float64, generator=generator)

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> dict:
        return dict(inputs=self.inputs[index], targets=self.targets[index])


@HOOKS.register_module()
class Curve(Hook):
    """Keeps the first weights, and of each step the loss (mean over the processes) and the norm before clipping."""

    def __init__(self) -> None:
        self.start: dict[str, Tensor] = {}
        self.losses: list[float] = []
        self.norms: list[float] = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if not self.start:
            self.start = copy.deepcopy(unwrapped(runner.model).state_dict())

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        loss = outputs['loss'].detach().clone()
        all_reduce(loss, 'mean')
        self.losses.append(loss.item())
        self.norms.append(float(runner.message_hub.get_scalar('train/grad_norm').current()))


@HOOKS.register_module()
class FrozenNorms(Hook):
    """Batch norm with its running averages, since the statistics of a batch depend on the split."""

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        freeze_norms(runner.model)


def freeze_norms(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def toy_config(work_dir: Path, start: Path, **changes: Any) -> Config:
    """The toy's run with the same global batch for any number of processes."""
    cfg = Config(dict(
        model=dict(type='SplitNet', layers=copy.deepcopy(LAYERS)),
        train_dataloader=dict(
            batch_size=BATCH // WORLD,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
            dataset=dict(type='SplitData'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=EPOCHS),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.2, momentum=0.9, weight_decay=1e-3), clip_grad=dict(max_norm=MAX_NORM)
        ),
        param_scheduler=dict(type='CosineAnnealingLR', T_max=EPOCHS, by_epoch=True),
        default_hooks=dict(refconv=dict(type='RefConvHook', fuse_after_train=False)),
        custom_hooks=[dict(type='Curve'), dict(type='FrozenNorms')],
        randomness=dict(seed=0),
        default_scope='mmengine',
        log_level='WARNING',
        experiment_name=f'toy_{time.time_ns()}',
        work_dir=str(work_dir),
        load_from=str(start),
    ))  # fmt: skip
    cfg.merge_from_dict(changes)
    return cfg


def train(cfg: Config) -> dict[str, Any]:
    """Runs a config in this process, or in all processes of torchrun; returns its curve and its weights."""
    set_launcher(cfg, LAUNCHER)
    runner = build_runner(cfg)
    runner.train()
    assert get_dist_info() == (RANK, WORLD)
    assert WORLD == 1 or not runner.model.find_unused_parameters
    curve = next(hook for hook in runner.hooks if isinstance(hook, Curve))
    return dict(start=curve.start, losses=curve.losses, norms=curve.norms, state=unwrapped(runner.model).state_dict())


def toy(out: Path, start: Path, **changes: Any) -> dict[str, Any]:
    return train(toy_config(out, start, **changes))


def resumed(out: Path, start: Path, checkpoint: str) -> dict[str, Any]:
    cfg = toy_config(out, start)
    set_resume(cfg, checkpoint, None)
    return train(cfg)


def drawn(out: Path, start: Path) -> dict[str, Any]:
    return toy(out, start, **{'randomness.diff_rank_seed': True})


def whole_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The full state dict of a model under FSDP2 (`fully_shard`); all processes must call it.

    torch's `get_model_state_dict` reads each layer's `.weight`, which a RefConv layer would compute from a shard.
    """
    state = model.state_dict()
    # A DTensor, recognised by its method: not every build of torch has its module.
    whole = OrderedDict((k, v.full_tensor() if hasattr(v, 'full_tensor') else v) for k, v in state.items())
    whole._metadata = getattr(state, '_metadata', OrderedDict())  # type: ignore[attr-defined]
    return whole


def sharded(out: Path, start: Path) -> dict[str, Any]:
    """The toy under FSDP2, each layer and the rest a group of shards; not sharded in one process.

    In a loop of its own: mmengine's Runner knows FSDP1 only.
    """
    cfg, data = toy_config(out, start), SplitData()
    torch.manual_seed(0)
    model = build_model(cfg)
    model.load_state_dict(torch.load(start)['state_dict'])
    unsharded = copy.deepcopy(model)
    if WORLD > 1:
        # Not at the top: torch before 2.6 has no FSDP2.
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh('cpu', (WORLD,))
        for _, layer in named_refconvs(model):
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    freeze_norms(model.train())
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    losses = []
    for step in range(STEPS):
        mine = [(step * BATCH + i) % SAMPLES for i in range(RANK, BATCH, WORLD)]
        batch = dict(inputs=data.inputs[mine], targets=data.targets[mine])
        loss = model.train_step(batch, optimizer)['loss'].detach().clone()
        all_reduce(loss, 'mean')
        losses.append(loss.item())
    state = whole_state_dict(model)
    unsharded.load_state_dict(state)
    fuse(unsharded)
    sharded_names = [name for name, p in model.named_parameters() if hasattr(p, 'full_tensor')]
    return dict(losses=losses, state=state, outputs=unsharded.eval()(data.inputs, data.targets), sharded=sharded_names)


JOBS = dict(toy=toy, drawn=drawn, resumed=resumed, sharded=sharded)


def main() -> None:
    out, start, *jobs = sys.argv[1:]
    for job in jobs:
        name, _, path = job.partition('=')
        result = JOBS[name](Path(out, name), Path(start), *filter(None, [path]))
        torch.save(result, Path(out, f'{name}_{RANK}.pth'))
    leave_process_group()


if __name__ == '__main__':
    main()
