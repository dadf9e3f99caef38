"""What to compile mmcv for, as shell variables: `eval "$(python requirements/mmcv_target.py FILE)"`.

FILE holds `NAME==VERSION --hash=...`. Ops for the GPU are compiled where torch sees one (or FORCE_CUDA=1), and a
toolkit of the major version is there that torch was built with.
"""

import os
import pathlib
import platform
import re
import shlex
import subprocess
import sys

import torch
from torch.utils import cpp_extension

CPU = 'ops for the CPU alone. With them detectors run on a GPU only by torchvision (docs/versions.md)'


def choose(built: str | None, home: str | None, wanted: bool) -> tuple[str, str]:
    """Tag of the ops, `cpu` or `cu<version>`, and a sentence that says why.

    Args:
        built: CUDA version that torch was built with.
        home: folder of the toolkit.
        wanted: a GPU is there, or will be.
    """
    if built is None:
        return 'cpu', f'this torch has no CUDA: {CPU}'
    if not wanted:
        return 'cpu', f'torch sees no GPU (FORCE_CUDA=1 compiles for one all the same): {CPU}'
    nvcc = pathlib.Path(home or '') / 'bin' / 'nvcc'
    if home is None or not nvcc.is_file():
        return 'cpu', f'torch has CUDA {built}, and no toolkit was found (CUDA_HOME names one): {CPU}'
    if not (pathlib.Path(home) / 'include' / 'cusparse.h').is_file():  # torch's own headers include it
        return 'cpu', f'the toolkit in {home} has no include/cusparse.h, so it is not whole: {CPU}'
    said = subprocess.run([nvcc, '--version'], capture_output=True, text=True).stdout
    found = re.search(r'release (\d+\.\d+)', said)
    have = found.group(1) if found else 'unknown'
    what = f'torch has CUDA {built}, the toolkit in {home} is {have}'
    if have.split('.')[0] != built.split('.')[0]:
        return 'cpu', f'{what}: {CPU}'
    return 'cu' + have.replace('.', ''), f'{what}: ops for CPU and GPU'


def main() -> None:
    name, version = re.match(r'([\w-]+)==([\w.]+)', pathlib.Path(sys.argv[1]).read_text()).groups()
    # The standard that this torch compiles its own extensions with (17 up to 2.12, then 20).
    flags = re.findall(r'-std=c\+\+(\d\d)', pathlib.Path(cpp_extension.__file__).read_text())
    home, wanted = cpp_extension.CUDA_HOME, torch.cuda.is_available() or os.environ.get('FORCE_CUDA') == '1'
    tag, why = choose(torch.version.cuda, home, wanted)
    python = f'cp{sys.version_info.major}{sys.version_info.minor}'
    values = dict(
        name=name,
        version=version,
        std=max([17, *map(int, flags)]),
        tag=tag,
        why=why,
        home=home or '',
        key=f'{name}-{version}-torch{torch.__version__}-{tag}-{python}-{platform.machine()}',
    )
    for key, value in values.items():
        print(f'{key}={shlex.quote(str(value))}')


if __name__ == '__main__':
    main()
