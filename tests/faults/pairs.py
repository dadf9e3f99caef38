"""Trainings of two gloo processes, one after another, each with Python's own end.

python -m tests.faults.pairs COUNT LOG WORDS...

WORDS are those of `refconv train`; `{}` in them is the number of the training. The processes are forked from this one,
which has the imports, and get what torchrun sets in their environment. They return from the script, so the interpreter
shuts down as that of `tools/train.py` does (a process of `Forked` leaves it out). Prints how the trainings ended.
"""

import os
import shutil
import socket
import sys
from pathlib import Path

import torch

from refconv_mm import commands

from tests.faults.processes import import_libraries, leave_configs_unformatted


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


def begin(rank: int, port: int, log: Path) -> int:
    """Forks a process of a rank: 0 in that process, its number here."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port)
    )
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    return 0


def main(count: int, log: Path, words: list[str]) -> None:
    import_libraries()
    leave_configs_unformatted()
    torch.set_num_threads(1)
    failed = 0
    for number in range(count):
        port, line = free_port(), [word.format(number) for word in words]
        pids = []
        for rank in range(2):
            pid = begin(rank, port, log)
            if not pid:
                return commands.main(['train', *line])  # Python ends with it
            pids.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        if any(codes):
            failed += 1
            print(f'training {number} ended with {codes}', flush=True)
        shutil.rmtree(line[line.index('--work-dir') + 1])
    print(f'{count - failed} of {count} trainings ended as finished')
    sys.exit(bool(failed))


if __name__ == '__main__':
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
