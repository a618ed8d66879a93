"""Planted tests that come and go, or were red before, and the verdict on changes with and without a regression.

Ostler's verdict is the product's own: `Workplace.check_base` and `prove` in the sandbox, then `judge`. Chance is real chance, so
the counts of two runs differ.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.mutants import Mutant
from bench.suites import Suite
from bot.core.changeset import Changeset
from bot.core.flaky import suspects
from bot.core.reports import NO_BLOB, FileChange, TestCase, TestReport
from bot.core.strategy import Settings
from bot.core.ticket import freeze
from bot.core.validation import CheckSet, Proof, failing, judge
from bot.workspace.checkout import Checkout
from bot.workspace.repeating import repeated
from bot.workspace.workplace import Workplace

FOLDER = "tests/planted"
SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
COIN = f"""import random

import pytest

CHANCE = random.SystemRandom()


@pytest.mark.parametrize("share", {SHARES})
def test_coin(share):
    assert CHANCE.random() >= share
"""
SHUFFLE = '''import random


def pytest_collection_modifyitems(items):
    """As plugins do that mix the order of tests."""
    mine = [at for at, item in enumerate(items) if "planted" in item.nodeid]
    mixed = random.SystemRandom().sample(mine, len(mine))
    items[:] = [items[dict(zip(mine, mixed)).get(at, at)] for at in range(len(items))]
'''
POLLUTER = """import os


def test_leaves_something_behind():
    os.environ["PLANTED"] = "1"
"""
VICTIM = """import os


def test_relies_on_a_clean_environment():
    assert "PLANTED" not in os.environ


def test_also_does():
    assert os.environ.get("PLANTED") is None
"""
RED = """import time


def test_never_passed():
    assert sum((1, 2)) == 4


def test_never_passed_and_says_so_differently():
    assert time.time_ns() < 0


def test_breaks_on_an_object():
    raise RuntimeError(object())
"""
PLANTED: Mapping[str, str] = {
    "conftest.py": SHUFFLE,
    "test_coin.py": COIN,
    "test_polluter.py": POLLUTER,
    "test_red.py": RED,
    "test_victim.py": VICTIM,
}
KINDS: Mapping[str, tuple[str, ...]] = {
    "coin": ("test_coin.py",),
    "order": ("test_polluter.py", "test_victim.py"),
    "red": ("test_red.py",),
    "all": ("test_coin.py", "test_polluter.py", "test_red.py", "test_victim.py"),
}
MOST_FILES = 2
"""A regression's killers are in so few files of tests, so that a case takes seconds."""


@dataclass(frozen=True, slots=True)
class Case:
    """A verdict; `single` is that of a runner that compares one run before with one after."""

    suite: str
    kind: str
    mutant: str
    outcome: str
    single: str
    problems: tuple[str, ...]

    @property
    def regression(self) -> bool:
        return bool(self.mutant)

    @property
    def wrong(self) -> bool:
        return self.outcome == ("pass" if self.regression else "fail")


def cases(
    suite: Suite, released: Path, place: Path, folder: Path, found: Iterable[tuple[Mutant, frozenset[str]]], each: int
) -> list[Case]:
    """`each` changes with a regression and as many without, for every kind; `found` are mutants with the tests that they fail.

    Raises:
        RuntimeError: too few mutants are killed by tests of few files.
    """
    fit = [
        (mutant, files) for mutant, killers in found if len(files := {name.partition("::")[0] for name in killers}) <= MOST_FILES
    ]
    if len(fit) < each * len(KINDS):
        raise RuntimeError(f"{len(fit)} mutants of {suite.name} fail tests of few files, {each * len(KINDS)} are needed")
    shutil.rmtree(folder, ignore_errors=True)
    repository = _repository(released, folder / "repository")
    with ThreadPoolExecutor(2) as pool:
        parts = [
            pool.submit(_of_kind, suite.name, repository, place, folder / kind, kind, fit[at * each : (at + 1) * each])
            for at, kind in enumerate(KINDS)
        ]
        return [case for part in parts for case in part.result()]


