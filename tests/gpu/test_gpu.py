"""Refocusing, mmcv's ops, runs of the three libraries and exports on a GPU: python -m pytest -m gpu

REFCONV_GPU=cpu tries the tests themselves where there is none.
"""

import copy
import os
import shutil

import pytest
import torch
from mmcv import ops
from torch import Tensor, nn

from refconv_mm import fuse, refocus
from refconv_mm.layers import RefConv2d
from refconv_mm.running.runner import build_runner
from refconv_mm.running.settings import set_init
from refconv_mm.surgery import named_refconvs
from tests import equal_worker
from tests.conftest import DEMO, ROOT, needs_new_torch, random_checkpoint, run, segmenter
from tests.openmmlab.test_ops import torchvision
from tests.short_runs import run_set

DEVICE = os.environ.get('REFCONV_GPU', 'cuda')
ON_GPU = DEVICE != 'cpu'
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        ON_GPU and not torch.cuda.is_available(), reason='torch sees no GPU; REFCONV_GPU=cpu is a trial'
    ),
]
needs_gpu = pytest.mark.skipif(not ON_GPU, reason='has no counterpart on the CPU')

# The type of autocast, whether TF32 is on, and the rounding of one number: sums of a float32 kernel lose a few bits.
PRECISIONS = dict(
    float32=(None, False, 2**-20), tf32=(None, True, 2**-10), float16=(torch.float16, False, 2**-10),
    bfloat16=(torch.bfloat16, False, 2**-7),
)  # fmt: skip
LAYERS = dict(depthwise=(8, 8, 3, 8), dense=(8, 16, 3, 1), grouped=(8, 8, 5, 2))


@pytest.fixture(autouse=True)
def _defaults_of_torch():
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True


def results(layer: nn.Module, x: Tensor, dtype: torch.dtype | None) -> list[Tensor]:
    """Output and gradients, on the CPU in float64."""
    x = x.detach().requires_grad_()
    with torch.autocast(x.device.type, dtype or torch.bfloat16, enabled=dtype is not None):
        y = layer(x)
    wanted = [x, layer.trained] if isinstance(layer, RefConv2d) else [x]
    grads = torch.autograd.grad(y.float().square().sum() if dtype else y.square().sum(), wanted)
    return [value.detach().double().cpu() for value in (y, *grads)]


def assert_near(got: Tensor, expected: Tensor, rounding: float) -> None:
    """Compares with four roundings of the largest number."""
    torch.testing.assert_close(got, expected, rtol=0, atol=4 * rounding * expected.abs().max().item())


