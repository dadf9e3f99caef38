"""The loader of whole schedules on a CPU."""

import cv2
import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from lab.nets.small_images import LabLoadImageOnce


def test_an_image_is_decoded_once_and_left_as_it_was(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    path = str(tmp_path / 'a.png')
    cv2.imwrite(path, image)
    load = LabLoadImageOnce()
    first = load(dict(img_path=path))
    assert np.array_equal(first['img'], image)
    first['img'][:] = 0  # whatever is done to what was handed out first
    (tmp_path / 'a.png').unlink()
    again = load(dict(img_path=path))
    assert np.array_equal(again['img'], image)
    assert again['img_shape'] == again['ori_shape'] == (32, 32)


@DATASETS.register_module()
class Eleven(BaseDataset):
    def load_data_list(self):
        return [dict(number=number) for number in range(11)]


def test_every_fifth_image_is_held_out():
    config = dict(type='LabEveryFifth', dataset=dict(type='Eleven'))
    held_out, others = (DATASETS.build(dict(config, held_out=held_out)) for held_out in (True, False))
    assert [data['number'] for data in held_out] == [4, 9]
    assert [data['number'] for data in others] == [0, 1, 2, 3, 5, 6, 7, 8, 10]
