"""The supply chain: no network, and packages that are pinned by their hashes."""

import re
import shutil
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT, random_checkpoint, segmenter


def pins(name: str) -> dict[str, str]:
    """The packages of a file of requirements, with what stands behind their names."""
    text = (ROOT / 'requirements' / name).read_text()
    lines = [re.split(r' #| --hash', line)[0].strip() for line in text.splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith(('#', '-r'))]
    return {each.name.lower().replace('_', '-'): str(each.specifier) for each in found}


def test_the_lock_has_what_the_requirements_pin_with_a_hash_for_each():
    locked = pins('default/lock.txt')
    for name in ('default/torch.txt', 'default/openmmlab.txt', 'dev.txt', 'lint.txt'):
        for package, wanted in pins(name).items():
            assert locked[package] == wanted or not wanted.startswith('=='), (
                f'{package}: run requirements/lock.py again'
            )
    for path in [ROOT / 'requirements/default/lock.txt', *(ROOT / 'requirements').glob('*/mmcv.txt')]:
        lines = [line for line in path.read_text().splitlines() if not line.startswith('#')]
        assert all(re.fullmatch(r'\S+==\S+ --hash=sha256:[0-9a-f]{64}', line) for line in lines), path


NO_NETWORK = ('unshare', '--user', '--map-root-user', '--net')  # a network namespace that has no device


def without_network(*words: object) -> None:
    """Runs Python without a network."""
    command = [*NO_NETWORK, sys.executable, '-W', 'ignore', *map(str, words)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert ended.returncode == 0, f'{words}\n{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}'


@pytest.mark.faults
def test_every_command_runs_without_a_network(city, tmp_path):
    if not shutil.which('unshare') or subprocess.run([*NO_NETWORK, 'true'], capture_output=True).returncode:
        pytest.skip('this machine does not let us make a network namespace')
    with pytest.raises(AssertionError, match='unreachable'):
        without_network('-c', "import urllib.request; urllib.request.urlopen('http://1.1.1.1')")
    cfg = segmenter(city, tmp_path / 'work', iters=1)
    cfg.dump(tmp_path / 'seg.py')
    start = random_checkpoint(cfg, tmp_path / 'start.pth')
    work = tmp_path / 'work'
    fused = work / 'iter_1_fused' / 'fused.pth'
    plain, ours = fused.with_suffix('.py'), ('-m', 'refconv_mm')
    without_network('tools/train.py', tmp_path / 'seg.py', '--init', start)
    without_network('tools/fuse.py', tmp_path / 'seg.py', work / 'iter_1.pth')
    without_network('tools/test.py', plain, fused, '--work-dir', tmp_path)
    without_network(*ours, 'export', plain, fused, tmp_path / 'model.onnx')
    without_network(*ours, 'check-data', tmp_path / 'seg.py')
    without_network(*ours, 'predict', plain, fused, city / 'leftImg8bit/val', '--out-dir', tmp_path / 'predicted')
    without_network(*ours, 'new', city, '--out', tmp_path / 'new')
