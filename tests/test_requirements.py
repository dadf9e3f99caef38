"""What mmcv is compiled for: the CPU, or a GPU with a toolkit that fits."""

import importlib.util
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PATH = ROOT / 'requirements/mmcv_target.py'
spec = importlib.util.spec_from_file_location('mmcv_target', PATH)
mmcv_target = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mmcv_target)


@pytest.fixture
def toolkit(tmp_path):
    """A folder whose nvcc says 13.0."""
    nvcc = tmp_path / 'bin/nvcc'
    nvcc.parent.mkdir()
    nvcc.write_text('#!/bin/sh\necho "Cuda compilation tools, release 13.0, V13.0.88"\n')
    nvcc.chmod(0o755)
    (tmp_path / 'include').mkdir()
    (tmp_path / 'include/cusparse.h').touch()
    return str(tmp_path)


@pytest.mark.parametrize(('built', 'wanted', 'tag', 'said'), [
    ('13.0', True, 'cu130', 'ops for CPU and GPU'), ('13.2', True, 'cu130', 'the toolkit in'),
    ('12.1', True, 'cpu', r'torch has CUDA 12\.1, the toolkit in .* is 13\.0: ops for the CPU alone'),
    ('13.0', False, 'cpu', 'FORCE_CUDA=1'), (None, True, 'cpu', 'this torch has no CUDA'),
])  # fmt: skip
def test_a_toolkit_must_have_the_major_version_of_torch(toolkit, built, wanted, tag, said):
    got, why = mmcv_target.choose(built, toolkit, wanted)
    assert got == tag
    assert re.search(said, why)


@pytest.mark.parametrize('stack', ['compiled', 'classic', 'forks'])
def test_the_target_is_shell_variables(stack):
    file = ROOT / f'requirements/{stack}/mmcv.txt'
    said = subprocess.run([sys.executable, PATH, file], capture_output=True, text=True, check=True).stdout
    echo = 'eval "$0"; echo "$name $version $std $tag"'
    values = subprocess.run(['bash', '-c', echo, said], capture_output=True, text=True, check=True).stdout.split()
    assert values[0] in ('mmcv', 'onedl-mmcv')
    assert file.read_text().startswith(f'{values[0]}=={values[1]} ')
    assert values[2] in ('17', '20')
