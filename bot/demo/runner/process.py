"""The processes of one job: each in a group of its own, read line by line, stopped when time is up or the job is cancelled."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TRACKING = "RUNNER_TRACKING_ID"
POLITE_SECONDS = 2.0
"""Between SIGINT, SIGTERM and SIGKILL of a cancelled step."""
DRAIN_SECONDS = 1.0
"""How long output is still read when a step is over but something it left behind holds the pipe."""

Line = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended. `code` as a shell says it: 137 after SIGKILL."""

    code: int
    timed_out: bool = False
    cancelled: bool = False


class Processes:
    """All processes of a job. `run` is called by the job's thread; `cancel` and `kill` by any."""

    def __init__(self, tracking: str, started: Callable[[int], None], ended: Callable[[int], None]) -> None:
        self._tracking = tracking
        self._started, self._ended = started, ended
        self._lock = threading.Lock()
        self._current: subprocess.Popen[bytes] | None = None
        self._stopped = False  # cancelled or killed while the current one ran
        self.lost = False
        """The machine is gone: nothing starts any more."""

    def run(self, args: Sequence[str], *, env: Mapping[str, str], cwd: Path, seconds: float | None, line: Line) -> Ended:
        """Run to the end and hand out each line of its output. OSError where it cannot start."""
        reading, writing = os.pipe()
        tracked = {**env, TRACKING: self._tracking}
        try:
            process = self._start(args, tracked, cwd, writing)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._started(process.pid)
        reader = _Reader(reading, line)
        late = threading.Event()
        timer = threading.Timer(seconds, self._too_late, (process, late)) if seconds is not None else None
        if timer:
            timer.daemon = True
            timer.start()
        try:
            process.wait()
        finally:
            if timer:
                timer.cancel()
        reader.finish()
        return self._over(process, late.is_set())

    def _start(self, args: Sequence[str], env: Mapping[str, str], cwd: Path, writing: int) -> subprocess.Popen[bytes]:
        with self._lock:
            if self.lost:
                raise ProcessLookupError("the machine is gone")
            self._stopped = False
            self._current = subprocess.Popen(
                list(args),
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
            )
            return self._current

    def _over(self, process: subprocess.Popen[bytes], late: bool) -> Ended:
        with self._lock:
            self._current = None
            stopped = self._stopped
        self._ended(process.pid)
        code = process.returncode
        return Ended(128 - code if code < 0 else code, timed_out=late, cancelled=stopped)

    def _too_late(self, process: subprocess.Popen[bytes], late: threading.Event) -> None:
        late.set()
        self._signal(process, signal.SIGKILL)

    def _signal(self, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        with self._lock:
            if self._current is process and process.returncode is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, number)

    def cancel(self) -> None:
        """Stop the current process: SIGINT, then SIGTERM, then SIGKILL. What starts later runs as usual."""
        with self._lock:
            process = self._current
            self._stopped = process is not None
        if process is None:
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            self._signal(process, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLITE_SECONDS)
                return
        self._signal(process, signal.SIGKILL)

    def kill(self) -> None:
        """The machine is gone: SIGKILL now, and nothing starts any more."""
        with self._lock:
            self.lost = True
            process = self._current
        if process is not None:
            self._signal(process, signal.SIGKILL)

    def sweep(self) -> int:
        """Kill what the job's steps left behind, as a runner does at the end of a job; how many. Does nothing without /proc."""
        mark, found = f"{TRACKING}={self._tracking}".encode(), 0
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    os.kill(int(folder.name), signal.SIGKILL)
                    found += 1
        return found


class _Reader:
    """Reads a pipe in a thread of its own, and closes it at its end."""

    def __init__(self, pipe: int, line: Line) -> None:
        self._pipe, self._line = pipe, line
        self._lock = threading.Lock()
        self._heard = True
        self._thread = threading.Thread(target=self._read, name="step output", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        rest = b""
        with os.fdopen(self._pipe, "rb", buffering=0) as pipe:
            while chunk := pipe.read(65536):
                *whole, rest = (rest + chunk).split(b"\n")
                self._hand_out(whole)
        self._hand_out([rest] if rest else [])

    def _hand_out(self, found: list[bytes]) -> None:
        with self._lock:
            for one in found if self._heard else ():
                self._line(one.decode("utf-8", "replace").removesuffix("\r"))

    def finish(self) -> None:
        """The step is over: what comes later is not heard."""
        self._thread.join(DRAIN_SECONDS)
        with self._lock:
            self._heard = False
