"""Where curvlinops is not installed, its tests cannot be imported."""

from importlib.util import find_spec

collect_ignore = [] if find_spec('curvlinops') else ['test_curvature.py', 'test_sharpness.py']
