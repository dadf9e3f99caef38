"""The metrics of the libraries by names that say their unit, threshold and class, and the best of a training."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

# The libraries' names, as patterns, and the shown ones. '@' is a threshold of overlap (IoU); without %, 1 is the most.
NAMES = {
    r'(bbox|segm)_mAP': r'\1 mAP@.50:.95',
    r'(bbox|segm)_mAP_(50|75)': r'\1 mAP@.\2',
    r'(bbox|segm)_mAP_([sml])': r'\1 mAP@.50:.95, size \2',
    r'(.+)_precision': r'AP@.50:.95 of \1',
    r'AP(\d\d)': r'mAP@.\1',
    r'([am](Acc|IoU|Dice|Fscore|Precision|Recall)|top\d|precision|recall|f1-score)': r'\1, %',
}


def shown_names(metrics: Iterable[str]) -> dict[str, str]:
    """The shown names of metrics by those of the libraries."""
    metrics = list(metrics)
    overlaps = ',.'.join(name[-2:] for name in metrics if re.fullmatch(r'pascal_voc/AP\d\d', name))
    names = {}
    for metric in metrics:
        short = metric.rpartition('/')[2]
        found = [re.sub(f'^{pattern}$', name, short) for pattern, name in NAMES.items() if re.fullmatch(pattern, short)]
        names[metric] = f'mAP@.{overlaps}' if metric == 'pascal_voc/mAP' and overlaps else (found or [short])[0]
    return names


def shown_values(metrics: Mapping[str, Any]) -> list[str]:
    """Metrics with their names and units, such as `mIoU 62.3 %`."""
    return [_with_unit(name, metrics[metric]) for metric, name in shown_names(metrics).items()]


def describe_best(validations: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """The best validation of a training in a sentence, and whether the last ones still rise; '' without validations.

    Args:
        validations: the (step, value) pairs of each metric, by step.
    """
    main = next((each for each in validations if re.search('mAP$|mIoU|top1', each)), next(iter(validations), None))
    if main is None:
        return ''
    points = validations[main]
    step, best = max(points, key=lambda point: point[1])
    text = f'best validation: {_with_unit(shown_names(validations)[main], best)} at step {step}'
    if len(points) == 1:
        return text
    if step < points[-1][0]:
        return f'{text}, {points[-1][1]:.4g} at the last, step {points[-1][0]}'
    return f'{text}, the last: it still rises, so a longer schedule may give more'


def _with_unit(name: str, value: Any) -> str:
    name, unit, _ = name.partition(', %')
    if value == -1:  # COCO's, where no box has this size
        return f'{name}: nothing to score'
    rounds = isinstance(value, Real) and not isinstance(value, int)  # numpy's numbers, too
    return f'{name} {f"{value:.4g}" if rounds else value}{" %" if unit else ""}'
