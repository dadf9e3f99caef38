"""`refconv new`: it recognises layouts, converts what no library reads, and writes configs that build and train."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from PIL import Image

from lab.runs import name_run
from refconv_mm.commands import main
from refconv_mm.data.check import check_config
from refconv_mm.data.layouts import detect_layout
from refconv_mm.data.new import FILES, TEMPLATES, write_configs
from refconv_mm.openmmlab.config import is_refocused_config
from refconv_mm.openmmlab.models import build_model
from refconv_mm.running.runner import build_runner
from tests.data.made import MAKE, change, samples, write_class_folders, write_coco, write_stripes, write_yolo

# The layers that depend on the number of classes.
LAST = {
    'detection': {f'bbox_head.cls_convs.{i}.1' for i in range(6)},
    'segmentation': {'decode_head.conv_seg', 'auxiliary_head.conv_seg'},
}


def numbers(layout, *splits):
    """The boxes of each image, by class name, sorted."""
    return sorted(
        sorted((layout.classes[item['bbox_label']], *(round(v, 1) for v in item['bbox'])) for item in each['instances'])
        for split in splits
        for each in samples(layout, split)
    )


def detect(folder, out, **options):
    """The layout of a folder, with what is converted."""
    layout = detect_layout(folder, out, **options)
    for name, content in layout.files.items():
        (out / name).write_text(content) if isinstance(content, str) else content(out / name)
    return layout


def base_of(path):
    """The library's config on which a config is based, with the address of its weights."""
    return get_config(re.search("^_base_ = '(.*)'", path.read_text(), re.M)[1], pretrained=True)


def edit(path, old, new):
    """Changes a text that stands once at the beginning of a line."""
    text = path.read_text()
    assert text.count(f'\n{old}') == 1
    path.write_text(text.replace(f'\n{old}', f'\n{new}'))


@pytest.mark.parametrize('kind', MAKE)
def test_the_configs_fit_the_data(kind, voc, city, tmp_path):
    data, out = MAKE[kind](voc, city, tmp_path / 'data'), tmp_path / "it's mine"
    written, said = write_configs(data, out)
    assert [path.name for path in written[:3]] == list(FILES)
    assert said[0].startswith(f'{kind} layout')
    assert not any('refconv_mm' in path.read_text() for path in written[:2])
    baseline, control, refocused = (Config.fromfile(path) for path in written[:3])
    assert [is_refocused_config(cfg) for cfg in (control, refocused)] == [False, True]
    refocused.model.backbone.conv_cfg = None
    assert refocused.model == {**control.model, 'backbone': {**control.model.backbone, 'conv_cfg': None}}
    assert baseline.load_from == base_of(written[0]).model_path.replace('mmassets.onedl.ai', 'download.openmmlab.com')
    findings, sets = check_config(baseline)
    assert all(loaded.describe().startswith(line) for loaded, line in zip(sets, said[1:], strict=False))
    assert not any(each.error for each in findings)


