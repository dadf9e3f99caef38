"""Small trainings for the faults: configs on disk, and the weights that they end with when nothing disturbs them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from torch import Tensor

from refconv_mm.checkpoints.fusing import read_checkpoint
from tests.conftest import detector, random_checkpoint, segmenter
from tests.faults.processes import Forked, prepare_to_train, refconv

STEPS = 5
prepare_to_train()


@dataclass
class Job:
    """A training of `STEPS` steps that writes a checkpoint after each."""

    config: Path
    start: Path  # the plain checkpoint that it starts from
    folder: Path  # of its work dirs and logs

    def train(self, name: str, *words: object) -> Forked:
        """Starts a training in the work dir `folder/name`; without words from the start."""
        words = words or ('--init', self.start)
        return refconv(self.folder / f'{name}.log', 'train', self.config, '--work-dir', self.folder / name, *words)

    def whole(self) -> dict[str, Tensor]:
        """The weights of a training that nothing disturbs."""
        if not (self.folder / 'whole').is_dir():
            self.train('whole').ends_well()
        return self.weights('whole')

    def weights(self, name: str) -> dict[str, Tensor]:
        """The weights of the last checkpoint of a training, with the momentum."""
        checkpoint = read_checkpoint(next((self.folder / name).glob(f'*_{STEPS}.pth')))
        momentum = checkpoint['optimizer']['state']
        return checkpoint['state_dict'] | {f'momentum {key}': each['momentum_buffer'] for key, each in momentum.items()}


@pytest.fixture(scope='session')
def make_job(voc, city, tmp_path_factory):
    """Makes a job; `changes` go into its config."""

    def make(kind: str, **changes) -> Job:
        folder = tmp_path_factory.mktemp(kind)
        config, data = dict(detector=(detector, voc), segmenter=(segmenter, city))[kind]
        cfg = config(data, folder, iters=STEPS, **changes)
        cfg.log_level, cfg.default_hooks.refconv.fuse_after_train = 'INFO', False
        cfg.dump(folder / f'{kind}.py')
        return Job(folder / f'{kind}.py', random_checkpoint(cfg, folder / 'start.pth'), folder)

    return make


@pytest.fixture(scope='session')
def segmenter_job(make_job) -> Job:
    return make_job('segmenter')


@pytest.fixture(scope='session')
def detector_job(make_job) -> Job:
    return make_job('detector')
