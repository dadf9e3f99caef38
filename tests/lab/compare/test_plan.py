"""Plans: the errors of bad ones, and the configs of good ones."""

import pytest
import torch
from mmengine.config import Config

from lab.compare.plan_file import read_plan
from lab.compare.run_configs import arm_config
from lab.compare.speed import gram_diagonals
from refconv_mm.layers.transformation import gram_matrices
from refconv_mm.openmmlab.config import is_refocused_config
from tests.conftest import ROOT
from tests.lab.compare.conftest import write_plan


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('seeds = [0, 1]', '', 'needs seeds'),
        ('seeds = [0, 1]', 'seeds = [1, 1]', 'seeds must be different'),
        (", metric='mIoU'", '', r'tasks\.streets needs metric'),
        ("metric='mIoU'", "metric='mIoU', metrik=1", r"tasks\.streets: unknown \['metrik'\]"),
        ("baseline=dict(checkpoint='start.pth')", 'baseline=dict(seed=1)', 'a checkpoint, or a config'),
        ("'start.pth'", "'no.pth'", r'there is neither .*no\.pth nor .*no\.pth'),
        ('steps=2', 'steps=0', 'steps must be at least 1'),
        ('steps=2', "steps=2, schedule='step'", 'schedule must be one of'),
        ('control=dict(),', 'baseline=dict(),', "cannot be called 'baseline'"),
        ('control=dict(),', '', "against='control' is no arm"),
        ("start='control'", "start='contrl'", "start='contrl' is no arm"),
        ("start='control'", "start='control2'", 'starts from itself'),
        ('control=dict(),', "control=dict(tasks=['roads']),", r"unknown tasks \['roads'\]"),
    ],
)
def test_a_bad_plan_is_refused(city, tmp_path, old, new, message):
    path = write_plan(tmp_path, city)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_plan(path)


def config(plan, arm, seed=0):
    task = plan.tasks['streets']
    return arm_config(plan, task, plan.arms[arm], seed, str(plan.path.parent / 'start.pth'))


def test_an_arm_differs_from_the_control_in_what_it_says(city, tmp_path):
    plan = read_plan(write_plan(tmp_path, city))
    control, refocused = config(plan, 'control', 7), config(plan, 'refocused', 7)
    assert refocused.model.backbone.type == 'RefocusedBackbone'
    assert refocused.default_hooks.pop('refconv') == dict(type='RefConvHook', fuse_after_train=False)
    refocused.model.backbone = refocused.model.backbone.backbone
    assert refocused._cfg_dict.to_dict() == control._cfg_dict.to_dict()
    assert control.randomness == dict(seed=7, deterministic=False)
    assert control.train_cfg.max_iters == 2
    # A further round has its own seed, the same for both of its arms.
    assert config(plan, 'control2', 7).randomness == config(plan, 'refocused2', 7).randomness != control.randomness


def test_speed_multiplies_learning_rates_by_the_mean_gram_diagonal(city, tmp_path):
    arms = "control=dict(), refocused=dict(refocus=dict()), speed=dict(speed='refocused'),"
    arms += "g=dict(refocus=dict(gain=10.0)), s=dict(speed='g'),"
    plan = read_plan(write_plan(tmp_path, city, arms))
    start = tmp_path / 'start.pth'
    found = gram_diagonals(config(plan, 'refocused'), str(start))
    assert len(found) == 18
    kernel = torch.load(start)['state_dict']['backbone.layer1.0.conv.0.conv.weight']
    gram = gram_matrices(kernel, kernel.shape[0], 3)
    mean = gram.diagonal(dim1=-2, dim2=-1).mean().item()
    assert found['backbone.layer1.0.conv.0.conv'] == pytest.approx(mean, rel=1e-9)
    keys = config(plan, 'speed').optim_wrapper.paramwise_cfg.custom_keys
    expected = dict(lr_mult=pytest.approx(mean), decay_mult=pytest.approx(1 / mean))
    assert keys['backbone.layer1.0.conv.0.conv.weight'] == expected
    assert not is_refocused_config(config(plan, 'speed'))
    assert set(gram_diagonals(config(plan, 'g'), str(start)).values()) == {10.0}
    keys = config(plan, 's').optim_wrapper.paramwise_cfg.custom_keys
    assert keys['backbone.layer1.0.conv.0.conv.weight'] == dict(lr_mult=10.0, decay_mult=0.1)


SHIPPED = sorted((ROOT / 'lab' / 'plans').glob('*.py'))


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_plans_resolve(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data/weights').mkdir(parents=True)
    values = Config.fromfile(path)
    for task in values.tasks.values():  # files that are not shipped
        for file in (task.baseline.get('start'), task.baseline.get('checkpoint')):
            if file:
                (tmp_path / file).touch()
    plan = read_plan(path)
    for task in plan.tasks.values():
        for arm in plan.arms_of(task.name):
            if arm.speed is None:
                cfg = arm_config(plan, task, arm, 0, 'no.pth')
                assert is_refocused_config(cfg) == (arm.refocus is not None)
