"""Run one process to its end, its time-out or its flood, holding a bounded piece of what it wrote."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.core.errors import SetupError

CHUNK = 65536
# What may be written before it counts as a flood; far above what is kept, far below what fills a disk or an hour.
FLOOD_BYTES = 64 * 1024 * 1024
# How long the tree may take to die once its lifeline is cut.
DEATH_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Captured:
    """`code` is the process's return code as subprocess gives it (negative: signal)."""

    code: int
    timed_out: bool
    flooded: bool
    seconds: float
    output: bytes
    left_out: int


class Keep:
    """The first and last halves of a stream, at most `limit` bytes together."""

    def __init__(self, limit: int) -> None:
        self.half = max(limit // 2, 1)
        self.head = bytearray()
        self.tail = bytearray()
        self.total = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = self.half - len(self.head)
        self.head += data[:room]
        self.tail += data[room:] if room > 0 else data
        if len(self.tail) > 2 * self.half + CHUNK:
            del self.tail[: -self.half]

    def close(self) -> tuple[bytes, int]:
        """What was kept, and how many bytes of the middle were not."""
        left_out = max(len(self.tail) - self.half, 0)
        if left_out:
            del self.tail[:left_out]
        missing = self.total - len(self.head) - len(self.tail)
        note = f"\n[... {missing} bytes left out ...]\n".encode() if missing else b""
        return bytes(self.head) + note + bytes(self.tail), missing


def capture(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, seconds: float, output_bytes: int) -> Captured:
    """Run `argv`; its stdin is a lifeline that the launcher watches, closed to stop the tree. Raises SetupError: cannot start."""
    begin = time.monotonic()
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise SetupError(f"cannot start {argv[0]}: {error.strerror}; install it") from error
    keep = Keep(output_bytes)
    ended = False
    try:
        why = _read(process, keep, begin + seconds)
        ended = why == ""
    finally:
        if not ended:
            _kill(process, keep)
        code = _wait(process)
    output, left_out = keep.close()
    return Captured(code, why == "time", why == "flood", time.monotonic() - begin, output, left_out)


def _read(process: subprocess.Popen[bytes], keep: Keep, deadline: float) -> str:
    """Read until the end; answers with `time` or `flood` when it was not the end, else with nothing."""
    assert process.stdout is not None  # noqa: S101 - tells mypy what PIPE means
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            data = os.read(process.stdout.fileno(), CHUNK)
            if not data:
                return ""
            keep.add(data)
            if keep.total > FLOOD_BYTES:
                return "flood"
    return "time"


def _kill(process: subprocess.Popen[bytes], keep: Keep) -> None:
    """Cut the lifeline and read on until the tree is gone; what is still there then is killed by name."""
    assert process.stdin is not None  # noqa: S101
    with contextlib.suppress(OSError):
        process.stdin.close()
    if _read(process, keep, time.monotonic() + DEATH_SECONDS) == "":
        return
    # Refused when sudo made the process root's: then cutting the lifeline was all we can do.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _wait(process: subprocess.Popen[bytes]) -> int:
    try:
        code = process.wait(timeout=DEATH_SECONDS)
    except subprocess.TimeoutExpired:
        raise SetupError(f"process {process.pid} cannot be stopped; kill it as root") from None
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    return code
