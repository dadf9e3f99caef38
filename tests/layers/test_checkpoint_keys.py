"""What checkpoints store of a layer, and which layers take it."""

import logging
import re

import pytest
import torch
from mmengine.runner.checkpoint import get_state_dict
from mmengine.runner.checkpoint import load_state_dict as mmengine_load
from torch import nn

from refconv_mm import RefConv2d, RefConvOptions
from refconv_mm.layers.checkpoint_keys import KEYS, LoadError
from tests.layers.released import ReleasedLayer, random_
from tests.layers.test_refconv2d import GROUPS, exact, made

LOADERS = [lambda m, s: m.load_state_dict(s), lambda m, s: mmengine_load(m, s, strict=True)]


@pytest.mark.parametrize('load', LOADERS)
def test_a_plain_checkpoint_fills_the_basis_unrenamed(load):
    plain = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 1))
    model = nn.Sequential(RefConv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 1))
    assert model[0].source is None
    load(model, plain.state_dict())
    assert torch.equal(model[0].basis, plain[0].weight)
    assert model[0].source == 'plain checkpoint'
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(model(x), plain(x))


@pytest.mark.parametrize('groups', GROUPS)
def test_a_plain_checkpoint_initializes_a_trained_layer_anew(groups):
    layer, plain = made(groups), nn.Conv2d(6, 6, 3, groups=groups)
    layer.load_state_dict(plain.state_dict())
    assert not layer.trained.any()
    assert torch.equal(layer.root, RefConv2d.from_conv2d(plain).root)


def test_missing_keys_are_still_missed():
    layer = RefConv2d(4, 4, 3, groups=4)
    with pytest.raises(RuntimeError, match='refocus'):
        layer.load_state_dict({'bias': torch.zeros(4)})
    with pytest.raises(RuntimeError, match='size mismatch'):
        layer.load_state_dict({'weight': torch.zeros(4, 1, 5, 5), 'bias': torch.zeros(4)})
    assert layer.source is None


@pytest.mark.parametrize('load', LOADERS)
@pytest.mark.parametrize('groups', GROUPS)
@pytest.mark.parametrize(
    'options', [dict(), dict(gain=None), dict(map_k=1), dict(init='dirac', identity=False)], ids=str
)
def test_a_file_s_own_numbers_give_its_kernel(options, groups, load):
    """Whatever gain the reading config has; `map_k` may differ where `V` trains in both."""
    first = made(groups, **options)
    identity = dict(init='dirac', identity=False) if 'identity' in options else {}
    for target in (dict(), dict(gain=5.0), dict(map_k=options.get('map_k', 3), gain=None)):
        second = RefConv2d(6, 6, 3, padding=1, groups=groups, **{**target, **identity})
        if first.trained_name != second.trained_name and second.root.ndim == 0:
            continue
        load(second, get_state_dict(first))
        assert second.source == 'refocused checkpoint'
        torch.testing.assert_close(second.weight, first.weight, rtol=1e-5, atol=1e-6)
        if first.trained_name == second.trained_name and first.trained.shape == second.trained.shape:
            assert torch.equal(second.weight, first.weight)
            assert torch.equal(second.root, first.root)


@pytest.mark.parametrize(('groups', 'stored', 'config', 'said'), [
    (12, dict(gain=None), dict(), r'root of gain [\d.]+, that of the config \(gain=1.0, map_k=3\) has 1;'),
    (12, dict(gain=7.0), dict(gain=None), r'root of gain 7, that of the config \(gain=None'),
    (12, dict(map_k=1), dict(), r'root of gain 1, that of the config \(gain=1.0, map_k=3\)'),
    (3, dict(gain=7.0), dict(gain=6.5), r'root of gain 7, that of the config \(gain=6.5, map_k=3\) has 6.5'),
    (1, dict(gain=7.0), dict(gain=2.0), r'root of gain 7, that of the config \(gain=2.0, map_k=3\) has 2;'),
    (1, dict(gain=None), dict(gain=1.0), r'root of gain [\d.]+, that of the config \(gain=1.0, map_k=3\) has 1;'),
])  # fmt: skip
@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_a_config_that_disagrees_with_the_stored_root_gets_a_warning(
    groups, stored, config, said, dtype, caplog, monkeypatch
):
    def load(options):
        RefConv2d(12, 12, 3, groups=groups, **options).load_state_dict(state)

    state = RefConv2d.from_conv2d(nn.Conv2d(12, 12, 3, groups=groups), RefConvOptions(**stored)).to(dtype).state_dict()
    monkeypatch.setattr(torch.linalg, 'eigh', None)  # to decompose each layer's matrix again would take seconds
    with caplog.at_level(logging.WARNING):
        load(stored)
        assert not caplog.records
        load(config)
    (record,) = caplog.records
    # In bfloat16, which has three digits, 7 reads as 7.02.
    assert re.search(said if dtype == torch.float64 else said[:12], record.getMessage())


