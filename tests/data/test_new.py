"""`refconv new`: it recognises layouts, converts what no library reads, and writes configs that build and train."""

import shutil

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from refconv_mm.commands import main
from refconv_mm.data.check import check_config
from refconv_mm.data.layouts import detect_layout
from refconv_mm.data.new import write_configs
from refconv_mm.data.templates import FILES
from refconv_mm.openmmlab.config import is_refocused_config
from refconv_mm.openmmlab.image_size import ssdlite_anchors
from refconv_mm.openmmlab.models import build_model
from tests.data.made import samples, write_class_folders, write_coco, write_masks

MAKE = {
    'voc': lambda voc, city, root: voc,
    'coco': lambda voc, city, root: write_coco(detect_layout(voc), root / 'coco'),
    'yolo': lambda voc, city, root: write_lines(root / 'yolo', '0 0.5 0.5 0.2 0.2\n', 'names: [it]\n'),
    'cityscapes': lambda voc, city, root: city,
    'masks': lambda voc, city, root: write_masks(detect_layout(city), root / 'masks'),
    'class folders': lambda voc, city, root: write_class_folders(root / 'folders'),
}


def numbers(layout, split):
    """The boxes of each image, by class name."""
    return [
        sorted((layout.classes[item['bbox_label']], *(round(v, 1) for v in item['bbox'])) for item in each['instances'])
        for each in samples(layout, split)
    ]


def detect(folder, out, **options):
    """The layout of a folder, with what is converted."""
    layout = detect_layout(folder, out, **options)
    for name, content in layout.files.items():
        (out / name).write_text(content) if isinstance(content, str) else content(out / name)
    return layout


@pytest.mark.parametrize('kind', MAKE)
def test_the_configs_fit_the_data(kind, voc, city, tmp_path):
    data, out = MAKE[kind](voc, city, tmp_path), tmp_path / "it's mine"
    written, said = write_configs(data, out)
    assert [path.name for path in written[:3]] == list(FILES)
    assert said[0].startswith(f'{kind} layout')
    assert not any('refconv_mm' in path.read_text() for path in written[:2])
    baseline, control, refocused = (Config.fromfile(path) for path in written[:3])
    assert [is_refocused_config(cfg) for cfg in (control, refocused)] == [False, True]
    refocused.model.backbone.conv_cfg = None
    assert refocused.model == {**control.model, 'backbone': {**control.model.backbone, 'conv_cfg': None}}
    assert control.train_cfg.max_iters < baseline.train_cfg.max_iters
    init_default_scope(baseline.default_scope)
    for split in ('train', 'val', 'test'):
        sample = DATASETS.build(baseline[f'{split}_dataloader'].dataset)[0]
        assert sample['inputs'].shape[0] == 3
    build_model(Config.fromfile(written[2]))
    if kind != 'cityscapes' and kind != 'masks':
        findings, sets = check_config(baseline)
        assert findings == []
        assert [loaded.describe() for loaded in sets] == said[1 : 1 + len(sets)]
    if 'bbox_head' in baseline.model:
        anchors = baseline.model.bbox_head.anchor_generator
        assert {key: anchors[key] for key in ('strides', 'min_sizes', 'max_sizes')} == ssdlite_anchors(baseline.size[0])
    if 'decode_head' in baseline.model:  # training and test at one size
        scales = [step.scale for step in (*baseline.train_pipeline, *baseline.test_pipeline) if 'scale' in step]
        assert scales == [tuple(baseline.size[::-1])] * 2


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_flat_voc_is_split(suffix, voc, tmp_path):
    for kind, inner in (('JPEGImages', 'images'), ('Annotations', 'annots')):
        (tmp_path / 'flat' / inner).mkdir(parents=True)
        for path in (voc / 'VOC2007' / kind).iterdir():
            target = tmp_path / 'flat' / inner / path.name
            if inner == 'images':
                Image.open(path).save(target.with_suffix(suffix))
            else:
                shutil.copy(path, target)
    layout = detect(tmp_path / 'flat', tmp_path)
    assert any('every fifth image' in line for line in layout.said)
    parts = [{sample['img_path'] for sample in samples(layout, split)} for split in ('train', 'val')]
    assert [len(part) for part in parts] == [16, 4]
    assert not parts[0] & parts[1]


def write_lines(root, lines, yaml='names: [yes, "2 "]\n'):
    for kind in ('images', 'labels'):
        (root / 'train' / kind).mkdir(parents=True)
    for i in range(5):
        Image.new('RGB', (200, 100), (i, 0, 0)).save(root / f'train/images/{i}.png')
    (root / 'train/labels/0.txt').write_text(lines)
    if yaml:
        (root / 'data.yaml').write_text(yaml)
    return root


