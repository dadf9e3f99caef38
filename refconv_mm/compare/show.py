"""What tools/compare.py does: list what would run, run it, report."""

from __future__ import annotations

from pathlib import Path

from ..files import write_whole
from .book import Book
from .execute import Executor, Failure, clock, expected_seconds, steps_of, time_left
from .figure import draw
from .report import lines, markdown, runs_rows, table_rows, write_csv


def listing(book: Book, jobs: int) -> str:
    """What is done, what would run and how long that would take, as far as finished runs tell."""
    expected, rows, missing, unknown = expected_seconds(book), [], 0, 0
    for run in book.wanted():
        done = book.result(run)
        if done is not None:
            rows.append(f'done     {run}: {done["total_seconds"]:.0f} s')
            continue
        missing += 1
        unknown += run not in expected
        about = f', about {clock(expected[run])}' if run in expected else ''
        steps = f'{steps_of(book, run)} steps' if steps_of(book, run) else 'as its config says'
        if run in book.broken:
            rows.append(f'broken   {run}: {book.broken[run]}')
        elif not book.ready(run):
            rows.append(f'waits    {run}: {steps}{about}; starts from {book.start_of(run)}')
        else:
            state = 'to go on' if any(book.prepare(run).folder.glob('train/*.pth')) else 'to run  '
            others = ''.join(f'; one beside it has another {reason}' for reason in book.others(run))
            rows.append(f'{state} {run}: {steps}{about}{others}')
    open_arms = [f'{task}/{arm}' for task, arm in book.pairs if book.reported(task, arm) is None]
    if open_arms:
        more = len(open_arms) * len(book.plan.seeds)
        rows.append(f'later    {more} runs at the points that tuning chooses: {", ".join(open_arms)}')
    left = f'{missing} runs to do'
    if missing > unknown:
        left += f', about {clock(time_left(book, jobs))} with {jobs} at a time'
    if unknown:
        left += f'; {unknown} of them cannot be estimated before one of their task is done'
    return '\n'.join([*rows, left])


def execute(book: Book, jobs: int, threads: int) -> list[Failure]:
    """Runs what is missing; see :class:`refconv_mm.compare.execute.Executor`."""
    book.out_dir.mkdir(parents=True, exist_ok=True)
    return Executor(book, jobs, threads).run()


def write_report(book: Book, command: str) -> list[Path]:
    """Writes `report.md`, `report.csv`, `runs.csv` and `report.png` into the plan's folder.

    Returns:
        The files; none if nothing is finished.

    Raises:
        ValueError: arms did not see the same data, or a metric was not measured; nothing is written.
    """
    found = lines(book)
    if not found:
        return []
    text, folder = markdown(book, found, command), book.out_dir
    write_whole(folder / 'report.md', lambda path: Path(path).write_text(text))
    files = [folder / 'report.md', write_csv(folder / 'report.csv', table_rows(found))]
    files.append(write_csv(folder / 'runs.csv', runs_rows(book)))
    return [*files, draw(book.plan, found, folder / 'report.png')]
