"""Mutants of a repository, what its whole suite says of them, and what each selector makes of those that are killed."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from queue import Queue
from typing import Any

from bench.mutants import Mutant, mutants
from bench.selectors import CLOSURE, OSTLER, TESTMON, Choice, Closure, Ostler, Selector, Testmon, build, record
from bench.suites import ALL_OF_IT, PYTEST, Ran, Suite, Tree

BUILD = Path(__file__).resolve().parent.parent / "build" / "bench"
SEED = 20261129
WORKERS = 2
LIMIT = 600.0
START = "start-up"
PATIENCE, SLACK = 4.0, 20.0
"""A mutant's suite may take so many times the plain suite's seconds, and so many seconds more."""

Say = Callable[[str], None]


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

    def counted(self, truth: Truth) -> Truth:
        """Without killers that don't always pass on the base. What names no test is a file that cannot be collected."""
        return replace(truth, killers=frozenset(name for name in truth.killers if name in self.tests or "::" not in name))

    @property
    def limit(self) -> float:
        return PATIENCE * self.median("seconds") + SLACK


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
def trees_of(suite: Suite, released: Path, folder: Path) -> Iterator[Trees]:
    trees = Trees()
    for number in range(WORKERS):
        trees.put(Tree(suite, released, folder / f"worker-{number}"))
    yield trees


def make_bed(suite: Suite, trees: Trees, folder: Path, repeats: int) -> Bed:
    """Run the suite plain, recorded and under testmon, each so often, two at a time as the mutants run later."""
    try:
        place, other = suite.plain.install(BUILD / "peers"), suite.testmon.install(BUILD / "peers")
    except LookupError as error:
        raise RuntimeError(str(error)) from error
    lines = _covered(suite, place, trees, folder)

    def plain() -> Ran:
        with trees.one() as tree:
            return tree.run(place, limit=LIMIT)

    def nothing() -> Ran:
        with trees.one() as tree:
            smallest = min(tree.root.glob("tests/test_*.py"), key=lambda path: path.stat().st_size)
            return tree.run(place, ("-k", "no test is called this", str(smallest.relative_to(tree.root))), limit=LIMIT)

    def recorded() -> tuple[Ran, Any]:
        with trees.one() as tree:
            return record(tree, place, LIMIT)

    def filled() -> tuple[Ran, bytes | None]:
        with trees.one() as tree:
            return build(tree, other, LIMIT)

    plain()  # the first run finds cold files and does not count
    with ThreadPoolExecutor(WORKERS) as pool:
        runs = [(pool.submit(plain), pool.submit(recorded), pool.submit(filled), pool.submit(nothing)) for _ in range(repeats)]
        plains, starts = [first.result() for first, *_ in runs], [last.result() for *_, last in runs]
        maps, databases = [row[1].result() for row in runs], [row[2].result() for row in runs]
    passed = frozenset.intersection(*(ran.tests - ran.failed for ran in plains))
    tests = frozenset(name for name in passed if not name.startswith(suite.unsteady))
    if any(ran.exit not in (0, 1) for ran in plains) or len(tests) < 0.95 * len(plains[0].tests):
        raise RuntimeError(f"the suite of {suite.name} does not pass here: {plains[0].said[-500:]}")
    with trees.one() as tree:
        sources = tree.texts()
    selectors: dict[str, Selector] = {
        OSTLER: Ostler(place, maps[0][1], sources),
        TESTMON: Testmon(other, databases[0][1]),
        CLOSURE: Closure(place, suite.root, sources),
    }
    costs = {"plain": plains, START: starts, OSTLER: [ran for ran, _ in maps], TESTMON: [ran for ran, _ in databases]}
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


def tell_base(bed: Bed, say: Say) -> None:
    def told(name: str) -> str:
        return f"{name} {bed.median('seconds', name):.1f} s ({bed.median('cpu', name):.1f} s CPU)"

    unsteady = len(bed.costs["plain"][0].tests) - len(bed.tests)
    if any(ran.exit not in (0, 1) for ran in bed.costs[TESTMON]):
        said = bed.costs[TESTMON][0].said.strip()[-200:]
        say(f"Note: testmon breaks on the suite of {bed.suite.name}, so that everything has to run for it: {said}")
    say(
        f"{bed.suite.name} {bed.suite.version}: {len(bed.tests):,} tests that pass, {unsteady} left out that don't always; "
        f"suite {', '.join(map(told, bed.costs))}"
    )


# --- the mutants ------------------------------------------------------------------------------------------------------


def try_mutants(bed: Bed, trees: Trees, folder: Path, wanted: int, say: Say) -> list[Trial]:
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
            if (missed := trial.missed(name)) or not trial.found(name):
                some = ", ".join(sorted(missed)[:3]) or "all ran, and passed among fewer others"
                say(f"{name} missed {len(missed)} of {len(trial.truth.killers)} for {trial.mutant.name}: {some}")
    return trials


def _try(bed: Bed, trees: Trees, mutant: Mutant) -> tuple[Mutant, Truth, Trial | None]:
    """The whole suite on a mutant, unless that is known, and what each selector has run of it."""
    with trees.one() as tree:
        place = tree.root / mutant.path
        place.write_text(mutant.text, "utf-8")
        try:
            truth = bed.counted(bed.known.get(mutant.key) or _truth(bed, tree))
            if truth.hung or not truth.killers:
                return mutant, truth, None
            choices = {name: selector.choose(tree, mutant, bed.limit) for name, selector in bed.selectors.items()}
            trial = Trial(mutant, truth, choices)
            if not truth.confirmed and any(trial.missed(name) or not trial.found(name) for name in bed.selectors):
                again = bed.counted(_truth(bed, tree))
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
    return Truth(frozenset((ALL_OF_IT,)) if broken else ran.failed, broken=broken)


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
