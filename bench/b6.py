"""B6: tests that a change needs, by who chooses them, on mutants of real packages; and whom flaky tests are blamed on."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from queue import Queue
from typing import Any

from bench import Minimum
from bench.mutants import Mutant, mutants
from bench.selectors import CLOSURE, OSTLER, TESTMON, Choice, Closure, Ostler, Selector, Testmon, build, record
from bench.suites import ALL_OF_IT, PYTEST, SUITES, Ran, Suite, Tree

BUILD = Path(__file__).resolve().parent.parent / "build" / "bench"
SEED = 20261129
KILLED, QUICK_KILLED = 60, 6
"""Mutants of each repository that its suite kills."""
WORKERS = 2
REPEATS = 3
LIMIT = 600.0
PATIENCE, SLACK = 4.0, 20.0
"""A mutant's suite may take so many times the plain suite's seconds, and so many seconds more."""
TARGETS: Mapping[str, tuple[str, str, float]] = {
    "any_killer_percent": ("100 %", "", Minimum(100)),
    "all_killers_percent": ("at least 98 %", "", Minimum(98)),
    "median_time_share_percent": ("at most 20 %", "", 20.0),
    "median_cpu_share_percent": ("at most testmon's", TESTMON, 1.0),
    "map_cost_ratio": ("at most 1.5", "", 1.5),
}

Say = Callable[[str], None]
Figures = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Truth:
    """What the whole suite says of a mutant. `killers` hold `*` where not even collecting works. `hung`: it was stopped."""

    killers: frozenset[str]
    hung: bool = False
    broken: bool = False
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """One mutant that the suite kills, and what each selector made of it."""

    mutant: Mutant
    truth: Truth
    choices: Mapping[str, Choice]

    def missed(self, name: str) -> frozenset[str]:
        """Killers that the selector did not run."""
        ran = self.choices[name].ran
        if ran is None or (self.truth.broken and ran.red):
            return frozenset()
        return self.truth.killers - ran.tests - ran.failed

    def found(self, name: str) -> bool:
        """Whether a killer ran and failed."""
        ran = self.choices[name].ran
        return ran is None or (ran.red if self.truth.broken else bool(ran.failed & self.truth.killers))


@dataclass(slots=True)
class Bed:
    """A repository with what was measured on its base: seconds and CPU seconds of the suite plain, recorded and under testmon."""

    suite: Suite
    place: Path
    sources: Mapping[str, str]
    tests: frozenset[str]
    lines: Mapping[str, frozenset[int]]
    selectors: Mapping[str, Selector]
    costs: Mapping[str, Sequence[Ran]]
    known: dict[str, Truth] = field(default_factory=dict)

    def median(self, what: str, name: str = "plain") -> float:
        return statistics.median(float(getattr(ran, what)) for ran in self.costs[name])

    @property
    def limit(self) -> float:
        return PATIENCE * self.median("seconds") + SLACK


def run(*, quick: bool, say: Say) -> Figures:
    """Mutants of the repositories until enough are killed (`quick`: few, of the first only).

    Raises:
        RuntimeError: a repository cannot be had, or its suite is not fit for this.
    """
    trials: list[tuple[Bed, Trial]] = []
    beds = []
    for suite in SUITES[: 1 if quick else None]:
        folder = BUILD / "b6" / suite.name
        with _trees(suite, folder) as trees:
            bed = _bed(suite, trees, folder, 1 if quick else REPEATS)
            _tell_base(bed, say)
            beds.append(bed)
            trials += [(bed, trial) for trial in _trials(bed, trees, folder, QUICK_KILLED if quick else KILLED, say)]
    _write_misses(trials)
    return _figures(beds, trials)


# --- the base ---------------------------------------------------------------------------------------------------------


class Trees(Queue[Tree]):
    """Trees that nobody runs anything in at the moment."""

    @contextmanager
    def one(self) -> Iterator[Tree]:
        tree = self.get()
        try:
            yield tree
        finally:
            self.put(tree)


@contextmanager
def _trees(suite: Suite, folder: Path) -> Iterator[Trees]:
    released = suite.fetch(BUILD / "b6" / "released")
    trees = Trees()
    for number in range(WORKERS):
        trees.put(Tree(suite, released, folder / f"worker-{number}"))
    yield trees


def _bed(suite: Suite, trees: Trees, folder: Path, repeats: int) -> Bed:
    """Run the suite plain, recorded and under testmon, each so often, two at a time as the mutants run later."""
    try:
        place, other = suite.plain.install(BUILD / "peers"), suite.testmon.install(BUILD / "peers")
    except LookupError as error:
        raise RuntimeError(str(error)) from error
    lines = _covered(suite, place, trees, folder)

    def plain() -> Ran:
        with trees.one() as tree:
            return tree.run(place, limit=LIMIT)

    def recorded() -> tuple[Ran, Any]:
        with trees.one() as tree:
            return record(tree, place, LIMIT)

    def filled() -> tuple[Ran, bytes]:
        with trees.one() as tree:
            return build(tree, other, LIMIT)

    plain()  # the first run finds cold files and does not count
    with ThreadPoolExecutor(WORKERS) as pool:
        runs = [(pool.submit(plain), pool.submit(recorded), pool.submit(filled)) for _ in range(repeats)]
        plains = [first.result() for first, _, _ in runs]
        maps, databases = [second.result() for _, second, _ in runs], [third.result() for _, _, third in runs]
    tests = frozenset.intersection(*(ran.tests - ran.failed for ran in plains))
    if any(ran.exit not in (0, 1) for ran in plains) or len(tests) < 0.95 * len(plains[0].tests):
        raise RuntimeError(f"the suite of {suite.name} does not pass here: {plains[0].said[-500:]}")
    with trees.one() as tree:
        sources = tree.texts()
    selectors: dict[str, Selector] = {
        OSTLER: Ostler(place, maps[0][1], sources),
        TESTMON: Testmon(other, databases[0][1]),
        CLOSURE: Closure(place, suite.root, sources),
    }
    costs = {"plain": plains, OSTLER: [ran for ran, _ in maps], TESTMON: [ran for ran, _ in databases]}
    return Bed(suite, place, sources, tests, lines, selectors, costs, _known(folder))


def _covered(suite: Suite, place: Path, trees: Trees, folder: Path) -> dict[str, frozenset[int]]:
    """Lines of the sources that the suite runs, kept from the first time."""
    kept = folder / f"lines-{suite.digest[:12]}.json"
    if not kept.exists():
        with trees.one() as tree:
            data, report = tree.plugins / "coverage", tree.plugins / "coverage.json"
            module = ("coverage", "run", f"--data-file={data}", f"--source={suite.sources}", "-m", "pytest")
            ran = tree.run(place, limit=LIMIT, module=module)
            told = tree.tool(place, ("coverage", "json", f"--data-file={data}", "-o", str(report), "--quiet"))
            if not report.exists():
                raise RuntimeError(f"no coverage of {suite.name}: {(ran.said + told)[-500:]}")
            files = json.loads(report.read_text())["files"]
        kept.write_text(json.dumps({path: found["executed_lines"] for path, found in files.items()}))
    return {path: frozenset(lines) for path, lines in json.loads(kept.read_text()).items()}


def _tell_base(bed: Bed, say: Say) -> None:
    def told(name: str) -> str:
        return f"{name} {bed.median('seconds', name):.1f} s ({bed.median('cpu', name):.1f} s CPU)"

    unsteady = len(bed.costs["plain"][0].tests) - len(bed.tests)
    say(
        f"{bed.suite.name} {bed.suite.version}: {len(bed.tests):,} tests that pass, {unsteady} left out that don't always; "
        f"suite {', '.join(map(told, bed.costs))}"
    )


# --- the mutants ------------------------------------------------------------------------------------------------------


def _trials(bed: Bed, trees: Trees, folder: Path, wanted: int, say: Say) -> list[Trial]:
    """Mutants in their order until `wanted` are killed."""
    inside = {path: text for path, text in bed.sources.items() if path in bed.lines}
    drawn = mutants(inside, bed.lines, SEED)
    trials: list[Trial] = []
    tried = hung = 0
    with ThreadPoolExecutor(WORKERS) as pool:
        while len(trials) < wanted and (batch := list(islice(drawn, WORKERS * 4))):
            for mutant, truth, trial in pool.map(lambda one: _try(bed, trees, one), batch):
                tried += 1
                hung += truth.hung
                bed.known[mutant.key] = truth
                if trial is not None:
                    trials.append(trial)
            _keep(folder, bed.known)
    kinds = sum(not trial.mutant.function for trial in trials), sum(trial.truth.broken for trial in trials)
    say(
        f"{bed.suite.name}: {tried} mutants, {len(trials)} killed ({kinds[0]} of them outside functions, {kinds[1]} so that the "
        f"suite breaks), {hung} stopped at {bed.limit:.0f} s and left out"
    )
    for trial in trials:
        for name in (OSTLER, TESTMON):
            if missed := trial.missed(name):
                some = ", ".join(sorted(missed)[:3])
                say(
                    f"{name} missed {len(missed)} of {len(trial.truth.killers)}{'' if trial.found(name) else ' (all)'} "
                    f"for {trial.mutant.name}: {some}"
                )
    return trials


def _try(bed: Bed, trees: Trees, mutant: Mutant) -> tuple[Mutant, Truth, Trial | None]:
    """The whole suite on a mutant, unless that is known, and what each selector has run of it."""
    with trees.one() as tree:
        place = tree.root / mutant.path
        place.write_text(mutant.text, "utf-8")
        try:
            truth = bed.known.get(mutant.key) or _truth(bed, tree)
            if truth.hung or not truth.killers:
                return mutant, truth, None
            choices = {name: selector.choose(tree, mutant, bed.limit) for name, selector in bed.selectors.items()}
            trial = Trial(mutant, truth, choices)
            if not truth.confirmed and any(trial.missed(name) for name in bed.selectors):
                again = _truth(bed, tree)
                truth = Truth(truth.killers & again.killers, again.hung, truth.broken, confirmed=True)
                trial = Trial(mutant, truth, choices)
            return mutant, truth, trial if truth.killers and not truth.hung else None
        finally:
            place.write_text(mutant.before, "utf-8")


def _truth(bed: Bed, tree: Tree) -> Truth:
    ran = tree.run(bed.place, limit=bed.limit)
    if ran.exit is None:
        return Truth(frozenset(), hung=True)
    broken = ran.red and not ran.tests
    steady = {name for name in ran.failed if name in bed.tests or "::" not in name}
    return Truth(frozenset((ALL_OF_IT,)) if broken else frozenset(steady), broken=broken)


def _stamp() -> str:
    return f"{platform.python_version()} {PYTEST}"


def _known(folder: Path) -> dict[str, Truth]:
    """What whole suites said in earlier runs on this interpreter."""
    kept = folder / "truth.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    if found.get("stamp") != _stamp():
        return {}
    return {key: Truth(frozenset(row.pop("killers")), **row) for key, row in found["mutants"].items()}


def _keep(folder: Path, known: Mapping[str, Truth]) -> None:
    rows = {
        key: {
            "killers": sorted(truth.killers), "hung": truth.hung, "broken": truth.broken, "confirmed": truth.confirmed
        }
        for key, truth in known.items()
    }  # fmt: skip
    (folder / "truth.json").write_text(json.dumps({"stamp": _stamp(), "mutants": rows}))


# --- the figures ------------------------------------------------------------------------------------------------------


def _figures(beds: Sequence[Bed], trials: Sequence[tuple[Bed, Trial]]) -> Figures:
    """All repositories together, then each."""
    figures = _selection(beds, trials, "")
    if len(beds) > 1:
        for bed in beds:
            figures |= _selection([bed], [pair for pair in trials if pair[0] is bed], f"{bed.suite.name}: ")
    return figures


def _selection(beds: Sequence[Bed], trials: Sequence[tuple[Bed, Trial]], prefix: str) -> Figures:
    names = (OSTLER, TESTMON, CLOSURE)

    def figure(unit: str, values: Mapping[str, float]) -> dict[str, Any]:
        rounded = {name: round(value, 2) for name, value in values.items()}
        value = rounded.pop(OSTLER)
        return {
            "value": value, "unit": unit, "beside": rounded,
            "ratio": {name: round(value / other, 3) for name, other in rounded.items() if other},
        }  # fmt: skip

    def percent(holds: Callable[[Trial, str], bool]) -> dict[str, float]:
        return {name: 100 * statistics.mean(holds(trial, name) for _, trial in trials) for name in names}

    def shares(what: str) -> dict[str, list[float]]:
        return {name: [100 * _spent(bed, trial.choices[name], what) for bed, trial in trials] for name in names}

    wall, cpu = shares("seconds"), shares("cpu")
    ratios = {name: statistics.mean(bed.median("cpu", name) / bed.median("cpu") for bed in beds) for name in (OSTLER, TESTMON)}
    return {
        f"{prefix}mutants": {"value": len(trials), "unit": "killed", "beside": {}, "ratio": {}},
        f"{prefix}any_killer_percent": figure("%", percent(Trial.found)),
        f"{prefix}all_killers_percent": figure("%", percent(lambda trial, name: trial.found(name) and not trial.missed(name))),
        f"{prefix}median_time_share_percent": figure("%", {name: statistics.median(found) for name, found in wall.items()}),
        f"{prefix}mean_time_share_percent": figure("%", {name: statistics.mean(found) for name, found in wall.items()}),
        f"{prefix}median_cpu_share_percent": figure("%", {name: statistics.median(found) for name, found in cpu.items()}),
        f"{prefix}map_cost_ratio": figure("x", ratios),
    }


def _spent(bed: Bed, choice: Choice, what: str) -> float:
    """Seconds or CPU seconds of choosing and running, as a share of the plain suite's."""
    whole = bed.median(what)
    return float(getattr(choice, what) + (whole if choice.ran is None else getattr(choice.ran, what))) / whole


def _write_misses(trials: Sequence[tuple[Bed, Trial]]) -> None:
    rows = [
        {
            "suite": bed.suite.name,
            "mutant": trial.mutant.name,
            "diff": trial.mutant.diff,
            "killers": len(trial.truth.killers),
            "missed": {name: sorted(trial.missed(name)) for name in trial.choices if trial.missed(name)},
            "found": {name: trial.found(name) for name in trial.choices},
            "why": trial.choices[OSTLER].why,
            "percent": {name: round(100 * _spent(bed, choice, "seconds"), 1) for name, choice in trial.choices.items()},
            "cpu_percent": {name: round(100 * _spent(bed, choice, "cpu"), 1) for name, choice in trial.choices.items()},
            "choosing_seconds": round(trial.choices[OSTLER].seconds, 3),
        }
        for bed, trial in trials
    ]
    (BUILD / "B6-mutants.json").write_text(json.dumps(rows, indent=2) + "\n")
