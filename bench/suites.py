"""Real repositories with their tests: source distributions from the package registry, pinned by hash, and how a suite is run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.peers import Peer

PYTEST = "pytest==8.4.2"
"""click 8.3.0 doesn't run with pytest 9: one of its tests hands over what pytest warns of there."""
COVERAGE = "coverage==7.17.5"
TESTMON = "2.2.0"
NO_TESTS = 5
ALL_OF_IT = "*"
NOTES = r"""
import json, os

ran, failed = set(), set()


def pytest_collectreport(report):
    if report.failed:
        failed.add(report.nodeid)


def pytest_runtest_logreport(report):
    ran.add(report.nodeid)
    if report.failed:
        failed.add(report.nodeid)


def pytest_sessionfinish():
    with open(os.environ["BENCH_NOTES"], "w") as out:
        json.dump({"ran": sorted(ran), "failed": sorted(failed)}, out)
"""


@dataclass(frozen=True, slots=True)
class Suite:
    """A release whose source distribution carries its tests. `root` is what holds its package, `sources` the package itself, and
    `unsteady` begin the ids of tests that come and go."""

    name: str
    version: str
    digest: str
    root: str
    sources: str
    beside: tuple[str, ...] = ()
    unsteady: tuple[str, ...] = ()

    @property
    def plain(self) -> Peer:
        """The environment that its suite runs in."""
        return Peer(f"b6-{self.name}", self.name, self.version, beside=(PYTEST, COVERAGE, *self.beside))

    @property
    def testmon(self) -> Peer:
        """The same with pytest-testmon."""
        release = f"{self.name}=={self.version}"
        return Peer(f"b6-testmon-{self.name}", "pytest-testmon", TESTMON, beside=(release, PYTEST, COVERAGE, *self.beside))

    def fetch(self, folder: Path) -> Path:
        """Its files as they were released, fetched once.

        Raises:
            RuntimeError: they cannot be fetched.
        """
        done = folder / f"{self.name}-{self.digest[:12]}"
        if not done.exists():
            scratch = folder / f"{self.name}-fetched"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            pinned = scratch / "requirements.txt"
            pinned.write_text(f"{self.name}=={self.version} --hash=sha256:{self.digest}\n")
            pip = [sys.executable, "-I", "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
            options = [f"--no-binary={self.name}", "--require-hashes", "--dest", str(scratch), "-r", str(pinned)]
            ran = subprocess.run([*pip, *options], check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if ran.returncode:
                raise RuntimeError(f"{self.name} {self.version} cannot be fetched: {ran.stderr.strip()[-300:]}")
            with tarfile.open(next(scratch.glob("*.tar.gz"))) as tar:
                tar.extractall(scratch / "files", filter="data")
            next((scratch / "files").iterdir()).rename(done)
            shutil.rmtree(scratch)
        return done


SUITES = (
    # A collection of independent modules, a framework where every test goes through the same classes, and a compiler.
    Suite("boltons", "26.2.0", "d39cfd15c1a1c3bd4d705c82252fa9edb8e4f5e8cc039f8e39afac7b1b47e92c", ".", "boltons"),
    Suite(
        "click", "8.3.0", "e7b8232224eba16f4ebe410c25ced9f7875cb5f3263ffc93cc3e8da705e229c4", "src", "src/click",
        # It talks to real pagers, and fails on a busy machine.
        unsteady=("tests/test_utils.py::test_echo_via_pager",),
    ),
    Suite(
        "jinja2", "3.1.6", "0137fb05990d35f1275a587e9aee6d56da821fc83491a0fb838183be43f66d6d", "src", "src/jinja2",
        beside=("trio==0.35.0",),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of pytest: wall and CPU seconds of all its processes, start-up and collection included. `exit` is None if it was
    stopped at its limit. Where a file can't be collected, `failed` holds its path; where pytest didn't get that far, `*`."""

    exit: int | None
    seconds: float
    cpu: float
    tests: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    said: str = ""

    @property
    def red(self) -> bool:
        return self.exit not in (0, NO_TESTS)


NOT_RUN = Ran(NO_TESTS, 0.0, 0.0)


class Tree:
    """A copy of a suite's files to run it in, one run at a time."""

    def __init__(self, suite: Suite, released: Path, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder = folder.resolve()
        self.suite, self.root, self.plugins = suite, folder / "tree", folder / "plugins"
        shutil.copytree(released, self.root, symlinks=True)
        self.plugins.mkdir()
        (self.plugins / "bench_notes.py").write_text(NOTES)

    def run(
        self,
        place: Path,
        arguments: Sequence[str] = (),
        *,
        limit: float,
        module: Sequence[str] = ("pytest",),
        path: Iterable[Path] = (),
        cache: bool = False,
    ) -> Ran:
        """`python -m pytest` of the environment `place`. Without bytecode: a mutant may be as long and as old as the original.

        Tracebacks are Python's own for all, as Ostler has them for what it chose: pytest's take longer than most suites.
        """
        notes = self.plugins / "notes.json"
        notes.unlink(missing_ok=True)
        off = ["-p", "no:randomly", *([] if cache else ["-p", "no:cacheprovider"])]
        command = [str(place / "bin" / "python"), "-m", *module, "-q", "--tb=native", *off, "-p", "bench_notes", *arguments]
        roots = [self.root / self.suite.root, self.plugins, *path]
        env = {
            "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.plugins),
            "LANG": "C.UTF-8",
            "PYTHONPATH": ":".join(map(str, roots)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",  # a mutant that sets are sorted by is then killed each time or never
            "BENCH_NOTES": str(notes),
        }
        code, seconds, cpu, said = _timed(command, self.root, env, limit, self.plugins / "output.txt")
        if not notes.exists():
            return Ran(code, seconds, cpu, failed=frozenset((ALL_OF_IT,)), said=said)
        noted = json.loads(notes.read_text())
        return Ran(code, seconds, cpu, frozenset(noted["ran"]), frozenset(noted["failed"]), said)

    def tool(self, place: Path, module: Sequence[str]) -> str:
        """`python -m` something else of the environment, and what it said."""
        command = [str(place / "bin" / "python"), "-m", *module]
        ran = subprocess.run(command, cwd=self.root, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return ran.stdout + ran.stderr

    def texts(self) -> dict[str, str]:
        """All its Python files."""
        found = sorted(self.root.rglob("*.py"))
        return {path.relative_to(self.root).as_posix(): path.read_text("utf-8") for path in found}


def _timed(
    command: Sequence[str], cwd: Path, env: Mapping[str, str], limit: float, output: Path
) -> tuple[int | None, float, float, str]:
    """Exit code, wall seconds, CPU seconds of the process and those it waited for, and the last of what it said."""
    with output.open("wb") as out:
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        late = threading.Event()

        def stop() -> None:
            late.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(limit, stop)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        timer.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
    code = None if late.is_set() else process.returncode
    return code, seconds, usage.ru_utime + usage.ru_stime, output.read_text("utf-8", "replace")[-2_000:]