def _of_kind(
    suite: str, repository: Path, place: Path, folder: Path, kind: str, fit: Sequence[tuple[Mutant, set[str]]]
) -> list[Case]:
    planted = tuple(f"{FOLDER}/{name}" for name in KINDS[kind])
    tests = tuple(sorted({file for _, files in fit for file in files}))
    settings = Settings(0, 0, tests=(*tests, *planted), python=str(place / "bin" / "python"))
    checkout = Checkout.open(repository)
    workplace = Workplace(folder, checkout)
    folder.mkdir()
    ready = workplace.prepare(checkout.head, freeze("A change", "the bench"), settings)
    if not ready.sandbox.full:
        raise RuntimeError(f"the sandbox is not whole here: {ready.sandbox.advice}")
    told = []
    for mutant, changed in _changes(fit):
        tree = workplace.worktree.changed(ready.base_tree, [changed])
        changeset = Changeset("bench", checkout.head, tree, workplace.worktree.changes(ready.base_tree, tree))
        baseline = workplace.check_base(ready.base_tree, settings)
        proof = workplace.prove(ready.base_tree, changeset, baseline, settings)
        verdict = judge(baseline, proof, is_bug=False, insist_on_reproduction=False)
        told.append(Case(suite, kind, mutant, verdict.outcome, _single(baseline, proof), verdict.problems))
    return told


def _changes(fit: Sequence[tuple[Mutant, set[str]]]) -> Iterator[tuple[str, FileChange]]:
    """Each mutant, named, and beside it the same file with no more than a comment added."""
    for number, (mutant, _) in enumerate(fit):
        yield mutant.name, _change(mutant.path, mutant.before, mutant.text)
        yield "", _change(mutant.path, mutant.before, f"{mutant.before.rstrip()}\n\n# Note {number}.\n")


def _change(path: str, before: str, after: str) -> FileChange:
    return FileChange(path, "modify", "100644", "100644", NO_BLOB, NO_BLOB, before.encode(), after.encode())


def _single(baseline: CheckSet, proof: Proof) -> str:
    return "fail" if failing(proof.head.tests) - failing(baseline.tests) else "pass"


def _repository(released: Path, repository: Path) -> Path:
    """The release with the planted tests as its one commit."""
    shutil.copytree(released, repository, symlinks=True)
    (repository / FOLDER).mkdir()
    for name, text in PLANTED.items():
        (repository / FOLDER / name).write_text(text)
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for arguments in (
        ("init", "--quiet", "--initial-branch=main"),
        ("config", "user.name", "Bench"),
        ("config", "user.email", "bench@example.invalid"),
        ("add", "--all", "--force"),
        ("commit", "--quiet", "--message=The release, with planted tests"),
    ):
        subprocess.run(["git", "-C", str(repository), *arguments], check=True, env=env)
    return repository


# --- many more, played ------------------------------------------------------------------------------------------------


def played(plays: int, seed: int) -> tuple[float, float]:
    """Percent of changes without a regression that are blamed, by Ostler and by one run, where the runs are drawn and not made.

    The tests are those of `coin` and `order` together, so that both ways of running again come up.
    """
    chance = random.Random(seed)
    coins = [f"{FOLDER}/test_coin.py::test_coin[{share}]" for share in SHARES]
    victim, polluter = f"{FOLDER}/test_victim.py", f"{FOLDER}/test_polluter.py"

    def run(files: tuple[str, ...]) -> TestReport:
        ends = dict(zip(coins, (chance.random() < share for share in SHARES), strict=True))
        if not files or victim in files:
            first = chance.random() < 0.5
            ends[f"{victim}::test_relies_on_a_clean_environment"] = first and (not files or polluter in files)
        rows = [TestCase(name, "failed" if bad else "passed", "assert" if bad else "") for name, bad in ends.items()]
        return TestReport("fail" if any(ends.values()) else "pass", tuple(rows), len(rows), "")

    blamed = single = 0
    for _ in range(plays):
        base, head = run(()), run(())
        found = suspects(base, head)
        proof = Proof(CheckSet("head", (), head), None, None, repeated(found, run, run))
        verdict = judge(CheckSet("base", (), base), proof, is_bug=False, insist_on_reproduction=False)
        blamed, single = blamed + (verdict.outcome == "fail"), single + bool(found)
    return round(100 * blamed / plays, 2), round(100 * single / plays, 2)
