"""A work dir is reserved, and cleared of unfinished files, also where the system has no fcntl."""

import importlib.util
import sys

import pytest

from refconv_mm.files import lock


@pytest.mark.parametrize('system', ['posix', 'windows'])
def test_unfinished_files_go(system, monkeypatch, tmp_path):
    module = lock
    if system == 'windows':
        monkeypatch.setitem(sys.modules, 'fcntl', None)
        spec = importlib.util.spec_from_file_location('refconv_mm.files.without_fcntl', lock.__file__)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.fcntl is None
    (tmp_path / '.part-1').touch()
    with module.only_one(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ['.lock']
