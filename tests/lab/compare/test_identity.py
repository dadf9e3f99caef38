"""The hashes of config and weights, and the commit."""

import subprocess

import torch
from mmengine.config import Config

from lab.compare import identity


def test_the_commit_says_whether_python_files_differ(tmp_path, monkeypatch):
    def git(*words):
        user = ('-c', 'user.name=a', '-c', 'user.email=a@b')
        subprocess.run(['git', '-C', str(tmp_path), *user, *words], check=True, capture_output=True)

    monkeypatch.setattr(identity, 'ROOT', tmp_path)
    commit = identity.commit.__wrapped__
    (tmp_path / 'code.py').write_text('x = 1')
    (tmp_path / 'page.md').write_text('a')
    git('init')
    git('add', '.')
    git('commit', '-m', 'first')
    assert len(clean := commit()) == 40
    (tmp_path / 'page.md').write_text('b')
    (tmp_path / 'plan.py').write_text('a new plan is part of no code')
    assert commit() == clean
    (tmp_path / 'code.py').write_text('x = 2')
    assert commit() == f'{clean}-dirty'


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
