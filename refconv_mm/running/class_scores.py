"""The scores by class that evaluators print, read from their log: the libraries return most of them nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

# The column of a score in the tables of VOCMetric, CocoMetric and IoUMetric.
COLUMNS = ('ap', 'mAP', 'IoU')


class ClassScores(logging.Handler):
    """Reads tables with a row for each class from a log.

    Args:
        classes: the names that the first column may have.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(logging.INFO)
        self.classes = classes
        self.found: dict[str, list[float]] = {}

    @classmethod
    def of(cls, logger: logging.Logger, dataset: Any) -> ClassScores:
        """Reads the log from now on, for the classes of a data set."""
        scores = cls((getattr(dataset, 'metainfo', None) or {}).get('classes') or ())
        logger.handlers.append(scores)
        return scores

    def emit(self, record: logging.LogRecord) -> None:
        for name, score in read_scores(record.getMessage()):
            if name in self.classes:
                self.found.setdefault(name, []).append(score)

    def take(self) -> dict[str, float]:
        """The scores since the last call, by class: the mean over tables (VOCMetric prints one for each IoU)."""
        found, self.found = self.found, {}
        return {name: sum(scores) / len(scores) for name, scores in found.items()}


def read_scores(text: str) -> Iterator[tuple[str, float]]:
    """First column and score of each row of a table of ASCII characters, if it has a column of `COLUMNS`."""
    rows = [[cell.strip() for cell in line.strip('| ').split('|')] for line in text.splitlines() if line[:1] == '|']
    column = next((rows[0].index(name) for name in COLUMNS if name in rows[0]), None) if rows else None
    if column is None:
        return
    for row in rows[1:]:
        try:
            yield row[0], float(row[column])
        except (ValueError, IndexError):
            continue  # the line of means has empty cells
