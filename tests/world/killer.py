"""`ostler ARGS`, killed with SIGKILL at a record of the journal.

    python -I killer.py after 7 run ...      dies when record 7 is on disk and no other that belongs to the same write
    python -I killer.py before 7 run ...     dies when record 7 is decided and nothing of it is on disk
    python -I killer.py torn 7 run ...       dies with half of record 7 on disk

Without such a record it ends as `ostler ARGS` does.
"""

from __future__ import annotations

import os
import signal
import sys

if tree := os.environ.get("UNPLUGGED_TREE"):
    sys.path.insert(0, tree)

from bot.cli.main import main
from bot.store import journal


def die_at(mode: str, wanted: int) -> None:
    """Put the end of this process into the one function that writes records."""
    write_all = journal._write_all

    def write_and_die(fd: int, data: bytes) -> None:
        lines = data.splitlines(keepends=True)
        first = os.pread(fd, os.fstat(fd).st_size, 0).count(b"\n")
        if not first <= wanted < first + len(lines):
            write_all(fd, data)
            return
        at = wanted - first
        torn = lines[at][: len(lines[at]) // 2]
        write_all(fd, b"".join(lines[:at]) + {"after": lines[at], "before": b"", "torn": torn}[mode])
        os.fsync(fd)
        os.kill(os.getpid(), signal.SIGKILL)

    journal._write_all = write_and_die


if __name__ == "__main__":
    die_at(sys.argv[1], int(sys.argv[2]))
    del sys.argv[1:3]
    main()
