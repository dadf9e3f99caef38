"""Every shipped set of configs runs: two steps of baseline, control and refocused run, then fused and tested."""

import shutil

import pytest

from tests.short_runs import run_set
from tests.test_configs import REFCONV, name

QUICK = 'mobilenetv3-small_refconv_imagenet.py'
SETS = [path if path.name == QUICK else pytest.param(path, marks=pytest.mark.slow) for path in REFCONV]


@pytest.mark.parametrize('path', SETS, ids=name)
def test_a_set_trains_validates_fuses_and_tests(path, tmp_path):
    run_set(path, tmp_path)
    shutil.rmtree(tmp_path)  # the checkpoints of all sets are gigabytes
