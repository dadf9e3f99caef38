"""torchvision's ops in the place of mmcv's: equal to the arrays that mmcv's compiled ops computed, and to those ops."""

import copy
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv import ops
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
from torch import Tensor, nn

from refconv_mm.files.errors import GpuOpsError
from refconv_mm.openmmlab.config import plain_config
from refconv_mm.openmmlab.extension import _StandIn, check_ops, compiled_for
from refconv_mm.running.runner import build_runner, runner_for_checkpoint
from refconv_mm.running.settings import set_init
from tests.conftest import needs_compiled_ops, random_checkpoint, run, segmenter

GOLDEN = Path(os.environ.get('REFCONV_REFERENCE', '../shared/reference')) / 'mmcv_ops_golden.npz'
MODULES = [
    module for name, module in sys.modules.items() if name.startswith('mmcv.ops.') and hasattr(module, 'ext_module')
]


@contextmanager
def torchvision():
    """mmcv's ops are those of torchvision while the block runs."""
    before = [module.ext_module for module in MODULES]
    for module in MODULES:
        module.ext_module = _StandIn('mmcv._ext')
    try:
        yield
    finally:
        for module, extension in zip(MODULES, before, strict=True):
            module.ext_module = extension


def golden() -> dict[str, dict]:
    """The calls of the file, by name: their arguments and results as tensors or Python values."""
    calls: dict[str, dict] = {}
    if GOLDEN.is_file():
        with np.load(GOLDEN) as file:
            for key in file:
                name, _, part = key.partition('/')
                value = file[key]
                calls.setdefault(name, {})[part] = torch.from_numpy(value) if value.ndim else value.item()
    return {name: call for name, call in calls.items() if 'meta' not in name}


def computed(name: str, call: dict) -> dict[str, Tensor]:
    """The results of a golden call, under the names that they have in the file."""
    if name.startswith('nms'):
        found = ops.nms(call['boxes'], call['scores'], call['iou_threshold'], call['offset'])
    elif name.startswith('batched'):
        options = dict(type='nms', iou_threshold=call['iou_threshold'])
        found = ops.batched_nms(call['boxes'], call['scores'], call['labels'], options, call['class_agnostic'])
    elif name.startswith('soft'):
        settings = (call[key] for key in ('iou_threshold', 'sigma', 'min_score', 'method', 'offset'))
        found = ops.soft_nms(call['boxes'], call['scores'], *settings)
    else:
        return with_gradients(name, call)
    return dict(zip(('dets', 'keep'), found, strict=True))


def with_gradients(name: str, call: dict) -> dict[str, Tensor]:
    names = [key for key in ('x', 'weight', 'bias', 'offset', 'mask') if key in call]
    leaves = {key: call[key].clone().requires_grad_() for key in names}
    if name.startswith('roialign'):
        rest = (call['scale'], call['sampling_ratio'], call['pool_mode'], call['aligned'])
        y = ops.roi_align(leaves['x'], call['rois'], tuple(call['y'].shape[2:]), *rest)
    elif name.endswith('m'):
        names = ('x', 'offset', 'mask', 'weight', 'bias')
        y = ops.modulated_deform_conv2d(*(leaves[key] for key in names), *call['args'].tolist())
    else:
        y = ops.deform_conv2d(*(leaves[key] for key in ('x', 'offset', 'weight')), *call['args'].tolist())
    (y * call['w']).sum().backward()
    return {'y': y.detach(), **{f'grad_{key}': leaf.grad for key, leaf in leaves.items() if f'grad_{key}' in call}}


@pytest.mark.reference
@pytest.mark.skipif(not GOLDEN.is_file(), reason='the arrays of mmcv are not part of the project')
def test_every_call_gives_the_arrays_of_the_compiled_ops():
    calls = golden()
    assert len(calls) > 40
    with torchvision():
        for name, call in calls.items():
            for key, value in computed(name, call).items():
                exact = not value.is_floating_point()
                tolerance = dict(rtol=0, atol=0) if exact else dict(rtol=1e-5, atol=1e-5)
                torch.testing.assert_close(value, call[key], **tolerance, msg=lambda m, n=name, k=key: f'{n}/{k}: {m}')


