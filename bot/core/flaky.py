"""Tests that fail only sometimes: which results are worth another look, and what the repeats say about them.

A test that got worse is blamed on the change only if it fails each time with it and passes each time without. With a true rate
of failure f, three repeats on either side blame a flaky test with a chance of f^4 (1 - f)^4, at most 0.4 %. Of the flaky tests
of Python projects 59 % depend on the order (Gruber et al., "An Empirical Study of Flaky Tests in Python", 2021), so what fails
only among all the others is looked at among all the others. 75 % fail in clusters (arXiv 2504.16777), so one that comes and
goes is a reason to look at those beside it twice as long.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from bot.core.reports import TestCase, TestReport

REPEATS = 3
MAX_SUSPECTS = 50
Blame = Literal["worse", "flaky", "unknown"]
PASSED = "passed"


@dataclass(frozen=True, slots=True)
class Repeats:
    """Suspects run again: alone on the result and on the base, and then among all the other tests."""

    head: tuple[TestReport, ...] = ()
    base: tuple[TestReport, ...] = ()
    whole_head: tuple[TestReport, ...] = ()
    whole_base: tuple[TestReport, ...] = ()


NOT_REPEATED = Repeats()


def marks(name: str, reports: Iterable[TestReport]) -> frozenset[str]:
    """How the test ended in `reports`: `passed`, `skipped`, or the signature of its failure."""
    return frozenset(_mark(case) for report in reports for case in report.cases if case.id == name)


def _mark(case: TestCase) -> str:
    return f"failed: {case.signature}" if case.outcome in ("failed", "error") else case.outcome


def suspects(base: TestReport, head: TestReport, quarantine: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Tests that fail in `head` and passed in `base`, or failed there in another way; without those in quarantine."""
    then = {case.id: _mark(case) for case in base.cases}
    return tuple(
        case.id
        for case in head.failing
        if then.get(case.id, "skipped") not in ("skipped", _mark(case)) and not quarantined(case.id, quarantine)
    )


def quarantined(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether the repository's list of tests that are known to be flaky holds `name`."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def fails_among_all_only(name: str, repeats: Repeats) -> bool:
    """Whether the repeats leave only the order to explain it: alone it passes with the change, or fails without it too."""
    now, then = marks(name, repeats.head), marks(name, repeats.base)
    return len(now) == 1 and (PASSED in now or now == then)


def come_and_go(repeats: Repeats) -> bool:
    """Whether any test of the files that were run again ended in two ways on one tree."""
    for side in (repeats.head, repeats.base):
        ends: dict[str, str] = {}
        if any(ends.setdefault(case.id, case.outcome) != case.outcome for report in side for case in report.cases):
            return True
    return False


def blame(name: str, base: TestReport, head: TestReport, repeats: Repeats) -> Blame:
    """What the repeats say of a suspect: `unknown` where there are none, as they broke or there were too many suspects."""
    now, then = marks(name, repeats.head), marks(name, repeats.base)
    if len(now) > 1 or len(then) > 1:
        return "flaky"
    if fails_among_all_only(name, repeats):
        now, then = marks(name, (head, *repeats.whole_head)), marks(name, (base, *repeats.whole_base))
        if not marks(name, repeats.whole_head) or not marks(name, repeats.whole_base):
            return "flaky" if marks(name, repeats.whole_head) - marks(name, (head,)) else "unknown"
        return "worse" if len(now) == len(then) == 1 and now != then else "flaky"
    if not now or not then:
        return "unknown"
    return "worse" if now != then and PASSED not in now else "flaky"
