"""Puts all analyses of a set of checkpoints into one HTML page that needs nothing else.

python tools/analyse.py redundancy plain.pth control.pth fused.pth --out-dir work_dirs/inside   # or any other analysis
python tools/report.py work_dirs/inside --out inside.html

Several directories, one for each net (a detector, a segmenter), become parts of one page. What is missing in one is
left out and named on the page.
"""

from refconv_mm.commands import run_tool

if __name__ == '__main__':
    run_tool('report', __doc__)
