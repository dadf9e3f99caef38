"""Faults of configs: a sentence that names the key, the value and the nearest right one, and exit code 2."""

import copy
import re
from pathlib import Path

import pytest
import torch

from refconv_mm.commands.explain import explain
from refconv_mm.openmmlab.config import drop_pretrained

from tests.conftest import detector, random_checkpoint, run, segmenter
from tests.faults.inputs import call, command

REMOVED = object()
# Changes of a detector's config, and what the message must say.
BUILT = [
    ({'model.backbone.conv_cfg.type': 'Refconv'}, "model.backbone.conv_cfg: type='Refconv' is not registered; did you mean 'RefConv'?"),
    ({'model.backbone.type': 'mmpretrain.MobilNetV2'}, "model.backbone: .*did you mean 'MobileNetV2'"),
    ({'model.backbone.type': 'MobileNetV3'}, "did you mean 'mmpretrain.MobileNetV3'"),
    ({'model.bbox_head.type': 'SSDhead'}, "model.bbox_head: .*did you mean 'SSDHead'"),
    ({'model.backbone.conv_cfg.gian': 1.0}, "model.backbone.conv_cfg: RefConv has no option 'gian'; the options are map_k, gain"),
    ({'model.backbone.widen_facter': 1.0}, "model.backbone: .*no option 'widen_facter' .=1.0.; did you mean 'widen_factor'"),
    ({'model.bbox_head.num_clases': 3}, "no option 'num_clases' .=3.; did you mean 'num_classes'"),
    ({'model.backbone.conv_cfg.gain': '1.0'}, "model.backbone.conv_cfg: gain must be None or a positive number, got '1.0'"),
    ({'model.backbone.widen_factor': '0.5'}, "model.backbone .*widen_factor='0.5' is a text; widen_factor takes a number"),
    ({'model.bbox_head.num_classes': '3'}, "model.bbox_head .*num_classes='3' is a text"),
    ({'model.neck.in_channels': (32, 1280)}, 'model.neck'),
    ({'model.type': REMOVED}, "model: it has no 'type'"),
    ({'model': REMOVED}, 'the config has no model; a training needs it'),
    ({'train_cfg': REMOVED}, 'the config has no train_cfg'),
    ({'model': 3}, 'model should be a nn.Module object or dict, but got 3'),
    ({'default_hooks.refconv': 3}, 'hook should be an instance of Hook or dict'),
    ({'default_hooks.refconv.type': 'RefConvHok'}, "default_hooks.refconv: .*did you mean 'RefConvHook'"),
    ({'default_hooks.logger.interval': '3'}, "default_hooks.logger .*interval='3' is a text"),
]  # fmt: skip
# The same, where a data set must be read or a training begin; the default suite has the first three.
RUN = [
    ({'train_dataloader.dataset.metainfo': dict(classes=('Disc', 'Square', 'cube'))},
     "train_dataloader.dataset: the data set .* has no sample.*Your classes are Disc, Square, cube; the data has .*You write 'Disc' for 'disc'"),
    ({'train_dataloader.dataset.data_root': '/nowhere/'}, "train_dataloader.dataset .*No such file or directory: '/nowhere/"),
    ({'model.bbox_head.num_classes': 20},
     r'model.bbox_head.num_classes is 20, and the training data has 3 classes .disc, square, triangle.: set num_classes=3'),
    ({'train_dataloader.dataset.type': 'VOCDatset'}, "train_dataloader.dataset: .*did you mean 'VOCDataset'"),
    ({'train_dataloader.batchsize': 3}, "train_dataloader: .*did you mean 'batch_size'"),
    ({'train_dataloader.batch_size': '2'}, "train_dataloader: .*batch_size='2' is a text"),
    ({'train_dataloader.dataset.metainfo': dict(classes=('cat'))}, "is the text 'cat'; a tuple of one class needs a comma"),
    ({'val_dataloader.dataset.data_root': '/nowhere/'}, "val_dataloader.dataset .*No such file or directory: '/nowhere/"),
    ({'optim_wrapper.optimizer.type': 'SGDD'}, "optim_wrapper: optimizer: type='SGDD' is not registered; did you mean 'SGD'"),
    ({'optim_wrapper.optimizer.momentun': 0.9}, "optim_wrapper.optimizer: .*did you mean 'momentum'"),
    ({'optim_wrapper.optimizer.lr': '0.1'}, "optim_wrapper.optimizer .*lr='0.1' is a text"),
    ({'train_cfg.max_iter': 3}, "train_cfg: .*did you mean 'max_iters'"),
    ({'train_cfg.max_iters': '10'}, "train_cfg .*max_iters='10' is a text"),
    ({'default_hooks.checkpoint.interval': '3'}, 'default_hooks.checkpoint .CheckpointHook'),
    ({'train_dataloader.dataset.pipeline': [dict(type='LoadImageFromFil')]}, r'train_dataloader.dataset.pipeline\[0\]: .*LoadImageFromFile'),
]  # fmt: skip


