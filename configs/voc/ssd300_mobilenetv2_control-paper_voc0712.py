# python tools/train.py configs/voc/ssd300_mobilenetv2_control-paper_voc0712.py --init work_dirs/ssd300_mobilenetv2_voc0712/epoch_24.pth
#
# The control of the paper's setting: the baseline's whole schedule again, from the baseline.
_base_ = './ssd300_mobilenetv2_voc0712.py'
