import copy

from refconv_mm.openmmlab.image_size import resized, ssdlite_anchors


def test_a_pipeline_at_another_size_is_a_copy_whose_sizes_alone_differ():
    pipeline = [
        dict(type='mmdet.Resize', scale=(320, 320), keep_ratio=False),
        dict(type='RandomCrop', crop_size=(512, 1024)),
        dict(type='Resize', scale_factor=0.5),
        dict(
            type='TestTimeAug',
            transforms=[[dict(type='ResizeEdge', scale=256)], [dict(type='CenterCrop', crop_size=224)]],
        ),
        dict(type='RandomFlip', prob=0.5),
    ]
    before = copy.deepcopy(pipeline)
    got = resized(pipeline, (96, 128))
    assert pipeline == before
    assert got[0] == dict(type='mmdet.Resize', scale=(128, 96), keep_ratio=False)
    assert got[1] == dict(type='RandomCrop', crop_size=(96, 128))
    assert got[2:3] + got[4:] == before[2:3] + before[4:]
    assert got[3]['transforms'] == [[dict(type='ResizeEdge', scale=110)], [dict(type='CenterCrop', crop_size=96)]]


def test_the_anchors_of_ssdlite_are_mmdet_s_at_320_and_those_of_the_plan_at_224():
    assert ssdlite_anchors(320) == dict(
        strides=[16, 32, 64, 107, 160, 320],
        min_sizes=[48, 100, 150, 202, 253, 304],
        max_sizes=[100, 150, 202, 253, 304, 320],
    )
    assert ssdlite_anchors(224) == dict(  # lab/plans/cells.py
        strides=[16, 32, 56, 112, 224, 224],
        min_sizes=[34, 70, 105, 141, 177, 213],
        max_sizes=[70, 105, 141, 177, 213, 224],
    )
