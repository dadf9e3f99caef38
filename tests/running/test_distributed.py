"""Training in several processes gives the losses and weights of training in one; and the bytes that a step sends."""

import math
import re
import shutil

import pytest
import torch
import torch.distributed as dist
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from refconv_mm import refocus
from lab.benchmark.released_layer import with_released_layers
from lab.benchmark.gradient_bytes import gradient_bytes, whole_state_dict
from refconv_mm.running.runner import build_runner
from refconv_mm.files.unpickling import takes_allow_list

from tests import equal_worker as worker
from tests.conftest import ROOT, detector, needs_new_torch, random_checkpoint, run

# Twelve steps in float64: 3e-16 was seen, from sums in another order.
EXACT = 1e-9


def launch(processes, out, start, *jobs):
    """Runs jobs of equal_worker under torchrun; returns the result of each process by job."""
    out.mkdir()
    command = ('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', processes, '-m', 'tests.equal_worker')
    run(*command, out, start, *jobs, PYTHONPATH=str(ROOT))
    names = [job.partition('=')[0] for job in jobs]
    return {name: [torch.load(out / f'{name}_{rank}.pth') for rank in range(processes)] for name in names}


def distance(first, second):
    """The largest difference of two state dicts, which must have the same keys."""
    assert first.keys() == second.keys()
    return max((first[key].double() - second[key].double()).abs().max().item() for key in first)


def assert_same(results, expected):
    """Compares losses and weights of every process with those of a single process."""
    for result in results:
        steps = len(result['losses'])
        assert result['losses'] == pytest.approx(expected['losses'][-steps:], rel=0, abs=EXACT)
        assert distance(result['state'], expected['state']) < EXACT


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    """A plain checkpoint of the toy; its kernels become the bases."""
    path = tmp_path_factory.mktemp('toy') / 'start.pth'
    torch.manual_seed(3)
    return random_checkpoint(worker.toy_config(path.parent, path), path)


@pytest.fixture(scope='module')
def one(start):
    """The toy in one process."""
    return worker.toy(start.parent / 'one', start)


@pytest.fixture(scope='module')
def same_boxes(voc, tmp_path_factory):
    """Different images, all with the boxes of the first, and a start trained on them.

    mmdet divides a loss by the number of boxes that *a process* matched; with different boxes the mean over
    processes is not the mean over the batch, with or without RefConv. And from random weights with frozen batch
    norm, rounding grows a thousandfold in a step.
    """
    root = tmp_path_factory.mktemp('data') / 'same'
    shutil.copytree(voc, root)
    first, *others = sorted((root / 'VOC2007' / 'Annotations').iterdir())
    for other in others:
        shutil.copy(first, other)
    cfg = detector(root, root / 'work', '', iters=12)
    cfg.train_dataloader.batch_size, cfg.model.backbone.norm_cfg.momentum = 8, 0.3
    build_runner(cfg).train()
    shutil.copy(root / 'work' / 'iter_12.pth', root / 'start.pth')
    return root


@pytest.fixture(scope='module')
def two(one, start, same_boxes):
    """The jobs in two processes, in one launch."""
    jobs = ['toy', f'resumed={start.parent / "one" / "epoch_2.pth"}', f'ssdlite={same_boxes}', 'counted', 'skipped']
    return launch(2, start.parent / 'two', start, *jobs, *['sharded'] * takes_allow_list())


def test_two_and_four_processes_train_as_one(one, two, start):
    assert len(one['losses']) == worker.STEPS
    assert max(one['norms']) > worker.MAX_NORM > min(one['norms'])  # some steps were clipped, others not
    for key, value in one['state'].items():
        if key.endswith(('refocus', 'refocus_map', 'bias')):
            assert (value - one['start'][key]).abs().max() > 1e-3, key
    assert_same(two['toy'], one)
    assert_same(launch(4, start.parent / 'four', start, 'toy')['toy'], one)


def test_without_talking_the_first_of_two_processes_would_end_elsewhere(one, start, tmp_path):
    """The comparison above can fail: half of each batch, as the first process sees it, leads to other weights."""
    alone = worker.toy(tmp_path, start, **{'model.half': True})
    assert distance(alone['state'], one['state']) > 1e-2


def test_all_processes_skip_a_step_in_which_one_has_a_loss_of_nan(two, start, tmp_path):
    one = worker.skipped(tmp_path, start)
    assert sum(map(math.isnan, one['losses'])) == worker.EPOCHS
    for result in two['skipped']:
        assert result['losses'] == pytest.approx(one['losses'], rel=0, abs=EXACT, nan_ok=True)
        assert distance(result['state'], one['state']) < EXACT


def test_a_checkpoint_of_one_process_resumes_in_two(one, two):
    assert len(two['resumed'][0]['losses']) == worker.STEPS // 2
    assert_same(two['resumed'], one)