def test_yolo_lines_of_other_tasks(tmp_path):
    root = write_lines(
        tmp_path / 'a', '0 0.1 0.2 0.5 0.9 0.3 0.4\n1 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2\n1 0.5 0.5 0.2 0.2\n'
    )
    layout = detect(root, tmp_path)
    assert layout.classes == ('yes', '2')
    assert numbers(layout, 'train')[0][0] == ('2', 20.0, 10.0, 40.0, 20.0)
    root = write_lines(tmp_path / 'b', '0 0.5 0.5 0.2 0.2 0.1 0.1 2\n', 'kpt_shape: [1, 3]\nnames: {0: it}\n')
    with pytest.raises(ValueError, match='has kpt_shape; lines with keypoints are not read'):
        detect_layout(root)
    root = write_lines(tmp_path / 'c', '0 0.5 0.5 0.2 0.2 0.87\n0 50 50 20 20\n2 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1 0\n')
    reasons = ('line 1: 6 numbers: a prediction', 'line 2: numbers outside 0 to 1', 'class 2 of 2', 'a box of no size')
    with pytest.raises(ValueError, match=f'(?s)4 labels of .*{".*".join(reasons)}'):
        detect_layout(root)


def test_folders_of_other_names_and_values_of_masks(tmp_path):
    for i, kind in enumerate(('Training', 'Validation')):
        for folder in ('Images', 'Ground_Truth'):
            (tmp_path / 'data' / f'{kind}_{folder}').mkdir(parents=True)
        Image.new('RGB', (64, 48), (i, 9, 9)).save(tmp_path / f'data/{kind}_Images/{i}.jpg')
        Image.fromarray(np.eye(48, 64, dtype=np.uint8) * 255).save(tmp_path / f'data/{kind}_Ground_Truth/{i}_mask.png')
    with pytest.raises(ValueError, match=r'hold only \[0, 255\].*255 means "no label". --mask-values 0 255 maps'):
        detect_layout(tmp_path / 'data')
    path = write_configs(tmp_path / 'data', tmp_path / 'out', mask_values=[0, 255])[0][0]
    findings, sets = check_config(Config.fromfile(path))
    assert findings == []
    assert sets[0].counts == {'class_0': 48 * 64 - 48, 'class_1': 48}


def test_a_named_layout_or_none(tmp_path):
    (tmp_path / 'notes').mkdir()
    with pytest.raises(ValueError, match=r'it holds notes\. What they need:\n  voc: (?s:.*)class folders'):
        detect_layout(tmp_path)
    write_class_folders(tmp_path)
    assert detect_layout(tmp_path, layout='class folders').classes == ('blue', 'red')


def test_one_folder_without_a_val_split_is_refused(city, tmp_path):
    root = write_masks(detect_layout(city), tmp_path / 'masks')
    shutil.rmtree(root / 'images/val')
    with pytest.raises(ValueError, match='has no val split; put some of the images into one'):
        detect_layout(root)


def test_it_overwrites_nothing(voc, tmp_path):
    write_configs(voc, tmp_path / 'mine')
    with pytest.raises(FileExistsError, match=r'baseline\.py'):
        write_configs(voc, tmp_path / 'mine')
    write_configs(voc, tmp_path / 'mine', force=True, size=448)
    assert Config.fromfile(tmp_path / 'mine/baseline.py').size == (448, 448)


def test_a_written_config_trains_and_is_refocused(tmp_path, capsys):
    """From `refconv new` to a fused classifier, with an apostrophe in the path."""
    data = write_class_folders(tmp_path / "it's")

    def refconv(*words):
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        assert not end.value.code, capsys.readouterr()

    refconv('new', data, '--out', tmp_path / "my 'set'")
    short = ('--cfg-options', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2',
             'model.backbone.init_cfg=None', 'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0',
             'train_dataloader.persistent_workers=False', 'val_dataloader.persistent_workers=False')  # fmt: skip
    refconv('train', tmp_path / "my 'set'/baseline.py", *short)
    start = tmp_path / "my 'set'/runs/baseline/iter_2.pth"
    refconv('train', tmp_path / "my 'set'/refocused.py", '--init', start, *short)
    work_dir = tmp_path / "my 'set'/runs/refocused"
    assert (work_dir / 'fused.pth').is_file()
    assert 'refconv_mm' not in (work_dir / 'fused.py').read_text()
