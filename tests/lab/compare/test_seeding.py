"""Data depend on seed and place only, and the hook that hashes them."""

import random

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import DataLoader

import lab.compare.seeding  # noqa: F401
from lab.compare.seen_data_hook import batch_names, hash_tensors


@DATASETS.register_module()
class Draws:
    """Each sample is its index and three drawn numbers."""

    def __init__(self):
        self.metainfo = dict(classes=('a',))

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return [index, random.random(), np.random.rand(), torch.rand(()).item()]


def epoch(seed, workers, number=0):
    data = DATASETS.build(dict(type='LabSeededDataset', dataset=dict(type='Draws'), seed=seed))
    sampler = DATA_SAMPLERS.build(
        dict(type='LabNumberedSampler', sampler=dict(type='DefaultSampler', shuffle=True)),
        default_args=dict(dataset=data, seed=seed),
    )
    sampler.set_epoch(number)
    loader = DataLoader(data, 2, sampler=sampler, num_workers=workers, collate_fn=list)
    return [sample for batch in loader for sample in batch]


def test_the_draws_follow_from_seed_and_place_alone():
    first = epoch(0, workers=0)
    assert sorted(sample[0] for sample in first) == list(range(6))
    torch.rand(100)  # what a model draws
    assert epoch(0, workers=0) == first
    assert epoch(0, workers=1) == first
    assert epoch(0, workers=2) == first
    assert epoch(1, workers=0) != first
    again = epoch(0, workers=0, number=1)
    drawn = [{tuple(sample[1:]) for sample in samples} for samples in (first, again)]
    assert not drawn[0] & drawn[1]  # another epoch draws other numbers


def test_the_hash_sees_order_bytes_and_shape():
    import hashlib

    def of(batch):
        digest = hashlib.sha256()
        hash_tensors(batch, digest)
        return digest.hexdigest()

    a, b = torch.zeros(2, 3, dtype=torch.uint8), torch.ones(2, 3, dtype=torch.uint8)
    digests = {of([a, b]), of([b, a]), of([a]), of([a.view(3, 2), b]), of([a.float(), b])}
    assert len(digests) == 5
    assert of([a, b]) == of([a.clone(), b.clone()])
    samples = [Config(dict(metainfo=dict(img_path='x.png', img_id=3)))]
    assert batch_names(dict(inputs=[a], data_samples=samples)) == ['x.png|3']