def first_key(value):
    return next(iter(value)) if isinstance(value, dict) else ''


def changed(cfg, changes):
    cfg = copy.deepcopy(cfg)
    for key, value in changes.items():
        *above, last = key.split('.')
        node = cfg._cfg_dict
        for name in above:
            node = node[name]
        if value is REMOVED:
            del node[last]
        else:
            node[last] = value
    return cfg


@pytest.fixture(scope='module')
def plain_detector(voc, tmp_path_factory):
    folder = tmp_path_factory.mktemp('config')
    cfg = detector(voc, folder / 'work')
    cfg.log_level = 'ERROR'
    drop_pretrained(cfg.model)
    cfg.load_from = str(random_checkpoint(cfg, folder / 'start.pth'))
    return cfg


def refused(cfg, folder, capsys, *words):
    code, said = command(capsys, 'train', cfg, folder, *words)
    assert code == 2
    assert 'Traceback (most recent call last)' not in said
    return ' '.join(said.split())


@pytest.mark.parametrize(('changes', 'message'), BUILT, ids=first_key)
def test_a_fault_that_shows_while_the_model_is_built(changes, message, plain_detector, tmp_path, capsys):
    said = refused(changed(plain_detector, changes), tmp_path, capsys)
    assert re.search(message, said), said


@pytest.mark.parametrize(('changes', 'message'), RUN[:3], ids=first_key)
def test_a_fault_that_shows_when_the_run_begins(changes, message, plain_detector, tmp_path, capsys):
    said = refused(changed(plain_detector, changes), tmp_path, capsys)
    assert re.search(message, said), said


@pytest.mark.faults
@pytest.mark.parametrize(('changes', 'message'), RUN[3:], ids=first_key)
def test_more_faults_that_show_when_the_run_begins(changes, message, plain_detector, tmp_path, capsys):
    said = refused(changed(plain_detector, changes), tmp_path, capsys)
    assert re.search(message, said), said


@pytest.mark.parametrize(('text', 'message'), [
    ('model = dict(', r"config\.py cannot be read as a config: SyntaxError"),
    ("_base_ = './nowhere.py'", 'cannot be read as a config: .*nowhere'),
    ('a = b', "config.py.* cannot be read as a config: NameError: name 'b' is not defined"),
    ('import sys\nsys.exit(3)', 'cannot be read as a config: SystemExit'),
    ("custom_imports = dict(imports=['no_such_module'], allow_failed_imports=False)", 'no_such_module'),
    ('', 'the config has no model, no train_dataloader'),
    ('\0', 'cannot be read as a config'),
])  # fmt: skip
def test_a_file_that_is_no_config(text, message, tmp_path, capsys):
    (tmp_path / 'config.py').write_text(text)
    code, said = call(capsys, 'train', tmp_path / 'config.py')
    assert (code, bool(re.search(message, said))) == (2, True), said


def test_a_fault_of_the_code_is_not_explained_away():
    """Its traceback helps to find it."""
    with pytest.raises(AttributeError) as error:
        raise AttributeError('x')
    assert explain(error.value) is None


