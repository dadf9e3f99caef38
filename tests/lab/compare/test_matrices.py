"""Other matrices in the Gram matrix' place: the same speed, other directions; branches by hand."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lab.compare.matrices import MATRICES, LabOtherMatrixHook, branch_matrix, rotated
from refconv_mm import refocus


def refocused(**options) -> nn.Sequential:
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3, groups=2))
    refocus(model, **options)
    return model


def test_a_rotated_matrix_has_the_eigenvalues_and_other_eigenvectors():
    gram = refocused()[0].root.double()
    other = rotated(gram, seed=3)
    torch.testing.assert_close(torch.linalg.eigvalsh(other), torch.linalg.eigvalsh(gram), rtol=1e-10, atol=1e-12)
    assert (other - gram).abs().max() > 0.1 * gram.abs().max()
    assert torch.equal(other, rotated(gram, seed=3))
    assert not torch.allclose(other, rotated(gram, seed=4))


def test_branches_are_the_gradients_of_their_kernels():
    """A kernel that is a sum of branches moves, in a step of SGD, by the sum of the branches' steps."""
    layer = refocused()[0]
    row, column = torch.zeros(3, 3), torch.zeros(3, 3)
    row[1], column[:, 1] = 1, 1
    centre = row * column
    for matrix, masks in (('acnet', [row, column]), ('repvgg', [centre]), ('identity', [])):
        branches = [torch.zeros(8, 1, 3, 3, requires_grad=True) for _ in range(1 + len(masks))]
        kernel = sum((b * m for b, m in zip(branches[1:], masks, strict=True)), branches[0])
        gradient = torch.randn(8, 1, 3, 3)
        (kernel * gradient).sum().backward()
        step = branches[0].grad + sum(b.grad * m for b, m in zip(branches[1:], masks, strict=True))
        product = (gradient.flatten(1) @ branch_matrix(layer, matrix)[0].float()).view_as(gradient)
        torch.testing.assert_close(product, step)


@pytest.mark.parametrize('gain', [None, 1.0])
@pytest.mark.parametrize('matrix', MATRICES)
def test_the_hook_sets_the_matrices_of_a_run(matrix, gain):
    model = refocused(gain=gain)
    before = copy.deepcopy(model)
    LabOtherMatrixHook(matrix).before_train(SimpleNamespace(model=model))
    for old, new in zip(before, model, strict=True):
        assert torch.equal(old.weight, new.weight)
        step = torch.randn_like(new.basis)
        (new.weight * step).sum().backward()
        rows = step.reshape(len(new.root), -1, 9)
        if matrix == 'rotated':
            torch.testing.assert_close(*(torch.linalg.eigvalsh(root) for root in (new.root, old.root)))
        else:
            expected = branch_matrix(new, matrix).sqrt().float()
            torch.testing.assert_close(new.refocus.grad, (rows @ expected).view_as(step))
        assert not torch.allclose(new.root, old.root)
