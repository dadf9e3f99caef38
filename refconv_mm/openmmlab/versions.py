"""The supported versions of the libraries, and their check at import."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from importlib.metadata import PackageNotFoundError, version

from packaging.version import Version

# library: (lowest, first that is too new, tested)
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
# The maintained forks have the same modules under other names of distributions, and other versions.
FORKS = {
    'mmengine': ('onedl-mmengine', '0.10.8', '0.11', '0.10.12'),
    'mmcv': ('onedl-mmcv', '2.3', '2.4', '2.3.6'),
    'mmdet': ('onedl-mmdetection', '3.4', '3.6', '3.5.1'),
    'mmsegmentation': ('onedl-mmsegmentation', '1.3', '1.5', '1.4.2'),
    'mmpretrain': ('onedl-mmpretrain', '1.3', '1.4', '1.3.6'),
}


def distribution_version(name: str) -> Version | None:
    """Version of an installed distribution of exactly this name, or None."""
    try:
        return Version(version(name))
    except PackageNotFoundError:
        return None


def check_versions() -> None:
    """Checks the installed libraries.

    An unknown version of mmdet, mmsegmentation or mmpretrain is a warning, since the run may need another of them.

    Raises:
        ImportError: mmengine or mmcv is missing or not supported, or a library and its fork overwrite each other; the
            message has the pip command.
    """
    problems: list[str] = []
    for name, limits in {**REQUIRED, **OPTIONAL}.items():
        known = {name: limits} | ({FORKS[name][0]: FORKS[name][1:]} if name in FORKS else {})
        found = {each: have for each in known if (have := distribution_version(each)) is not None}
        if not found and name == 'mmcv' and (lite := distribution_version('mmcv-lite')) is not None:
            known, found = {'mmcv-lite': limits}, {'mmcv-lite': lite}  # ops.py stands in for what it lacks
        if len(found) > 1:
            both = ' and '.join(f'{each} {have}' for each, have in found.items())
            problems.append(f'{both} are both installed and overwrite each other: uninstall both, then install one')
        elif found:
            ((each, have),) = found.items()
            low, high, tested = known[each]
            problem = f'{each} {have} is installed, refconv_mm supports >={low},<{high}: pip install {each}=={tested}'
            if not Version(low) <= have < Version(high):
                problems.append(problem) if name in REQUIRED else warnings.warn(f'refconv_mm: {problem}', stacklevel=3)
        elif name in REQUIRED:
            problems.append(f'{name} is missing: pip install {name}{"-lite" * (name == "mmcv")}=={limits[2]}')
    if problems := problems or _ops_problem():
        raise ImportError('refconv_mm cannot be used here:\n  ' + '\n  '.join(problems))


def _ops_problem() -> list[str]:
    """Checks that compiled ops of mmcv load."""
    if importlib.util.find_spec('mmcv._ext') is None:
        return []  # ops.py stands in
    try:
        importlib.import_module('mmcv._ext')
    except ImportError as error:
        return [f"mmcv's ops do not load ({error}): they were built for another version of torch; rebuild mmcv"]
    return []
