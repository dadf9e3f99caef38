"""Seeds that follow from a place in a run, so that an interrupted run goes on with the same random numbers."""

import hashlib
import random

import numpy as np
import torch


def derived_seed(*parts: int | str) -> int:
    """A seed of 32 bits that depends on the parts only."""
    return int.from_bytes(hashlib.sha256('/'.join(map(str, parts)).encode()).digest()[:4], 'big')


def seed_cpu(seed: int) -> None:
    """Seeds Python's, numpy's and torch's CPU generators: `torch.manual_seed` seeds GPUs, too."""
    random.seed(seed)
    np.random.seed(seed)
    torch.random.default_generator.manual_seed(seed)


def seed_all(seed: int) -> None:
    """Seeds Python's, numpy's and torch's generators."""
    seed_cpu(seed)
    torch.manual_seed(seed)
