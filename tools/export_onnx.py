"""Writes a refocused, fused or plain checkpoint as an ONNX model of its raw outputs, compared under onnxruntime.

python tools/export_onnx.py CONFIG work_dirs/my_run/epoch_20.pth model.onnx
"""

from refconv_mm.commands import run_tool

if __name__ == '__main__':
    run_tool('export', __doc__)
