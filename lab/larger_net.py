"""A larger net on a GPU: MobileNetV2 at full width on CIFAR-10, one whole schedule, then a second, plain or refocused.

PYTHONPATH=. python lab/larger_net.py data/cifar10_train.tar.xz --out-dir work_dirs/larger_net --seeds 0 1 2

It needs torch, refconv_mm and Pillow. Every fifth image of the archive is held out and tested on.
Each seed has a baseline of its own. `runs.csv` is written after every run; the same command runs the missing ones.
"""

from __future__ import annotations

import csv
import io
import tarfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from lab.tables import write_csv
from refconv_mm import fuse, refocus
from refconv_mm.files.writing import write_whole
from refconv_mm.layers.options import KINDS

BASELINE = 'baseline'
ARMS: dict[str, dict[str, Any]] = dict(
    control={},
    refocused=dict(gain=None, kinds=KINDS),
    kaiming=dict(gain=None, kinds=KINDS, init='kaiming'),
    gain1=dict(gain=1.0, kinds=KINDS),
)
# Expansion, channels, blocks and stride of each stage, as in MobileNetV2; the stem has stride 1.
STAGES = (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
POINTS = 10  # tests in a run


class Block(nn.Module):
    """An inverted residual."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden, self.residual = inputs * expand, stride == 1 and inputs == outputs
        widen = conv_bn_relu(inputs, hidden, 1) if expand > 1 else []
        depthwise = conv_bn_relu(hidden, hidden, 3, stride, hidden)
        self.conv = nn.Sequential(*widen, *depthwise, *conv_bn_relu(hidden, outputs, 1)[:2])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


def conv_bn_relu(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode='fan_out')
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True)]


def mobilenet_v2() -> nn.Sequential:
    """MobileNetV2 1.0 for 32x32 images and ten classes: 2.2 M parameters."""
    layers, inputs = conv_bn_relu(3, 32, 3), 32
    for expand, outputs, count, stride in STAGES:
        for number in range(count):
            layers.append(Block(inputs, outputs, 1 if number else stride, expand))
            inputs = outputs
    layers += [*conv_bn_relu(inputs, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 10)]
    return nn.Sequential(*layers)


def read_images(path: Path) -> tuple[Tensor, Tensor]:
    """Images of an archive of CLASS/NAME, `(N, 3, 32, 32)` of bytes, and their classes, in the order of names."""
    with tarfile.open(path) as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore
    names = sorted(found)
    images = np.stack([np.asarray(Image.open(io.BytesIO(found[name])).convert('RGB')) for name in names])
    _, classes = np.unique([name.split('/')[-2] for name in names], return_inverse=True)
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(classes)


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """A random crop of each image inside four black pixels, flipped in half of the cases."""
    count, device = len(images), images.device
    offsets = torch.randint(0, 9, (2, count, 1), generator=generator, device=device)
    rows, columns = offsets + torch.arange(32, device=device)
    flip = torch.rand(count, 1, generator=generator, device=device) < 0.5
    columns = torch.where(flip, columns.flip(1), columns)
    image, channel = torch.arange(count, device=device).view(-1, 1, 1, 1), torch.arange(3, device=device).view(-1, 1, 1)
    return F.pad(images, (4, 4, 4, 4))[image, channel, rows[:, None, :, None], columns[:, None, None]]


def predict(net: nn.Module, images: Tensor) -> Tensor:
    """Logits of images of bytes, computed in bfloat16."""
    inputs = ((images.float() - 120.7) / 64.15).contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, torch.bfloat16):
        return net(inputs)


@torch.no_grad()
def top1(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    net.eval()
    right = [predict(net, part).argmax(1) for part in images.split(2000)]
    net.train()
    return 100 * (torch.cat(right) == labels).float().mean().item()


def train(net: nn.Module, images: Tensor, labels: Tensor, seed: int, args: Namespace) -> dict[str, Any]:
    """Trains for one schedule: SGD, a warm-up over a tenth of the steps, then cosine.

    The order of the images and their augmentation follow from the seed alone, so they are the same in every arm.
    """
    held_out = torch.arange(len(images), device=images.device) % 5 == 4
    own, classes = images[~held_out], labels[~held_out]
    steps = args.steps or args.epochs * (len(own) // args.batch_size)
    generator = torch.Generator(images.device).manual_seed(seed)
    optimizer = torch.optim.SGD(net.parameters(), args.lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    warmup = max(1, steps // 10)
    parts = LinearLR(optimizer, 0.01, total_iters=warmup), CosineAnnealingLR(optimizer, max(1, steps - warmup))
    schedule = SequentialLR(optimizer, parts, [warmup])
    compiled = torch.compile(net) if args.compile else net
    losses, curve, order = [], [], own.new_empty(0, dtype=torch.long)
    for step in range(1, steps + 1):
        if len(order) < args.batch_size:
            order = torch.randperm(len(own), generator=generator, device=images.device)
        batch, order = order[: args.batch_size], order[args.batch_size :]
        loss = F.cross_entropy(predict(compiled, augmented(own[batch], generator)).float(), classes[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
        if step * POINTS // steps > (step - 1) * POINTS // steps:
            curve.append(round(top1(net, images[held_out], labels[held_out]), 2))
    last = torch.stack(losses[-warmup:]).mean().item()
    return dict(steps=steps, train_loss=last, curve=' '.join(map(str, curve)))


def run(arm: str, seed: int, images: Tensor, labels: Tensor, args: Namespace) -> dict[str, Any]:
    """Trains an arm, the baseline from scratch and the others from the seed's baseline, and tests it, fused."""
    start, begin = args.out_dir / f'baseline-seed{seed}.pth', time.monotonic()
    torch.manual_seed(seed)
    net = mobilenet_v2().to(images.device, memory_format=torch.channels_last)
    if arm != BASELINE:
        net.load_state_dict(torch.load(start, map_location=images.device))
    options = ARMS.get(arm)
    if options:
        refocus(net, **options)
    trainable = sum(p.numel() for p in net.parameters() if p.requires_grad)
    found = train(net, images, labels, seed + 1_000_000 * (arm != BASELINE), args)
    if options:
        fuse(net)
    if arm == BASELINE:
        write_whole(start, lambda temporary: torch.save(net.state_dict(), temporary))
    score = {'test/accuracy/top1': top1(net, images[4::5], labels[4::5])}
    record = dict(task='mobilenet_v2', arm=arm, seed=seed, trainable=trainable, lr=args.lr, batch_size=args.batch_size)
    return record | score | found | dict(seconds=round(time.monotonic() - begin, 1), torch=torch.__version__)


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('images', type=Path, help='an archive of CLASS/*.jpg, such as data/cifar10_train.tar.xz')
    parser.add_argument('--out-dir', type=Path, required=True)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--arms', nargs='+', choices=ARMS, default=list(ARMS))
    parser.add_argument('--epochs', type=int, default=30, help='of each schedule')
    parser.add_argument('--steps', type=int, help='in place of the epochs, for a trial')
    parser.add_argument('--batch-size', type=int, default=256)
    parser.add_argument('--lr', type=float, default=0.2)
    parser.add_argument('--compile', action='store_true', help='pays in long schedules: a minute for each net')
    args = parser.parse_args()
    args.out_dir.mkdir(parents=True, exist_ok=True)
    table, rows = args.out_dir / 'runs.csv', list[dict[str, Any]]()
    if table.is_file():
        with open(table, newline='') as file:
            rows = list(csv.DictReader(file))
    images, labels = (each.to('cuda' if torch.cuda.is_available() else 'cpu') for each in read_images(args.images))
    for seed in args.seeds:
        for arm in [BASELINE, *args.arms]:
            if not any((row['arm'], int(row['seed'])) == (arm, seed) for row in rows):
                rows.append(run(arm, seed, images, labels, args))
                write_csv(table, rows)
                print(rows[-1], flush=True)


if __name__ == '__main__':
    main()
