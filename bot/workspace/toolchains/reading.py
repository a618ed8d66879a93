"""Read files that untrusted code may have made: no links or pipes followed, sizes capped."""

from __future__ import annotations

import os
import stat
from pathlib import Path

CAP = 2 * 1024 * 1024


def read_plain(root: Path, name: str, cap: int = CAP) -> bytes | None:
    """The bytes of the regular file `name` below `root`; None if it is absent, too big, or reached through a link."""
    try:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        *parents, last = name.split("/")
        for parent in parents:
            inner = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        handle = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except (OSError, ValueError):
        return None
    finally:
        os.close(folder)
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_size > cap:
            return None
        data = file.read(cap + 1)
    return data if len(data) <= cap else None


def read_text(root: Path, name: str) -> str:
    """As `read_plain`, as text with replacement characters; empty when there is nothing to read."""
    return (read_plain(root, name) or b"").decode(errors="replace")