@st.composite
def boxes(draw):
    """Boxes that overlap much, some of them by a round share, with ties among their scores."""
    count, seed = draw(st.integers(1, 40)), draw(st.integers(0, 2**16))
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 12, (count, 2), generator=generator).float()
    sides = torch.randint(1, 11, (count, 2), generator=generator).float()
    return torch.cat([corners, corners + sides], 1), torch.randint(0, 20, (count,), generator=generator) / 20


def same(function) -> None:
    expected = function()
    with torchvision():
        got = function()
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@needs_compiled_ops
@settings(max_examples=60, deadline=None)
@given(boxes(), st.sampled_from([0.3, 0.5, 0.6, 1 / 3]), st.sampled_from([0, 1]))
def test_nms_and_its_relatives_are_those_of_mmcv(made, threshold, offset):
    found, scores = made
    same(lambda: ops.nms(found, scores, threshold, offset))
    same(lambda: ops.nms(found, scores, threshold, offset, score_threshold=0.3, max_num=5))
    same(lambda: ops.nms_match(torch.cat([found, scores[:, None]], 1), threshold))
    labels = (scores * 20).long() % 3
    for agnostic in (False, True):
        for split in (3, 10_000):
            options = dict(type='nms', iou_threshold=threshold, split_thr=split)
            same(lambda o=options, a=agnostic: ops.batched_nms(found, scores, labels, dict(o), a))
    for method in ('naive', 'linear', 'gaussian'):
        same(lambda m=method: ops.soft_nms(found, scores, threshold, 0.5, 1e-3, m, offset))


def test_the_maximum_over_a_region_of_no_size_is_mmcv_s_number_for_none():
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    with torchvision():
        y = ops.roi_align(x, torch.tensor([[0.0, 1, 1, 1, 1], [0, 0, 0, 4, 4]]), (1, 1), 1.0, 0, 'max')
        y.sum().backward()
    assert y.flatten().tolist() == [-10000, 1]
    assert x.grad.sum() == 1


def test_attention_on_a_gpu_and_its_gradients_are_those_of_mmcv_s_python():
    shapes, starts = torch.tensor([[4, 5], [2, 3]]), torch.tensor([0, 20])
    value, points = torch.randn(2, 26, 2, 4), torch.rand(2, 7, 2, 2, 3, 2)
    given = [value, points, torch.rand(2, 7, 2, 2, 3)]
    attention, found = ops.multi_scale_deform_attn, []
    for function in (
        lambda v, p, w: attention.multi_scale_deformable_attn_pytorch(v, shapes, p, w),
        lambda v, p, w: attention.MultiScaleDeformableAttnFunction.apply(v, shapes, starts, p, w, 64),
    ):
        leaves = [each.clone().requires_grad_() for each in given]
        with torchvision():
            y = function(*leaves)
            y.square().sum().backward()
        found.append([y.detach(), *(leaf.grad for leaf in leaves)])
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


def test_roi_pool_is_a_maximum_and_its_gradient_goes_there():
    """mmcv has none for CPUs: by hand, a region of whole pixels."""
    x = torch.arange(64.0).view(1, 1, 8, 8).requires_grad_()
    with torchvision():
        y = ops.roi_pool(x, torch.tensor([[0.0, 0, 0, 3, 3]]), (2, 2), 1.0)
        y.sum().backward()
    assert y.flatten().tolist() == [9, 11, 25, 27]
    assert x.grad.flatten().nonzero().flatten().tolist() == [9, 11, 25, 27]


