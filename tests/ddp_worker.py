"""Run by torchrun: trains two steps on two gloo processes, then compares their weights."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from refconv_mm.running.runner import build_runner, leave_process_group
from refconv_mm.running.settings import set_init, set_launcher
from refconv_mm.surgery import named_refconvs
from tests.conftest import segmenter

root, work_dir, start = sys.argv[1:]
cfg = segmenter(root, work_dir, **{'model.backbone.conv_cfg.init': 'kaiming', 'train_cfg.val_interval': 2})
# Each process draws its own random starts; RefConvHook must synchronise them.
cfg.randomness = dict(seed=0, diff_rank_seed=True)
cfg.custom_hooks = [dict(type='EMAHook')]
set_launcher(cfg, 'pytorch')
set_init(cfg, start)
runner = build_runner(cfg)
runner.train()
assert dist.get_world_size() == 2
for name, layer in named_refconvs(runner.model.module):
    values = [torch.empty_like(layer.refocus) for _ in range(2)]
    dist.all_gather(values, layer.refocus.detach())
    assert torch.equal(*values), name
    assert values[0].any(), name
# A file for each process: the output of two processes to one pipe can interleave within a line.
Path(work_dir, f'agree_{dist.get_rank()}').touch()
leave_process_group()
