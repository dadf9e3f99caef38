"""fused.py and fused.pth run with mmdet's own tools where refconv_mm cannot be imported."""

import subprocess

import torch
from mmdet.models.dense_heads import ssd_head
from mmengine.config import Config

from refconv_mm.checkpoints.fusing import fuse_checkpoint, write_fused
from refconv_mm.openmmlab.compat import with_corrections
from refconv_mm.openmmlab.models import build_model
from tests.conftest import DEMO, ROOT, needs_compiled_ops, run


@needs_compiled_ops
def test_a_fused_ssdlite_runs_where_refconv_mm_cannot_be_imported(voc, tmp_path):
    cfg = Config.fromfile(DEMO / 'ssdlite_mobilenetv2_refconv_demo.py')
    checkpoint = dict(state_dict=build_model(cfg).state_dict(), meta=dict(dataset_meta=dict(classes=('a', 'b', 'c'))))
    path, _ = write_fused(fuse_checkpoint(cfg, checkpoint), tmp_path)
    said = run(ROOT / 'tests' / 'alone_worker.py', tmp_path, voc).stdout
    assert 'predicted and tested' in said
    meta = torch.load(path, weights_only=True)['meta']  # it holds plain values alone
    assert meta['cfg'].strip().endswith('SSDHead.loss_cls = None')  # DetInferencer reads this config


def test_only_configs_with_the_fault_get_the_line():
    assert with_corrections("model = dict(type='RetinaHead')\n") == "model = dict(type='RetinaHead')\n"
    assert with_corrections("model = dict(type='mmdet.SSDHead')\n").count('loss_cls') == 1


def test_the_patch_for_upstream_applies(tmp_path):
    target = tmp_path / 'mmdet' / 'models' / 'dense_heads' / 'ssd_head.py'
    target.parent.mkdir(parents=True)
    with open(ssd_head.__file__) as file:
        target.write_text(file.read())
    patch = ROOT / 'docs' / 'upstream' / 'mmdet-ssd-head.patch'
    subprocess.run(['git', 'apply', str(patch)], cwd=tmp_path, check=True)
    assert 'self.loss_cls = None' in target.read_text()
