"""fused.py and fused.pth run with mmdet's own tools where refconv_mm cannot be imported."""

import subprocess

import pytest
from mmdet.models.dense_heads import ssd_head
from mmengine.config import Config

from refconv_mm.checkpoints.fusing import fuse_checkpoint, write_fused
from refconv_mm.openmmlab.compat import runs_alone
from refconv_mm.openmmlab.models import build_model

from tests.conftest import ROOT, run

# With another start, `refconv-from-imagenet` has the same detectors. The data of configs/own are read by refconv_mm.
DETECTORS = sorted(p for p in (ROOT / 'configs').glob('*/ssd*_refconv_*.py') if p.parent.name != 'own')
IN_DEFAULT = ('ssdlite_mobilenetv2_refconv_demo',)


def fuse_into(config, folder) -> None:
    cfg = Config.fromfile(config)
    model = build_model(cfg)
    checkpoint = dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=('a', 'b', 'c'))))
    shape = (160, 160) if 'ssdlite' in config.stem else None  # the proof; SSD300's layers need its size
    write_fused(fuse_checkpoint(cfg, checkpoint, shape=shape), folder / config.stem)


@pytest.mark.parametrize(
    'path',
    [pytest.param(p, id=p.stem, marks=() if p.stem in IN_DEFAULT else pytest.mark.slow) for p in DETECTORS],
)
def test_a_fused_detector_runs_with_mmdet_alone(path, voc, tmp_path):
    fuse_into(path, tmp_path)
    image = next((voc / 'VOC2007' / 'JPEGImages').glob('*'))
    said = run(ROOT / 'tests' / 'alone_worker.py', tmp_path, image, voc).stdout
    assert f'{path.stem} ran' in said


def test_every_shipped_detector_is_tried():
    assert {path.parent.name for path in DETECTORS} == {'bccd', 'demo', 'voc'}


def test_only_configs_with_the_fault_get_the_line():
    assert runs_alone("model = dict(type='RetinaHead')\n") == "model = dict(type='RetinaHead')\n"
    assert runs_alone("model = dict(type='mmdet.SSDHead')\n").count('loss_cls') == 1


def test_the_patch_for_upstream_applies(tmp_path):
    target = tmp_path / 'mmdet' / 'models' / 'dense_heads' / 'ssd_head.py'
    target.parent.mkdir(parents=True)
    with open(ssd_head.__file__) as file:
        target.write_text(file.read())
    patch = ROOT / 'docs' / 'upstream' / 'mmdet-ssd-head.patch'
    subprocess.run(['git', 'apply', str(patch)], cwd=tmp_path, check=True)
    assert 'self.loss_cls = None' in target.read_text()
