# python tools/train.py configs/voc/retinanet_r50_voc0712.py
#
# The baseline: RetinaNet with a ResNet-50 and FPN, the shorter side at 600, on Pascal VOC 07+12, from ImageNet weights.
_base_ = 'mmdet::pascal_voc/retinanet_r50_fpn_1x_voc0712.py'