@pytest.mark.parametrize('kind', ['voc', 'masks'])
def test_all_follows_from_few_values(kind, voc, city, tmp_path):
    """Whoever edits the steps or the size edits one line."""
    data, out = MAKE[kind](voc, city, tmp_path / 'data'), tmp_path / 'mine'
    write_configs(data, out)
    with pytest.raises(FileExistsError, match=r'baseline\.py'):
        write_configs(data, out, size=192)
    write_configs(data, out, force=True, size=192)
    size = Config.fromfile(out / 'baseline.py').size
    assert size == ((192, 192) if kind == 'voc' else (128, 192))
    new = tuple(side // 2 for side in size)
    lines = {f'size = {size!r}': f'size = {new!r}', 'mean, std = [123': 'mean, std = [1', 'steps = ': 'steps = 50  # '}
    for old, text in lines.items():
        edit(out / 'baseline.py', old, text)
    baseline, control, refocused = (Config.fromfile(out / name) for name in FILES)
    for cfg, steps in ((baseline, 50), (control, 16), (refocused, 16)):
        assert [cfg.train_cfg.max_iters, *(each.end for each in cfg.param_scheduler)] == [steps, steps // 10, steps]
        assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == steps // 5
    assert control.load_from == refocused.load_from == str(out / 'runs/baseline/iter_50.pth')
    transforms = [step for name in ('train', 'test') for step in baseline[f'{name}_dataloader'].dataset.pipeline]
    assert [step.scale for step in transforms if 'scale' in step] == [new[::-1]] * 2
    assert baseline.model.data_preprocessor.mean[0] == 1.675
    if kind == 'voc':
        anchors = baseline.model.bbox_head.anchor_generator
        assert anchors['strides'] == [16, 32, 48, 96, 96, 96]
        assert (anchors['min_sizes'], anchors['max_sizes'][-1]) == ([14, 30, 45, 61, 76, 91], 96)
        assert [step.mean for step in transforms if 'mean' in step] == [baseline.mean]
    else:
        assert [step.crop_size for step in transforms if 'crop_size' in step] == [new]


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
@pytest.mark.parametrize('whole', [True, False])
def test_weights_from_a_file(task, whole, voc, tmp_path):
    """A file of the zoo's shape, with 80 or 19 classes, fills all but the last layers; ImageNet's the backbone."""
    cfg = base_of(TEMPLATES / f'{task if whole else "classification"}.py')
    plain = json.loads(json.dumps(cfg.model.to_dict()).replace('"SyncBN"', '"BN"'))
    state = build_model(Config(dict(model=plain, default_scope=cfg.default_scope))).state_dict()
    torch.save(dict(state_dict=state, meta={}), tmp_path / 'zoo.pth')
    data = voc if task == 'detection' else write_stripes(tmp_path / 'data', count=5)
    cfg = Config.fromfile(write_configs(data, tmp_path / 'out', weights=str(tmp_path / 'zoo.pth'))[0][0])
    cfg.work_dir = str(tmp_path / 'run')
    name_run(cfg, task)
    runner = build_runner(cfg, quiet=True)
    runner.load_or_resume()
    filled = runner.model.state_dict()
    random = {key.rpartition('.')[0] for key in filled if key not in state or not torch.equal(state[key], filled[key])}
    if whole:
        assert random == LAST[task]
    else:
        assert random
        assert not any(name.startswith('backbone') for name in random)


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_flat_voc_is_split(suffix, voc, tmp_path):
    """Of XML files without lists; a class name has blanks."""
    for folder in ('images', 'annots'):
        (tmp_path / 'flat' / folder).mkdir(parents=True)
    for path in (voc / 'VOC2007/JPEGImages').iterdir():
        Image.open(path).save(tmp_path / 'flat/images' / path.with_suffix(suffix).name)
    for path in (voc / 'VOC2007/Annotations').iterdir():
        (tmp_path / 'flat/annots' / path.name).write_text(path.read_text().replace('<name>disc', '<name>\n disc ', 1))
    layout, lists = detect(tmp_path / 'flat', tmp_path), detect_layout(voc)
    assert any('every fifth image' in line for line in layout.said)
    assert layout.classes == ('disc', 'square', 'triangle')
    assert [len(samples(layout, split)) for split in ('train', 'val')] == [16, 4]
    assert numbers(layout, 'train', 'val') == numbers(lists, 'train', 'test')


def test_yolo_lines_of_other_tasks(tmp_path):
    lines = '0 0.1 0.2 0.5 0.9 0.3 0.4\n1 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2\n1 0.5 0.5 0.2 0.2\n'
    layout = detect(write_yolo(tmp_path / 'a', lines), tmp_path)
    assert layout.classes == ('yes', '2')
    boxes = [('2', 20.0, 10.0, 40.0, 20.0), ('2', 80.0, 40.0, 120.0, 60.0), ('yes', 20.0, 20.0, 100.0, 90.0)]
    assert numbers(layout, 'train') == [[], [], [], boxes]
    assert '2 polygons or oriented boxes became the upright boxes around them' in layout.said
    lines = '0 0.5 0.5 0.2 0.2 0.87\n0 50 50 20 20\n2 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1 0\n'
    reasons = ('0.87": 6 numbers, not 5 of a box', '20": numbers outside 0 to 1', 'class 2 of 2', 'a box of no size')
    with pytest.raises(ValueError, match=f'(?s)4 labels of .*{".*".join(reasons)}'):
        detect_layout(write_yolo(tmp_path / 'b', lines))
    for i, (yaml, reason) in enumerate({
        'kpt_shape: [1, 3]\nnames: {0: it}\n': 'has kpt_shape; lines with keypoints are not read',
        '': 'needs class names, each once',  # and folders of images and of labels are no classes
        'names: [a, "a "]': 'needs class names, each once',
        'names: {1: a}': 'needs class names, each once',
    }.items()):  # fmt: skip
        with pytest.raises(ValueError, match=reason):
            detect_layout(write_yolo(tmp_path / str(i), '', yaml))


ROOT = dict(id=0, name='shapes', supercategory='none')
CATEGORIES = {
    'a root without a box': lambda rows: [rows.insert(0, ROOT), rows[1].update(supercategory='shapes')],
    'a root of the same name': lambda rows: rows.insert(0, dict(ROOT, name='disc')),
    'blanks': lambda rows: rows[1].update(name=' square\n'),
    'another order': lambda rows: rows.reverse(),
}


@pytest.mark.parametrize('split', ['train', 'test'])
@pytest.mark.parametrize('kind', CATEGORIES)
def test_categories_of_coco(kind, split, voc, tmp_path):
    """The classes are those with boxes, in the order in which mmdet numbers them in every split."""
    root, before = write_coco(detect_layout(voc), tmp_path / 'coco'), detect_layout(voc)
    path = root / f'annotations/instances_{split}.json'
    change(path, lambda content: CATEGORIES[kind](content['categories']))
    layout = detect(root, tmp_path)
    assert layout.classes == before.classes[:: -1 if (kind, split) == ('another order', 'train') else 1]
    assert [numbers(layout, each) for each in layout.sets] == [numbers(before, each) for each in layout.sets]
    path.write_text(path.read_text().replace('"triangle"', '"else"'))
    with pytest.raises(ValueError, match=r'has the classes .*, not .*\. Give all files the same classes, each once'):
        detect_layout(root)
    (root / 'annotations/instances_test.json').unlink()
    assert [len(samples(detect(root, tmp_path), each)) for each in ('train', 'val')] == [13, 3]


@pytest.mark.parametrize('kind', ['small', 'RGB', 'JPEG'])
def test_other_forms_of_masks(kind, tmp_path):
    """Half of a photo of 40x60 is class 1, as 255; masks are of another size, in colours or lossy; there is no val."""
    data, mask = tmp_path / 'data', np.zeros((60, 40) if kind == 'RGB' else (30, 20), np.uint8)
    mask[len(mask) // 2 :] = 255
    for folder in ('Training_Images', 'Ground_Truth'):
        (data / folder).mkdir(parents=True)
    for i in range(5):
        Image.new('RGB', (40, 60), (i, 99, 9)).save(data / f'Training_Images/{i}.png')
        path = data / 'Ground_Truth' / (f'{i}_mask.jpg' if kind == 'JPEG' else f'{i}_mask.png')
        Image.fromarray(mask).convert('RGB' if kind == 'RGB' else 'L').save(path)
    small = r'hold only \[0, 255\].*255 means "no label". --mask-values 0 255 maps'
    with pytest.raises(ValueError, match=small if kind == 'small' else r'no exact class numbers; --mask-values N'):
        detect_layout(data)
    with pytest.raises(ValueError, match=r'no label map of .* has \[77\]; they have \[0, '):
        detect_layout(data, mask_values=[0, 77])
    written, said = write_configs(data, tmp_path / 'out', mask_values=[0, 255])
    assert any('every fifth image' in line for line in said)
    assert any(f'{0 if kind == "RGB" else 4} had another size than their image' in line for line in said)
    findings, sets = check_config(Config.fromfile(written[0]))
    assert findings == []
    assert [(len(each.samples), *each.counts.values()) for each in sets] == [(4, 4800, 4800), (1, 1200, 1200)]
    Image.fromarray(mask.T).save(path)
    with pytest.raises(ValueError, match=r'1 label maps, such as .*4_mask.*, have another shape than their image'):
        detect_layout(data, mask_values=[0, 255])


def test_a_named_layout_or_none(tmp_path):
    (tmp_path / 'notes').mkdir()
    with pytest.raises(ValueError, match=r'holds notes, none of these layouts:\n  voc: (?s:.*)class folders'):
        detect_layout(tmp_path)
    write_class_folders(tmp_path)
    assert detect_layout(tmp_path).classes == ('blue', 'red')
    (tmp_path / 'train.json').write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(ValueError, match=r'(?s)fits several .*coco: .*train.json\)\n  class folders: .*train\)'):
        detect_layout(tmp_path)
    assert detect_layout(tmp_path, layout='class folders').classes == ('blue', 'red')


def test_folders_that_are_no_class(tmp_path):
    """mmpretrain numbers hidden folders, and each split alone. Names that all have `mask` in them are classes."""
    root = write_class_folders(tmp_path / 'data')
    for split in ('train', 'val'):
        (root / split / 'red').rename(root / split / 'without_mask')
        shutil.copytree(root / split / 'blue', root / split / '.ipynb_checkpoints')
        (root / split / 'blue').rename(root / split / 'with_mask')
    shutil.rmtree(root / 'val/with_mask')
    layout = detect(root, tmp_path)
    assert layout.classes == ('with_mask', 'without_mask')
    labels = [[int(sample['gt_label']) for sample in samples(layout, split)] for split in ('train', 'val')]
    assert labels == [[0] * 8 + [1] * 8, [1] * 4]
    (root / 'train/without_mask').rename(root / 'train/no_mask')
    with pytest.raises(ValueError, match=r'val has the classes without_mask, which .*train has not'):
        detect_layout(root)


def test_a_written_config_trains_and_is_refocused(tmp_path, capsys):
    """From `refconv new` to a fused classifier, with an apostrophe in the path."""
    data, out = write_class_folders(tmp_path / "it's"), tmp_path / "my 'set'"

    def refconv(*words, code=0):
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        assert (end.value.code or 0) == code, capsys.readouterr()

    refconv('new', data, '--out', out)
    assert re.search(r'about \d+ minutes on this machine for the baseline', capsys.readouterr().out)
    edit(out / 'baseline.py', 'steps = ', 'steps = 6  # ')
    short = ('--cfg-options', 'train_dataloader.batch_size=2', *(f'{split}_dataloader.{key}=0'
             for split in ('train', 'val') for key in ('num_workers', 'persistent_workers')))  # fmt: skip
    refconv('train', out / 'baseline.py', *short, 'load_from=http://127.0.0.1:9/x.pth', 'experiment_name=old', code=2)
    assert '--init FILE starts from a local one' in capsys.readouterr().err
    refconv('train', out / 'baseline.py', *short, 'load_from=None')
    refconv('train', out / 'refocused.py', *short)
    assert (out / 'runs/refocused/fused.pth').is_file()
    assert 'refconv_mm' not in (out / 'runs/refocused/fused.py').read_text()
