from refconv_mm.openmmlab.image_size import ssdlite_anchors


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
