"""Refocusing as the paper describes it, in numpy, one number at a time: slow and independent of the package."""

import numpy as np


def refocus(basis: np.ndarray, kernel_map: np.ndarray, groups: int) -> np.ndarray:
    """`Wb + refocus(Wb)` for a basis (O, I/g, KH, KW) and a map (n, g, m, m)."""
    out_channels, per_group, height, width = basis.shape
    slices = basis.reshape(out_channels * per_group, height, width)
    n, g, m, _ = kernel_map.shape
    assert g == groups
    assert n == len(slices)
    result = slices.copy()
    for target in range(n):
        first = target // g * g  # the group that this slice belongs to
        for source in range(g):
            for y in range(height):
                for x in range(width):
                    for dy in range(m):
                        for dx in range(m):
                            yy, xx = y + dy - m // 2, x + dx - m // 2
                            if 0 <= yy < height and 0 <= xx < width:
                                result[target, y, x] += (
                                    kernel_map[target, source, dy, dx] * slices[first + source, yy, xx]
                                )
    return result.reshape(basis.shape)
