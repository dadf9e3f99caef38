"""Curvature of a task loss at its weights: largest eigenvalues of the Hessian, trace, spectral density.

Products with the Hessian are torch's, in curvlinops' operators; the trace estimator (Hutchinson) and Lanczos quadrature
(Papyan 2020) are curvlinops', the eigenvalues scipy's (ARPACK, implicitly restarted Lanczos). The Hessian H is that of
the mean loss over the batches. In the units of :mod:`lab.analysis.common.units` it becomes `S H S`: the Hessian
of `u -> L(w + S u)`.

The loss is taken for smooth, and it is only piecewise: ReLU, max pooling, the assigner and the hard negatives of a
detector switch. The Hessian is that of the piece where the weights stand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from curvlinops import HessianLinearOperator, hutchinson_trace
from curvlinops._torch_base import PyTorchLinearOperator
from curvlinops.papyan2020traces.spectrum import fast_lanczos, lanczos_approximate_spectrum_from_iter
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, eigsh
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp

from .errors import crossed, mean_and_error
from .task_loss import TaskLoss, fixed_seed
from .units import Scales

TOLERANCE = 1e-3  # ARPACK stops once the residual of every eigenvalue is below this share of it
RESTARTS = 25  # or after so many restarts
KAPPA = 3.0  # width of the density's bumps, Papyan 2020, section D.2
Tick = Callable[[float], object]  # called with a number of products with the Hessian of one batch


class _Network(nn.Module):
    """The task loss as curvlinops takes a network: from an input, here a batch in a dict, to a prediction."""

    def __init__(self, task: TaskLoss) -> None:
        super().__init__()
        self.model, self.loss = task.model, task.loss

    def forward(self, data: dict[str, Any]) -> Tensor:
        return self.loss(data['batch'])


class _Prediction(nn.Module):
    """The loss as curvlinops takes one: the prediction is the loss already; batches are averaged."""

    reduction = 'mean'

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return prediction


class LossHessian(HessianLinearOperator):
    """curvlinops' operator, with a product that is right under batch statistics too.

    Its own is `jvp(jacrev(loss))`, and `jacrev` runs the backward pass batched. Batch norm's batched backward pass
    loses the derivative of the gradient by the weight, so the product is silently wrong where batch norm takes the
    batch's statistics (torch 2.14.1, curvlinops 3.0.1; pytorch/functorch#534 is of this kind). `jvp(grad(loss))` is
    right, and faster. Reverse over reverse is right, too, but passes over an operator without second derivative in
    silence.
    """

    @torch.no_grad()
    def _matmat_batch(self, X: Any, y: Tensor, M: list[Tensor]) -> list[Tensor]:
        names = {id(p): name for name, p in self._model_func.named_parameters()}
        free = [names[id(p)] for p in self._params]

        def loss(*values: Tensor) -> Tensor:
            weights = dict(zip(free, values, strict=True))
            return self._loss_func(functional_call(self._model_func, weights, (X,)), y)

        slope = grad(loss, argnums=tuple(range(len(free))))
        columns = (tuple(m[..., k] for m in M) for k in range(M[0].shape[-1]))
        products = [jvp(slope, tuple(self._params), column)[1] for column in columns]
        return [torch.stack(parts, -1) for parts in zip(*products, strict=True)]


class InUnits(PyTorchLinearOperator):
    """`S H S` for a Hessian H and a diagonal S.

    Args:
        base: H.
        units: has the diagonal, and the parameters of `base`.
        batches: that one product with H visits.
        tick: called after every product, with the number of batches.
    """

    SELF_ADJOINT = True

    def __init__(self, base: HessianLinearOperator, units: Scales, batches: int, tick: Tick) -> None:
        shapes = [tuple(p.shape) for p in units.tensors]
        super().__init__(shapes, shapes)
        self._base, self._batches, self._tick = base, batches, tick
        self._scales = [scale.unsqueeze(-1) for scale in units.scales]  # the last dimension counts the columns

    def _matmat(self, X: list[Tensor]) -> list[Tensor]:
        product = self._base._matmat([scale * x for scale, x in zip(self._scales, X, strict=True)])
        self._tick(self._batches * X[0].shape[-1])
        return [scale * x for scale, x in zip(self._scales, product, strict=True)]

    @property
    def device(self) -> torch.device:
        return self._base.device

    @property
    def dtype(self) -> torch.dtype:
        return self._base.dtype


@dataclass
class Hessians:
    """The Hessian of the mean loss, and that of each batch."""

    whole: InUnits
    parts: list[InUnits]

    @property
    def size(self) -> int:
        return int(self.whole.shape[0])


def hessians(task: TaskLoss, units: Scales, tick: Tick = lambda done: None) -> Hessians:
    """The operators of a task loss at the weights that its model has, in units made at the same weights."""

    def operator(batches: Sequence[Any]) -> InUnits:
        data = [(dict(batch=batch), torch.zeros(1)) for batch in batches]
        network, options = _Network(task), dict(check_deterministic=False, batch_size_fn=lambda data: 1)
        base = LossHessian(network, _Prediction(), units.tensors, data, **options)
        return InUnits(base, units, len(batches), tick)

    return Hessians(operator(task.batches), [operator([batch]) for batch in task.batches])


def largest(operators: Hessians, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """The largest (most positive) eigenvalues.

    Args:
        count: how many; fewer come back where ARPACK did not get them within `RESTARTS`.
        seed: of the vector that it starts from.

    Returns:
        For each, largest first: `value`; `residual`, `|H v - value v|`, within which an eigenvalue of H is certain;
        `mean`, `error`, `values`: `v' H_b v` over the batches b. By perturbation theory that is, to first order, how
        the eigenvalue goes with the batches drawn.

    Raises:
        ValueError: the Hessian is zero.
    """
    size, whole = operators.size, operators.whole
    with fixed_seed(seed):
        start = torch.randn(size, dtype=whole.dtype).numpy()
    options = dict(k=count, which='LA', v0=start, tol=TOLERANCE, maxiter=RESTARTS)
    try:
        values, vectors = eigsh(whole.to_scipy(start.dtype), ncv=min(size, max(3 * count + 1, 10)), **options)
    except ArpackNoConvergence as error:
        values, vectors = error.eigenvalues, error.eigenvectors
    except ArpackError as error:
        raise ValueError(f'{error} Does the loss depend on the parameters that --params matches?') from error
    found = []
    for i in reversed(range(len(values))):
        vector = torch.as_tensor(vectors[:, i], dtype=whole.dtype, device=whole.device)
        products = [part @ vector for part in operators.parts]
        residual = (sum(products) / len(products) - float(values[i]) * vector).norm().item()
        over = mean_and_error([(product @ vector).item() for product in products])
        found.append(dict(value=float(values[i]), residual=residual, **over))
    return found


def trace(operators: Hessians, probes: int, seed: int = 0) -> dict[str, Any]:
    """Hutchinson's estimate, from the same Rademacher vectors for every batch and every net of this size.

    Returns:
        As :func:`crossed`, and `samples`, `(probes, batches)`.
    """
    samples = torch.empty(probes, len(operators.parts), dtype=torch.float64)
    for i in range(probes):
        for j, part in enumerate(operators.parts):
            with fixed_seed(seed + i):
                samples[i, j] = hutchinson_trace(part, 1).item()
    return dict(**crossed(samples), samples=samples.tolist())


def spectrum(operators: Hessians, steps: int, starts: int, seed: int = 0) -> dict[str, Any]:
    """Lanczos quadratures of the spectral density, from random starts.

    Returns:
        `nodes` and `weights`, `(starts, steps)`: a start's density is `sum_i weights_i delta(x - nodes_i)`, and of a
        polynomial of degree below `2 * steps` the mean over starts is the mean over all eigenvalues; `smallest`, the
        lowest node: the lowest eigenvalue is no higher.

    Raises:
        ValueError: the Krylov space ended early, for the Hessian has too few different eigenvalues.
    """
    nodes, weights = [], []
    for i in range(starts):
        try:
            with fixed_seed(seed + i):
                values, vectors = fast_lanczos(operators.whole, steps)
        except torch.linalg.LinAlgError as error:  # it divided by the zero that says so
            raise ValueError(f'--lanczos {steps} is more than the Hessian has different eigenvalues') from error
        nodes.append(values.tolist())
        weights.append(vectors[0].square().tolist())
    return dict(nodes=nodes, weights=weights, smallest=min(map(min, nodes)))


def density(part: dict[str, Any], low: float, high: float, points: int = 1024) -> tuple[Tensor, Tensor]:
    """The density of :func:`spectrum` smoothed by Gaussians.

    Args:
        part: what it returned.
        low, high: what to show; the bumps' width is in proportion to the distance.

    Returns:
        Positions `(points,)` and densities `(starts, points)`, each of integral 1.
    """
    smooth = []
    for nodes, weights in zip(part['nodes'], part['weights'], strict=True):
        rule = torch.tensor(nodes, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64).sqrt()[None]
        grid, values = lanczos_approximate_spectrum_from_iter(rule, (low, high), points, KAPPA, 0.05)
        smooth.append(values)
    return grid, torch.stack(smooth)