@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('kind', LAYERS)
def test_a_layer_computes_its_equation_and_its_fused_convolution(kind, precision):
    dtype, allowed, rounding = PRECISIONS[precision]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    inputs, outputs, size, groups = LAYERS[kind]
    layer = RefConv2d(inputs, outputs, size, padding=size // 2, groups=groups).double()
    layer.restart()
    nn.init.normal_(layer.trained, std=0.3)
    x = torch.randn(4, inputs, 12, 12, dtype=torch.float64)
    expected = results(layer, x, None)
    here, x = copy.deepcopy(layer).float().to(DEVICE), x.float().to(DEVICE)
    got = results(here, x, dtype)
    for value, right in zip(got, expected, strict=True):
        assert_near(value, right, rounding)
    for value, right in zip(results(here.to_conv2d(), x, dtype), got[:2], strict=True):
        assert_near(value, right, rounding)
    if not allowed and dtype is None:  # fused on the GPU or on the CPU
        assert_near(here.to_conv2d().weight.double().cpu(), layer.to_conv2d().weight, rounding)


def of_boxes(boxes: Tensor, scores: Tensor, labels: Tensor) -> list:
    batched = [ops.batched_nms(boxes, scores, labels, dict(type='nms', iou_threshold=0.5), a) for a in (False, True)]
    soft = [ops.soft_nms(boxes, scores, 0.5, method=method) for method in ('naive', 'linear', 'gaussian')]
    return [ops.nms(boxes, scores, 0.5, offset) for offset in (0, 1)] + batched + soft


def of_regions(x: Tensor, rois: Tensor) -> list:
    pooled = [ops.roi_align(x, rois, (3, 4), 0.25, ratio, mode) for ratio in (0, 2) for mode in ('avg', 'max')]
    return [*pooled, ops.roi_pool(x, rois, (3, 4), 0.25)]


def of_logits(logits: Tensor, target: Tensor) -> list:
    return [loss(logits, target, 2.0, 0.25, None, 'mean') for loss in (ops.sigmoid_focal_loss, ops.softmax_focal_loss)]


def of_offsets(x: Tensor, offset: Tensor, weight: Tensor) -> list:
    rest = (1, 1, 1, 2, 2)  # stride, padding, dilation, groups, groups of offsets
    modulated = ops.modulated_deform_conv2d(x, offset, offset[:, ::2], weight, None, *rest)
    return [ops.deform_conv2d(x, offset, weight, *rest), modulated]


def of_samples(value: Tensor, points: Tensor, weights: Tensor, shapes: Tensor) -> list:
    starts, weights = torch.zeros(1, dtype=torch.long, device=shapes.device), weights.flatten(3).softmax(-1)
    function = ops.multi_scale_deform_attn.MultiScaleDeformableAttnFunction
    return [function.apply(value, shapes, starts, points, weights.view(points.shape[:-1]), 64)]


def numbers(*shape: int) -> Tensor:
    return torch.empty(*shape).uniform_(-1, 1)


SHAPES = torch.tensor([[4, 5]])
CORNERS = torch.cat([torch.zeros(20, 2), torch.full((20, 2), 8.0)], 1)
CALLS = dict(
    boxes=(of_boxes, lambda: (CORNERS + numbers(20, 2).repeat(1, 2) * 5, torch.rand(20), torch.randint(3, (20,)))),
    regions=(of_regions, lambda: (numbers(2, 3, 9, 11), torch.cat([torch.randint(2, (20, 1)), CORNERS * 3], 1))),
    logits=(of_logits, lambda: (numbers(12, 4), torch.randint(4, (12,)))),
    offsets=(of_offsets, lambda: (numbers(2, 4, 7, 8), numbers(2, 36, 7, 8), numbers(6, 2, 3, 3))),
    samples=(of_samples, lambda: (numbers(2, 20, 2, 4), numbers(2, 5, 2, 1, 3, 2), numbers(2, 5, 2, 1, 3), SHAPES)),
)


@pytest.mark.parametrize('name', CALLS)
def test_an_op_and_its_derivatives_are_those_of_the_cpu(name):
    function, make = CALLS[name]
    found, inputs = [], make()
    for device in ('cpu', DEVICE):
        leaves = [t.to(device).requires_grad_(t.is_floating_point() and name != 'boxes') for t in inputs]
        with torchvision():
            values = function(*leaves)
            flat = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
            sums = [part.square().sum() for part in flat if part.requires_grad]
            wanted = [leaf for leaf in leaves if leaf.requires_grad]
            grads = torch.autograd.grad(sum(sums), wanted, allow_unused=True) if sums else []
        found.append([value.detach().cpu() for value in (*flat, *grads) if value is not None])
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('path', [
    DEMO / 'ssdlite_mobilenetv2_refconv_demo.py', DEMO / 'deeplabv3plus_mobilenetv2-d8_refconv_demo.py',
    ROOT / 'configs/imagenet/mobilenetv3-small_refconv_imagenet.py',
], ids=lambda path: path.stem)  # fmt: skip
def test_a_config_of_each_library_trains_is_fused_and_tested(path, tmp_path):
    run_set(path, tmp_path)


@needs_gpu
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_a_run_in_mixed_precision_trains_finite_kernels(dtype, city, tmp_path):
    cfg = segmenter(city, tmp_path)
    cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype=dtype)
    set_init(cfg, str(random_checkpoint(cfg, tmp_path / 'start.pth')))
    runner = build_runner(cfg)
    runner.train()
    layers = [layer for _, layer in named_refconvs(runner.model)]
    assert layers
    assert all(layer.trained.isfinite().all() and layer.trained.any() for layer in layers)


@pytest.mark.skipif(not ON_GPU and shutil.which('c++') is None, reason='inductor needs a C++ compiler on the CPU')
def test_compiled_training_is_eager_training():
    eager = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8)).to(DEVICE)
    refocus(eager, kinds=('depthwise', 'dense'))
    eager.double()
    compiled = copy.deepcopy(eager)
    batches = torch.randn(3, 4, 3, 12, 12, dtype=torch.float64).to(DEVICE)
    for model, call in ((eager, eager), (compiled, torch.compile(compiled))):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for x in batches:
            optimizer.zero_grad()
            call(x).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(compiled.state_dict(), eager.state_dict(), rtol=0, atol=1e-10)


@needs_new_torch
def test_onnx_runs_by_the_cuda_provider(tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    provider = 'CUDAExecutionProvider' if ON_GPU else 'CPUExecutionProvider'
    if provider not in onnxruntime.get_available_providers():
        pytest.skip(f'this onnxruntime has no {provider}')
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8)).eval()
    refocus(model)
    fuse(model)
    x = torch.randn(2, 3, 12, 12)
    torch.onnx.export(model, (x,), str(tmp_path / 'net.onnx'), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(tmp_path / 'net.onnx'), providers=[provider])
    assert session.get_providers()[0] == provider
    got = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    assert_near(torch.from_numpy(got), model(x).detach(), 2**-10)  # the provider may use TF32


@pytest.mark.skipif(ON_GPU and torch.cuda.device_count() < 2, reason='needs two GPUs')
def test_two_processes_agree(tmp_path):
    """By NCCL; on the CPU by gloo."""
    start = tmp_path / 'start.pth'
    random_checkpoint(equal_worker.toy_config(tmp_path, start), start)
    command = ('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', 2, '-m', 'tests.equal_worker')
    run(*command, tmp_path, start, 'toy', PYTHONPATH=str(ROOT))
    first, second = (torch.load(tmp_path / f'toy_{rank}.pth', map_location='cpu') for rank in (0, 1))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
