"""Measures checkpoints or models: a sub-command for each analysis; see `analyse.py NAME --help`.

python tools/analyse.py redundancy plain.pth control.pth fused.pth --names before,control,refocused --out-dir inside
python tools/analyse.py skeleton plain.pth control.pth fused.pth --names before,control,refocused --out-dir inside
python tools/analyse.py theory plain.pth control.pth refocused.pth --config CONFIG --out-dir inside
python tools/analyse.py landscape CONFIG plain.pth control.pth fused.pth --out-dir inside
python tools/analyse.py curvature CONFIG plain.pth control.pth fused.pth --out-dir inside
python tools/analyse.py cost CONFIG OTHER_CONFIG --out-dir inside
python tools/report.py inside --out inside.html        # all of it on one page
"""

from refconv_mm.commands import run_tool

if __name__ == '__main__':
    run_tool('analyse', __doc__)
