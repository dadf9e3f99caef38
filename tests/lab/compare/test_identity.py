"""The hashes of code, config and weights."""

import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from lab.compare import identity


@pytest.fixture
def package(tmp_path):
    """A copy of the package."""
    return Path(shutil.copytree(
        identity.PACKAGE, tmp_path / 'refconv_mm', ignore=shutil.ignore_patterns('__pycache__', '.mim')
    ))  # fmt: skip


def test_code_counts_but_not_its_comments_nor_what_no_run_imports(package):
    before = identity.code_hash(package)
    assert before == identity.code_hash()
    layer = package / 'layer.py'
    text = layer.read_text()
    layer.write_text('# a comment\n' + text.replace('"""', '"""Another docstring. ', 1))
    (package / 'demo.py').write_text('')
    (package / 'compare' / 'report.py').write_text('')
    assert identity.code_hash(package) == before
    layer.write_text(text.replace('self.restart()', 'self.refresh()', 1))
    assert identity.code_hash(package) != before
    layer.write_text(text)
    (package / 'new.py').write_text('x = 1')
    assert identity.code_hash(package) == before
    layer.write_text('from . import new\n' + text)
    imported = identity.code_hash(package)
    assert imported != before
    (package / 'new.py').write_text('x = 2')
    assert identity.code_hash(package) != imported


def test_the_code_of_a_run_follows_from_its_imports(package):
    names = set(identity.run_code(package))
    # The modules that train, fuse, test and order the data, and the packages that contain them.
    assert names >= {'__init__.py', 'layer.py', 'functional.py', 'stored.py', 'verify.py', 'runners.py',
                     'run_settings.py', 'hooks/__init__.py', 'hooks/refconv_hook.py', 'compare/__init__.py',
                     'compare/single_run.py', 'compare/seeding.py', 'compare/steps_hook.py',
                     'small_image_backbone.py'}  # fmt: skip
    # Not the modules that plan, report, measure or export.
    assert not {
        name for name in names if name.startswith(('analysis', 'commands', 'demo', 'export', 'onnx', 'arguments'))
    }
    assert not names & {f'compare/{name}.py' for name in ('plan', 'plan_file', 'plan_runs', 'run_configs', 'executor')}
    assert not names & {f'compare/{name}.py' for name in ('report', 'report_files', 'figure', 'run_list', 'stats')}


def test_a_type_that_a_config_can_name_counts(package):
    before = identity.code_hash(package)
    (package / 'data' / 'more.py').write_text(
        'from .shades import grey\n\n@DATASETS.register_module()\nclass More: ...'
    )
    (package / 'data' / 'shades.py').write_text('grey = 1')
    assert {'data/more.py', 'data/shades.py', 'data/__init__.py'} <= set(identity.run_code(package))
    registered = identity.code_hash(package)
    assert registered != before
    (package / 'data' / 'shades.py').write_text('grey = 2')
    assert identity.code_hash(package) != registered


def test_the_config_counts_but_not_where_it_writes():
    one = Config(dict(lr=0.1, sizes=(1, 2), work_dir='a'))
    assert identity.config_hash(one) == identity.config_hash(Config(dict(sizes=[1, 2], lr=0.1, work_dir='b')))
    assert identity.config_hash(one) != identity.config_hash(Config(dict(lr=0.2, sizes=(1, 2))))


def test_weights_count_but_not_what_lies_beside_them(tmp_path):
    state = dict(a=torch.ones(2, 3), b=torch.tensor(4), c=torch.ones(2, dtype=torch.float64) + 1e-12)
    torch.save(dict(state_dict=state, meta=dict(time='now')), tmp_path / 'one.pth')
    torch.save(dict(state_dict=dict(reversed(state.items())), meta={}), tmp_path / 'two.pth')
    assert identity.weights_hash(tmp_path / 'one.pth') == identity.weights_hash(tmp_path / 'two.pth')
    for change in (dict(a=torch.ones(3, 2)), dict(b=torch.tensor(5)), dict(c=torch.ones(2, dtype=torch.float64))):
        torch.save(dict(state_dict={**state, **change}), tmp_path / 'other.pth')
        assert identity.weights_hash(tmp_path / 'other.pth') != identity.weights_hash(tmp_path / 'one.pth'), change


def test_a_snapshot_is_the_code_that_was_planned_with(tmp_path):
    code = identity.code_hash()
    script = identity.snapshot(tmp_path, code)
    assert identity.code_hash(script.parent / 'refconv_mm') == code
    assert identity.snapshot(tmp_path, code) == script
    with pytest.raises(ValueError, match='changed while the plan was read'):
        identity.snapshot(tmp_path, '0' * 64)
    assert [path.name for path in tmp_path.iterdir()] == [code[:12]]
