"""The supported versions of the libraries, and their check at import."""

from __future__ import annotations

import importlib
import importlib.util
from importlib.metadata import PackageNotFoundError, version

from packaging.version import Version

# distribution: (lowest, first that is too new, tested)
REQUIRED = {
    'torch': ('2.6', '3', '2.14.1'),
    'mmengine': ('0.10.4', '0.11', '0.10.7'),
    'mmcv': ('2.0.1', '2.2', '2.1.0'),
}
OPTIONAL = {
    'mmdet': ('3.2', '3.4', '3.3.0'),
    'mmsegmentation': ('1.2', '1.3', '1.2.2'),
    'mmpretrain': ('1.1', '1.3', '1.2.0'),
}


def installed(name: str) -> Version | None:
    """Version of an installed distribution, or None."""
    try:
        return Version(version(name))
    except PackageNotFoundError:
        return None


def check_versions() -> None:
    """Raises an ImportError with the pip command if a library is missing or has an unsupported version."""
    problems = []
    for name, (low, high, tested) in {**REQUIRED, **OPTIONAL}.items():
        have = installed(name)
        if have is None:
            if name == 'mmcv' and installed('mmcv-lite') is not None:
                problems.append(
                    'mmcv-lite is installed, which has no ops and does not work with mmdet and mmseg: '
                    f'pip uninstall mmcv-lite && pip install mmcv=={tested}'
                )
            elif name in REQUIRED:
                problems.append(f'{name} is missing: pip install {name}=={tested}')
        elif not Version(low) <= have < Version(high):
            problems.append(
                f'{name} {have} is installed, refconv_mm supports >={low},<{high}: pip install {name}=={tested}'
            )
    if not problems:
        problems += _ops_problem()
    if problems:
        raise ImportError('refconv_mm cannot be used here:\n  ' + '\n  '.join(problems))


def _ops_problem() -> list[str]:
    """Checks for the compiled ops of mmcv: without them mmcv imports, but models fail later."""
    if importlib.util.find_spec('mmcv._ext') is None:
        return [
            'mmcv is installed without its compiled ops (mmcv._ext): build it for this torch with '
            '`MMCV_WITH_OPS=1 pip install --no-build-isolation --no-binary mmcv mmcv==2.1.0` '
            '(torch 2.13 and newer need C++20: see requirements/build_mmcv.sh in the sources)'
        ]
    try:
        importlib.import_module('mmcv._ext')
    except ImportError as error:
        return [f"mmcv's ops do not load ({error}): they were built for another version of torch; rebuild mmcv"]
    return []
