"""Costs of models whose parameters and multiply-adds are known, and of nets with SE, CBAM and RepVGG blocks."""

import json
import sys

import pytest
import torch
from torch import nn

from lab.analysis.common.made import find_config, make_model
from lab.analysis.cost import CostOptions
from lab.analysis.cost import measure as C
from lab.analysis.cost.report import headlines
from refconv_mm.surgery import refocus

from tests.conftest import ROOT
from tests.commands.test_tools import tool  # noqa: F401

PLAIN = 'mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py'
SE = 'mmpretrain::mobilenet_v3/mobilenet-v3-small_8xb128_in1k.py'
REPVGG = 'mmpretrain::repvgg/repvgg-A0_8xb32_in1k.py'
CBAM = """
import torch
from mmcv.cnn import ConvModule
from mmengine.registry import MODELS
from torch import nn


@MODELS.register_module()
class TinyCBAM(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.mlp = nn.Sequential(nn.Conv2d(in_channels, 4, 1), nn.ReLU(), nn.Conv2d(4, in_channels, 1))
        self.spatial = ConvModule(2, 1, 7, padding=3, act_cfg=None)

    def forward(self, x):
        x = x * (self.mlp(x.mean((2, 3), keepdim=True)) + self.mlp(x.amax((2, 3), keepdim=True))).sigmoid()
        return x * self.spatial(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)).sigmoid()
"""
CONFIG = """
_base_ = ['mmpretrain::resnet/resnet50_8xb32_in1k.py']
custom_imports = dict(imports=['tiny_cbam'])
model = dict(backbone=dict(
    _delete_=True, type='mmdet.ResNet', depth=50, out_indices=(3,), style='pytorch',
    plugins=[dict(cfg=dict(type='TinyCBAM'), stages=(False, False, False, True), position='after_conv3')]))
"""


