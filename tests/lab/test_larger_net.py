"""The script for a GPU: two steps of every arm on a CPU."""

import csv
import io
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from lab import larger_net


@pytest.fixture
def archive(tmp_path):
    """Twelve images of each of two classes."""
    rng, path = np.random.default_rng(0), tmp_path / 'images.tar.xz'
    with tarfile.open(path, 'w:xz') as tar:
        for number in range(24):
            image = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(image).save(file := io.BytesIO(), 'PNG')
            member = tarfile.TarInfo(f'train/{"ab"[number % 2]}/{number:02}.png')
            member.size = len(file.getvalue())
            tar.addfile(member, io.BytesIO(file.getvalue()))
    return path


def test_every_arm_runs_and_is_written_and_none_runs_twice(archive, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'out'
    words = ['x', str(archive), '--out-dir', str(out), '--seeds', '0', '--steps', '2', '--batch-size', '4']
    monkeypatch.setattr(sys, 'argv', words)
    larger_net.main()
    with open(out / 'runs.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['arm'] for row in rows] == ['baseline', 'control', 'refocused', 'kaiming', 'gain1']
    # The map of the dense stem has the stem's size, so all arms train as many numbers.
    assert {row['trainable'] for row in rows} == {str(sum(p.numel() for p in larger_net.mobilenet_v2().parameters()))}
    assert len({row['train_loss'] for row in rows}) == 5
    capsys.readouterr()
    larger_net.main()
    assert capsys.readouterr().out == ''
