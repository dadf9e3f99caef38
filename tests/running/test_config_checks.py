"""Faults of configs: a sentence that names the key, the value and the nearest right one, and exit code 2."""

import copy
import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch import nn

from lab.runs import name_run
from refconv_mm.commands import main
from refconv_mm.commands.arguments import merge_options, read_config
from refconv_mm.hooks.start_hook import check_class_count
from refconv_mm.openmmlab.config import drop_pretrained
from refconv_mm.openmmlab.models import build_model
from tests.conftest import detector, random_checkpoint, segmenter

REMOVED = object()
# Changes of a detector's config, and what the message must say.
FAULTS = [
    ({'model.backbone.conv_cfg.type': 'Refconv'}, "model.backbone.conv_cfg: type='Refconv' is not registered; did you mean 'RefConv'?"),
    ({'model.backbone.type': 'mmpretrain.MobilNetV2'}, "model.backbone: .*did you mean 'MobileNetV2'"),
    ({'model.backbone.type': 'MobileNetV3'}, "did you mean 'mmpretrain.MobileNetV3'"),
    ({'model.backbone.conv_cfg.gian': 1.0}, "RefConv has no option 'gian'; the options are map_k, gain"),
    ({'model.backbone.widen_facter': 1.0}, "model.backbone: .*no option 'widen_facter' .=1.0.; did you mean 'widen_factor'"),
    ({'model.type': REMOVED}, "model: it has no 'type'"),
    ({'model': REMOVED}, 'the config has no model; a training needs it'),
    ({'train_cfg.max_iter': 3}, "train_cfg: .*did you mean 'max_iters'"),
    ({'default_hooks.refconv.type': 'RefConvHok'}, "default_hooks.refconv: .*did you mean 'RefConvHook'"),
    ({'train_dataloader.dataset.type': 'VOCDatset'}, "train_dataloader.dataset: .*did you mean 'VOCDataset'"),
    ({'train_dataloader.dataset.pipeline': [dict(type='LoadImageFromFil')]}, r'train_dataloader.dataset.pipeline\[0\]: .*LoadImageFromFile'),
    ({'train_dataloader.batchsize': 3}, "train_dataloader: .*did you mean 'batch_size'"),
    ({'train_dataloader.dataset.data_root': '/nowhere/'}, 'train_dataloader.dataset.data_root: there is no folder /nowhere/'),
    ({'train_dataloader.dataset.metainfo': dict(classes='cat')}, "metainfo.classes is the text 'cat'; one class needs a comma"),
    ({'val_dataloader.dataset.ann_file': 'no.txt'}, 'val_dataloader.dataset.ann_file: there is no file .*/no.txt'),
    ({'optim_wrapper.optimizer.type': 'SGDD'}, "optim_wrapper.optimizer: type='SGDD' is not registered; did you mean 'SGD'"),
    ({'runner_type': 'FlexibleRunner'}, "runner_type='FlexibleRunner': .*use its Runner"),
]  # fmt: skip
# What `--cfg-options` may not say, and a part of the message; None for what it may.
KEYS = [
    ('modle.backbone.depth=3', "the config has no modle.backbone.depth; did you mean 'model' for 'modle'?"),
    ('lr=0.1', 'the config has no lr'),
    ('train_dataloader.batchsize=3', "did you mean 'batch_size' for 'batchsize'?"),
    ('train_dataloader.dataset.pipeline.0.typ=X', "did you mean 'type' for 'typ'?"),
    ('data_root=/x', 'data_root is a variable of the config file'),
    ('randomness.seed=3', None),  # the runner knows it
    ('optim_wrapper.clip_grad.max_norm=1', None),
    ('efficient_conv_bn_eval=backbone', None),
    ('model.backbone.conv_cfg.gain=1', None),
    ('train_dataloader.prefetch_factor=2', None),
    ('custom_hooks.0.interval=2', None),
]


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


@pytest.fixture
def train(refconv, tmp_path):
    """Runs `refconv train` on a config; returns its exit code and what it said."""

    def call(cfg, *words):
        name_run(cfg, 'faults')  # runs of one process share visualizers by name, and a refused one removes its folder
        cfg.dump(tmp_path / 'config.py')
        code, out, err = refconv('train', tmp_path / 'config.py', *words)
        return code, out + err

    return call


def refused(train, cfg, *words):
    code, said = train(cfg, *words)
    assert code == 2
    assert 'Traceback (most recent call last)' not in said
    return ' '.join(said.split())


@pytest.mark.parametrize(('changes', 'message'), FAULTS, ids=first_key)
def test_a_slip_in_a_config_ends_in_a_sentence_and_leaves_no_work_dir(
    changes, message, plain_detector, tmp_path, train
):
    said = refused(train, changed(plain_detector, changes), '--work-dir', tmp_path / 'work')
    assert re.search(message, said), said
    assert not (tmp_path / 'work').exists()