class Net(nn.Module):
    """Two convolutions: on 8x8 images 6 x 6 x (3 x 8 x 9 + 8 x 4) multiply-adds."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, width, 3, bias=False), nn.Conv2d(width, 4, 1, bias=False)

    def forward(self, x):
        return self.two(self.one(x))


class Branches(nn.Module):
    """Two convolutions in parallel that are one when deployed."""

    def __init__(self) -> None:
        super().__init__()
        self.nets, self.switched = nn.ModuleList([Net(), Net()]), 0

    def switch_to_deploy(self):
        self.switched += 1
        del self.nets[1]

    def forward(self, x):
        return sum(net(x) for net in self.nets)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_multiply_adds_and_parameters_of_a_small_net():
    one = 6 * 6 * (3 * 8 * 9 + 8 * 4)
    assert C.multiply_adds(Net(), torch.randn(1, 3, 8, 8)) == one
    assert C.multiply_adds(Branches(), torch.randn(1, 3, 8, 8)) == 2 * one


def test_what_runs_in_production_is_measured():
    torch.manual_seed(0)
    plain, refocused = Net(), Net()
    refocused.load_state_dict(plain.state_dict())
    refocus(refocused, kinds=('depthwise', 'grouped', 'dense'))
    branches = nn.Sequential(Branches())
    models, options = dict(plain=plain, refocused=refocused, branches=branches), CostOptions((8, 8), 2, 0.01)
    results = C.measure(models, 2, options)
    weights, one = 3 * 8 * 9 + 8 * 4, 6 * 6 * (3 * 8 * 9 + 8 * 4)
    rows = {row['name']: row for row in results['models']}
    assert {row['parameters'] for row in rows.values()} == {weights}
    assert {row['multiply_adds'] for row in rows.values()} == {one}
    assert [row['trainable'] for row in rows.values()] == [weights, weights, 2 * weights]
    assert rows['refocused']['deployed'] == '1 RefConv layers fused, batch norm folded'
    assert rows['branches']['deployed'] == '0 switched to deploy, batch norm folded'
    assert rows['plain']['training']['ratio'] == rows['plain']['inference']['ratio'] == (1, 1, 1)
    assert branches[0].switched == 0  # the model that was passed is left as it was
    json.dumps(results, allow_nan=False)


def test_repvgg_is_run_in_its_deployed_form():
    model, _ = make_model(find_config(REPVGG, ROOT))
    inputs = torch.randn(1, 3, 64, 64)
    ready, done = C.deploy(model)
    assert done == 'backbone switched to deploy, batch norm folded'
    with torch.inference_mode():
        before, after = model(inputs), ready(inputs)
    # In float32 the branches are added in another order, through 22 layers.
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3 * float(before.abs().max()))
    assert 8.30e6 < parameters(ready) < 8.32e6  # the paper (arXiv 2101.03697, table 4) says 8.30 M


def test_a_block_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / 'tiny_cbam.py').write_text(CBAM)
    (tmp_path / 'cbam.py').write_text(CONFIG)
    monkeypatch.syspath_prepend(tmp_path)
    model, classes = make_model(find_config(str(tmp_path / 'cbam.py'), ROOT))
    sys.modules.pop('tiny_cbam')
    assert classes == 1000
    blocks = [module for module in model.modules() if type(module).__name__ == 'TinyCBAM']
    assert len(blocks) == 3
    added = sum(parameter.numel() for block in blocks for parameter in block.parameters())
    plain, _ = make_model(find_config('mmpretrain::resnet/resnet50_8xb32_in1k.py', ROOT))
    assert parameters(model) - parameters(plain) == added


def test_bad_settings_are_refused(tool, tmp_path):  # noqa: F811
    with pytest.raises(ValueError, match=r'--batch, --size and --seconds must be positive, got 0'):
        CostOptions(batch=0)
    with pytest.raises(ValueError, match=r'narrow cannot be trained or run on 2 made images of \(8, 8\)'):
        C.measure(dict(plain=Net(), narrow=nn.Sequential(nn.Conv2d(4, 4, 3))), 2, CostOptions((8, 8), 2, 0.01))
    for arguments, message in (
        ([PLAIN, '--names', 'one,two'], '1 configs need as many different names'),
        ([tmp_path / 'none.py'], 'no config at'),
        ([PLAIN, '--batch', 0], '--batch, --size and --seconds must be positive'),
    ):
        code, said = tool('analyse', 'cost', *arguments, '--out-dir', tmp_path / 'out')
        assert (code, message in said) == (2, True), said
    assert not (tmp_path / 'out').exists()


def test_the_tool_puts_se_and_repvgg_beside_a_plain_net(tool, tmp_path):  # noqa: F811
    options = ['--names', 'plain,se,repvgg', '--size', 32, 32, '--batch', 2, '--seconds', 0.1]
    code, said = tool('analyse', 'cost', PLAIN, SE, REPVGG, *options, '--out-dir', tmp_path)
    assert code == 0, said
    assert {path.name for path in tmp_path.iterdir()} == {'cost.md', 'cost.json', 'cost.png'}
    rows = {row['name']: row for row in json.loads((tmp_path / 'cost.json').read_text())['models']}
    assert {name: row['config'] for name, row in rows.items()} == dict(plain=PLAIN, se=SE, repvgg=REPVGG)
    assert rows['plain']['trainable'] == 3_504_872
    assert rows['se']['trainable'] == 2_542_856
    assert rows['repvgg']['parameters'] < rows['repvgg']['trainable'] == 9_108_968
    assert rows['se']['multiply_adds'] < rows['plain']['multiply_adds'] < rows['repvgg']['multiply_adds']
    # Weights, gradients and momentum alone.
    assert all(row['peak_bytes'] > 3 * 4 * row['trainable'] for row in rows.values())
    assert rows['plain']['training']['ratio'] == [1, 1, 1] != rows['repvgg']['training']['ratio']
    assert '| repvgg | 9.11 | 8.31 |' in said
    summed_up = headlines(json.loads((tmp_path / 'cost.json').read_text()))  # as the HTML report shows it
    assert summed_up[0].values == dict(plain='3.50', se='2.54', repvgg='9.11')
