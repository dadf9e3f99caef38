# python tools/compare.py configs/compare/voc.py
#
# Detection: SSDLite-MobileNetV2 on Pascal VOC 07+12, as configs/voc trains it. VOC2007's trainval and test are the
# usual split; to tune, train on 2007's train.txt and 2012's trainval.txt and point val_dataloader at 2007's val.txt.
tasks = dict(
    voc=dict(
        config='../voc/ssdlite_mobilenetv2_control_voc0712.py',
        baseline=dict(config='../voc/ssdlite_mobilenetv2_voc0712.py'),
        metric='pascal_voc/mAP',
        scale=100,
    ),
)
arms = dict(
    control=dict(),
    refocused=dict(refocus=dict()),
    gain1=dict(refocus=dict(gain=1.0)),
    speed=dict(speed='refocused'),
)
seeds = [0, 1, 2]
