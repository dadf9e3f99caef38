"""The supply chain: packages that are pinned by their hashes."""

import re

from packaging.requirements import Requirement

from tests.conftest import ROOT


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
