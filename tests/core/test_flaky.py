"""Who is blamed for a test that got worse: simulated suites whose tests fail always, never, by chance or by their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.flaky import MAX_SUSPECTS, NOT_REPEATED, Repeats, blame, suspects
from bot.core.reports import TestCase as Case
from bot.core.reports import TestReport as Report
from bot.core.validation import Proof, Verdict, judge
from bot.workspace.repeating import repeated
from tests.core.play import checks, suite

Ends = Callable[[Random, bool, bool], str]
"""How a test ends: by chance, with the change or without, among all others or alone. Empty is a pass, else the signature."""


def by_chance(rate: float) -> Ends:
    return lambda chance, changed, whole: "sometimes" if chance.random() < rate else ""


KINDS: dict[str, Ends] = {
    "fine": lambda chance, changed, whole: "",
    "broken": lambda chance, changed, whole: "old",
    "brittle": lambda chance, changed, whole: "" if whole else "needs others",
    "regressed": lambda chance, changed, whole: "new" if changed else "",
    "regressed among others": lambda chance, changed, whole: "leaks" if changed and whole else "",
    "regressed and brittle": lambda chance, changed, whole: ("new" if changed else "") if whole else "needs others",
    "fails otherwise": lambda chance, changed, whole: "new" if changed else "old",
    "fixed": lambda chance, changed, whole: "" if changed else "old",
}
WORSE = {"regressed", "regressed among others", "regressed and brittle", "fails otherwise"}


@dataclass
class Suite:
    """Tests by id, one file each, and how often they were run."""

    tests: dict[str, Ends]
    chance: Random
    runs: int = 0

    def run(self, changed: bool, files: tuple[str, ...]) -> Report:
        self.runs += 1
        ends = {
            name: end(self.chance, changed, not files)
            for name, end in self.tests.items()
            if not files or name.partition("::")[0] in files
        }
        cases = tuple(Case(name, "failed" if how else "passed", how) for name, how in ends.items())
        return Report("fail" if any(ends.values()) else "pass", cases, len(cases), "as simulated")

    def judged(self, quarantine: tuple[str, ...] = ()) -> Verdict:
        base, head = self.run(False, ()), self.run(True, ())
        found = suspects(base, head, quarantine)
        again = repeated(found, lambda files: self.run(True, files), lambda files: self.run(False, files))
        proof = Proof(checks(head, "head"), None, None, again)
        return judge(checks(base), proof, is_bug=False, insist_on_reproduction=False, quarantine=quarantine)


def of(*kinds: str, seed: int = 0) -> Suite:
    return Suite({f"test_{at}.py::{kind}": KINDS[kind] for at, kind in enumerate(kinds)}, Random(seed))


@given(st.lists(st.sampled_from(sorted(KINDS)), max_size=6))
def test_what_fails_each_time_with_the_change_and_never_without_is_blamed_and_nothing_else(kinds: list[str]) -> None:
    found = of(*kinds).judged()
    assert (found.outcome == "fail") is bool(WORSE & set(kinds))
    told = "; ".join(found.problems)
    for at, kind in enumerate(kinds):
        if len(kinds) <= 5:
            assert (f"test_{at}.py::{kind} " in f"{told} ".replace(";", " ").replace(",", " ")) is (kind in WORSE)
    assert not found.flaky
    assert set(found.preexisting) == {f"test_{at}.py::{kind}" for at, kind in enumerate(kinds) if kind == "broken"}


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5, 0.7, 0.95])
def test_what_comes_and_goes_is_hardly_ever_blamed_and_never_hides_a_regression(rate: float) -> None:
    blamed = 0
    for seed in range(1_000):
        suite_ = Suite({"test_f.py::flaky": by_chance(rate), "test_r.py::fine": KINDS["fine"]}, Random(seed))
        blamed += suite_.judged().outcome == "fail"
    assert blamed <= 8
    for seed in range(100):
        both = Suite({"test_f.py::flaky": by_chance(rate), "test_r.py::regressed": KINDS["regressed"]}, Random(seed))
        assert both.judged().outcome == "fail"


def test_a_flaky_test_is_named_and_neither_blamed_nor_praised() -> None:
    seen = [Suite({"t.py::flaky": by_chance(0.5)}, Random(seed)).judged() for seed in range(200)]
    assert any(found.flaky == ("t.py::flaky",) and found.outcome == "pass" for found in seen)
    assert all(not (set(found.flaky) & {*found.fixed, *found.preexisting, *found.reproduced}) for found in seen)


def test_nothing_is_run_again_where_nothing_got_worse() -> None:
    calm = of("fine", "broken", "fixed", "brittle")
    calm.judged()
    assert calm.runs == 2


def test_too_many_suspects_are_a_regression() -> None:
    many = of(*["regressed"] * (MAX_SUSPECTS + 1))
    assert many.judged().outcome == "fail"
    assert many.runs == 2


def test_the_runs_that_break_leave_the_blame_where_it_was() -> None:
    broken = Report("error", (), 0, "the tests did not end by themselves")
    base, head = suite({"a": "passed"}), suite({"a": "failed"})
    assert blame("a", base, head, Repeats((broken,), (broken,))) == "unknown"
    proof = Proof(checks(head), None, None, Repeats((broken,), (broken,)))
    assert judge(checks(base), proof, is_bug=False, insist_on_reproduction=False).outcome == "fail"


@settings(max_examples=60)
@given(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=5), st.data())
def test_the_quarantine_takes_failures_out_and_nothing_else(kinds: list[str], data: st.DataObject) -> None:
    out = data.draw(st.sets(st.sampled_from(range(len(kinds)))))
    found = of(*kinds).judged(tuple(f"test_{at}.py::*" for at in out))
    assert (found.outcome == "fail") is any(kind in WORSE for at, kind in enumerate(kinds) if at not in out)
    named = {name.partition(".")[0] for name in (*found.fixed, *found.reproduced, *found.preexisting)}
    assert not named & {f"test_{at}" for at in out}


def test_old_tests_on_new_sources_are_run_again_too() -> None:
    base, sometimes = suite({"a": "passed"}), suite({"a": "failed"})
    again = Repeats((suite({"a": "failed"}), suite({"a": "passed"})), (base,))
    steady = Repeats((sometimes,) * 3, (base,) * 3)
    for repeats, outcome in ((again, "pass"), (steady, "fail"), (NOT_REPEATED, "fail")):
        proof = Proof(checks(base), sometimes, None, original_repeats=repeats)
        assert judge(checks(base), proof, is_bug=False, insist_on_reproduction=False).outcome == outcome
