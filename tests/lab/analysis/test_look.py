"""What the figures share."""

import pytest
from matplotlib import pyplot as plt

from lab.analysis.common.look import draw_map, fit_most
from refconv_mm.console import label_names


def test_layer_names_stay_different_when_they_are_shortened():
    layers = [f'bbox_head.{kind}_convs.{i}.0.depthwise_convolution.conv' for kind in ('cls', 'reg') for i in range(12)]
    names = label_names(layers, 8)
    assert len(set(names)) == len(layers)
    assert max(map(len, names)) < 20
    assert label_names(['a.conv1.x', 'a.conv2.x'], 18) == ['conv1', 'conv2']


def test_two_outliers_do_not_flatten_an_axis():
    figure, axes = plt.subplots()
    values = [0.1 * (i % 5) for i in range(20)]
    values[3], values[7] = 50.0, -80.0
    axes.plot(values, marker='o')
    fit_most(axes, values)
    low, high = axes.get_ylim()
    assert -2 < low < 0 < 0.4 < high < 2
    assert sorted(float(text.get_text()) for text in axes.texts) == [-80, 50]  # they are told, at the edge
    plt.close(figure)


@pytest.mark.parametrize('values', [[0.1, 0.2, 0.3], [0.1 * i for i in range(30)]])
def test_an_axis_without_outliers_stays(values):
    figure, axes = plt.subplots()
    axes.plot(values, marker='o')
    before = axes.get_ylim()
    fit_most(axes, values)
    assert axes.get_ylim() == before
    plt.close(figure)


def test_nothing_is_minus_zero():
    figure, axes = plt.subplots()
    draw_map(axes, [[-0.001, 0.001], [-0.04, 0.5]], -1, 1, form='{:+.2f}')
    assert [text.get_text() for text in axes.texts] == ['0', '0', '-0.04', '+0.50']
    plt.close(figure)
