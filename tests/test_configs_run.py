"""Every shipped set of configs runs: two steps of baseline, control and refocused run, then fused and tested."""

import shutil
from pathlib import Path

import pytest
from mmengine.config import Config

from tests.short_runs import fuse_and_test, make_data, moved, random_start, shorten, train
from tests.test_configs import FROM_IMAGENET, MODELS, REFCONV, name

QUICK = 'mobilenetv3-small_refconv_imagenet.py'
# configs/own has a test of its own, test_own_data.py.
SETS = [path for path in [*REFCONV, *FROM_IMAGENET] if path.parent.name != 'own']
RUNS = [path if path.name == QUICK else pytest.param(path, marks=pytest.mark.slow) for path in SETS]
ALONE = [path for path in MODELS if path.parent.name == 'cifar10']


def run_set(path: Path, folder: Path) -> dict:
    """Runs the set of a refocused config as a user does; returns what the refocused run gave."""
    baseline = path.name.replace('_refconv-from-imagenet', '').replace('_refconv', '')
    members = [path.with_name(member) for member in (baseline, path.name.replace('refconv', 'control'), path.name)]
    cfg = Config.fromfile(members[0])
    data, start, trained = make_data(cfg, folder / 'data'), random_start(cfg, folder / 'start.pth'), None
    for member in members:
        if not member.is_file():
            continue  # the control of refocusing from ImageNet weights is the baseline
        cfg = shorten(Config.fromfile(member), folder / member.stem, data)
        last = train(cfg, trained or start)
        trained = trained or last
    comparison, metrics = fuse_and_test(cfg, last)
    change = moved(trained, folder / path.stem / 'written/fused.pth')
    return dict(layers=comparison.layers, difference=comparison.model, metrics=metrics, change=change)


@pytest.mark.parametrize('path', RUNS, ids=lambda path: name(path))
def test_a_set_trains_validates_fuses_and_tests(path, tmp_path):
    result = run_set(path, tmp_path)
    assert result['change'] > 0
    assert result['metrics']
    shutil.rmtree(tmp_path)  # the checkpoints of all sets are gigabytes


@pytest.mark.slow
@pytest.mark.parametrize('path', ALONE, ids=name)
def test_a_baseline_of_plans_trains_and_validates(path, tmp_path):
    cfg = Config.fromfile(path)
    cfg = shorten(cfg, tmp_path / 'work', make_data(cfg, tmp_path / 'data'), (32, 32))
    start = random_start(cfg, tmp_path / 'start.pth')
    assert moved(start, train(cfg, start)) > 0
