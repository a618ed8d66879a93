"""Run again what got worse, until the runs tell a regression from a test that comes and goes."""

from __future__ import annotations

from collections.abc import Callable

from bot.core.flaky import MAX_SUSPECTS, NOT_REPEATED, PASSED, REPEATS, Repeats, come_and_go, fails_among_all_only, marks
from bot.core.reports import TestReport

RunTests = Callable[[tuple[str, ...]], TestReport]
"""Runs test files, or the whole suite where none is named."""


def repeated(found: tuple[str, ...], head: RunTests, base: RunTests) -> Repeats:
    """The files of the suspects `found`, each run up to three times on the result and on the base, and as often again where some
    of them come and go; then, for what fails among all the others only, the whole suite. Files and not single tests, so that
    their order within a file stays."""
    if not 0 < len(found) <= MAX_SUSPECTS:
        return NOT_REPEATED
    files = tuple(dict.fromkeys(name.partition("::")[0] for name in found))
    alone = Repeats(_runs(head, files, found), _runs(base, files, found))
    if come_and_go(alone):  # where one test is flaky others are, so three runs say too little
        alone = Repeats((*alone.head, *_runs(head, files, found)), (*alone.base, *_runs(base, files, found)))
    left = tuple(name for name in found if fails_among_all_only(name, alone))
    if not left:
        return alone
    again = _runs(head, (), left)
    fail_still = tuple(name for name in left if PASSED not in marks(name, again))
    return Repeats(alone.head, alone.base, again, _runs(base, (), fail_still) if fail_still else ())


def _runs(run: RunTests, files: tuple[str, ...], names: tuple[str, ...]) -> tuple[TestReport, ...]:
    """Up to three runs: fewer where they break, or where each of `names` has ended in two ways."""
    reports: list[TestReport] = []
    for _ in range(REPEATS):
        reports.append(run(files))
        if reports[-1].outcome == "error" or all(len(marks(name, reports)) > 1 for name in names):
            break
    return tuple(reports)
