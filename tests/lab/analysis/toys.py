"""Nets of a few weights whose loss and Hessian are known, with mmengine's loss interface."""

import torch
from torch import nn
from torch.nn import functional as F

from lab.analysis.task_loss import TaskLoss


class Quadratic(nn.Module):
    """`w' H w / 2 + b' w` over two tensors, a matrix and a vector; a batch is `(H, b)`."""

    def __init__(self, rows: int = 6, columns: int = 4, more: int = 6) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(rows, columns, dtype=torch.float64))
        self.vector = nn.Parameter(torch.randn(more, dtype=torch.float64))

    def forward(self, hessian, slope, mode):
        assert mode == 'loss'
        flat = torch.cat([self.matrix.flatten(), self.vector])
        return flat @ hessian @ flat / 2 + slope @ flat

    def parse_losses(self, loss):
        return loss, {}


class ConvNet(nn.Module):
    """Convolution, batch norm, tanh, convolution, batch norm, linear; cross-entropy. Float64."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3)
        self.conv2, self.norm2 = nn.Conv2d(3, 2, 3, bias=False), nn.BatchNorm2d(2)
        self.last = nn.Linear(2, 2)
        self.double()
        for norm in (self.norm1, self.norm2):  # not the defaults, which would hide errors
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.3, 0.5)
            norm.running_mean.uniform_(-0.2, 0.2)
            norm.running_var.uniform_(0.1, 0.5)

    def forward(self, inputs, data_samples, mode):
        assert mode == 'loss'
        out = self.norm2(self.conv2(self.norm1(self.conv1(inputs)).tanh())).mean((2, 3))
        return F.cross_entropy(self.last(out), data_samples)

    def parse_losses(self, loss):
        return loss, {}


def quadratic(values: torch.Tensor, batches: int = 1, spread: float = 0.0) -> tuple[TaskLoss, torch.Tensor]:
    """A quadratic whose mean Hessian has the eigenvalues `values`, in random directions; batches differ by `spread`."""
    count = len(values)
    basis = torch.linalg.qr(torch.randn(count, count, dtype=torch.float64))[0]
    hessian = basis @ values.double().diag() @ basis.T
    apart = torch.randn(batches, count, count, dtype=torch.float64)
    apart = spread * (apart + apart.mT) / 2
    apart -= apart.mean(0)
    data = [(hessian + each, torch.randn(count, dtype=torch.float64)) for each in apart]
    return TaskLoss(Quadratic(6, 4, count - 24), data), hessian


def convnet(batches: int = 2, size: int = 5) -> TaskLoss:
    """A small net on random images."""
    data = [
        dict(inputs=torch.randn(size, 1, 6, 6, dtype=torch.float64), data_samples=torch.randint(0, 2, (size,)))
        for _ in range(batches)
    ]
    return TaskLoss(ConvNet(), data)


@torch.no_grad()
def rescale_filters(net: ConvNet, factors: torch.Tensor) -> None:
    """Each filter of the first convolution by a factor, which batch norm takes out again: the same function."""
    net.conv1.weight *= factors.view(-1, 1, 1, 1)
    norm = net.norm1
    norm.running_mean *= factors
    norm.running_var += norm.eps
    norm.running_var *= factors**2
    norm.running_var -= norm.eps
