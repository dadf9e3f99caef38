"""The commit in the identity of a run."""

import subprocess

from lab.compare import identity


def test_the_commit_says_whether_python_files_differ(tmp_path, monkeypatch):
    def git(*words):
        user = ('-c', 'user.name=a', '-c', 'user.email=a@b')
        subprocess.run(['git', '-C', str(tmp_path), *user, *words], check=True, capture_output=True)

    monkeypatch.setattr(identity, 'ROOT', tmp_path)
    monkeypatch.delenv('GIT_DIR', raising=False)  # of a git hook: another repository
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
