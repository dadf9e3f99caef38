"""Pictures, masks and predictions.json of refocused, fused and plain checkpoints."""

import copy
import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import MMLogger

from refconv_mm.checkpoints.fusing import read_checkpoint
from refconv_mm.commands import main
from refconv_mm.commands.predict import find_images
from refconv_mm.deploy.predict import LEAST, Predictor
from refconv_mm.running.runner import runner_for_checkpoint
from refconv_mm.running.terminal import worth_showing

from .small_models import checkpoint_of, small_classifier, small_detector, small_segmenter


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Nine images in three folders, one for each class."""
    root, random = tmp_path_factory.mktemp('images'), np.random.default_rng(0)
    for name in 'abc':
        (root / name).mkdir()
        for i in range(3):
            cv2.imwrite(str(root / name / f'{i}.png'), random.integers(0, 255, (40, 56, 3), dtype=np.uint8))
    return root


def saved(cfg: Config, folder) -> tuple:
    """A config and its checkpoint, side by side on disk."""
    torch.manual_seed(0)
    torch.save(checkpoint_of(cfg), folder / 'refocused.pth')
    cfg.dump(folder / 'config.py')
    return cfg, folder / 'refocused.pth'


@pytest.fixture(scope='module')
def det(voc, tmp_path_factory):
    folder = tmp_path_factory.mktemp('det')
    return saved(small_detector(voc, folder), folder)


def predict(path, *words) -> int:
    """The exit code of `refconv predict` with the config beside a checkpoint."""
    with pytest.raises(SystemExit) as stop:
        main(['predict', str(path.with_name('config.py')), str(path), *map(str, words)])
    return stop.value.code


def read(out_dir) -> dict:
    return json.loads((out_dir / 'predictions.json').read_text())


@torch.no_grad()
def loop_predicts(cfg, path) -> dict:
    """The predictions of the test loop, by image."""
    runner, _ = runner_for_checkpoint(cfg, str(path))
    runner.model.eval()
    return {s.img_path: s for batch in runner.test_dataloader for s in runner.model.test_step(batch)}


def drawn(out_dir, found) -> bool:
    """Whether the picture shows something beside the image, and a legend below it, and no more."""
    picture, image = (cv2.imread(str(path)) for path in (out_dir / found['picture'], found['image']))
    height, width = image.shape[:2]
    changed = not np.array_equal(picture[:height, :width], image)
    return changed and height < len(picture) < height + 100 and picture.shape[1] == max(width, LEAST)


# -- predictions -------------------------------------------------------------------------------------------


def test_boxes_are_those_of_the_test(det, tmp_path):
    cfg, path = det
    expected = loop_predicts(cfg, path)
    scores = next(iter(expected.values())).pred_instances.scores
    threshold = (scores[10] + scores[11]).item() / 2
    assert predict(path, *expected, '--out-dir', tmp_path, '--threshold', threshold) == 0
    said = read(tmp_path)
    assert said['description'].startswith('a refocused checkpoint, its trained weights, fused in memory')
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
    assert len(said['images'][0]['boxes']) == 11
    assert drawn(tmp_path, said['images'][0])


def test_masks_are_those_of_the_test(city, tmp_path):
    cfg, path = saved(small_segmenter(city, tmp_path), tmp_path)
    expected = loop_predicts(cfg, path)
    assert predict(path, *expected, '--out-dir', tmp_path) == 0
    for found in read(tmp_path)['images']:
        mask = cv2.imread(str(tmp_path / found['mask']), cv2.IMREAD_UNCHANGED)
        wanted = expected[found['image']].pred_sem_seg.data[0].numpy()
        assert mask.shape == wanted.shape
        assert (mask != wanted).mean() <= 1e-3  # logits that are equal up to rounding
        assert [segment['id'] for segment in found['segments']] == np.unique(mask).tolist()
        assert sum(segment['share'] for segment in found['segments']) == pytest.approx(1)
        assert drawn(tmp_path, found)


@pytest.mark.parametrize('channels', [3, 1])
def test_labels_are_those_of_the_test(channels, images, tmp_path):
    """Also of grey images, which mmpretrain's own inferencer would load in colour."""
    cfg, path = saved(small_classifier(images, tmp_path, channels), tmp_path)
    expected = loop_predicts(cfg, path)
    assert predict(path, images, '--out-dir', tmp_path) == 0
    said = read(tmp_path)
    assert [found['picture'] for found in said['images']][:4] == [
        f'pictures/{n}.png' for n in ('a/0', 'a/1', 'a/2', 'b/0')
    ]
    for found in said['images']:
        wanted = expected[found['image']]
        np.testing.assert_allclose(found['scores'], wanted.pred_score, rtol=1e-4, atol=1e-5)
        assert found['label'] == wanted.pred_label.item()
        assert found['name'] == 'abc'[found['label']]
        assert min(cv2.imread(str(tmp_path / found['picture'])).shape[:2]) == 256  # legible


