"""Packaging. Configs and tools travel inside the wheel under `refconv_mm/.mim`, as OpenMMLab's do."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHIPPED = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """Copies what `mim` looks for into the package that is being built."""

    def run(self):
        super().run()
        if getattr(self, 'editable_mode', False):
            return
        target = Path(self.build_lib) / 'refconv_mm' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in SHIPPED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copy(ROOT / name, target / name)


version = re.search(r"__version__ = '(.+)'", (ROOT / 'refconv_mm' / 'version.py').read_text()).group(1)

det = ['mmdet>=3.2,<3.4']
seg = ['mmsegmentation>=1.2,<1.3', 'ftfy', 'regex']
cls = ['mmpretrain>=1.1,<1.3']
forks = [
    'onedl-mmengine>=0.10.8,<0.11',
    'onedl-mmdetection>=3.4,<3.6',
    'onedl-mmsegmentation>=1.3,<1.5',
    'onedl-mmpretrain>=1.3,<1.4',
]
onnx = ['onnx>=1.18', 'onnxscript>=0.5', 'onnxruntime>=1.20']

setup(
    name='refconv_mm',
    version=version,
    description='Re-parameterized Refocusing Convolution (RefConv) for OpenMMLab',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='MIT',
    packages=find_packages(include=['refconv_mm', 'refconv_mm.*']),
    package_data={'refconv_mm': ['py.typed']},
    python_requires='>=3.10',
    # The layer and the surgery need no more. mmengine and mmcv are not among them: pip would compile mmcv, or put
    # mmcv-lite over one that is installed; beside the forks it would overwrite theirs. The import says the remedy.
    install_requires=['torch>=2.1', 'numpy', 'packaging', 'rich'],
    extras_require={
        'det': det,
        'seg': seg,
        'cls': cls,
        'forks': forks,
        'onnx': onnx,
        'all': det + seg + cls + onnx,
    },
    entry_points={'console_scripts': ['refconv = refconv_mm.commands:main']},
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
)
