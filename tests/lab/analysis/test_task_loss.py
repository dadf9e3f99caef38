"""The loss that training minimises, on the same numbers for every checkpoint."""

import copy
import random
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn
from torch.nn import functional as F

from lab.analysis.common.task_loss import TaskLoss, make_task_loss
from lab.analysis.common.weights import content_hash, names_of, read_weights
from refconv_mm.checkpoints.fusing import build_model, read_checkpoint
from refconv_mm.files.errors import CheckpointError

from tests.conftest import detector, segmenter


class Toy(nn.Module):
    """A small net with mmengine's loss interface, with what is random or moving in training: dropout, batch norm."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.noise = noise

    def forward(self, inputs, data_samples, mode):
        assert mode == 'loss'
        out = self.drop(self.norm(self.conv(inputs))).mean((2, 3))
        drawn = self.noise * torch.rand(())  # as a two-stage detector samples regions
        return dict(loss_main=F.mse_loss(out, data_samples) + drawn, loss_more=[out.square().mean()], acc=out.mean())

    def parse_losses(self, losses):
        return losses['loss_main'] + sum(losses['loss_more']), losses


def batch(size: int = 4) -> dict:
    return dict(inputs=torch.randn(size, 3, 6, 6), data_samples=torch.randn(size, 4))


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """A classifier on folders of noise, two classes of six images, with mixup in training."""
    root = tmp_path_factory.mktemp('folders')
    for split in ('train', 'val'):
        for kind in 'ab':
            (root / split / kind).mkdir(parents=True)
            for i in range(6):
                pixels = np.random.default_rng(i).integers(0, 255, (32, 32, 3), dtype=np.uint8)
                cv2.imwrite(str(root / split / kind / f'{i}.png'), pixels)
    text = """
default_scope = 'mmpretrain'
model = dict(type='ImageClassifier', backbone=dict(type='MobileNetV2', widen_factor=0.25),
    neck=dict(type='GlobalAveragePooling'), train_cfg=dict(augments=dict(type='Mixup', alpha=1.0)),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=1280, loss=dict(type='CrossEntropyLoss', use_soft=True)))
data_preprocessor = dict(num_classes=2, mean=[127.5] * 3, std=[127.5] * 3)
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
"""
    for split in ('train', 'val'):
        text += f"""
{split}_dataloader = dict(batch_size=3, num_workers=2, collate_fn=dict(type='default_collate'),
    dataset=dict(type='CustomDataset', data_root={str(root)!r}, data_prefix={split!r}, pipeline=pipeline))
