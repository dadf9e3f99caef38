"""The loss that training minimises, on the same numbers for every checkpoint."""

import copy
import random

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn
from torch.nn import functional as F

from lab.analysis.task_loss import TaskLoss, make_task_loss
from refconv_mm.checkpoints.fusing import read_checkpoint
from refconv_mm.openmmlab.models import build_model
from tests.conftest import detector


class Toy(nn.Module):
    """A small net with mmengine's loss interface, with parts that are random or moving in training."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.noise = noise

    def forward(self, inputs, data_samples, mode):
        assert mode == 'loss'
        out = self.drop(self.norm(self.conv(inputs))).mean((2, 3))
        drawn = self.noise * torch.rand(())  # as a two-stage detector samples regions
        return F.mse_loss(out, data_samples) + drawn

    def parse_losses(self, loss):
        return loss, {}


def batch(size: int = 4) -> dict:
    return dict(inputs=torch.randn(size, 3, 6, 6), data_samples=torch.randn(size, 4))


def mean(task: TaskLoss) -> float:
    with torch.no_grad():
        return sum(float(task.loss(each)) for each in task.batches) / len(task.batches)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """A classifier on folders of noise, two classes of six images."""
    root = tmp_path_factory.mktemp('folders')
    for kind in 'ab':
        (root / 'train' / kind).mkdir(parents=True)
        for i in range(6):
            pixels = np.random.default_rng(i).integers(0, 255, (32, 32, 3), dtype=np.uint8)
            cv2.imwrite(str(root / 'train' / kind / f'{i}.png'), pixels)
    return Config.fromstring(
        f"""
default_scope = 'mmpretrain'
model = dict(type='ImageClassifier', backbone=dict(type='MobileNetV2', widen_factor=0.25),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=1280, loss=dict(type='CrossEntropyLoss')))
data_preprocessor = dict(num_classes=2, mean=[127.5] * 3, std=[127.5] * 3)
train_dataloader = dict(batch_size=3, num_workers=2, collate_fn=dict(type='default_collate'), dataset=dict(
    type='CustomDataset', data_root={str(root)!r}, data_prefix='train',
    pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
""",
        '.py',
    )


def test_batch_norm_takes_its_running_statistics_and_dropout_is_off():
    model, data = Toy(), batch()
    model.norm.running_mean.fill_(0.3)
    before = copy.deepcopy(model.state_dict())
    expected = ((model.conv(data['inputs']) - 0.3) / (1 + 1e-5) ** 0.5).mean((2, 3))
    task = TaskLoss(model, [data])
    torch.testing.assert_close(task.loss(data), F.mse_loss(expected, data['data_samples']))
    assert all(torch.equal(value, before[key]) for key, value in task.model.state_dict().items())


def test_the_draws_of_a_loss_are_the_same_each_time_and_leave_no_trace():
    task = TaskLoss(Toy(noise=10.0), [batch(), batch()], seed=3)
    state = torch.get_rng_state()
    first = mean(task)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    assert mean(task) == first
    assert mean(TaskLoss(task.model, task.batches, seed=4)) != first


def test_a_detector_has_its_training_loss(voc, tmp_path):
    task = make_task_loss(detector(voc, tmp_path), 2, 3)
    with torch.no_grad():
        expected = [task.model.parse_losses(task.model(**data, mode='loss'))[0] for data in task.batches]
    assert mean(task) == sum(map(float, expected)) / 2
    task.loss(task.batches[0]).backward()
    used = [name for name, p in task.model.named_parameters() if p.grad is not None and p.grad.any()]
    assert any('backbone' in name for name in used)
    assert any('bbox_head.cls_convs' in name for name in used)


def test_the_same_batches_every_time_whatever_was_drawn_before(images):
    first = make_task_loss(images, 2)
    random.random(), np.random.rand(), torch.rand(1)
    state = random.getstate(), np.random.get_state()[1].tolist()
    again = make_task_loss(images, 2)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state
    for one, other in zip(first.batches, again.batches, strict=True):
        assert torch.equal(one['inputs'], other['inputs'])
    assert not torch.equal(first.batches[0]['inputs'], make_task_loss(images, 2, seed=1).batches[0]['inputs'])
    # The folder lists all of class a first; six in that order would be of one class.
    assert {int(sample.gt_label) for data in first.batches for sample in data['data_samples']} == {0, 1}


def test_a_refocused_checkpoint_counts_as_its_fused_form(seg_run):
    task = make_task_loss(seg_run['cfg'], 1, 2)
    record = task.load(seg_run['cfg'], str(seg_run['last']), 'refocused')
    refocused = build_model(seg_run['cfg'])
    refocused.load_state_dict(read_checkpoint(seg_run['last'])['state_dict'])
    # The fused kernel is the effective kernel to the last bit or so; the rest is float32 through 60 layers.
    assert mean(task) == pytest.approx(mean(TaskLoss(refocused, task.batches)), rel=1e-5)
    assert (record['name'], record['path']) == ('refocused', str(seg_run['last']))
