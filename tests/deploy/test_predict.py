"""Pictures and predictions.json of refocused, fused, plain and ONNX models."""

import copy
import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from refconv_mm.checkpoints.fusing import fuse_checkpoint, read_checkpoint, write_fused
from refconv_mm.commands import main
from refconv_mm.deploy.export import export_checkpoint, write_onnx
from refconv_mm.deploy.predict import Predictor, find_images
from refconv_mm.running.runner import runner_for_checkpoint

from tests.conftest import needs_new_torch
from tests.deploy.test_decoding import tiny_ssd
from tests.deploy.test_export import checkpoint_of, images, tiny_classifier, tiny_segmenter

__all__ = ['images']  # a fixture


@pytest.fixture(scope='module')
def models(voc, city, images, tmp_path_factory):
    """For each task: its config and its refocused checkpoint, side by side on disk."""
    made = {}
    for name, make, data in (
        ('det', tiny_ssd, voc), ('seg', tiny_segmenter, city), ('cls', tiny_classifier, images),
    ):  # fmt: skip
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp(name)
        cfg, path = make(data, folder), folder / 'refocused.pth'
        collate = 'default_collate' if name == 'cls' else 'pseudo_collate'
        cfg.test_dataloader.collate_fn = dict(type=collate)  # as the runner wants it
        torch.save(checkpoint_of(cfg), path)
        cfg.dump(folder / 'config.py')
        made[name] = (cfg, path)
    return made


def predict(path, *rest) -> int:
    """The exit code of `refconv predict` with the config beside a checkpoint."""
    with pytest.raises(SystemExit) as stop:
        main(['predict', str(path.with_name('config.py')), str(path), *map(str, rest)])
    return stop.value.code


def read(out_dir) -> dict:
    return json.loads((out_dir / 'predictions.json').read_text())


# -- images ------------------------------------------------------------------------------------------------


