import importlib.util

import pytest
from packaging.version import Version

from refconv_mm.openmmlab import versions


def pretend(monkeypatch, **found):
    """Only these distributions are installed, in place of the real ones; None: not installed."""
    real = versions.distribution_version

    def distribution_version(name):
        key = name.replace('-', '_')
        return real(name) if key not in found else Version(found[key]) if found[key] else None

    monkeypatch.setattr(versions, 'distribution_version', distribution_version)


def pretend_stack(monkeypatch, **found):
    """None of OpenMMLab's libraries, or only these."""
    everything = dict.fromkeys(
        name.replace('-', '_') for own, fork in versions.FORKS.items() for name in (own, fork[0])
    )
    everything['mmcv_lite'] = None
    pretend(monkeypatch, **everything | found)


@pytest.mark.parametrize(('found', 'match'), [
    (dict(mmcv=None, onedl_mmcv=None), 'mmcv is missing: pip install mmcv-lite==2.1.0'),
    (dict(mmcv=None, onedl_mmcv=None, mmcv_lite='2.0.0'), 'mmcv-lite 2.0.0 is installed'),
    (dict(mmcv='2.2.0'), r'mmcv 2\.2\.0 is installed, refconv_mm supports >=2\.0\.1,<2\.2: pip install mmcv==2\.1\.0'),
    (dict(mmengine='0.9.0'), 'mmengine 0.9.0'),
    (dict(torch='1.13.1'), 'torch 1.13.1'),
    (dict(mmcv=None, onedl_mmcv='2.2.9'), r'onedl-mmcv 2\.2\.9 .*>=2\.3,<2\.4: pip install onedl-mmcv==2\.3\.6'),
    (dict(mmdet='3.3.0', onedl_mmdetection='3.5.1'), 'mmdet 3.3.0 and onedl-mmdetection 3.5.1 are both installed'),
])  # fmt: skip
def test_what_does_not_fit_is_named_with_what_to_install(monkeypatch, found, match):
    pretend_stack(monkeypatch, **dict(mmengine='0.10.7', mmcv='2.1.0') | found)
    with pytest.raises(ImportError, match=match):
        versions.check_versions()


def test_an_unknown_version_of_a_library_that_the_run_may_not_need_is_a_warning(monkeypatch):
    pretend_stack(monkeypatch, mmengine='0.10.7', mmcv='2.1.0', mmdet='2.28.0')
    with pytest.warns(UserWarning, match=r'mmdet 2\.28\.0 is installed, refconv_mm supports'):
        versions.check_versions()


@pytest.mark.parametrize('found', [
    {},  # the libraries that are installed here
    dict(onedl_mmengine='0.10.12', onedl_mmcv='2.3.6', onedl_mmdetection='3.5.1'),
    dict(mmengine='0.10.7', mmcv='2.1.0'),  # those that are not needed may be missing
])  # fmt: skip
def test_what_fits_is_accepted(monkeypatch, found):
    if found:
        pretend_stack(monkeypatch, **found)
    versions.check_versions()


def found(monkeypatch, extension) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name, *a: extension if name == 'mmcv._ext' else find(name, *a)
    )


def test_mmcv_needs_no_ops_of_its_own(monkeypatch):
    found(monkeypatch, None)
    versions.check_versions()


def test_ops_of_another_torch_are_named(monkeypatch):
    def fail(name):
        raise ImportError('undefined symbol: _ZN3c10')

    found(monkeypatch, object())
    monkeypatch.setattr(versions.importlib, 'import_module', fail)
    with pytest.raises(ImportError, match='built for another version of torch'):
        versions.check_versions()
