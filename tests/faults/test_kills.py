"""Trainings that are killed, and go on."""

import random
import shutil
import time

import pytest
import torch

from refconv_mm.checkpoints.fusing import read_checkpoint
from refconv_mm.openmmlab.versions import distribution_version

from tests.faults.conftest import STEPS

# The fork of mmengine resumes without loading what was seen, so augmentation goes on with other random numbers.
RELOADS = distribution_version('onedl-mmengine') is None


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert all(torch.isfinite(value).all() for value in one.values())
    if RELOADS:
        assert [key for key in one if not torch.equal(one[key], other[key])] == []


@pytest.mark.parametrize(
    ('kind', 'times'),
    [
        ('segmenter', 1),
        pytest.param('segmenter', 20, marks=pytest.mark.faults),
        pytest.param('detector', 20, marks=pytest.mark.faults),
    ],
)
def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(kind, times, request):
    """Killed at a random moment after its first checkpoint, then resumed; all is compared bit for bit."""
    job, rng = request.getfixturevalue(f'{kind}_job'), random.Random(times)
    expected = job.whole()
    for number in range(times):
        name = f'killed_{times}_{number}'
        running, step = job.train(name), rng.randrange(1, STEPS)
        while not (job.folder / name / f'iter_{step}.pth').exists():
            assert running.poll() is None, running.said[-3000:]
            time.sleep(0.005)
        time.sleep(rng.random())
        running.kill()
        resumed = job.train(name, '--resume')
        assert resumed.wait() == 0, resumed.said[-3000:]
        assert 'resumes from' in resumed.said
        assert_equal(job.weights(name), expected)
        shutil.rmtree(job.folder / name)


@pytest.mark.faults
@pytest.mark.parametrize('workers', [0, 2])
def test_a_loop_over_epochs_goes_on_exactly(workers, make_job):
    """Of three epochs the last two are done again; the workers are not persistent."""
    changes = {
        'train_cfg': dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=3, val_interval=9),
        'train_dataloader.sampler': dict(_delete_=True, type='DefaultSampler', shuffle=True),
        'train_dataloader.num_workers': workers,
        'default_hooks.checkpoint': dict(_delete_=True, type='CheckpointHook', interval=1),
        'log_processor.by_epoch': True,
    }
    job = make_job('segmenter', **changes)
    assert job.train('whole').wait() == 0
    shutil.copytree(job.folder / 'whole', job.folder / 'cut')
    (job.folder / 'cut' / 'last_checkpoint').write_text(str(job.folder / 'cut' / 'epoch_1.pth'))
    resumed = job.train('cut', '--resume')
    assert resumed.wait() == 0, resumed.said[-3000:]
    assert_equal(*(read_checkpoint(job.folder / name / 'epoch_3.pth')['state_dict'] for name in ('cut', 'whole')))


@pytest.mark.faults
def test_without_a_seed_the_run_goes_on_with_that_of_its_checkpoint(make_job):
    """mmengine draws one, and builds the sampler before it reads the one in the checkpoint."""
    job = make_job('segmenter', **{'randomness.seed': None})
    job.whole()
    shutil.copytree(job.folder / 'whole', job.folder / 'cut')
    (job.folder / 'cut' / 'last_checkpoint').write_text(str(job.folder / 'cut' / f'iter_{STEPS - 2}.pth'))
    for step in (STEPS - 1, STEPS):
        (job.folder / 'cut' / f'iter_{step}.pth').unlink()
    resumed = job.train('cut', '--resume')
    assert resumed.wait() == 0, resumed.said[-3000:]
    assert_equal(job.weights('cut'), job.weights('whole'))