def test_a_panoptic_model_gives_segments(images, tmp_path):
    cfg = get_config('mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py')
    cfg.model.backbone.init_cfg = None
    cfg.model.test_cfg.panoptic.stuff_area_limit, cfg.model.test_cfg.rcnn.score_thr = 1, 0.0
    cfg.test_dataloader.dataset.pipeline[1].scale = (64, 64)
    _, path = saved(cfg, tmp_path)
    torch.save(dict(read_checkpoint(path), meta={}), path)  # the classes are those of the data set
    assert predict(path, images / 'a' / '0.png', '--out-dir', tmp_path / 'out') == 0
    (found,) = read(tmp_path / 'out')['images']
    blue, green, red = cv2.imread(str(tmp_path / 'out' / found['mask'])).transpose(2, 0, 1).astype(int)
    ids, counts = np.unique(red + 256 * green + 65536 * blue, return_counts=True)
    assert [segment['id'] for segment in found['segments']] == ids.tolist()
    np.testing.assert_allclose([segment['share'] for segment in found['segments']], counts / 40 / 56)
    classes = read(tmp_path / 'out')['classes']
    assert all(s['name'] == classes[s['id'] % 1000] for s in found['segments'] if s['id'] != len(classes))
    assert drawn(tmp_path / 'out', found)


@pytest.mark.parametrize('count', [1, 2, 5])
def test_classes_without_colours_of_their_own_are_told_apart(count, city, tmp_path):
    """mmseg draws such colours at random: two classes got two shades of green."""
    cfg, path = saved(small_segmenter(city, tmp_path), tmp_path)
    data = cfg.test_dataloader.dataset
    data.type, data.metainfo = 'BaseSegDataset', dict(classes=list('abcde')[:count])
    torch.save(dict(read_checkpoint(path), meta={}), path)
    palette = np.array(Predictor(cfg, str(path))._inferencer.model.dataset_meta['palette'])
    distances = np.linalg.norm(palette[:, None] - palette[None], axis=-1) + 999 * np.eye(count)
    assert palette.shape == (count, 3)
    assert distances.min() > 200
    data.metainfo.palette = [(1, 2, 3 + i) for i in range(count)]
    assert Predictor(cfg, str(path))._inferencer.model.dataset_meta['palette'][0] == (1, 2, 3)


def test_boxes_are_named_and_drawn_where_the_names_or_the_palette_are_missing(det, tmp_path):
    cfg, path = det
    image = next(iter(loop_predicts(cfg, path)))
    torch.save(dict(read_checkpoint(path), meta={}), tmp_path / 'x.pth')
    assert Predictor(cfg, str(tmp_path / 'x.pth')).classes == ['disc', 'square', 'triangle']
    cfg = copy.deepcopy(cfg)  # as with classes of one's own in COCO's layout, where the data set has eighty colours
    cfg.test_dataloader.dataset.metainfo = dict(classes=('a', 'b', 'c'), palette=[(1, 2, 3)] * 80)
    picture, found, _ = Predictor(cfg, str(path), threshold=0.0)(image)
    assert found['boxes']
    assert picture.ndim == 3


# -- images and faults -------------------------------------------------------------------------------------


def test_images_are_files_and_folders(tmp_path):
    for name in ('a/one.png', 'a/deep/two.JPG', 'b/one.png', 'b/notes.txt', 'out/pictures/old.png'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    out = tmp_path / 'out'
    found = find_images([f'{tmp_path}/a', f'{tmp_path}/a/one.png', f'{tmp_path}/b/one.png'], out)
    assert list(map(str, found.values())) == ['a/deep/two.JPG', 'a/one.png', 'b/one.png']
    assert find_images([str(tmp_path)], out) == found
    (tmp_path / 'c.png').symlink_to(tmp_path / 'b/notes.txt')  # of a cache that names files by their hash
    assert list(map(str, find_images([f'{tmp_path}/c.png'], tmp_path).values())) == ['c.png']
    for pattern in ('nowhere', f'{tmp_path}/b/notes.txt', str(out)):
        with pytest.raises(FileNotFoundError, match='no image at'):
            find_images([pattern], out)


def test_a_damaged_image_is_left_out_and_named(det, tmp_path, capsys):
    cfg, path = det
    good, bad = next(iter(loop_predicts(cfg, path))), tmp_path / 'bad.jpg'
    bad.write_bytes(b'no image')
    assert predict(path, bad, good, '--out-dir', tmp_path / 'out') == 1
    said = read(tmp_path / 'out')
    assert [found['image'] for found in said['images']] == [good]
    assert said['faults'][0].startswith(f'{bad}: ')
    assert f'left out: {bad}' in capsys.readouterr().out
    assert worth_showing in MMLogger.get_current_instance().filters  # mmengine warns its developers here


def test_wrong_arguments_are_refused_before_anything_is_written(det, voc, city, tmp_path, capsys):
    cfg, path = det
    image, out = next(iter(loop_predicts(cfg, path))), tmp_path / 'out'

    def refused(*words) -> str:
        assert predict(path, *words) == 2
        return capsys.readouterr().err

    assert 'no image at nowhere' in refused('nowhere', '--out-dir', out)
    assert '--ema' in refused(image, '--out-dir', out, '--ema')
    assert not out.exists()
    (out / 'pictures').mkdir(parents=True)
    assert 'pictures exists and is left alone' in refused(image, '--out-dir', out)
    with pytest.raises(ValueError, match='a model of mmseg has no boxes'):
        Predictor(small_segmenter(city, tmp_path), str(path), threshold=0.5)
    with pytest.raises(ValueError, match='default_scope of the config must be one of mmdet, mmseg, mmpretrain'):
        Predictor(Config(dict(default_scope='mmpose')), 'x.pth')