def test_images_are_files_folders_and_globs(tmp_path):
    for name in ('a/one.png', 'a/deep/two.JPG', 'b/one.png', 'b/notes.txt', 'out/pictures/old.png'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_images([f'{tmp_path}/a', f'{tmp_path}/*/one.png', f'{tmp_path}/b/one.png'], tmp_path / 'out')
    assert list(map(str, found.values())) == ['a/deep/two.JPG', 'a/one.png', 'b/one.png']
    assert [str(place) for place in find_images([str(tmp_path)], tmp_path / 'out').values()] == [
        'a/deep/two.JPG', 'a/one.png', 'b/one.png',
    ]  # fmt: skip
    assert list(map(str, find_images([f'{tmp_path}/b'], 'out').values())) == ['one.png']
    for pattern in ('nowhere', f'{tmp_path}/*.gif', str(tmp_path / 'b' / 'no*')):
        with pytest.raises(FileNotFoundError, match='no image at'):
            find_images([pattern], 'out')
    with pytest.raises(FileNotFoundError, match='no image outside'):
        find_images([str(tmp_path / 'out')], tmp_path / 'out')


# -- predictions -------------------------------------------------------------------------------------------


@torch.no_grad()
def loop_predicts(cfg, path) -> dict:
    """The predictions of the test loop, by image."""
    runner, _ = runner_for_checkpoint(cfg, str(path))
    runner.model.eval()
    return {s.img_path: s for batch in runner.test_dataloader for s in runner.model.test_step(batch)}


def drawn(out_dir, found) -> bool:
    """Whether the picture has the size of the image and shows something beside it."""
    picture, image = (cv2.imread(str(path)) for path in (out_dir / found['picture'], found['image']))
    return picture.shape == image.shape and not np.array_equal(picture, image)


def test_boxes_are_those_of_the_test(models, tmp_path):
    cfg, path = models['det']
    expected = loop_predicts(cfg, path)
    scores = next(iter(expected.values())).pred_instances.scores
    threshold = (scores[10] + scores[11]).item() / 2
    assert predict(path, *expected, '--out-dir', tmp_path, '--threshold', threshold) == 0
    said = read(tmp_path)
    assert said['what'].startswith('a refocused checkpoint, fused in memory')
    assert (said['classes'], said['threshold'], said['faults']) == (['a', 'b', 'c'], threshold, [])
    assert [found['image'] for found in said['images']] == list(expected)
    for found in said['images']:
        wanted = expected[found['image']].pred_instances
        wanted = wanted[wanted.scores >= threshold]
        assert len(found['boxes']) == len(wanted)
        np.testing.assert_allclose(found['boxes'], wanted.bboxes, rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(found['scores'], wanted.scores, rtol=1e-4)
        assert found['labels'] == wanted.labels.tolist()
        assert found['names'] == ['abc'[label] for label in found['labels']]
    first = said['images'][0]
    assert len(first['boxes']) == 11
    assert drawn(tmp_path, first)


def test_masks_are_those_of_the_test(models, tmp_path):
    cfg, path = models['seg']
    expected = loop_predicts(cfg, path)
    assert predict(path, *expected, '--out-dir', tmp_path) == 0
    for found in read(tmp_path)['images']:
        mask = cv2.imread(str(tmp_path / found['mask']), cv2.IMREAD_UNCHANGED)
        wanted = expected[found['image']].pred_sem_seg.data[0].numpy()
        assert mask.shape == wanted.shape
        assert (mask != wanted).mean() <= 1e-3  # logits that are equal up to rounding
        assert sum(found['shares'].values()) == pytest.approx(1)
        assert drawn(tmp_path, found)


def test_labels_are_those_of_the_test(models, tmp_path):
    cfg, path = models['cls']
    expected = loop_predicts(cfg, path)
    assert predict(path, *expected, '--out-dir', tmp_path) == 0
    for found in read(tmp_path)['images']:
        wanted = expected[found['image']]
        np.testing.assert_allclose(found['scores'], wanted.pred_score, rtol=1e-4, atol=1e-5)
        assert found['label'] == wanted.pred_label.item()
        assert found['name'] == 'abc'[found['label']]
        assert min(cv2.imread(str(tmp_path / found['picture'])).shape[:2]) == 256  # legible


@needs_new_torch
def test_fused_folded_and_onnx_models_predict_the_same(models, tmp_path):
    cfg, path = models['det']
    checkpoint, image = read_checkpoint(path), next(iter(loop_predicts(cfg, path)))
    plain, _ = write_fused(fuse_checkpoint(cfg, checkpoint), tmp_path / 'plain')
    folded, config = write_fused(fuse_checkpoint(cfg, checkpoint, fold_bn=True), tmp_path / 'folded')
    onnx = write_onnx(export_checkpoint(cfg, checkpoint, shape=(96, 96), decode=True), tmp_path / 'x.onnx')
    _, expected, _ = Predictor(cfg, str(path))(image)
    assert expected['boxes']
    for file, says in ((plain, 'a fused checkpoint'), (folded, 'a fused checkpoint'), (onnx, 'an ONNX model')):
        predictor = Predictor(Config.fromfile(config), str(file))
        _, found, _ = predictor(image)
        assert predictor.what.startswith(says)
        assert predictor.classes == ['a', 'b', 'c']
        assert found['labels'] == expected['labels']
        np.testing.assert_allclose(found['boxes'], expected['boxes'], rtol=1e-3, atol=1e-2)


def test_classes_that_no_checkpoint_names_are_those_of_the_config(models, tmp_path):
    cfg, path = models['det']
    checkpoint = dict(read_checkpoint(path), meta={})
    torch.save(checkpoint, tmp_path / 'x.pth')
    assert Predictor(cfg, str(tmp_path / 'x.pth')).classes == ['disc', 'square', 'triangle']


# -- faults ------------------------------------------------------------------------------------------------


def test_a_damaged_image_is_left_out_and_said(models, tmp_path, capsys):
    cfg, path = models['det']
    good, bad = next(iter(loop_predicts(cfg, path))), tmp_path / 'bad.jpg'
    bad.write_bytes(b'no image')
    assert predict(path, bad, good, '--out-dir', tmp_path / 'out') == 1
    said = read(tmp_path / 'out')
    assert [found['image'] for found in said['images']] == [good]
    assert said['faults'] == [f'{bad} is damaged or not an image']
    assert f'left out: {bad}' in capsys.readouterr().out


def test_wrong_arguments_are_refused_before_anything_is_written(models, tmp_path, capsys):
    def refused(name, *words) -> str:
        assert predict(models[name][1], *words) == 2
        return capsys.readouterr().err

    image, out = next(iter(loop_predicts(*models['det']))), tmp_path / 'out'
    assert 'no image at nowhere' in refused('det', 'nowhere', '--out-dir', out)
    assert 'a model of mmseg has no boxes' in refused('seg', image, '--out-dir', out, '--threshold', 0.5)
    assert '--ema' in refused('det', image, '--out-dir', out, '--ema')
    assert not out.exists()
    out.mkdir()
    (out / 'predictions.json').touch()
    assert 'exists and is left alone' in refused('det', image, '--out-dir', out)
    with pytest.raises(ValueError, match='default_scope of the config must be one of mmdet, mmseg, mmpretrain'):
        Predictor(Config(dict(default_scope='mmpose')), 'x.pth')


def test_boxes_are_drawn_where_no_palette_fits(models):
    """As with classes of one's own in COCO's layout, where mmdet's data set has eighty colours."""
    cfg, path = models['det']
    image, cfg = next(iter(loop_predicts(cfg, path))), copy.deepcopy(cfg)
    cfg.test_dataloader.dataset.metainfo = dict(classes=('a', 'b', 'c'), palette=[(1, 2, 3)] * 80)
    picture, found, _ = Predictor(cfg, str(path), threshold=0.0)(image)
    assert found['boxes']
    assert picture.ndim == 3
