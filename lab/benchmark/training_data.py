"""Models of configs, synthetic training data for them, and a trainer, which the benchmark measures."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hub import get_config
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor, nn

from refconv_mm.commands.arguments import open_config
from refconv_mm.openmmlab.models import build_model


def find_config(config: str, folder: Path) -> Config:
    """The config of a model: `scope::name` from an installed library, or a path, seen from `folder` or from here.

    Raises:
        FileNotFoundError: no such config.
    """
    if '::' in config:
        return get_config(config)
    paths = [folder / config, Path(config)]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f'no config at {" or ".join(map(str, paths))}')
    return open_config(path)


def random_model(cfg: Config) -> tuple[nn.Module, int]:
    """The model of a config with random weights, and the fewest classes of its heads."""
    torch.manual_seed(0)
    model = build_model(cfg)
    if not torch.cuda.is_available():
        model = revert_sync_batchnorm(model)  # SyncBN needs a GPU
    return model.to(get_device()), fewest_classes(cfg.model)


def fewest_classes(node: Any) -> int:
    """The fewest classes of any head, so that every synthetic label is valid for all of them."""
    if isinstance(node, dict):
        own = [node['num_classes']] if node.get('num_classes') else []
        return min(own + [fewest_classes(value) for value in node.values()], default=1000)
    if isinstance(node, list | tuple):
        return min((fewest_classes(value) for value in node), default=1000)
    return 1000


@dataclass
class Batch:
    """Synthetic training data that any classifier, detector or segmenter of OpenMMLab takes in `mode='loss'`."""

    inputs: Tensor  # normalised images, (N, C, H, W)
    samples: list[BaseDataElement]  # one an image, with a label, boxes and a label map


def synthetic_batch(size: tuple[int, int], batch: int, classes: int = 2, boxes: int = 4) -> Batch:
    """Random images of `size` (height, width), labels below `classes`, boxes of a quarter of the side, label maps."""
    generator = torch.Generator().manual_seed(0)
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
        samples.append(sample.to(get_device()))
    return Batch(inputs.to(get_device()), samples)


class Trainer:
    """An OpenMMLab model, or any module that returns a tensor, and SGD with momentum; a call is a training step.

    Args:
        amp: autocast to bfloat16.
        channels_last: the memory format of images and kernels.
        compiled: torch compiles the backbone (the module, where it has none of that name).
    """

    def __init__(
        self, model: nn.Module, batch: Batch, amp: bool = False, channels_last: bool = False, compiled: bool = False
    ) -> None:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.train().to(memory_format=layout)
        self.batch = Batch(batch.inputs.to(memory_format=layout), batch.samples)
        self.amp = amp
        if compiled:
            getattr(model, 'backbone', model).compile()
        # So small a rate that hundreds of steps on random data leave the numbers where they are.
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(trained, lr=1e-7, momentum=0.9, weight_decay=1e-4)

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        with torch.autocast(self.batch.inputs.device.type, torch.bfloat16, enabled=self.amp):
            if hasattr(self.model, 'parse_losses'):
                loss, _ = self.model.parse_losses(self.model(self.batch.inputs, self.batch.samples, mode='loss'))
            else:
                loss = self.model(self.batch.inputs).square().mean()
        loss.backward()
        self.optimizer.step()


@torch.inference_mode()
def infer(model: nn.Module, inputs: Tensor) -> None:
    """One forward pass without annotations."""
    model(inputs, mode='tensor') if hasattr(model, 'data_preprocessor') else model(inputs)


def copied_trainer(model: nn.Module, batch: Batch, **options: bool) -> Callable[[], Trainer]:
    """A maker for :func:`.costs.peak_bytes`: the copy is made while allocations are recorded."""
    return lambda: Trainer(copy.deepcopy(model), batch, **options)
