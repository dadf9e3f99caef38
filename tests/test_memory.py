"""Freed memory is kept: large tensors do not fault their pages in again."""

import resource

from .conftest import run

FAULTS = """
import resource, torch
from refconv_mm.memory import keep_freed_memory

kept = keep_freed_memory()
for _ in range(3):
    torch.ones(8, 2**20)  # the first ones take the memory
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(8, 2**20)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_memory_is_kept_and_the_users_own_settings_are_left_alone():
    pages = 20 * 8 * 2**20 * 4 // resource.getpagesize()
    kept, faults = run('-c', FAULTS).stdout.split()[-2:]
    assert kept == 'True'
    assert int(faults) < pages / 100
    kept, faults = run('-c', FAULTS, MALLOC_TRIM_THRESHOLD_='131072').stdout.split()[-2:]
    assert kept == 'False'
    assert int(faults) > pages / 1000  # huge pages may make one fault of 512
