"""NaN in a loss, a broken gradient, a learning rate far too large: the training ends in the step, and says why."""

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from refconv_mm import refocus
from refconv_mm.files.errors import DivergedError
from refconv_mm.hooks import FiniteHook


class Net(BaseModel):
    """Two losses of a small net; `spoil(model, step, losses)` damages what it likes before they are returned."""

    def __init__(self, spoil):
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)
        self.step, self.spoil = 0, spoil

    def forward(self, inputs, data_samples=None, mode='tensor'):
        out = self.head(self.bn(self.conv(inputs)).mean((2, 3)))
        self.step += 1
        losses = dict(loss_cls=out.square().mean(), loss_bbox=[out.abs().mean(), out.abs().mean()])
        self.spoil(self, losses)
        return losses


class Sample:
    def __init__(self, path):
        self.img_path = path


def data(n=128):
    return [dict(inputs=torch.randn(3, 8, 8), data_samples=Sample(f'photos/{i}.jpg')) for i in range(n)]


def train(tmp_path, spoil, lr=0.01, iters=8):
    """Trains the net with FiniteHook."""
    torch.manual_seed(0)
    model = Net(spoil)
    refocus(model, kinds='dense')
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    runner = Runner(
        model, str(tmp_path), train_cfg=dict(by_epoch=False, max_iters=iters),
        train_dataloader=dict(
            batch_size=2, dataset=data(), sampler=dict(type='DefaultSampler', shuffle=False), num_workers=0,
            collate_fn=dict(type='pseudo_collate'),
        ),
        optim_wrapper=OptimWrapper(optimizer=optimizer),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False, max_keep_ckpts=2)),
        custom_hooks=[FiniteHook()], log_level='WARNING', experiment_name=f'finite_{tmp_path.name}',
    )  # fmt: skip
    runner.model.data_preprocessor = Stack()
    runner.train()


class Stack(nn.Module):
    def forward(self, batch, training=False):
        return dict(inputs=torch.stack(batch['inputs']), data_samples=batch['data_samples'])


def at(step, act):
    """Damage at one step only."""

    def spoil(model, losses):
        if model.step == step:
            act(model, losses)

    return spoil


def nan_loss(model, losses):
    losses['loss_bbox'][1] = losses['loss_bbox'][1] * float('nan')


def nan_gradient(model, losses):
    losses['loss_cls'] = losses['loss_cls'] + (model.conv.trained.sum() * 0).sqrt() * 0


def last_state(tmp_path):
    (path,) = tmp_path.glob('iter_2.pth')
    return torch.load(path, weights_only=False)['state_dict']


def test_it_stops_in_the_step_and_names_losses_rate_and_images(tmp_path):
    with pytest.raises(DivergedError, match=r'step 3: loss nan, loss_cls [0-9.]+, loss_bbox nan; ') as error:
        train(tmp_path, at(3, nan_loss))
    assert 'learning rate 0.01; images photos/4.jpg, photos/5.jpg' in str(error.value)
    assert 'conv.refocus_map, conv.bias, bn.weight, ... not finite' in str(error.value)
    assert f'The last checkpoint, {tmp_path}/iter_2.pth, is from before' in str(error.value)
    assert {path.name for path in tmp_path.glob('*.pth')} == {'iter_1.pth', 'iter_2.pth'}
    assert all(value.isfinite().all() for value in last_state(tmp_path).values())


def test_a_broken_gradient_writes_no_checkpoint(tmp_path):
    """The loss of its step is finite; the weights are not."""
    with pytest.raises(DivergedError, match=r'step 3: no checkpoint is written: conv\.refocus_map not finite'):
        train(tmp_path, at(3, nan_gradient))
    assert all(value.isfinite().all() for value in last_state(tmp_path).values())


def test_a_learning_rate_far_too_large(tmp_path):
    with pytest.raises(DivergedError, match=r'step \d+: .*learning rate 1e\+06'):
        train(tmp_path, lambda model, losses: None, lr=1e6, iters=40)