def test_stuff_classes_are_counted_by_their_head():
    model = nn.ModuleDict(dict(semantic_head=nn.Identity()))  # of HTC
    model['semantic_head'].num_classes = 183
    check_class_count(model, SimpleNamespace(metainfo=dict(classes=('a', 'b'))))


def test_another_number_of_classes_is_refused(plain_detector, train):
    said = refused(train, changed(plain_detector, {'model.bbox_head.num_classes': 20}))
    assert 'num_classes is 20, and the training data has 3 classes (disc, square, triangle): set num_classes=3' in said


@pytest.mark.parametrize(('option', 'message'), KEYS)
def test_a_key_that_the_config_does_not_have(option, message, plain_detector, train):
    cfg = changed(plain_detector, {'custom_hooks': [dict(type='EMAHook')]})
    if message is None:
        key, _, value = option.partition('=')
        return merge_options(cfg, {key: value}, '--cfg-options')
    assert message in refused(train, cfg, '--cfg-options', option)


@pytest.mark.parametrize(('option', 'place'), [
    ('steps', 'base.py, line 2'), ('size', 'config.py, line 3'), ('data_preprocessor.mean', 'base.py, line 3'),
])  # fmt: skip
def test_a_variable_of_a_config_is_refused_with_its_line(option, place, tmp_path):
    """Values were computed from it when the file was read, so merging it would change nothing."""
    text = '# base\nlr, steps = 1, 100\ndata_preprocessor = dict(mean=[1])\ntrain_cfg = dict(max_iters=steps)\n'
    (tmp_path / 'base.py').write_text(text + 'model = dict(data_preprocessor=data_preprocessor)')
    (tmp_path / 'config.py').write_text("_base_ = './base.py'\n\nsize = (3, 4)\nwork_dir = f'runs/{size[0]}'\n")
    cfg = read_config(tmp_path / 'config.py', 'config')
    with pytest.raises(
        ValueError, match=rf'{option.partition(".")[0]} is a variable .* Edit it in {tmp_path}/{place},'
    ):
        merge_options(cfg, {option: 50}, '--cfg-options')
    merge_options(cfg, {'train_cfg.max_iters': 50}, '--cfg-options')
    assert cfg.train_cfg.max_iters == 50


@pytest.mark.parametrize(('text', 'message'), [
    ('model = dict(', r"config\.py cannot be read as a config: SyntaxError"),
    ("_base_ = './nowhere.py'", 'cannot be read as a config: .*nowhere'),
    ('a = b', "config.py.* cannot be read as a config: NameError: name 'b' is not defined"),
    ('import sys\nsys.exit(3)', 'cannot be read as a config: SystemExit'),
    ("custom_imports = dict(imports=['no_such_module'], allow_failed_imports=False)", 'no_such_module'),
    ('', 'the config has no model, no train_dataloader'),
    ('\0', 'cannot be read as a config'),
])  # fmt: skip
def test_a_file_that_is_no_config(text, message, tmp_path, refconv):
    (tmp_path / 'config.py').write_text(text)
    code, _, said = refconv('train', tmp_path / 'config.py')
    assert (code, bool(re.search(message, said))) == (2, True), said


def test_an_error_of_another_library_keeps_its_traceback(plain_detector, tmp_path):
    changed(plain_detector, {'model.neck.in_channels': (32, 1280)}).dump(tmp_path / 'config.py')
    with pytest.raises(AssertionError):
        main(['train', str(tmp_path / 'config.py'), '--work-dir', str(tmp_path / 'work')])


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


def test_a_run_says_what_it_starts_from(starts, train):
    cfg, folder = starts
    code, said = train(cfg, '--init', folder / 'whole.pth')
    assert code == 0
    assert_says(said, f'starts from backbone: 153 of 153 parameters from {folder / "whole.pth"} decode_head: 44 of 44')


def test_a_refocused_run_with_a_random_head_is_refused(starts, tmp_path, train):
    cfg, folder = starts
    said = refused(train, cfg, '--init', folder / 'part.pth', '--work-dir', tmp_path)
    assert 'decode_head and auxiliary_head would start at random: no checkpoint filled them' in said
    assert "random_parts=['decode_head', 'auxiliary_head']" in said
    assert not list(tmp_path.glob('*.pth'))
    # A forgotten --init: the backbone's Pretrained alone.
    forgotten = copy.deepcopy(cfg)
    forgotten.model.pretrained = str(folder / 'bare.pth')
    said = refused(train, forgotten)
    assert_says(said, f'backbone: 153 of 153 parameters from {folder / "bare.pth"}')
    assert_says(said, 'decode_head: random, no checkpoint filled it')
    allowed = {'type': 'RefConvStartHook', 'random_parts': '*head'}
    fusing = {'default_hooks.refconv.fuse_after_train': True, 'work_dir': str(tmp_path / 'allowed')}
    code, _ = train(changed(forgotten, {'default_hooks.start': allowed} | fusing))
    assert code == 0
    # mmseg's segmentor writes `pretrained` into its config, and a second build from that config would fail.
    build_model(Config.fromfile(tmp_path / 'allowed' / 'fused.py'))