def test_where_only_the_place_is_known_the_traceback_is_kept(plain_detector, tmp_path, capsys):
    said = refused(changed(plain_detector, {'model.neck.in_channels': (32, 1280)}), tmp_path, capsys)
    path = re.search(r'the traceback is in (\S+)\)', said)[1]
    assert 'Traceback (most recent call last)' in Path(path).read_text()


# -- what a run starts from --------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def starts(city, tmp_path_factory):
    """A segmenter's config, a checkpoint of the whole model and one of its backbone, with keys of the model and bare."""
    folder = tmp_path_factory.mktemp('starts')
    cfg = segmenter(city, folder / 'work', iters=1)
    cfg.log_level, cfg.default_hooks.refconv.fuse_after_train = 'INFO', False
    state = torch.load(random_checkpoint(cfg, folder / 'whole.pth'))['state_dict']
    part = {key: value for key, value in state.items() if key.startswith('backbone.')}
    torch.save(dict(state_dict=part), folder / 'part.pth')
    torch.save(dict(state_dict={k.removeprefix('backbone.'): v for k, v in part.items()}), folder / 'bare.pth')
    return cfg, folder


def assert_says(said, text):
    """The terminal breaks lines anywhere."""
    assert ''.join(text.split()) in ''.join(said.split())


def test_a_run_says_what_it_starts_from(starts, tmp_path, capsys):
    cfg, folder = starts
    code, said = command(capsys, 'train', cfg, tmp_path, '--init', folder / 'whole.pth')
    assert code == 0
    assert_says(said, f'starts from backbone: 153 of 153 parameters from {folder / "whole.pth"} decode_head: 44 of 44')


def test_a_refocused_run_with_a_random_head_is_refused(starts, tmp_path, capsys):
    cfg, folder = starts
    said = refused(cfg, tmp_path, capsys, '--init', folder / 'part.pth', '--work-dir', tmp_path)
    assert 'decode_head and auxiliary_head would start at random: no checkpoint filled them' in said
    assert "random_parts=['decode_head', 'auxiliary_head']" in said
    assert not list(tmp_path.glob('*.pth'))
    # A forgotten --init: the backbone's Pretrained alone.
    forgotten = copy.deepcopy(cfg)
    forgotten.model.pretrained = str(folder / 'bare.pth')
    said = refused(forgotten, tmp_path, capsys)
    assert_says(said, f'backbone: 153 of 153 parameters from {folder / "bare.pth"}')
    assert_says(said, 'decode_head: random, no checkpoint filled it')
    allowed = {'type': 'RefConvStartHook', 'random_parts': '*head'}
    code, _ = command(capsys, 'train', changed(forgotten, {'default_hooks.start': allowed}), tmp_path)
    assert code == 0


def test_a_pretrained_that_cannot_be_reached_is_named(starts, tmp_path, capsys):
    cfg, _ = starts
    address = 'https://refconv.invalid/mobilenet.pth'
    said = refused(changed(cfg, {'model.pretrained': address}), tmp_path, capsys)
    assert f'{address} cannot be downloaded' in said
    assert '--init CKPT' in said


def test_a_plain_run_says_it_and_may_start_at_random(starts, city, tmp_path, capsys):
    cfg = segmenter(city, tmp_path / 'work', '_control', iters=1)
    cfg.log_level = 'INFO'
    code, said = command(capsys, 'train', cfg, tmp_path)
    assert code == 0
    assert_says(said, 'backbone: random, no checkpoint filled it')


@pytest.mark.faults
def test_upstream_s_own_tool_refuses_it_too(starts, tmp_path):
    import mmseg

    cfg, folder = starts
    cfg = copy.deepcopy(cfg)
    cfg.load_from, cfg.work_dir = str(folder / 'part.pth'), str(tmp_path / 'work')
    cfg.dump(tmp_path / 'seg.py')
    tool = Path(mmseg.__file__).parent / '.mim' / 'tools' / 'train.py'
    ended = run(tool, tmp_path / 'seg.py', check=False)
    assert ended.returncode == 1
    assert f'backbone: 153 of 153 parameters from {folder / "part.pth"}' in ended.stdout + ended.stderr
    assert 'decode_head and auxiliary_head would start at random' in ended.stderr
