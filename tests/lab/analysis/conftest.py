"""Where curvlinops is not installed, the tests of curvature cannot be imported."""

from importlib.util import find_spec

collect_ignore = [] if find_spec('curvlinops') else ['test_loss_surface.py']
