"""The script for a GPU: two steps of every arm on a CPU."""

import csv
import io
import sys
import tarfile

import numpy as np
import pytest
import torch
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


def test_images_are_read_in_the_order_of_their_names(archive):
    images, labels = larger_net.read_images(archive)
    assert images.shape == (24, 3, 32, 32)
    assert labels.tolist() == [0] * 12 + [1] * 12


def test_a_crop_moves_and_flips_whole_images():
    images = torch.arange(1, 1 + 3 * 32 * 32).view(1, 3, 32, 32).repeat(64, 1, 1, 1)
    crops = larger_net.augmented(images, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(images[:1], (4, 4, 4, 4))[0]
    places = [padded[:, y : y + 32, x : x + 32] for y in range(9) for x in range(9)]
    known = {tuple(p.flatten().tolist()) for place in places for p in (place, place.flip(2))}
    assert all(tuple(crop.flatten().tolist()) in known for crop in crops)
    assert len({tuple(crop.flatten().tolist()) for crop in crops}) > 32
