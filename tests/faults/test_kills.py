"""Trainings that are killed, interrupted or started twice, and go on."""

import random
import re
import shutil
import signal
import time

import pytest
import torch

from refconv_mm.openmmlab.versions import distribution_version
from tests.faults.conftest import STEPS
from tests.faults.processes import refconv

# The fork of mmengine resumes without loading the data that were seen: augmentation goes on with other random numbers.
RELOADS = distribution_version('onedl-mmengine') is None


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert all(torch.isfinite(value).all() for value in one.values())
    if RELOADS:
        assert [key for key in one if not torch.equal(one[key], other[key])] == []


@pytest.mark.parametrize(
    ('kind', 'times'),
    [('segmenter', 1), *(pytest.param(kind, 20, marks=pytest.mark.faults) for kind in ('segmenter', 'detector'))],
)
def test_a_killed_training_ends_with_the_weights_of_an_uninterrupted_one(kind, times, request):
    """Killed at a random moment after its first checkpoint, then resumed; all is compared bit for bit."""
    job, rng = request.getfixturevalue(f'{kind}_job'), random.Random(times)
    expected = job.whole()
    for number in range(times):
        name = f'killed_{times}_{number}'
        running = job.train(name)
        running.wait_for(job.folder / name / f'iter_{rng.randrange(1, STEPS)}.pth')
        time.sleep(0.5 * rng.random())
        running.kill()
        assert 'resumes from' in job.train(name, '--resume').ends_well()
        assert_equal(job.weights(name), expected)
        shutil.rmtree(job.folder / name)


EPOCHS = {
    'train_cfg': dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=STEPS, val_interval=99),
    'train_dataloader.sampler': dict(_delete_=True, type='DefaultSampler', shuffle=True),
    'train_dataloader.num_workers': 2,
    'default_hooks.checkpoint': dict(_delete_=True, type='CheckpointHook', interval=1),
    'log_processor.by_epoch': True,
}


@pytest.mark.faults
@pytest.mark.parametrize('changes', [EPOCHS, {'randomness.seed': None}], ids=['epochs', 'no seed'])
def test_other_runs_go_on_exactly(changes, make_job):
    """Epochs with two workers; and without a seed, where mmengine draws one before it reads the checkpoint."""
    job = make_job('segmenter', **changes)
    expected, cut = job.whole(), job.folder / 'cut'
    shutil.copytree(job.folder / 'whole', cut)
    for step in range(3, STEPS + 1):
        next(cut.glob(f'*_{step}.pth')).unlink()
    (cut / 'last_checkpoint').write_text(str(next(cut.glob('*_2.pth'))))
    job.train('cut', '--resume').ends_well()
    assert_equal(job.weights('cut'), expected)


def test_the_second_of_two_runs_in_one_work_dir_is_refused(segmenter_job):
    """It writes nothing, and the first ends as if alone."""
    job = segmenter_job
    expected, first = job.whole(), job.train('shared')
    first.wait_for(job.folder / 'shared' / '2*')  # of mmengine, before the first step
    first.signal(signal.SIGSTOP)
    words = ('train', job.config, '--work-dir', job.folder / 'shared', '--init', job.start)
    try:
        refconv(job.folder / 'second.log', *words).refuses(f'another run works in {job.folder}/shared')
    finally:
        first.signal(signal.SIGCONT)
    first.ends_well()
    assert len(list((job.folder / 'shared').glob('2*'))) == 1  # mmengine makes a folder for each start
    assert_equal(job.weights('shared'), expected)


# -- Ctrl-C ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('times', [1, pytest.param(20, marks=pytest.mark.faults)])
def test_ctrl_c_ends_with_one_line(times, segmenter_job, tmp_path):
    """At random moments; a second time after ten seconds, since a bare `except:` in a library can swallow the first."""
    rng, words = random.Random(times), ('--init', segmenter_job.start, '--cfg-options', 'train_cfg.max_iters=999')
    for number in range(times):
        process = segmenter_job.train(tmp_path / f'work{number}', *words)
        if times == 1:
            process.wait_for(tmp_path / 'work0' / 'iter_1.pth')
        else:
            time.sleep(4 * rng.random())
        for _ in range(5):
            process.signal(signal.SIGINT)
            deadline = time.monotonic() + 10
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
        assert process.kill() == 130, process.said[-3000:]
        assert 'Traceback' not in process.said
        last = process.said.splitlines()[-1].removeprefix('refconv train: interrupted')
        assert re.fullmatch(
            r'|; the same command with --resume continues from .*/iter_\d+\.pth| before the first checkpoint', last
        )
