"""The sweep: refocusing and fusing one model of each family of five libraries.

pytest tests/lab/test_sweep.py                                          # a dozen models
SWEEP_TABLE=lab/models_table.md pytest -m slow tests/lab/test_sweep.py  # all, for hours; writes the table
"""

import json
import multiprocessing
import os
from collections import Counter
from pathlib import Path

import pytest

from lab.tables import table

from .sweep_models import LIBRARIES, OPENMMLAB, check_model, families

MODELS = {f'{lib}/{family}': (lib, model) for lib in LIBRARIES for family, model in families(lib).items()}
# family: how many convolutions conv_cfg reaches, of those of the backbone; '' outside OpenMMLab
DOZEN = {
    'mmpretrain/mobilenet_v2': '18/18',
    'mmpretrain/efficientnet': '17/17',
    'mmpretrain/lenet': 'not taken',
    'mmdet/ssd': '18/18',
    'mmseg/fastscnn': '3/14',
    'mmseg/erfnet': '0/71',
    'torchvision/squeezenet': '',
    'torchvision/video.s3d': '',
    'timm/nfnet': '',
}
RESULTS = Path(os.environ.get('SWEEP_RESULTS', 'work_dirs/sweep.jsonl'))  # a finished model is not checked again


def as_table(found: dict[str, dict[str, str]]) -> str:
    """One line a family: refocused convolutions of all, the reach of `conv_cfg` in the backbone, and the result."""
    counts = Counter((family.partition('/')[0], row['result'].partition(':')[0]) for family, row in found.items())
    columns = list(dict.fromkeys(result for _, result in counts))
    libraries = [library for library in LIBRARIES if any(key[0] == library for key in counts)]
    summary = table(['library', *columns], [(lib, *(counts[lib, column] for column in columns)) for lib in libraries])
    rows = [
        (family, Path(row['model']).stem, row.get('refocused', ''), row.get('conv_cfg', ''),
         row['result'].partition(':')[0])
        for family, row in found.items()
    ]  # fmt: skip
    return f'{summary}\n\n{table(["family", "model", "refocused", "conv_cfg", "result"], rows)}\n'


def in_process(library: str, model: str, timeout: float = 300) -> dict[str, str]:
    """The result of a model from a process of its own: an endless loop is a result as well."""
    os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_OFFLINE='1')
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        try:
            return pool.apply_async(check_model, (library, model)).get(timeout)
        except multiprocessing.TimeoutError:
            return dict(result=f'not finished after {timeout:.0f} s')


@pytest.mark.parametrize('family', [family for family in DOZEN if family in MODELS])
def test_a_model_is_right(family):
    found = check_model(*MODELS[family])
    if family == 'torchvision/video.s3d':
        assert found == dict(result='nothing to refocus')
        return
    assert found['result'] == 'right', found
    assert found.get('conv_cfg', '') == DOZEN[family]


@pytest.fixture(scope='module')
def results():
    lines = RESULTS.read_text().splitlines() if RESULTS.is_file() else []
    found = {row['family']: row for row in map(json.loads, lines)}
    yield found
    if path := os.environ.get('SWEEP_TABLE'):
        Path(path).write_text(as_table({family: found[family] for family in MODELS if family in found}))


@pytest.mark.slow
@pytest.mark.parametrize('family', MODELS)
def test_no_model_is_wrong(family, results):
    library, model = MODELS[family]
    if family not in results:
        results[family] = dict(family=family, model=model, **in_process(library, model))
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        with RESULTS.open('a') as file:
            file.write(json.dumps(results[family]) + '\n')
    assert not results[family]['result'].startswith('WRONG'), results[family]


def test_every_library_has_families():
    for library in {family.partition('/')[0] for family in MODELS}:
        assert len(families(library)) > 30, library
        if library in OPENMMLAB:
            assert all(model.endswith('.py') for model in families(library).values())
    assert families('mmpretrain')['resnet'] == 'resnet/resnet18_8xb32_in1k.py'
