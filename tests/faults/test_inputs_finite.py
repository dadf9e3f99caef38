"""NaN in a loss, a gradient of 1e30, a learning rate far too large: said in the step it happens, stopped or skipped."""

import copy

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import Runner
from torch import nn

from refconv_mm import refocus
from refconv_mm.files.errors import DivergedError
from refconv_mm.hooks import FiniteHook

from tests.conftest import needs_new_torch


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


def train(tmp_path, spoil, lr=0.01, wrapper=OptimWrapper, clip=None, iters=8, **options):
    """Trains the net with FiniteHook; returns the runner and the weights before each step."""
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
        optim_wrapper=wrapper(optimizer=optimizer, clip_grad=clip) if wrapper is OptimWrapper else wrapper,
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False, max_keep_ckpts=2)),
        custom_hooks=[FiniteHook(**options)], log_level='WARNING', experiment_name=f'finite_{tmp_path.name}',
    )  # fmt: skip
    runner.model.data_preprocessor = Stack()
    runner.train()
    return runner


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


def inf_loss(model, losses):
    losses['loss_cls'] = losses['loss_cls'] / 0


def huge_gradient(model, losses):
    losses['loss_cls'] = losses['loss_cls'] + (Blow.apply(model.head.weight.sum()) * 0)


class Blow(torch.autograd.Function):
    """A value whose gradient is 1e30, as of a root near zero."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return torch.full_like(grad, 1e30)


def nan_gradient(model, losses):
    losses['loss_cls'] = losses['loss_cls'] + (model.conv.trained.sum() * 0).sqrt() * 0


CASES = [
    (nan_loss, r'step 3: loss_bbox is nan \(of the losses loss_cls, loss_bbox\)'),
    (inf_loss, 'step 3: loss_cls is inf'),
    (huge_gradient, r'step 3: the gradient of head\.weight is 1e\+30'),
    (nan_gradient, r'step 3: the gradient of conv\.refocus_map is nan'),
]


@pytest.mark.parametrize('clip', [None, dict(max_norm=1.0)], ids=['', 'clipped'])
@pytest.mark.parametrize(('act', 'message'), CASES, ids=lambda value: getattr(value, '__name__', ''))
def test_it_stops_in_the_step_and_names_layer_loss_and_images(act, message, clip, tmp_path):
    with pytest.raises(DivergedError, match=message) as error:
        train(tmp_path, at(3, act), clip=clip)
    assert 'images photos/4.jpg, photos/5.jpg' in str(error.value)
    assert f'The last checkpoint, {tmp_path}/iter_2.pth, is from before' in str(error.value)
    assert {path.name for path in tmp_path.glob('*.pth')} == {'iter_1.pth', 'iter_2.pth'}
    state = torch.load(tmp_path / 'iter_2.pth', weights_only=False)['state_dict']
    assert all(value.isfinite().all() for value in state.values())


@pytest.mark.parametrize('clip', [None, dict(max_norm=1.0)], ids=['', 'clipped'])
@pytest.mark.parametrize(('act', 'message'), CASES[:1] + CASES[2:], ids=lambda value: getattr(value, '__name__', ''))
def test_it_skips_the_step(act, message, clip, tmp_path):
    """The weights and the momentum are as if the step had not been."""
    seen = {}

    def spoil(model, losses):
        seen[model.step] = copy.deepcopy({name: p.detach() for name, p in model.named_parameters()})
        if model.step == 3:
            act(model, losses)

    runner = train(tmp_path, spoil, clip=clip, action='skip')
    assert runner.iter == 8
    assert all(torch.equal(seen[3][name], seen[4][name]) for name in seen[3])
    assert not all(torch.equal(seen[4][name], seen[5][name]) for name in seen[4])
    assert all(p.isfinite().all() for p in runner.model.parameters())


def test_skipping_ends(tmp_path):
    with pytest.raises(DivergedError, match=r'step 21: .*20 steps were skipped before'):
        train(tmp_path, nan_loss_always, iters=40, action='skip')


def nan_loss_always(model, losses):
    nan_loss(model, losses)


def test_a_broken_statistic_ends_the_run_even_when_steps_are_skipped(tmp_path):
    def act(model, losses):
        model.bn.running_var.data[0] = float('nan')
        nan_loss(model, losses)

    with pytest.raises(DivergedError, match=r'bn\.running_var is nan after the step'):
        train(tmp_path, at(3, act), action='skip')


def test_a_learning_rate_far_too_large(tmp_path):
    with pytest.raises(DivergedError, match=r'step \d+: .*learning rate 1e\+06'):
        train(tmp_path, lambda model, losses: None, lr=1e6, iters=40)
    with pytest.raises(DivergedError, match=r'step \d: the loss is \S+ times that of the first step .loss_cls '):
        train(tmp_path, lambda model, losses: None, lr=1.0, iters=40, stop_on_rise=True)


def test_a_rise_of_the_loss_is_said_once(tmp_path):
    def spoil(model, losses):
        if model.step > 6:
            losses['loss_cls'] = losses['loss_cls'] * 1000

    runner = train(tmp_path, spoil)
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert log.count('times that of the first step') == 1
    assert 'step 7: the loss is' in log
    assert runner.iter == 8


def test_nothing_changes_in_a_sound_run(tmp_path):
    weights = []
    for action in ('stop', 'skip'):
        runner = train(tmp_path / action, lambda model, losses: None, action=action)
        assert 'step' not in vars(runner.optim_wrapper)  # the guard is gone
        assert not runner.model._forward_hooks
        weights.append({name: p.detach() for name, p in runner.model.named_parameters()})
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@needs_new_torch  # 2.3: a GradScaler for the CPU
def test_mixed_precision_skips_its_own_overflows(tmp_path, monkeypatch):
    """torch's GradScaler, on the CPU: a step whose scaled gradients overflow is not a fault."""
    from mmengine.optim.optimizer import amp_optimizer_wrapper

    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', torch.amp.GradScaler)
    hook, model = FiniteHook(action='skip'), nn.Linear(2, 1)
    wrapper = AmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), dtype='bfloat16')
    wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=1e30)
    runner = type('R', (), dict(model=model, optim_wrapper=wrapper, iter=0, logger=None))()
    hook.before_train(runner)
    before = model.weight.detach().clone()
    wrapper.update_params(model(torch.full((1, 2), 1e20)).sum())
    assert torch.equal(model.weight, before)
    assert wrapper.loss_scaler.get_scale() < 1e30
    assert hook.skipped == 0


@pytest.mark.parametrize('options', [dict(action='x'), dict(limit=0), dict(limit='1'), dict(rise=-1), dict(limit=True)])
def test_wrong_options_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        FiniteHook(**options)
