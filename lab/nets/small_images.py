"""Small images for whole schedules on a CPU: a net that trains 2,000 images a second, and images decoded once.

A config imports this module by name (`custom_imports`), also a plain one: nothing of RefConv is in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.cnn import ConvModule
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModule
from mmengine.registry import DATASETS, MODELS, TRANSFORMS
from torch import Tensor, nn


class _Block(BaseModule):
    """An inverted residual of MobileNetV2: expand, depthwise, project."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int, conv_cfg: dict | None) -> None:
        super().__init__()
        hidden, options = inputs * expand, dict(norm_cfg=dict(type='BN'), conv_cfg=conv_cfg)
        act = dict(type='ReLU6')
        self.residual = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            ConvModule(inputs, hidden, 1, act_cfg=act, **options),
            ConvModule(hidden, hidden, 3, stride, 1, groups=hidden, act_cfg=act, **options),
            ConvModule(hidden, outputs, 1, act_cfg=None, **options),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


@MODELS.register_module()
class LabSmallMobileNet(BaseModule):
    """A MobileNetV2 for 32x32 images: a stem of stride 2, inverted residuals at 16x16, 8x8 and 4x4, a pointwise head.

    Args:
        stem: channels of the stem.
        blocks: `(channels, stride)` of each inverted residual.
        expand: factor on the channels inside a block.
        out_channels: of the head; 35,000 parameters with the defaults and a classifier of ten classes.
        conv_cfg: of all convolutions.

    Returns:
        A tuple of one map, `(N, out_channels, H / 8, W / 8)` with the default blocks.
    """

    def __init__(
        self,
        stem: int = 16,
        blocks: Sequence[tuple[int, int]] = ((16, 1), (24, 2), (24, 1), (40, 2), (40, 1)),
        expand: int = 3,
        out_channels: int = 160,
        conv_cfg: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        options = dict(norm_cfg=dict(type='BN'), conv_cfg=conv_cfg, act_cfg=dict(type='ReLU6'))
        self.conv1 = ConvModule(3, stem, 3, 2, 1, **options)
        sizes = [stem, *(channels for channels, _ in blocks)]
        self.layers = nn.Sequential(
            *[
                _Block(inputs, outputs, stride, expand, conv_cfg)
                for inputs, (outputs, stride) in zip(sizes, blocks, strict=False)
            ]
        )
        self.conv2 = ConvModule(sizes[-1], out_channels, 1, **options)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        x = x.contiguous(memory_format=torch.channels_last)  # 1.7 times as fast on a CPU, and nothing else changes
        return (self.conv2(self.layers(self.conv1(x))),)


@TRANSFORMS.register_module()
class LabLoadImageOnce(LoadImageFromFile):
    """mmcv's LoadImageFromFile, which keeps each decoded image in memory: for small images and many epochs."""

    def transform(self, results: dict) -> dict | None:
        held: dict[str, np.ndarray] = self.__dict__.setdefault('_held', {})
        image = held.get(results['img_path'])
        if image is None:
            loaded = super().transform(results)
            if loaded is not None:
                held[results['img_path']] = loaded['img'].copy()
            return loaded
        results.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        return results


@DATASETS.register_module(name='LabEveryFifth')
def build_every_fifth(dataset: dict, held_out: bool) -> BaseDataset:
    """Every fifth image of a data set, or the other four fifths.

    A list of 40,000 `indices` would do the same, but mmengine formats it whenever it prints or stores the config.

    Args:
        dataset: config of the data set.
        held_out: whether to keep every fifth image, which the training does not see, or the others.
    """
    data: BaseDataset = DATASETS.build(dataset)
    data.get_subset_([i for i in range(len(data)) if (i % 5 == 4) is held_out])
    return data
