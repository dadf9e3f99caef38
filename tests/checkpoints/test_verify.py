import copy

import pytest
import torch
from mmengine.config import Config
from torch import nn

from refconv_mm import fuse, refocus
from refconv_mm.checkpoints.verify import compare_models, example_input
from refconv_mm.files.errors import FuseError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.used = nn.Conv2d(3, 6, 3, padding=1)
        self.unused = nn.Conv2d(6, 6, 5, groups=6, dilation=2)

    def forward(self, x):
        return dict(a=[self.used(x)], b=(self.used(x).relu(), torch.tensor(3)))


def pair() -> tuple[nn.Module, nn.Module]:
    model = Net().eval()
    refocus(model, init='kaiming', kinds=('depthwise', 'grouped', 'dense'))
    plain = copy.deepcopy(model)
    fuse(plain)
    return model, plain


def test_equal_models_agree_layer_by_layer_and_end_to_end():
    comparison = compare_models(*pair(), torch.randn(1, 3, 8, 8))
    assert set(comparison.layers) == {'used', 'unused'}  # also the one that the input never reached
    assert comparison.worst[1] < 1e-6
    assert comparison.model < 1e-6
    comparison.check()
    assert 'those of the 2 layers by at most' in str(comparison)


@pytest.mark.parametrize('name', ['used', 'unused'])
def test_the_worst_layer_is_named(name):
    model, plain = pair()
    plain.get_submodule(name).weight.data[0, 0, 0, 0] += 0.1
    with pytest.raises(FuseError, match=f'layer {name} '):
        compare_models(model, plain, torch.randn(1, 3, 8, 8)).check()


@pytest.mark.parametrize('output', ['a', 'b'])
def test_a_nan_in_any_output_does_not_pass(output):
    class Spoilt(Net):
        def forward(self, x):
            outputs = super().forward(x)
            outputs[output][0].fill_(float('nan'))
            return outputs

    model, plain = pair()
    plain.__class__ = Spoilt
    with pytest.raises(FuseError, match='end to end'):
        compare_models(model, plain, torch.randn(1, 3, 8, 8)).check()


def test_a_model_that_does_not_take_the_example_is_explained():
    with pytest.raises(FuseError, match=r'does not run on an input of shape \(1, 5, 8, 8\).*--shape'):
        compare_models(*pair(), torch.randn(1, 5, 8, 8))


@pytest.mark.parametrize(('cfg', 'shape'), [
    (dict(test_pipeline=[dict(type='Resize', scale=(2048, 1024))]), (1, 3, 128, 256)),
    (dict(test_pipeline=[dict(type='Resize', scale=(300, 300))]), (1, 3, 320, 320)),
    (dict(test_dataloader=dict(dataset=dict(dataset=dict(pipeline=[dict(type='CenterCrop', crop_size=224)])))),
     (1, 3, 224, 224)),
    (dict(test_dataloader=dict(dataset=dict(pipeline=[
        dict(type='ResizeEdge', scale=256), dict(type='CenterCrop', crop_size=224)]))), (1, 3, 224, 224)),
    # The loaders test at 224; the pipeline beside them is that of a base config.
    (dict(test_pipeline=[dict(type='Resize', scale=(320, 320))],
          test_dataloader=dict(dataset=dict(pipeline=[dict(type='Resize', scale=(224, 224))]))), (1, 3, 224, 224)),
    # The test images keep their size.
    (dict(test_dataloader=dict(dataset=dict(pipeline=[dict(type='PackInputs')])),
          train_dataloader=dict(dataset=dict(pipeline=[dict(type='RandomCrop', crop_size=(96, 64))]))), (1, 3, 96, 64)),
    (dict(model=dict(data_preprocessor=dict(mean=[0.5]))), (1, 1, 224, 224)),
    (dict(data_preprocessor=dict(mean=[0.5])), (1, 1, 224, 224)),
])  # fmt: skip
def test_the_example_has_the_size_that_the_config_tests_with(cfg, shape):
    assert example_input(Config(dict(model=dict()) | cfg)).shape == shape
    assert example_input(Config(dict(model=dict()) | cfg), (28, 30)).shape[2:] == (28, 30)
