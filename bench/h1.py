"""H1: the same scripted fix by each harness. Measured is the harness: wall time less model and test time, bytes, memory."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import ours, peers
from bench.standin import Books, Script, StandIn, serve, trap
from bench.task import Task, prepare
from bench.watch import MB, Measured, measure

OSTLER = "ostler"
ROOT = Path(__file__).resolve().parent.parent
REPETITIONS, QUICK = 5, 1
TARGETS = {
    "wall_s": ("at most a third of mini-swe-agent", "mini-swe-agent", 1 / 3),
    "input_bytes": ("at most mini-swe-agent", "mini-swe-agent", 1.0),
    "rss_mb": ("at most 150 MB", "", 150.0),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A harness ready to be measured. `fresh` makes everything as it was and says where the files will be."""

    name: str
    turns: int
    command: list[str]
    env: Mapping[str, str]
    cwd: Path
    script: Script
    fresh: Callable[[], Path]


@dataclass(frozen=True, slots=True)
class Result:
    """One repetition of one harness."""

    measured: Measured
    books: Books

    @property
    def figures(self) -> dict[str, float]:
        """All figures of this repetition, in the units of `UNITS`."""
        ran, asked = self.measured, self.books.asked
        away = self.books.model_time + ran.test_time
        return {
            "wall_s": ran.wall - away,
            "input_bytes": self.books.input_bytes,
            "rss_mb": ran.rss / MB,
            "after_first_request_s": ran.ended - asked[0].began - away,
            "before_first_request_s": asked[0].began - ran.began,
            "cpu_s": ran.cpu,
            "whole_process_s": ran.wall,
            "model_s": self.books.model_time,
            "test_s": ran.test_time,
            "requests": len(asked),
            **({"pss_mb": ran.pss / MB} if ran.pss is not None else {}),
        }


