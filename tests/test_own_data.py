"""Data in each layout, from data to fused and tested, with the configs of configs/own."""

import pytest
from mmengine.config import Config

from refconv_mm.data.check import check_config
from refconv_mm.data.layouts import detect_layout

from .conftest import ROOT
from .data.made import write_yolo
from .short_runs import fuse_and_test, moved, random_start, shorten, train


@pytest.mark.parametrize(('layout', 'folder', 'model', 'metric'), [
    ('coco', 'boxes', 'ssdlite_mobilenetv2', 'pascal_voc/mAP'),
    pytest.param('yolo', 'boxes', 'ssdlite_mobilenetv2', 'pascal_voc/mAP', marks=pytest.mark.slow),
    pytest.param('masks', 'masks', 'deeplabv3plus_mobilenetv2-d8', 'mIoU', marks=pytest.mark.slow),
    ('class folders', 'classes', 'mobilenetv2', 'accuracy/top1'),
])  # fmt: skip
def test_from_data_to_fused_and_tested(layout, folder, model, metric, own_data, tmp_path, monkeypatch):
    monkeypatch.chdir(own_data)
    if layout == 'yolo':
        write_yolo(detect_layout(own_data / 'voc'), tmp_path / 'data/boxes')
        monkeypatch.chdir(tmp_path)
    data = detect_layout(f'data/{folder}')
    assert data.name == layout
    cfg = Config.fromfile(ROOT / f'configs/own/{model}_refconv_own.py')
    assert check_config(cfg) == ([], dict(train=4, val=2))
    # One line of the config says where the data is; the classes are theirs everywhere.
    head = cfg.model.get('bbox_head') or cfg.model.get('decode_head') or cfg.model.head
    assert head.num_classes == len(data.classes)
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.metainfo.classes == data.classes
    shorten(cfg, tmp_path / 'work', size=(64, 64))
    last = train(cfg, start := random_start(cfg, tmp_path / 'start.pth'))
    comparison, metrics = fuse_and_test(cfg, last)
    assert len(comparison.layers) == 17
    assert comparison.shape[2:] == (64, 64)  # the size that the config tests with
    assert metric in metrics
    assert moved(start, tmp_path / 'work/written/fused.pth') > 0
