"""Explicit to compact and back: the same model, and nothing of the user's is lost."""

import pytest
import torch
from mmengine.config import Config

from refconv_mm.checkpoint import build_model, load_whole, read_checkpoint
from refconv_mm.convert import convert_checkpoint, write_converted
from refconv_mm.surgery import named_refconvs
from refconv_mm.verify import FuseError

from .test_tools import tool  # noqa: F401


def kernels(cfg, checkpoint) -> list[torch.Tensor]:
    model = build_model(cfg)
    load_whole(model, checkpoint['state_dict'], '')
    return [layer.exact_kernel() for _, layer in named_refconvs(model)]


@pytest.mark.parametrize('form', ['explicit', 'compact'])
def test_there_and_back(seg_run, form, tmp_path):
    stored = read_checkpoint(seg_run['last'])
    before = kernels(seg_run['cfg'], stored)
    made = convert_checkpoint(seg_run['cfg'], stored, form, source='run')
    assert (made.sizes[1] > made.sizes[0]) == (form == 'explicit')
    forms = {layer.form for _, layer in named_refconvs(build_model(made.cfg))}
    assert forms == {form}
    pth, py = write_converted(made, tmp_path)
    cfg = Config.fromfile(py)
    converted = read_checkpoint(pth)
    # The maps are stored in float32: a kernel near 1 keeps 6e-8 of it.
    for a, b in zip(before, kernels(cfg, converted), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    plain = kernels(cfg, dict(state_dict={k: v for k, v in stored['state_dict'].items() if not k.endswith('refocus')}))
    assert max((a - b).abs().max() for a, b in zip(before, plain, strict=True)) > 1e-4  # the maps were not idle
    back = convert_checkpoint(cfg, converted, 'auto')
    for a, b in zip(before, kernels(back.cfg, back.checkpoint), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-6)


def test_what_has_no_maps_is_refused(seg_run):
    stored = read_checkpoint(seg_run['last'])
    with pytest.raises(FuseError, match='plain'):
        convert_checkpoint(seg_run['cfg'], read_checkpoint(seg_run['start']), 'explicit')
    with pytest.raises(FuseError, match='the config is plain'):
        convert_checkpoint(Config.fromfile(seg_run['work_dir'] / 'fused.py'), stored, 'explicit')
    with pytest.raises(ValueError, match='form must be one of'):
        convert_checkpoint(seg_run['cfg'], stored, 'dense')


def test_the_tool_writes_beside_and_overwrites_nothing(seg_run, tool, tmp_path):  # noqa: F811
    config = tmp_path / 'seg.py'
    seg_run['cfg'].dump(config)
    order = (config, seg_run['last'], '--form', 'explicit', '--out-dir', tmp_path / 'out')
    code, said = tool('convert', *order)
    assert code == 0
    assert 'layers agree to' in said
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {'explicit.pth', 'explicit.py'}
    code, said = tool('convert', *order)
    assert code == 2
    assert 'exists and is left alone' in said