UNITS = {
    "wall_s": "s", "input_bytes": "bytes", "rss_mb": "MB", "after_first_request_s": "s", "before_first_request_s": "s",
    "cpu_s": "s", "whole_process_s": "s", "model_s": "s", "test_s": "s", "requests": "requests", "pss_mb": "MB",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the bench found: figures as they are written, and what a reader has to know beside them."""

    figures: dict[str, dict[str, Any]]
    notes: list[str]
    runs: dict[str, Any]


def run(build: Path, *, quick: bool, say: Callable[[str], None]) -> Outcome:
    """Measure Ostler and every peer that can be installed.

    Raises:
        RuntimeError: a harness did not do the work, asked for something else, or went somewhere else.
    """
    task = prepare(build / "task")
    places, notes = _installed(build / "peers", say)
    with _stage(build) as (stand_in, base, caught, scratch):
        there = [peer for peer in peers.PEERS if peer.name in places]
        subjects = [
            _ostler(task, scratch, base, stand_in),
            *(_peer(peer, places[peer.name], task, scratch, base) for peer in there),
        ]
        for subject in [] if quick else subjects:
            say(f"warming up: {subject.name}")
            _once(subject, task, stand_in, scratch)
        found: dict[str, list[Result]] = {subject.name: [] for subject in subjects}
        for number in range(QUICK if quick else REPETITIONS):
            for subject in subjects[number % len(subjects) :] + subjects[: number % len(subjects)]:
                found[subject.name].append(_once(subject, task, stand_in, scratch))
                say(f"{number + 1}: {subject.name} {found[subject.name][-1].figures['wall_s']:.2f} s")
        if caught:
            raise RuntimeError(f"something was asked of the network: {', '.join(sorted(set(caught)))}")
    if (busy := os.getloadavg()[0] - 1) > (cores := os.cpu_count() or 1):
        notes.append(
            f"the machine was busy with other work (load {busy + 1:.1f} on {cores} cores): compare cpu_s rather than times"
        )
    versions = {name: peers.frozen(place) for name, place in places.items()}
    return Outcome(_figures(found), notes, _runs(found, versions))


def _installed(folder: Path, say: Callable[[str], None]) -> tuple[dict[str, Path], list[str]]:
    """Where each peer is, and why those that are missing cannot be had."""
    places: dict[str, Path] = {}
    notes: list[str] = []
    for peer in peers.PEERS:
        say(f"{peer.name} {peer.version}: {'there' if peer.stamp(folder).exists() else 'installing, once'}")
        try:
            places[peer.name] = peer.install(folder)
        except LookupError as error:
            notes.append(str(error))
    return places, notes


@contextmanager
def _stage(build: Path) -> Iterator[tuple[StandIn, dict[str, str], list[str], Path]]:
    """The stand-in, the trap and a scratch folder, and an environment that knows nothing else."""
    scratch = build / "work"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    with ExitStack() as stack:
        stand_in = stack.enter_context(serve())
        proxy, caught = stack.enter_context(trap())
        home = scratch / "home"
        home.mkdir()
        environment = Path(sys.prefix)
        base = {
            "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
            "VIRTUAL_ENV": str(environment),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "COLUMNS": "120",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "no_proxy": "127.0.0.1,localhost",
            "NO_PROXY": "127.0.0.1,localhost",
            **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), proxy),
        }
        yield stand_in, base, caught, scratch


def _ostler(task: Task, scratch: Path, base: Mapping[str, str], stand_in: StandIn) -> Subject:
    folder = scratch / OSTLER
    folder.mkdir()
    repository = task.copy(folder / "repository")
    env = ours.environment(base, folder / "state", stand_in)
    books = stand_in.play(ours.script())
    ready = ours.plan(repository, folder / "state", env, ROOT)
    if books.strange:
        raise RuntimeError(f"Ostler asked for something else: {books.strange[0]}")

    def fresh() -> Path:
        ready.rewind()
        return ready.tree

    command = ours.until("VERIFY", "resume", ready.session.name, "--json")
    return Subject(OSTLER, ours.TURNS, command, env, ROOT, ours.script(), fresh)


def _peer(peer: peers.Peer, place: Path, task: Task, scratch: Path, base: Mapping[str, str]) -> Subject:
    home, tree = scratch / f"{peer.name}-home", scratch / peer.name
    env = {**base, **peers.settings(peer, place, home), "HOME": str(home)}
    command, script = peers.command(peer, place, home), peers.script(peer, task)
    return Subject(peer.name, peer.turns, command, env, tree, script, lambda: task.copy(tree))


def _once(subject: Subject, task: Task, stand_in: StandIn, scratch: Path) -> Result:
    """One repetition; it only counts if the harness did all of the script and nothing else."""
    tree = subject.fresh()
    books = stand_in.play(subject.script)
    log = scratch / f"{subject.name}.log"
    env = {**subject.env, "ANTHROPIC_API_KEY": "scripted", "ANTHROPIC_API_BASE": stand_in.url, "ANTHROPIC_BASE_URL": stand_in.url,
           "LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # fmt: skip
    measured = measure(subject.command, env=env, cwd=subject.cwd, log=log)
    problems = [*books.strange, *task.problems(tree)]
    if measured.exit:
        problems.append(f"exit code {measured.exit}")
    if len(books.asked) != subject.turns:
        problems.append(f"{len(books.asked)} requests and not {subject.turns}")
    if len(measured.tests) != 1:
        problems.append(f"{len(measured.tests)} test runs were seen and not 1")
    if problems:
        raise RuntimeError(f"{subject.name}: {'; '.join(problems)}. Its output is in {log}.")
    return Result(measured, books)


def _figures(found: Mapping[str, list[Result]]) -> dict[str, dict[str, Any]]:
    """Medians over the repetitions, Ostler's as the value and the peers' beside it."""
    figures: dict[str, dict[str, Any]] = {}
    for name, unit in UNITS.items():
        complete = {who: results for who, results in found.items() if all(name in result.figures for result in results)}
        medians = {who: _round(statistics.median(r.figures[name] for r in results), unit) for who, results in complete.items()}
        if OSTLER not in medians:
            continue
        value = medians.pop(OSTLER)
        ratio = {who: round(value / other, 3) for who, other in medians.items() if other}
        figures[name] = {"value": value, "unit": unit, "beside": medians, "ratio": ratio}
    return figures


def _round(value: float, unit: str) -> float:
    return round(value, 3) if unit == "s" else round(value, 1) if unit == "MB" else round(value)


def _runs(found: Mapping[str, list[Result]], versions: Mapping[str, list[str]]) -> dict[str, Any]:
    """Every repetition, and what was installed."""
    return {
        who: {
            "repetitions": [result.figures for result in results],
            "largest_processes": [[name, round(size / MB, 1)] for name, size in results[-1].measured.peak],
            "sizes": [asked.size for asked in results[-1].books.asked],
            "installed": versions.get(who, []),
        }
        for who, results in found.items()
    }