"""
    return Config.fromstring(text, '.py')


def test_batch_norm_by_mode_and_dropout_off():
    model, data = Toy(), batch()
    model.norm.running_mean.fill_(0.3)
    before = copy.deepcopy(model.state_dict())
    out = model.conv(data['inputs'])
    by_batch = F.batch_norm(out, None, None, training=True).mean((2, 3))
    by_running = ((out - 0.3) / (1 + 1e-5) ** 0.5).mean((2, 3))
    for mode, expected in dict(batch=by_batch, eval=by_running).items():
        task = TaskLoss(copy.deepcopy(model), [data], mode)
        wanted = F.mse_loss(expected, data['data_samples']) + expected.square().mean()
        torch.testing.assert_close(task.loss(data), wanted)  # float32, its default tolerance: another order of sums
        task.mean()
        for key, value in task.model.state_dict().items():
            assert torch.equal(value, before[key]), f'{key} moved in mode {mode}'
        task.load(before)


def test_what_a_loss_draws_is_the_same_each_time_and_leaves_no_trace():
    task = TaskLoss(Toy(noise=10.0), [batch(), batch()], seed=3)
    state = torch.get_rng_state()
    first = task.mean()
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    assert task.mean() == first
    other = TaskLoss(task.model, task.batches, seed=4)
    assert other.mean() != first
    assert other.fingerprint != task.fingerprint


def test_the_mean_and_its_gradient():
    data = [batch(), batch(2)]
    task = TaskLoss(
        Toy().double(), [dict(inputs=b['inputs'].double(), data_samples=b['data_samples'].double()) for b in data]
    )
    losses = [task.loss(b) for b in task.batches]
    assert task.mean() == pytest.approx(sum(map(float, losses)) / 2, rel=1e-14)
    assert [task.size(b) for b in task.batches] == [4, 2]
    assert task.size((data[0]['inputs'], None)) == 4
    (gradient,) = torch.autograd.grad(losses[0], task.model.conv.weight)
    step = torch.randn_like(gradient)
    values = []
    for h in (1e-5, -1e-5):
        task.model.conv.weight.data.add_(step, alpha=h)
        values.append(float(task.loss(task.batches[0])))
        task.model.conv.weight.data.add_(step, alpha=-h)
    # Central differences in float64: an error of h^2 from the third derivative (zero here), 1e-16 / h from rounding.
    assert (values[0] - values[1]) / 2e-5 == pytest.approx(float((gradient * step).sum()), rel=1e-7)


def test_a_fingerprint_tells_apart_what_a_loss_depends_on():
    model, data = Toy(), batch()
    base = TaskLoss(model, [data]).fingerprint
    assert TaskLoss(copy.deepcopy(model), [dict(reversed(data.items()))]).fingerprint == base
    changed = dict(data, inputs=data['inputs'].clone())
    changed['inputs'].view(-1)[7] += 1e-6
    others = [TaskLoss(model, [changed]), TaskLoss(model, [data, data]), TaskLoss(model, [data], config=dict(a=1))]
    others += [TaskLoss(copy.deepcopy(model), [data], 'batch')]
    assert len({base, *(other.fingerprint for other in others)}) == 5


def test_hashes_of_nests():
    a, b = torch.arange(6.0), torch.zeros(6)
    nests = [
        a,
        a.double(),
        a.view(2, 3),
        a + b[0] + 1,
        [a, b],
        [b, a],
        [[a], b],
        dict(x=a, y=b),
        dict(x=b, y=a),
        '1',
        1,
    ]
    assert len({content_hash(nest) for nest in nests}) == len(nests)
    assert content_hash(dict(x=a, y=b)) == content_hash(dict(y=b.clone(), x=a.clone()))
    assert content_hash(a.view(2, 3).t()) == content_hash(a.view(2, 3).t().contiguous())
    assert content_hash(object()) == content_hash(object())  # no address gets in, or no run would find its results


@pytest.mark.parametrize('mode', ['eval', 'batch'])
def test_a_detector_has_its_training_loss(voc, tmp_path, mode):
    task = make_task_loss(detector(voc, tmp_path), 2, 3, 'train', 0, mode)
    model = copy.deepcopy(task.model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = True
    model.train(mode == 'batch')
    with torch.no_grad():
        expected = [model.parse_losses(model(**data, mode='loss'))[0] for data in task.batches]
    assert task.mean() == sum(map(float, expected)) / 2
    task.loss(task.batches[0]).backward()
    used = [name for name, p in task.model.named_parameters() if p.grad is not None and p.grad.any()]
    assert any('backbone' in name for name in used)
    assert any('bbox_head.cls_convs' in name for name in used)


def test_boxes_of_val_are_resized_with_their_image(voc, tmp_path):
    """mmdet's val pipelines load boxes after Resize, at the original scale: against the resized image, all wrong."""
    task = make_task_loss(detector(voc, tmp_path), 2, 2, 'val')
    seen = set()
    for sample in (sample for data in task.batches for sample in data['data_samples']):
        root = ElementTree.parse(voc / 'VOC2007' / 'Annotations' / f'{sample.img_id}.xml').getroot()
        size = float(root.findtext('size/width'))
        boxes = [
            [float(box.findtext(key)) - 1 for key in ('xmin', 'ymin', 'xmax', 'ymax')] for box in root.iter('bndbox')
        ]
        assert sample.img_shape == (160, 160)
        assert size != 160
        torch.testing.assert_close(sample.gt_instances.bboxes, torch.tensor(boxes) * 160 / size)
        seen.add(sample.img_id)
    assert len(seen) == 4


def test_a_segmenter_by_hand(city, tmp_path):
    task = make_task_loss(segmenter(city, tmp_path), 1, 3, 'val')
    (data,) = task.batches
    assert data['inputs'].shape == (3, 3, 64, 96)  # not padded to the crop of training, 96 x 192
    labels = torch.stack([sample.gt_sem_seg.data[0] for sample in data['data_samples']])
    with torch.no_grad():
        features = task.model.extract_feat(data['inputs'])
        expected = 0.0
        for head, weight in ((task.model.decode_head, 1.0), (task.model.auxiliary_head, 0.4)):
            logits = F.interpolate(head(features), labels.shape[1:], mode='bilinear', align_corners=head.align_corners)
            expected += weight * float(
                F.cross_entropy(logits, labels, ignore_index=255, reduction='sum') / labels.numel()
            )
    assert task.mean() == pytest.approx(expected, rel=1e-5)  # float32 sums over 18,432 pixels, in another order


def test_the_same_batches_every_time_whatever_was_drawn_before(voc, tmp_path):
    cfg = detector(voc, tmp_path)
    first = make_task_loss(cfg, 2, 2)
    random.random(), np.random.rand(), torch.rand(1)
    state = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    again = make_task_loss(cfg, 2, 2)
    # Building a model draws its weights, so only torch's own stream may move.
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state[:2]
    assert content_hash(first.batches) == content_hash(again.batches)
    assert content_hash(first.batches) != content_hash(make_task_loss(cfg, 2, 2, seed=1).batches)


