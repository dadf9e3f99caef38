"""Training in several processes gives the losses and weights of training in one."""

import pytest
import torch

from refconv_mm.files.unpickling import takes_allow_list
from tests import equal_worker as worker
from tests.conftest import ROOT, needs_new_torch, random_checkpoint, run

# Twelve steps in float64: 3e-16 was seen, from sums in another order.
EXACT = 1e-13


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
def two(one, start):
    """The jobs in two processes, in one launch."""
    jobs = ['toy', 'drawn', f'resumed={start.parent / "one" / "epoch_2.pth"}']
    return launch(2, start.parent / 'two', start, *jobs, *['sharded'] * takes_allow_list())


def test_two_and_four_processes_train_as_one(one, two, start):
    assert len(one['losses']) == worker.STEPS
    assert max(one['norms']) > worker.MAX_NORM > min(one['norms'])  # some steps were clipped, others not
    for key, value in one['state'].items():
        if key.endswith(('refocus', 'refocus_map', 'bias')):
            assert (value - one['start'][key]).abs().max() > 1e-3, key
    assert_same(two['toy'], one)
    assert_same(launch(4, start.parent / 'four', start, 'toy')['toy'], one)


def test_random_initializations_are_those_of_the_first_process(two):
    """Each process draws its own; RefConvHook sends those of the first to the others."""
    first, second = (result['start'] for result in two['drawn'])
    drawn = [key for key in first if key.endswith(('refocus', 'refocus_map'))]
    assert len(drawn) == 4
    assert all(first[key].any() and torch.equal(first[key], second[key]) for key in drawn)


def test_a_checkpoint_of_one_process_resumes_in_two(one, two):
    assert len(two['resumed'][0]['losses']) == worker.STEPS // 2
    assert_same(two['resumed'], one)


def test_a_checkpoint_of_two_processes_resumes_in_one(one, two, start, tmp_path):
    resumed = worker.resumed(tmp_path, start, str(start.parent / 'two' / 'toy' / 'epoch_2.pth'))
    assert len(resumed['losses']) == worker.STEPS // 2
    assert_same([resumed], one)


@needs_new_torch
def test_fully_sharded_training_is_that_of_one_process(two, start, tmp_path):
    expected = worker.sharded(tmp_path, start)
    assert not expected['sharded']
    for result in two['sharded']:
        assert {'layers.0.refocus_map', 'layers.4.weight', 'layers.6.refocus'} <= set(result['sharded'])
        assert_same([result], expected)
        torch.testing.assert_close(result['outputs'], expected['outputs'], rtol=0, atol=EXACT)  # of the fused model
