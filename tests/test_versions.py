import importlib.util

import pytest
from packaging.version import Version

from refconv_mm import versions


def pretend(monkeypatch, **found):
    real = versions.installed
    monkeypatch.setattr(
        versions, 'installed', lambda name: Version(v) if (v := found.get(name.replace('-', '_'), '?')) and v != '?'
        else (None if name.replace('-', '_') in found else real(name)),
    )  # fmt: skip


def test_what_is_installed_here_is_supported():
    versions.check_versions()


@pytest.mark.parametrize(('found', 'match'), [
    (dict(mmcv=None), 'mmcv is missing: pip install mmcv==2.1.0'),
    (dict(mmcv=None, mmcv_lite='2.1.0'), 'mmcv-lite is installed'),
    (dict(mmcv='2.2.0'), r'mmcv 2\.2\.0 is installed, refconv_mm supports >=2\.0\.1,<2\.2: pip install mmcv==2\.1\.0'),
    (dict(mmengine='0.9.0'), 'mmengine 0.9.0'),
    (dict(mmdet='2.28.0'), 'mmdet 2.28.0'),
    (dict(torch='1.13.1'), 'torch 1.13.1'),
])  # fmt: skip
def test_what_does_not_fit_is_named_with_what_to_install(monkeypatch, found, match):
    pretend(monkeypatch, **found)
    with pytest.raises(ImportError, match=match):
        versions.check_versions()


def test_libraries_that_are_not_needed_may_be_missing(monkeypatch):
    pretend(monkeypatch, mmdet=None, mmsegmentation=None, mmpretrain=None)
    versions.check_versions()


def test_mmcv_without_its_ops_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *a: None if name == 'mmcv._ext' else find(name, *a))
    with pytest.raises(ImportError, match=r'without its compiled ops.*build_mmcv\.sh'):
        versions.check_versions()


def test_ops_of_another_torch_are_named(monkeypatch):
    def fail(name):
        raise ImportError('undefined symbol: _ZN3c10')

    monkeypatch.setattr(versions.importlib, 'import_module', fail)
    with pytest.raises(ImportError, match='built for another version of torch'):
        versions.check_versions()
