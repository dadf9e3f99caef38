"""Kernels are found in any state dict, matched by name, and refused with the name of the difference."""

from collections import OrderedDict

import pytest
import torch

from lab.analysis import kernels as K
from lab.analysis import layers


def state(**kernels) -> OrderedDict:
    return OrderedDict((f'{name}.weight', kernel) for name, kernel in kernels.items())


@pytest.fixture
def save(tmp_path):
    def write(name: str, state_dict, meta=None):
        torch.save(dict(state_dict=state_dict, meta=meta or {}), tmp_path / f'{name}.pth')
        return str(tmp_path / f'{name}.pth')

    return write


def test_only_convolutions_larger_than_1x1_are_taken():
    found = K.kernels_of(
        state(
            stem=torch.ones(8, 3, 3, 3),
            bn=torch.ones(8),
            pointwise=torch.ones(8, 8, 1, 1),
            strip=torch.ones(8, 1, 1, 7),
        )
        | {'pos_embed': torch.ones(1, 8, 7, 7), 'table.weight': torch.ones(2, 2, 3, 3, dtype=torch.int64)}
    )
    assert list(found) == ['stem', 'strip']
    assert [layers.describe(kernel) for kernel in found.values()] == ['3x3 dense, 3->8', '1x7 depthwise, 8']
    assert layers.channel_rows(found['stem']).shape == (8, 27)


def test_checkpoints_are_matched_and_named(save):
    one, two = torch.randn(4, 1, 3, 3), torch.randn(4, 3, 3, 3)
    paths = [save('plain', state(a=one, b=two)), save('fused', state(b=two, a=one), dict(refconv=dict(fused=True)))]
    (first, second), _ = K.gather(paths)
    assert (first.name, second.name) == ('plain', 'fused')
    assert list(first.kernels) == ['a', 'b']
    assert second.content.startswith('fused from')
    assert list(K.gather(paths, include=['a'])[0][1].kernels) == ['a']
    assert [each.name for each in K.gather(paths, 'before, after')[0]] == ['before', 'after']


def test_differences_are_named(save):
    kernel = torch.randn(4, 1, 3, 3)
    plain = save('plain', state(a=kernel, b=kernel))
    for other, message in (
        (save('other', state(a=kernel, cbam=kernel)), r'b is \(4, 1, 3, 3\) and None; cbam is None and \(4, 1, 3, 3\)'),
        (save('wide', state(a=kernel, b=torch.randn(8, 1, 3, 3))), r'b is \(4, 1, 3, 3\) and \(8, 1, 3, 3\)'),
        (plain, 'need as many different names'),
        (save('nan', state(a=kernel, b=kernel / 0)), 'not finite, so training had failed: b'),
        (save('linear', state(a=torch.ones(2, 2))), 'no convolution kernel larger than 1x1'),
    ):
        with pytest.raises(ValueError, match=message):
            K.gather([plain, other])
    with pytest.raises(ValueError, match=r"--include \['head.*'\] leaves no layer .*it has: a, b"):
        K.gather([plain], include=['head.*'])


def test_a_refocused_checkpoint_has_to_be_fused_first(seg_run):
    with pytest.raises(ValueError, match='fuse it first'):
        K.read_kernels(seg_run['last'], 'after')
    before, fused = (K.read_kernels(path, 'x') for path in (seg_run['start'], seg_run['work_dir'] / 'fused.pth'))
    assert len(fused.refocused) == 17
    assert any(not torch.equal(kernel, before.kernels[layer]) for layer, kernel in fused.kernels.items())


def test_the_layers_that_were_refocused_are_the_default(save):
    """Heads that were never refocused would drown the effect of refocusing."""
    tensors = state(**dict.fromkeys(('backbone.a', 'backbone.b[0]', 'head.c'), torch.randn(4, 1, 3, 3)))
    record = dict(refconv=dict(fused=True, layers=['backbone.a', 'backbone.b[0]']))
    sets, about = K.gather([save('before', tensors), save('fused', tensors, record)])
    assert [list(each.kernels) for each in sets] == 2 * [['backbone.a', 'backbone.b[0]']]
    assert about.startswith('About 2 of the 3 layers')
    assert len(K.gather([save('before', tensors)])[0][0].kernels) == 3
