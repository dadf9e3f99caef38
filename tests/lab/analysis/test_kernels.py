"""Kernels are found in any state dict, matched by name, and refused with the name of what differs."""

from collections import OrderedDict

import pytest
import torch

from lab.analysis.common import kernels as K
from lab.analysis.common import layers


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
            linear=torch.ones(4, 8),
            strip=torch.ones(8, 1, 1, 7),
        )
        | {'pos_embed': torch.ones(1, 8, 7, 7), 'table.weight': torch.ones(2, 2, 3, 3, dtype=torch.int64)}
    )
    assert list(found) == ['stem', 'strip']
    assert [layers.shape_kind(kernel) for kernel in found.values()] == ['dense', 'depthwise']
    assert [layers.describe(kernel) for kernel in found.values()] == ['3x3 dense, 3->8', '1x7 depthwise, 8']
    assert layers.channel_rows(found['stem']).shape == (8, 27)


def test_checkpoints_are_matched_and_named(save):
    one, two = torch.randn(4, 1, 3, 3), torch.randn(4, 3, 3, 3)
    paths = [save('plain', state(a=one, b=two)), save('fused', state(b=two, a=one), dict(refconv=dict(fused=True)))]
    (first, second), _ = K.gather(paths)
    assert (first.name, second.name) == ('plain', 'fused')
    assert list(first.kernels) == ['a', 'b']
    assert second.what.startswith('fused from')
    assert list(K.gather(paths, include=['*'], exclude=['b'])[0][1].kernels) == ['a']
    assert [each.name for each in K.gather(paths, 'before, after')[0]] == ['before', 'after']


def test_what_does_not_match_is_named(save, tmp_path):
    kernel = torch.randn(4, 1, 3, 3)
    plain = save('plain', state(a=kernel, b=kernel))
    with pytest.raises(ValueError, match='only before has b; only after has cbam'):
        K.gather([plain, save('other', state(a=kernel, cbam=kernel))], 'before,after')
    with pytest.raises(ValueError, match=r'b is \(4, 1, 3, 3\) in before and \(8, 1, 3, 3\) in after'):
        K.gather([plain, save('wide', state(a=kernel, b=torch.randn(8, 1, 3, 3)))], 'before,after')
    with pytest.raises(ValueError, match='folded'):
        K.gather([plain, save('folded', state(a=kernel, b=kernel), dict(refconv=dict(fused=True, folded_bn=True)))])
    other = save('other', state(cbam=kernel), dict(refconv=dict(fused=True, folded_bn=True)))
    with pytest.raises(ValueError, match=r'other .* has batch norm folded'):
        K.gather([plain, other], match=False)
    with pytest.raises(ValueError, match='need as many different names'):
        K.gather([plain, plain])
    with pytest.raises(ValueError, match='need as many different names'):
        K.gather([plain], 'before,after')
    with pytest.raises(ValueError, match=r"--include \['head.*'\] .* leave no layer .*it has: a, b"):
        K.gather([plain], include=['head.*'])
    with pytest.raises(ValueError, match='not finite, so training had failed: b'):
        K.gather([save('nan', state(a=kernel, b=kernel / 0))])
    with pytest.raises(ValueError, match='no convolution kernel larger than 1x1'):
        K.gather([save('linear', state(a=torch.ones(2, 2)))])
    with pytest.raises(FileNotFoundError, match='no config at'):
        K.gather([plain], config=str(tmp_path / 'none.py'))


def test_a_refocused_checkpoint_needs_its_config(seg_run):
    with pytest.raises(ValueError, match='pass the config it was trained with as --config'):
        K.read_kernels(seg_run['last'], 'after')
    before = K.read_kernels(seg_run['start'], 'before')
    after = K.read_kernels(seg_run['last'], 'after', seg_run['cfg'])
    fused = K.read_kernels(seg_run['work_dir'] / 'fused.pth', 'fused')
    K.check_match([before, after, fused])
    layers = torch.load(seg_run['work_dir'] / 'fused.pth', weights_only=False)['meta']['refconv']['layers']
    assert sorted(after.bases) == sorted(layers)  # and no layer that trained plainly
    assert all(torch.equal(basis, before.kernels[layer]) for layer, basis in after.bases.items())
    assert all(torch.equal(kernel, fused.kernels[layer]) for layer, kernel in after.kernels.items())
    assert any(not torch.equal(kernel, before.kernels[layer]) for layer, kernel in after.kernels.items())


def test_layers_of_several_nets_are_aligned_in_the_order_of_each():
    k, wide = torch.ones(4, 1, 3, 3), torch.ones(8, 1, 3, 3)
    sets = [K.KernelSet(n, n, '', d) for n, d in (('x', dict(a=k, b=k, c=k)), ('y', dict(s=k, a=k, se=k, b=wide, c=k)))]
    aligned = K.align(sets)
    assert [layer for layer, _ in aligned] == ['s', 'a', 'se', 'b', 'b', 'c']
    for i, each in enumerate(sets):
        assert [layer for layer, kernels in aligned if kernels[i] is not None] == list(each.kernels)
    assert [kernels for layer, kernels in aligned if layer == 'b'] == [[None, wide], [k, None]]
    apart = [K.KernelSet(n, n, '', {layer: k}) for n, layer in (('x', 'a'), ('y', 'b'), ('z', 'c'))]
    assert [layer for layer, _ in K.align(apart)] == ['a', 'b', 'c']


def test_samples_are_seeded_and_whole_where_they_can_be():
    assert layers.sample(5, 8, 0).tolist() == [0, 1, 2, 3, 4]
    drawn = layers.sample(100, 8, 0)
    assert torch.equal(drawn, layers.sample(100, 8, 0))
    assert not torch.equal(drawn, layers.sample(100, 8, 1))
    assert len(drawn.unique()) == 8
    assert torch.equal(drawn, drawn.sort().values)


def test_the_layers_that_were_refocused_are_the_default(tmp_path):
    """Heads that were never refocused would drown what refocusing did."""
    kernel = torch.randn(4, 1, 3, 3)
    tensors = {f'{name}.weight': kernel for name in ('backbone.a', 'backbone.b[0]', 'head.c')}
    record = dict(refconv=dict(fused=True, layers=['backbone.a', 'backbone.b[0]']))
    paths = [str(tmp_path / name) for name in ('before.pth', 'fused.pth')]
    for path, meta in zip(paths, (dict(), record), strict=True):
        torch.save(dict(state_dict=tensors, meta=meta), path)
    sets, about = K.gather(paths)
    assert [list(each.kernels) for each in sets] == 2 * [['backbone.a', 'backbone.b[0]']]
    assert about.startswith('About 2 of the 3 layers')
    assert 'were refocused' in about
    sets, about = K.gather(paths, include=['*'])
    assert len(sets[0].kernels) == 3
    assert '--include' in about
    sets, about = K.gather(paths[:1])  # nothing tells
    assert len(sets[0].kernels) == 3
    assert 'no config or checkpoint tells' in about
