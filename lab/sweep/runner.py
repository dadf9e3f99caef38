"""Runs the sweep: one process a model, with a time-out, and a line of JSON for each result."""

from __future__ import annotations

import fnmatch
import json
import multiprocessing
import os
import resource
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from .check_model import check_model
from .families import OPENMMLAB, RECIPES, families

MEMORY = 6 * 2**30  # bytes that a model may take; language models do not fit


def planned(libraries: Sequence[str], only: Sequence[str] = ('*',)) -> list[dict[str, str]]:
    """The models of a sweep, in turn from each library.

    Args:
        only: globs on `LIBRARY/FAMILY`.
    """
    lists = [[dict(library=lib, family=f, model=m) for f, m in families(lib).items()] for lib in libraries]
    longest = max(map(len, lists), default=0)
    mixed = [models[i] for i in range(longest) for models in lists if i < len(models)]
    mixed.sort(key=lambda model: model['family'] in RECIPES)
    return [m for m in mixed if any(fnmatch.fnmatch(f'{m["library"]}/{m["family"]}', glob) for glob in only)]


def read_results(path: Path) -> list[dict[str, Any]]:
    """The results of a file; a line that an interruption cut off is left out."""
    lines = path.read_text(encoding='utf-8').splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith('}\n')]


def run_sweep(models: Sequence[dict[str, str]], path: Path, timeout: float) -> Iterator[dict[str, Any]]:
    """Checks the models that a file has no result for, and appends each result to it.

    Args:
        models: as :func:`planned` returns them.
        path: the file of results; made if it does not exist.
        timeout: seconds for a model.

    Yields:
        The result of each model, when it is there.
    """
    known = read_results(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(map(_as_line, known)), encoding='utf-8')
    done = {(r['library'], r['family'], r['model']) for r in known}
    context = multiprocessing.get_context('forkserver')  # imports once what every model needs
    context.set_forkserver_preload([f'{library}.models' for library in OPENMMLAB] + [check_model.__module__])
    for model in models:
        if tuple(model.values()) in done:
            continue
        start = time.monotonic()
        result = _in_process(context, model, timeout)
        result = {**model, 'seconds': round(time.monotonic() - start, 1), **result}
        with path.open('a', encoding='utf-8') as file:
            file.write(_as_line(result))
        yield result


def _as_line(result: dict[str, Any]) -> str:
    return json.dumps(result) + '\n'


def _in_process(context: Any, model: dict[str, str], timeout: float) -> dict[str, Any]:
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(model['library'], model['model'], sender), daemon=True)
    process.start()
    sender.close()
    try:
        if not receiver.poll(timeout):
            return {'result': f'not finished after {timeout:.0f} s'}
        return receiver.recv()
    except EOFError:
        process.join()
        return {'result': f'the process ended with code {process.exitcode}'}
    finally:
        process.kill()
        process.join()


def _work(library: str, model: str, sender: Connection) -> None:
    """The process of a model: quiet, without downloads and with bounded memory."""
    os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_OFFLINE='1')
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1), os.dup2(quiet, 2)
    sender.send(check_model(library, model))
