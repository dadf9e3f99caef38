"""Lists what in a config's data sets would hurt a training. Exit code 1 where it found any.

python tools/check_data.py configs/voc/ssdlite_mobilenetv2_voc0712.py
"""

from refconv_mm.commands import run_tool

if __name__ == '__main__':
    run_tool('check-data', __doc__)
