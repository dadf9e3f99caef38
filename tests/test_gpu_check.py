"""The report of tools/check_gpu.py, tried on the CPU."""

import pytest
import torch
from torch import nn

from refconv_mm import gpu_check
from refconv_mm.gpu_check import Check, SkipError
from refconv_mm.surgery import fuse

from .conftest import DEMO, ROOT, run

CPU = torch.device('cpu')
DETECTOR = DEMO / 'ssdlite_mobilenetv2_refconv_demo.py'


def all_checks():
    paths = sorted(path for path in ROOT.glob('configs/*/*_refconv*.py') if path.parent.name not in ('_base_', 'own'))
    return list(gpu_check.checks(paths, DETECTOR, CPU))


def by_name(name: str) -> Check:
    return next(check for check in all_checks() if check.name == name)


@pytest.mark.parametrize('name', [
    'dense layer', 'grouped layer', 'depthwise layer', 'depthwise layer, mixed precision', "mmcv's ops",
    'demo/ssdlite_mobilenetv2_refconv_demo', 'demo/deeplabv3plus_mobilenetv2-d8_refconv_demo',
    'imagenet/mobilenetv3-small_refconv_imagenet',
])  # fmt: skip
def test_a_check_passes(name):
    check = by_name(name)
    check()
    assert check.state == 'ok', check.text


@pytest.mark.slow
def test_all_checks_pass():
    for check in all_checks():
        check()
        assert check.state == 'ok', f'{check.name}: {check.text}'


def test_a_wrong_layer_fails(monkeypatch):
    def fuse_wrongly(model: nn.Module) -> None:
        fuse(model)
        model[0].weight.data[0] += 0.01

    monkeypatch.setattr(gpu_check, 'fuse', fuse_wrongly)
    with pytest.raises(ValueError, match=r'differs by .* from float64'):
        gpu_check.layer(CPU, groups=1)


def test_errors_and_what_cannot_run_are_said():
    def skip() -> str:
        raise SkipError('1 GPU')

    checks = [Check('a', lambda: 'fine'), Check('b', lambda: str(1 // 0)), Check('c', skip)]
    for check in checks:
        check()
    assert [(check.state, check.text) for check in checks] == [
        ('ok', 'fine'), ('failed', 'ZeroDivisionError: integer division or modulo by zero'), ('skipped', '1 GPU'),
    ]  # fmt: skip


def test_the_report_is_markdown_and_needs_a_gpu_unless_told():
    said = run('tools/check_gpu.py', '--device', 'cpu', '--only', 'dense').stdout
    assert '| dense layer | ok |' in said
    assert f'| torch | {torch.__version__.partition("+")[0]}' in said
    if not torch.cuda.is_available():
        assert 'torch sees no GPU here' in run('tools/check_gpu.py', check=False).stderr