def test_a_classifier_mixes_in_training_only_and_classes_come_mixed(images):
    labels = {}
    for split in ('train', 'val'):
        task = make_task_loss(images, 2, None, split)
        samples = [sample for data in task.batches for sample in data['data_samples']]
        assert [task.size(data) for data in task.batches] == [3, 3]
        soft = any('gt_score' in sample and 0 < sample.gt_score.max() < 1 for sample in samples)
        assert soft == (split == 'train')
        labels[split] = [int(sample.gt_label) for sample in samples]
        assert np.isfinite(task.mean())
    # The folder lists all of class a first; six in that order would be of one class.
    assert set(labels['val']) == {0, 1}


def test_a_refocused_checkpoint_counts_as_what_it_fuses_to(seg_run):
    task = make_task_loss(seg_run['cfg'], 1, 2)
    record, state = read_weights(seg_run['cfg'], str(seg_run['last']), 'refocused')
    task.load(state)
    refocused = build_model(seg_run['cfg'])
    refocused.load_state_dict(read_checkpoint(seg_run['last'])['state_dict'])
    # The fused kernel is the effective kernel to the last bit or so; what is left is float32 through 60 layers.
    assert task.mean() == pytest.approx(TaskLoss(refocused, task.batches).mean(), rel=1e-5)
    task.load(read_weights(seg_run['cfg'], str(seg_run['start']), 'before')[1])
    assert abs(task.mean() - TaskLoss(refocused, task.batches).mean()) > 1e-3
    assert (record['name'], record['path']) == ('refocused', str(seg_run['last']))
    assert 'fused in memory' in record['what']


def test_bad_arguments_say_what_to_do(images, seg_run, tmp_path):
    for wrong, text in [
        (dict(split='test'), "split must be one of .* got 'test'"),
        (dict(mode='train'), "--bn.* got 'train'"),
        (dict(batches=0), 'must be at least 1, got 0'),
        (dict(batches=5), 'train split has 12 images; --batches 5 of 3 need 15'),
        (dict(batch_size=1, mode='batch'), '--bn batch needs batches of at least 2 images'),
    ]:
        with pytest.raises(ValueError, match=text):
            make_task_loss(images, **dict(dict(batches=1), **wrong))
    without = copy.deepcopy(images)
    without.val_dataloader = None
    with pytest.raises(ValueError, match='the config has no val_dataloader'):
        make_task_loss(without, 1, split='val')
    with pytest.raises(ValueError, match='mode must be one of'):
        TaskLoss(Toy(), [batch()], 'train')
    with pytest.raises(ValueError, match='batches must not be empty'):
        TaskLoss(Toy(), [])
    blind = copy.deepcopy(seg_run['cfg'])
    blind.val_dataloader.dataset.pipeline = [
        p for p in blind.val_dataloader.dataset.pipeline if p.type != 'LoadAnnotations'
    ]
    with pytest.raises(ValueError, match='val split loads no annotations'):
        make_task_loss(blind, 1, 1, 'val')
    state = read_checkpoint(seg_run['start'])['state_dict']
    torch.save(dict(state_dict=state, meta=dict(refconv=dict(fused=True, folded_bn=True))), tmp_path / 'folded.pth')
    with pytest.raises(ValueError, match='batch norm folded'):
        read_weights(seg_run['cfg'], str(tmp_path / 'folded.pth'), 'folded')
    with pytest.raises(CheckpointError, match='does not fit the model'):
        make_task_loss(images, 1).load(state)


def test_images_that_form_no_batch(images, tmp_path):
    cfg = copy.deepcopy(images)
    cfg.train_dataloader.dataset.data_root = str(tmp_path)
    (tmp_path / 'train' / 'a').mkdir(parents=True)
    for side in (32, 48):
        cv2.imwrite(str(tmp_path / 'train' / 'a' / f'{side}.png'), np.zeros((side, side, 3), np.uint8))
    with pytest.raises(ValueError, match=r'do not form a batch .* pass --batch-size 1'):
        make_task_loss(cfg, 1, 2)
    assert len(make_task_loss(cfg, 2, 1).batches) == 2


def test_names():
    assert names_of(['a/before.pth', 'b/after.pth']) == ['before', 'after']
    assert names_of(['a.pth', 'b.pth'], 'x, y') == ['x', 'y']
    for paths, names in [
        (['a/x.pth', 'b/x.pth'], None),
        (['a.pth', 'b.pth'], 'x'),
        (['a.pth'], ' ,'),
        (['a', 'b'], 'x,x'),
    ]:
        with pytest.raises(ValueError, match='need as many different names'):
            names_of(paths, names)
