"""Tests a fused checkpoint under its plain config in a process in which RefConv cannot be imported.

python demo/alone.py FOLDER METRIC      # FOLDER has fused.py and fused.pth
"""

import sys
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).resolve().parents[1] / 'refconv_mm'


def forget_refconv() -> None:
    """Makes every import of refconv_mm an ImportError, after its stand-ins for mmcv's ops: the models need those."""
    for name in ('', '.openmmlab'):  # packages that do not run their __init__, which would register RefConv
        package = ModuleType('refconv_mm' + name)
        package.__path__ = [str(PACKAGE.joinpath(name[1:]))]
        sys.modules[package.__name__] = package
    from refconv_mm.openmmlab.extension import use_torchvision

    use_torchvision()
    assert not [name for name in sys.modules if name.startswith(('refconv_mm.layers', 'refconv_mm.surgery'))]
    sys.modules['refconv_mm'] = None  # type: ignore[assignment]


def main(folder: Path, metric: str) -> None:
    from mmengine.config import Config
    from mmengine.runner import Runner

    cfg = Config.fromfile(folder / 'fused.py')
    cfg.load_from, cfg.work_dir, cfg.log_level = str(folder / 'fused.pth'), str(folder / 'alone'), 'ERROR'
    print('score', Runner.from_cfg(cfg).test()[metric])


if __name__ == '__main__':
    sys.path.pop(0)  # this folder
    forget_refconv()
    main(Path(sys.argv[1]), sys.argv[2])
