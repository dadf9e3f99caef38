"""The supported versions of the libraries, and their check at import."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from importlib.metadata import PackageNotFoundError, version

from packaging.version import Version

# distribution: (lowest, first that is too new, tested)
REQUIRED = {
    'torch': ('2.1', '3', '2.14.1'),
    'mmengine': ('0.10.4', '0.11', '0.10.7'),
    'mmcv': ('2.0.1', '2.2', '2.1.0'),
}
OPTIONAL = {
    'mmdet': ('3.2', '3.4', '3.3.0'),
    'mmsegmentation': ('1.2', '1.3', '1.2.2'),
    'mmpretrain': ('1.1', '1.3', '1.2.0'),
}
# The maintained forks have the same modules under other names of distributions.
FORKS = {
    'mmengine': 'onedl-mmengine',
    'mmcv': 'onedl-mmcv',
    'mmdet': 'onedl-mmdetection',
    'mmsegmentation': 'onedl-mmsegmentation',
    'mmpretrain': 'onedl-mmpretrain',
}
FORK_VERSIONS = {
    'mmengine': ('0.10.8', '0.11', '0.10.12'),
    'mmcv': ('2.3', '2.4', '2.3.6'),
    'mmdet': ('3.4', '3.6', '3.5.1'),
    'mmsegmentation': ('1.3', '1.5', '1.4.2'),
    'mmpretrain': ('1.3', '1.4', '1.3.6'),
}


def distribution_version(name: str) -> Version | None:
    """Version of an installed distribution of exactly this name, or None."""
    try:
        return Version(version(name))
    except PackageNotFoundError:
        return None


def installed(name: str) -> Version | None:
    """Version of an installed distribution or of its fork, or None."""
    own = distribution_version(name)
    return own if own is not None or name not in FORKS else distribution_version(FORKS[name])


def check_versions() -> None:
    """Checks the installed libraries.

    An unknown version of mmdet, mmsegmentation or mmpretrain is a warning, since the run may need another of them.

    Raises:
        ImportError: mmengine or mmcv is missing or not supported, or a library and its fork overwrite each other; the
            message has the pip command.
    """
    problems: list[str] = []
    unknown: list[str] = []
    for name, wanted in {**REQUIRED, **OPTIONAL}.items():
        have, fork = distribution_version(name), FORKS.get(name)
        forked = None if fork is None else distribution_version(fork)
        if have is not None and forked is not None:
            problems.append(
                f'{name} {have} and {fork} {forked} are both installed and overwrite each other: uninstall both, then '
                'install one'
            )
        elif forked is not None:
            found = _range_problem(str(fork), forked, FORK_VERSIONS[name])
            (problems if name in REQUIRED else unknown).extend(found)
        elif have is not None:
            (problems if name in REQUIRED else unknown).extend(_range_problem(name, have, wanted))
        elif name == 'mmcv' and (lite := distribution_version('mmcv-lite')) is not None:
            problems += _range_problem('mmcv-lite', lite, wanted)  # ops.py stands in for what it lacks
        elif name in REQUIRED:
            problems.append(f'{name} is missing: pip install {name}{"-lite" * (name == "mmcv")}=={wanted[2]}')
    for each in unknown:
        warnings.warn(f'refconv_mm: {each}', stacklevel=3)
    if not problems:
        problems += _ops_problem()
    if problems:
        raise ImportError('refconv_mm cannot be used here:\n  ' + '\n  '.join(problems))


def _range_problem(name: str, have: Version, wanted: tuple[str, str, str]) -> list[str]:
    low, high, tested = wanted
    if Version(low) <= have < Version(high):
        return []
    return [f'{name} {have} is installed, refconv_mm supports >={low},<{high}: pip install {name}=={tested}']


def _ops_problem() -> list[str]:
    """Checks that compiled ops of mmcv load."""
    if importlib.util.find_spec('mmcv._ext') is None:
        return []  # ops.py stands in
    try:
        importlib.import_module('mmcv._ext')
    except ImportError as error:
        return [f"mmcv's ops do not load ({error}): they were built for another version of torch; rebuild mmcv"]
    return []
