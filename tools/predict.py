"""Predicts images: pictures with boxes, masks or labels, and predictions.json.

python tools/predict.py work_dirs/my_run/fused.py work_dirs/my_run/fused.pth photos/ --out-dir predicted
python tools/predict.py CONFIG model.onnx 'photos/**/*.jpg' one.png --out-dir predicted --threshold 0.5
"""

from refconv_mm.commands import run_tool

if __name__ == '__main__':
    run_tool('predict', __doc__)
