"""The hash: what changes it and what does not."""

import shutil

import pytest
import torch
from mmengine.config import Config

from refconv_mm.compare import identity


def test_code_counts_but_not_its_comments_nor_what_no_run_uses(tmp_path):
    package = tmp_path / 'refconv_mm'
    shutil.copytree(identity.PACKAGE, package, ignore=shutil.ignore_patterns('__pycache__', '.mim'))
    before = identity.code_hash(package)
    assert before == identity.code_hash()
    layer = package / 'layer.py'
    text = layer.read_text()
    layer.write_text('# a comment\n' + text.replace('"""RefConv2d: a', '"""Another docstring: a', 1))
    (package / 'demo.py').write_text('')
    (package / 'compare' / 'report.py').write_text('')
    assert identity.code_hash(package) == before
    layer.write_text(text.replace("chosen, 'plain'", "chosen, 'bare'"))
    assert identity.code_hash(package) != before
    layer.write_text(text)
    (package / 'new.py').write_text('x = 1')
    assert identity.code_hash(package) != before


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