@pytest.mark.parametrize(('channels', 'groups', 'size', 'theirs', 'ours'), [
    ((6, 6), 6, 3, 3, 3), ((6, 6), 6, 3, 1, 3), ((6, 6), 6, 5, 5, 3), ((4, 8), 1, 3, 3, 3), ((4, 8), 1, 5, 3, 5),
    ((4, 4), 2, 5, 3, 5), ((1, 5), 1, 3, 3, 3),
])  # fmt: skip
@pytest.mark.parametrize('gain', [None, 1.0])
def test_a_released_map_of_any_size_that_fits_loads_exactly(channels, groups, size, theirs, ours, gain):
    released = random_(ReleasedLayer(nn.Conv2d(*channels, size, groups=groups).double(), theirs))
    layer = RefConv2d(*channels, size, groups=groups, map_k=ours, gain=gain).double()
    layer.load_state_dict(released.state())
    exact(released.kernel().detach(), layer.weight.detach(), 1e-11)
    assert layer.source == 'refocused checkpoint'


def without_root():
    state = made().state_dict()
    del state['root']
    return state


def small_map():
    state = made().state_dict()
    del state['refocus']
    return {**state, 'refocus_map': torch.zeros(4, 4, 3, 3)}


def large_map():
    return random_(ReleasedLayer(nn.Conv2d(6, 6, 5), 5)).state()


@pytest.mark.parametrize(('state', 'arguments', 'match'), [
    (without_root, dict(groups=6), r'refocus without root, as version 0\.2 wrote it: fuse the file with version 0\.2'),
    (small_map, dict(groups=6), r'a map of shape \(4, 4, 3, 3\) belongs to another layer'),
    (large_map, dict(kernel_size=5), 'map of side 5: set map_k to that'),
    (lambda: made(6).state_dict(), dict(groups=6, init='dirac', identity=False), 'trained with identity=True: set it'),
    (lambda: made(1).state_dict(), dict(init='dirac', identity=False), 'trained with identity=True: set it'),
    (lambda: made(2).state_dict(), dict(groups=2, map_k=1), 'no map, which map_k=1 wants'),
])  # fmt: skip
def test_what_the_layer_cannot_hold_is_refused_before_it_changes(state, arguments, match):
    layer = RefConv2d(6, 6, **{'kernel_size': 3, **arguments})
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    with pytest.raises(LoadError, match=match):
        layer.load_state_dict(state())
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    assert layer.source is None


def test_nothing_but_keys_travels_with_a_state_dict():
    """A state dict that was rebuilt key by key keeps its meaning."""
    assert len(set(KEYS)) == 5
    first, second = made(gain=3.0), RefConv2d(6, 6, 3, groups=6)
    second.load_state_dict(dict(first.state_dict()))
    assert torch.equal(first.weight, second.weight)


@pytest.mark.parametrize('groups', GROUPS)
@pytest.mark.parametrize('options', [dict(), dict(gain=None), dict(init='kaiming'), dict(init='dirac', identity=False)])
def test_a_layer_on_meta_is_filled_by_assignment(options, groups):
    plain = nn.Conv2d(6, 6, 3, groups=groups)
    for state in (plain.state_dict(), plain.state_dict(keep_vars=True), made(groups, **options).state_dict()):
        layer = RefConv2d(6, 6, 3, groups=groups, device='meta', **options)
        layer.load_state_dict(state, assign=True)
        assert layer.source is not None
        assert {t.device.type for t in (layer.trained, layer.root, layer.basis, layer.bias)} == {'cpu'}
        assert not layer.basis.requires_grad
        layer(torch.randn(1, 6, 5, 5)).sum().backward()
        assert layer.trained.grad.any()
