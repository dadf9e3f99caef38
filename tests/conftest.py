"""Fixtures of all tests: seeds, small data sets and short runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import refconv_mm
from refconv_mm import commands

warnings.simplefilter('ignore')
for variable in ('FORCE_COLOR', 'TTY_COMPATIBLE', 'COLUMNS'):  # which change what rich prints
    os.environ.pop(variable, None)
refconv_mm.openmmlab.prepare()  # as our commands do, before a test imports mmdet's or mmseg's models

from demo import make_cityscapes, make_voc  # noqa: E402
from refconv_mm.files.unpickling import takes_allow_list  # noqa: E402
from refconv_mm.openmmlab.extension import compiled_for  # noqa: E402
from refconv_mm.openmmlab.versions import distribution_version  # noqa: E402

# What older torch cannot do; the tests of it are left out on the stack `classic`.
needs_new_torch = pytest.mark.skipif(torch.__version__ < (2, 7), reason='needs torch 2.7 or newer')
# mmdet's and mmseg's own entry points do not start without compiled ops (docs/versions.md).
needs_compiled_ops = pytest.mark.skipif(not compiled_for('cpu'), reason='mmcv has no compiled ops here')
ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / 'configs' / 'demo'


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
    yield
    for name in ('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', 'LOCAL_RANK'):  # what --trust and a run set, for the whole process
        os.environ.pop(name, None)


@pytest.fixture
def refconv(capsys):
    """Runs `refconv` in this process; returns its exit code, its output and its errors."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            commands.main([str(word) for word in words])
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture(scope='session')
def stack() -> str:
    """Which of the stacks of `docs/versions.md` the tests run on."""
    if distribution_version('onedl-mmengine'):
        return 'forks'
    if not takes_allow_list():
        return 'classic'
    return 'compiled' if compiled_for('cpu') else 'default'


@pytest.fixture(scope='session')
def voc(tmp_path_factory) -> Path:
    return make_voc(tmp_path_factory.mktemp('data') / 'voc', train=16, test=4, size=96)


@pytest.fixture(scope='session')
def city(tmp_path_factory) -> Path:
    return make_cityscapes(tmp_path_factory.mktemp('data') / 'city', train=8, val=3, size=(64, 96))


def tiny(name: str, root: Path, work_dir: Path, iters: int = 2, **changes) -> Config:
    """A demo config that runs in seconds: a quarter of the width, few small images, `iters` steps."""
    cfg = Config.fromfile(DEMO / f'{name}_demo.py')
    cfg.work_dir, cfg.log_level = str(work_dir), 'WARNING'
    cfg.experiment_name = cfg.visualizer.name = f'{name}_{time.time_ns()}'
    cfg.train_cfg.max_iters = iters
    cfg.train_dataloader.batch_size = 2
    cfg.default_hooks.checkpoint.interval = 1
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[loader].dataset.data_root = f'{root}/'
    cfg.merge_from_dict(changes)
    return cfg


def segmenter(root: Path, work_dir: Path, kind: str = '_refconv', iters: int = 2, **changes) -> Config:
    return tiny(f'deeplabv3plus_mobilenetv2-d8{kind}', root, work_dir, iters, **changes)


def detector(root: Path, work_dir: Path, kind: str = '_refconv', iters: int = 2, **changes) -> Config:
    return tiny(f'ssdlite_mobilenetv2{kind}', root, work_dir, iters, **changes)


def random_checkpoint(cfg: Config, path: Path) -> Path:
    """A plain checkpoint of a config's model with random weights, as a stand-in for a trained one."""
    from refconv_mm.openmmlab.config import plain_config
    from refconv_mm.openmmlab.models import build_model

    torch.manual_seed(0)  # fixtures of a session are made before `_seed`
    model = build_model(plain_config(cfg))
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return path


@pytest.fixture(scope='session')
def seg_run(city, tmp_path_factory) -> dict:
    """A finished refocused segmentation run of two steps: its config, its work dir and its start."""
    from refconv_mm.running.runner import build_runner
    from refconv_mm.running.settings import set_init

    work_dir = tmp_path_factory.mktemp('seg')
    cfg = segmenter(city, work_dir)
    start = random_checkpoint(cfg, work_dir / 'start.pth')
    set_init(cfg, str(start))
    cfg.optim_wrapper.optimizer.lr = 0.2  # so that two steps change the weights visibly
    build_runner(cfg).train()
    return dict(cfg=cfg, work_dir=work_dir, start=start, last=work_dir / 'iter_2.pth')


def run(*command: object, check: bool = True, timeout: int = 300, **env: str) -> subprocess.CompletedProcess:
    """Runs Python in the checkout, with one thread."""
    full = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONWARNINGS': 'ignore', **env}
    words = [str(word) for word in command]
    result = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=full, capture_output=True, text=True, timeout=timeout
    )
    if check:
        assert result.returncode == 0, f'{words} failed:\n{result.stdout[-3000:]}\n{result.stderr[-6000:]}'
    return result
