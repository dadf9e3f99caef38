"""What a model costs to train and to run: time by alternation, memory by allocation, bytes by counting.

Every function takes any model; nothing here knows about refocusing.
"""

from __future__ import annotations

import copy
import gc
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

from ..surgery import bare


@dataclass
class Batch:
    """Made training data that any classifier, detector or segmenter of OpenMMLab takes in `mode='loss'`.

    Attributes:
        inputs: normalised images, `(N, C, H, W)`.
        samples: one a image, with a label, boxes and a label map.
    """

    inputs: Tensor
    samples: list[BaseDataElement]


def made_batch(size: tuple[int, int], batch: int, classes: int = 2, boxes: int = 4, seed: int = 0) -> Batch:
    """Random images with labels below `classes`, `boxes` boxes of a quarter of the side, and label maps.

    Args:
        size: height and width in pixels.
        batch: number of images.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    inputs = torch.randn(batch, 3, height, width, generator=generator)
    samples = []
    for _ in range(batch):
        meta = dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size, scale_factor=(1.0, 1.0))
        sample = BaseDataElement(metainfo=meta)
        corner = torch.rand(boxes, 2, generator=generator) * torch.tensor([width, height]) * 0.7
        corners = torch.cat([corner, corner + torch.tensor([width, height]) / 4], dim=1)
        sample.gt_instances = InstanceData(bboxes=corners, labels=torch.randint(classes, (boxes,), generator=generator))
        sample.gt_label = torch.randint(classes, (1,), generator=generator)
        sample.gt_sem_seg = PixelData(data=torch.randint(classes, (1, height, width), generator=generator))
        samples.append(sample)
    return Batch(inputs, samples)


class Trainer:
    """A model and an SGD optimizer with momentum and weight decay, one call a training step.

    Args:
        model: an OpenMMLab model, or any module whose output is a tensor.
        batch: what it trains on.
    """

    def __init__(self, model: nn.Module, batch: Batch) -> None:
        self.model = model.train()
        self.batch = batch
        # So small a rate that hundreds of steps on random data leave the numbers where they are.
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(trained, lr=1e-7, momentum=0.9, weight_decay=1e-4)

    def backward(self, model: nn.Module | None = None) -> None:
        """Forward and backward, through `model` if it wraps the trainer's own."""
        model = model or self.model
        inner = bare(model)
        if hasattr(inner, 'parse_losses'):
            loss, _ = inner.parse_losses(model(self.batch.inputs, self.batch.samples, mode='loss'))
        else:
            loss = model(self.batch.inputs).square().mean()
        loss.backward()

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        self.backward()
        self.optimizer.step()


@torch.inference_mode()
def infer(model: nn.Module, inputs: Tensor) -> None:
    """One forward pass without annotations."""
    if hasattr(model, 'data_preprocessor'):
        model(inputs, mode='tensor')
    else:
        model(inputs)


@dataclass
class Times:
    """Seconds of competitors that took turns.

    Attributes:
        seconds: by name, one number a round.
        reference: the name that ratios are against.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    reference: str = 'plain'

    def ratio(self, name: str) -> tuple[float, float, float]:
        """Median of the per-round ratios to the reference, and their quartiles.

        The two numbers of one round were measured within moments of each other, so what slows the machine down
        for longer than that cancels out.
        """
        pairs = zip(self.seconds[name], self.seconds[self.reference], strict=True)
        ratios = [a / b for a, b in pairs]
        if len(ratios) < 2:
            return ratios[0], ratios[0], ratios[0]
        low, median, high = statistics.quantiles(ratios, n=4, method='inclusive')
        return median, low, high


def alternate(
    competitors: Mapping[str, Callable[[], Any]],
    rounds: int,
    reference: str = 'plain',
    warm_up: int = 2,
    report: Callable[[], Any] = lambda: None,
    settle: int = 0,
) -> Times:
    """Times competitors in turn, the order turning by one each round so that nobody always follows the same other.

    Args:
        competitors: by name, each one call.
        rounds: calls of each that count.
        reference: one of the names.
        warm_up: calls of each that don't.
        report: called after each round.
        settle: untimed calls right before each timed one. Small models want one beside a large one: whoever follows it
            finds the processor's caches empty (5 to 12 % of a MobileNetV2's pass after a ResNet-50's).

    Raises:
        ValueError: no round, or the reference is no competitor.
    """
    if rounds < 1:
        raise ValueError(f'rounds must be at least 1, got {rounds}')
    if reference not in competitors:
        raise ValueError(f'reference must be one of {list(competitors)}, got {reference!r}')
    names = list(competitors)
    for name in names * warm_up:
        competitors[name]()
    times = Times({name: [] for name in names}, reference)
    gc.collect()
    gc.disable()  # a collection would fall on one competitor
    try:
        for turn in range(rounds):
            shift = turn % len(names)
            for name in names[shift:] + names[:shift]:
                for _ in range(settle):
                    competitors[name]()
                start = time.perf_counter()
                competitors[name]()
                _wait()
                times.seconds[name].append(time.perf_counter() - start)
            gc.collect()
            report()
    finally:
        gc.enable()
    return times


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_bytes(make: Callable[[], Callable[[], Any]]) -> int:
    """Peak of what is allocated during a call, with all that `make` allocated before and that lives on.

    Counted from torch's own record of every allocation on the CPU, so caches, workspaces and temporaries are in
    it; buffers inside oneDNN are not, as torch's allocator does not see them.

    Args:
        make: builds (or copies) model and optimizer and returns the call; the call runs twice, the second counts.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        call = make()
        call()
        with record_function('measured call'):
            call()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'trace.json')
        record.export_chrome_trace(str(path))
        events = json.loads(path.read_text())['traceEvents']
    (span,) = (e for e in events if e.get('name') == 'measured call' and e.get('cat') == 'user_annotation')
    live = peak = 0
    memory = (e for e in events if e.get('name') == '[memory]' and e['args']['Device Type'] == 0)
    for event in sorted(memory, key=lambda e: e['ts']):
        live += event['args']['Bytes']
        if span['ts'] <= event['ts'] <= span['ts'] + span['dur']:
            peak = max(peak, live)
    return peak


def copied_trainer(model: nn.Module, batch: Batch) -> Callable[[], Trainer]:
    """A maker for :func:`peak_bytes`: the copy is made while allocations are recorded."""
    return lambda: Trainer(copy.deepcopy(model), batch)


def optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of an optimizer's state."""
    states = (value for state in optimizer.state.values() for value in state.values())
    return sum(value.nbytes for value in states if isinstance(value, Tensor))


def checkpoint_bytes(trainer: Trainer) -> int:
    """Size of a file to resume from: the model's state and the optimizer's, as `torch.save` writes them."""
    file = io.BytesIO()
    torch.save(dict(state_dict=trainer.model.state_dict(), optimizer=trainer.optimizer.state_dict()), file)
    return file.tell()
