"""The import: torch alone is enough for the layer, and other libraries stay as they are."""

from tests.conftest import run

WITHOUT_OPENMMLAB = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'torchvision', 'timm', 'cv2'):
            raise ModuleNotFoundError(f'no {name} here', name=name)

sys.meta_path.insert(0, Blocked())
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name.startswith('mm') else find_spec(name, *a)
import torch
from torch import nn
from refconv_mm import RefConv2d, RefConvOptions, fuse, refocus

model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8))
print(refocus(model))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(torch.randn(1, 3, 9, 9)).square().sum().backward()
optimizer.step()
x = torch.randn(1, 3, 9, 9)
expected = model(x)
fuse(model)
torch.testing.assert_close(model(x), expected)
assert type(model[1]) is nn.Conv2d
import refconv_mm
for name in ('RefConvHook', 'build_refocused_backbone', 'plain_config'):
    try:
        getattr(refconv_mm, name)
    except ImportError as error:
        assert 'pip install mmengine' in str(error), error
    else:
        raise AssertionError(name)
try:
    refconv_mm.nothing
except AttributeError:
    print('right')
"""

CHANGES_NOTHING = """
import importlib.util, inspect, sys, warnings
compiled = importlib.util.find_spec('mmcv._ext') is not None
of_ops = ('mmdet.models', 'mmdet.evaluation', 'mmseg.models') if compiled else ()
for name in (*of_ops, 'mmpretrain.models', 'mmengine.runner', 'mmcv.cnn', 'torch'):
    importlib.import_module(name)

def everything():
    found = {}
    for module, content in list(sys.modules.items()):
        if module.split('.')[0] not in ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain'):
            continue
        for name, value in list(vars(content).items()):
            if inspect.isfunction(value) or inspect.isclass(value):
                found[module, name] = value
            if inspect.isclass(value) and value.__module__ == module:
                found |= {(module, name, key): member for key, member in vars(value).items() if callable(member)}
    return found

before, filters = everything(), list(warnings.filters)
safe_globals = getattr(sys.modules['torch'].serialization, 'get_safe_globals', list)
allowed = safe_globals()
import refconv_mm, refconv_mm.hooks, refconv_mm.checkpoints.fusing
after = everything()
changed = [key for key, value in before.items() if after.get(key) is not value]
assert not changed, changed
assert safe_globals() == allowed
assert warnings.filters == filters
assert 'mmcv._ext' not in sys.modules or compiled
refconv_mm.openmmlab.prepare()
from mmdet.models.dense_heads.ssd_head import SSDHead
assert not hasattr(SSDHead, 'loss_cls') or compiled
refconv_mm.openmmlab.prepare()
assert SSDHead.loss_cls is None
assert any(everything().get(key) is not value for key, value in before.items())
print('right')
"""


def test_layer_and_surgery_need_torch_and_rich_alone():
    assert 'right' in run('-c', WITHOUT_OPENMMLAB).stdout


def test_the_import_changes_nothing_in_other_libraries_and_prepare_does():
    assert 'right' in run('-c', CHANGES_NOTHING).stdout