def test_a_checkpoint_of_two_processes_resumes_in_one(one, two, start, tmp_path):
    resumed = worker.resumed(tmp_path, start, str(start.parent / 'two' / 'toy' / 'epoch_2.pth'))
    assert len(resumed['losses']) == worker.STEPS // 2
    assert_same([resumed], one)


def test_ssdlite_in_two_processes_trains_as_in_one(two, same_boxes, start, tmp_path):
    expected = worker.ssdlite(tmp_path, start, str(same_boxes))
    maps = [key for key in expected['state'] if key.endswith('.refocus')]
    assert len(maps) == 17
    for result in two['ssdlite']:
        # Float32 has 7 digits; 1e-7 of the loss was seen.
        assert result['losses'] == pytest.approx(expected['losses'], rel=1e-5)
        for key in maps:  # started at zero, so the values are the movements; differences of 2e-6 of them were seen
            moved = expected['state'][key].abs().max().item()
            assert moved > 1e-6
            assert (result['state'][key] - expected['state'][key]).abs().max() < 1e-3 * moved, key
        # Weights of size 1 are rounded to 6e-8 at each of three steps; 7e-9 was seen.
        assert distance(result['state'], expected['state']) < 1e-6


@needs_new_torch
def test_fully_sharded_training_is_that_of_one_process(two, start, tmp_path):
    expected = worker.sharded(tmp_path, start)
    assert not expected['sharded']
    for result in two['sharded']:
        assert {'layers.0.refocus_map', 'layers.4.weight', 'layers.6.refocus'} <= set(result['sharded'])
        assert_same([result], expected)
        torch.testing.assert_close(result['outputs'], expected['outputs'], rtol=0, atol=EXACT)  # of the fused model


def test_a_whole_state_is_the_state():
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4))
    refocus(model, gain=2.0)
    assert distance(whole_state_dict(model), model.state_dict()) == 0


def conv_net():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 2, 1, bias=False))


def backward(net):
    net(torch.ones(1, 3, 7, 7)).sum().backward()


def test_gradient_bytes_are_those_of_what_trains():
    model = conv_net()
    assert gradient_bytes(model, backward) == 4 * sum(p.numel() for p in model.parameters())
    counted = model[0].weight.grad.clone()
    model.zero_grad()
    backward(model)  # the count removed its hook, and the gradients are those of the step
    assert torch.equal(model[0].weight.grad, counted)
    model[0].requires_grad_(False)
    assert gradient_bytes(model.double(), lambda net: net(torch.ones(1, 3, 7, 7).double()).sum().backward()) == 8 * 96
    assert not dist.is_initialized()


@pytest.mark.parametrize('form', ['plain', 'refocused', 'released'])
def test_mobilenetv2_sends_what_the_docs_say(form):
    init_default_scope('mmpretrain')
    model = MODELS.build(get_config('mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py').model)
    if form != 'plain':
        refocus(model.backbone, kinds=('depthwise', 'dense'))
    if form == 'released':
        with_released_layers(model)
    counted = gradient_bytes(model, lambda net: sum(out.sum() for out in net(torch.ones(2, 3, 32, 32))).backward())
    assert counted == (176_203_808 if form == 'released' else 14_019_488)
    assert f'{counted:,}' in (ROOT / 'docs' / 'distributed.md').read_text()


def test_bytes_are_counted_by_one_process_of_several(two):
    assert [result['bytes'] for result in two['counted']] == [worker.toy_bytes(), 0]


def test_counting_cleans_up_after_an_error():
    def fail(net):
        raise RuntimeError('no memory')

    with pytest.raises(RuntimeError, match='no memory'):
        gradient_bytes(conv_net(), fail)
    assert not dist.is_initialized()
    assert gradient_bytes(conv_net(), backward) == 4 * 320


def test_an_existing_process_group_is_left_as_it_was():
    dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
    try:
        assert gradient_bytes(conv_net(), backward) == 4 * 320
        assert dist.is_initialized()
        with pytest.raises(ValueError, match='must not be wrapped, got a DistributedDataParallel'):
            gradient_bytes(DistributedDataParallel(conv_net()), backward)
        dist.barrier()
    finally:
        dist.destroy_process_group()


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(TypeError, match='list'):
        gradient_bytes([], backward)
    with pytest.raises(ValueError, match='a parameter that requires a gradient'):
        gradient_bytes(conv_net().requires_grad_(False), backward)
    model = conv_net()
    model.add_module('unused', nn.Conv2d(1, 1, 1))
    model.forward = lambda x: nn.Sequential(*model[:3])(x)
    with pytest.raises(ValueError, match=re.escape('these have none: unused.weight, unused.bias')):
        gradient_bytes(model, backward)
