"""Run a command and watch the tree of processes under it through /proc: wall time, memory, and when tests ran.

Everything that the command starts is counted, whatever it changes its name or user to. Nothing is injected into it.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

INTERVAL = 0.01
PSS_INTERVAL = 0.1
ALIKE = 0.02
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
MB = 1_000_000
_PYTHON = re.compile(r"python[\d.]*")


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of a command. Times are of the monotonic clock, memory is in bytes.

    `rss` is the most that the resident sets of all processes added up to at one sample; pages of libraries that several share
    count for each, those of a fork that has not yet become another program count once. `pss` is the same with shared pages
    split among their users, None where the kernel does not tell. `peak` names the processes at the moment of `rss`. `tests`
    are the spans in which a `python -m pytest` existed. `cpu` is what all processes computed, tests aside, in seconds.
    """

    began: float
    ended: float
    exit: int
    cpu: float
    rss: int
    pss: int | None
    peak: tuple[tuple[str, int], ...]
    tests: tuple[tuple[float, float], ...]

    @property
    def wall(self) -> float:
        return self.ended - self.began

    @property
    def test_time(self) -> float:
        return sum(end - start for start, end in self.tests)


def measure(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, seconds: float = 300.0) -> Measured:
    """Run `argv` to its end; its output goes to `log`.

    Raises:
        TimeoutError: it did not end in time; it was killed.
    """
    with log.open("wb") as out:
        began = time.monotonic()
        process = subprocess.Popen(argv, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    tree = _Tree(process.pid)
    poller = select.poll()
    root = os.pidfd_open(process.pid)
    poller.register(root, select.POLLIN)
    try:
        while True:
            ended_now = {fd for fd, _ in poller.poll(INTERVAL * 1000)}
            now = time.monotonic()
            tree.tests_ended(ended_now - {root}, poller, now)
            if root in ended_now:
                break
            tree.sample(poller, now)
            if now - began > seconds:
                process.kill()
                raise TimeoutError(f"{argv[0]} did not end within {seconds:.0f} s: see {log}")
    finally:
        os.close(root)
        tree.close()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    cpu = used.ru_utime + used.ru_stime - sum(tree.test_cpu.values())
    return Measured(began, now, process.returncode, cpu, tree.rss, tree.pss, tree.peak, tuple(tree.tests))


@dataclass
class _Tree:
    """The processes under `root`, sampled."""

    root: int
    rss: int = 0
    pss: int | None = 0
    peak: tuple[tuple[str, int], ...] = ()
    tests: list[tuple[float, float]] = field(default_factory=list)
    test_cpu: dict[int, float] = field(default_factory=dict)
    _parents: dict[int, int] = field(default_factory=dict)
    _strangers: set[int] = field(default_factory=set)
    _testing: dict[int, tuple[int, float]] = field(default_factory=dict)
    _next_pss: float = 0.0

    def sample(self, poller: select.poll, now: float) -> None:
        self._look_round()
        # Arguments before sizes: a fork that becomes another program in between is then small and not taken for its parent.
        words = {pid: _arguments(pid) for pid in self._parents}
        sizes = {pid: size for pid in self._parents if (size := _resident(pid)) > 0}
        for pid in sizes:
            self._note_test(pid, words[pid], poller, now)
        own = {pid: size for pid, size in sizes.items() if not self._forked(pid, sizes, words)}
        self._add_up(own)
        if now >= self._next_pss and self.pss is not None:
            self._next_pss = now + PSS_INTERVAL
            shares = [_proportional(pid) for pid in own]
            self.pss = None if None in shares else max(self.pss, sum(share or 0 for share in shares))

    def _add_up(self, sizes: Mapping[int, int]) -> None:
        if (total := sum(sizes.values())) > self.rss:
            self.rss = total
            self.peak = tuple(sorted(((_name(pid), size) for pid, size in sizes.items()), key=lambda item: -item[1]))

    def _forked(self, pid: int, sizes: Mapping[int, int], words: Mapping[int, list[str]]) -> bool:
        """Whether `pid` is its parent's fork on the way to another program: its pages are the parent's."""
        parent = self._parents[pid]
        alike = parent in sizes and abs(sizes[pid] - sizes[parent]) <= sizes[parent] * ALIKE
        return alike and words[pid] == words[parent]

    def tests_ended(self, ended: set[int], poller: select.poll, now: float) -> None:
        for pid, (fd, start) in list(self._testing.items()):
            if fd in ended and start >= 0:
                self.tests.append((start, now))
                poller.unregister(fd)
                os.close(fd)
                self._testing[pid] = (-1, -1.0)

    def close(self) -> None:
        for fd, _ in self._testing.values():
            if fd >= 0:
                os.close(fd)

    def _look_round(self) -> None:
        """New processes join where their parent is a member. Each is looked at once: who its parent was first, counts."""
        there = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        self._parents = {pid: parent for pid, parent in self._parents.items() if pid in there}
        self._strangers &= there
        self._parents.setdefault(self.root, 0)
        new = {pid: _parent(pid) for pid in there - self._parents.keys() - self._strangers}
        while found := [pid for pid, parent in new.items() if parent in self._parents]:
            for pid in found:
                self._parents[pid] = new.pop(pid)
        self._strangers.update(new)

    def _note_test(self, pid: int, words: list[str], poller: select.poll, now: float) -> None:
        if pid in self._testing:
            self.test_cpu[pid] = max(_cpu(pid), self.test_cpu.get(pid, 0.0))
        if pid not in self._testing and _is_pytest(words):
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                return
            poller.register(fd, select.POLLIN)
            self._testing[pid] = (fd, now)


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _parent(pid: int) -> int:
    """The parent's id; the name before it may hold anything, so it is read from behind."""
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def _cpu(pid: int) -> float:
    """Seconds that the process itself and its ended children have computed."""
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return sum(int(field) for field in fields[11:15]) / TICKS if len(fields) > 15 else 0.0


def _resident(pid: int) -> int:
    fields = _read(pid, "statm").split()
    return int(fields[1]) * PAGE if len(fields) > 1 else 0


def _proportional(pid: int) -> int | None:
    """PSS in bytes; 0 where the process has gone, None where it may not be read."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            found = re.search(rb"^Pss:\s+(\d+) kB", file.read(), re.MULTILINE)
    except PermissionError:
        return None
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def _arguments(pid: int) -> list[str]:
    return _read(pid, "cmdline").decode("utf-8", "replace").split("\0")


def _is_pytest(words: list[str]) -> bool:
    """`python -m pytest ...` itself: not the shell or the sandbox that has these words among its arguments."""
    return words[1:3] == ["-m", "pytest"] and bool(_PYTHON.fullmatch(words[0].rpartition("/")[2]))


def _name(pid: int) -> str:
    words = [word.rpartition("/")[2] for word in _arguments(pid)[:4]]
    return " ".join(words)[:60].strip()