@pytest.mark.parametrize('weight', [None, torch.rand(4)])
def test_focal_losses_are_their_formulas(weight):
    logits, target = torch.randn(12, 4, dtype=torch.float64), torch.randint(0, 5, (12,))  # 4 is the background
    weight = None if weight is None else weight.double()
    leaves = [logits.clone().requires_grad_() for _ in range(2)]
    if weight is None:
        with torchvision():
            ops.sigmoid_focal_loss(leaves[0], target, 2.0, 0.25, None, 'sum').backward()
        one_hot = nn.functional.one_hot(target, 5)[:, :4]
        py_sigmoid_focal_loss(leaves[1], one_hot, gamma=2.0, alpha=0.25, reduction='sum').backward()
        torch.testing.assert_close(leaves[0].grad, leaves[1].grad, rtol=1e-9, atol=1e-9)
    target, leaves = target % 4, [logits.clone().requires_grad_() for _ in range(2)]
    with torchvision():
        got = ops.softmax_focal_loss(leaves[0], target, 2.0, 0.25, weight, 'mean')
        got.backward()
    share = leaves[1].softmax(1).gather(1, target[:, None])[:, 0]
    loss = -0.25 * (1 - share) ** 2 * share.log() * (1 if weight is None else weight[target])
    loss.mean().backward()
    torch.testing.assert_close(got.detach(), loss.mean().detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad, rtol=1e-9, atol=1e-9)


def test_an_op_without_a_stand_in_is_named_at_its_call_and_its_layer_before():
    layer = ops.MaskedConv2d(2, 2, 3)
    with torchvision(), pytest.raises(GpuOpsError, match=r"no op 'masked_im2col_forward' compiled for cpu"):
        layer(torch.ones(1, 2, 5, 5), torch.ones(1, 5, 5))
    model = nn.ModuleDict(dict(neck=copy.deepcopy(layer), dcn=ops.DeformConv2d(2, 2, 3)))
    if compiled_for('cpu'):
        check_ops(model)
    else:
        with pytest.raises(GpuOpsError, match=r'1 layers need them: neck \(MaskedConv2d of mmcv.ops.masked_conv\)'):
            check_ops(model)


@pytest.mark.skipif(compiled_for('cpu'), reason='mmcv has its op here')
def test_a_run_whose_model_lacks_an_op_is_refused_before_its_first_batch(city, tmp_path):
    cfg = segmenter(city, tmp_path)
    psa = dict(type='PSAHead', mask_size=(5, 5), channels=8, in_channels=160, in_index=3, num_classes=19)
    cfg.model.decode_head = dict(psa, norm_cfg=dict(type='BN'))
    start = random_checkpoint(cfg, tmp_path / 'start.pth')
    set_init(cfg, str(start))
    runner = build_runner(cfg)
    told = r'2 layers need them: decode_head.psamask_collect \(PSAMask of mmcv.ops.psa_mask\).* Compile mmcv'
    with pytest.raises(GpuOpsError, match=told):
        runner.train()
    assert not list(tmp_path.glob('iter_*.pth'))
    with pytest.raises(GpuOpsError, match=told):
        runner_for_checkpoint(plain_config(cfg), str(start))


WITHOUT = """
import importlib.util, sys
find_spec = importlib.util.find_spec
hidden = lambda name: name == 'mmcv._ext' and name not in sys.modules
importlib.util.find_spec = lambda name, *a: None if hidden(name) else find_spec(name, *a)
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name == 'mmcv._ext':
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import torch, refconv_mm
assert 'mmcv.ops' not in sys.modules
refconv_mm.openmmlab.prepare()
import mmdet.models, mmseg.models, mmpretrain.models
from mmcv.ops import nms
from mmengine.utils.dl_utils import collect_env
assert nms(torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 5]]), torch.tensor([0.5, 0.9]), 0.5)[1].tolist() == [1]
collect_env()
print('right')
"""


def test_models_import_where_mmcv_has_no_extension():
    assert 'right' in run('-c', WITHOUT).stdout


@needs_compiled_ops
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([0, 1, 2]), st.sampled_from(['avg', 'max']), st.booleans())
def test_roi_align_is_that_of_mmcv(seed, ratio, mode, aligned):
    generator = torch.Generator().manual_seed(seed)
    x, rois = torch.randn(2, 3, 9, 11, generator=generator), torch.rand(5, 5, generator=generator) * 30
    rois[:, 0] = torch.randint(0, 2, (5,), generator=generator)
    rois[:, 3:] += rois[:, 1:3] + 0.5
    rois[0, 3:] = rois[0, 1:3]  # of no size

    def pooled():
        leaf = x.clone().requires_grad_()
        y = ops.roi_align(leaf, rois, (3, 4), 0.25, ratio, mode, aligned)
        (y * y.detach().cos()).sum().backward()
        return y.detach(), leaf.grad

    same(pooled)
