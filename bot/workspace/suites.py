"""Runs of the tests of trees, each on a fresh copy: the base's with notes of what each test ran, or taken from an earlier run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from bot.core.coverage import Coverage, compared, counted
from bot.core.coverage_map import CoverageMap
from bot.core.reports import TestReport
from bot.core.strategy import Settings
from bot.core.validation import failing
from bot.workspace import toolchains
from bot.workspace.maps import Maps, Suite, readable
from bot.workspace.sandbox import Sandbox
from bot.workspace.toolchains import Toolchain

MAX_AGAIN = 50
"""So many tests at most are run again by name."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which tests run: `items` or those of the paths `related`, else all; `quick` with the short time limit. `coverage` says that
    the items are a map's, and `why` what they were chosen by, or why all run. `left_out` tests don't run for lack of time.
    `recorded` wants notes of a run of all."""

    items: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    coverage: bool = False
    quick: bool = False
    why: str = ""
    left_out: int = 0
    recorded: bool = False

    @property
    def nothing(self) -> bool:
        """True where a map says that no test ran what changed."""
        return self.coverage and self.quick and not self.items

    @property
    def whole(self) -> bool:
        return not self.items and not self.related


WHOLE = Chosen()


class Suites:
    """Runs tests with one toolchain. `copy` gives a fresh copy of a tree, by the name of what it is for.

    `earlier` is whether the report of an earlier run of the same tree may stand for the base's; `also` is what besides tree,
    toolchain and settings decides how tests end here.
    """

    def __init__(
        self, box: Sandbox, toolchain: Toolchain, copy: Callable[[str, str], Path], maps: Maps, *, earlier: bool, also: str
    ) -> None:
        self._box, self._toolchain, self._copy, self._maps = box, toolchain, copy, maps
        self._earlier, self._also = earlier, also
        self._whole: dict[str, TestReport] = {}
        self._ran: dict[str, CoverageMap] = {}

    def known(self, tree: str) -> CoverageMap | None:
        """What each test of `tree` ran, where that was noted."""
        if tree not in self._ran and (known := self._maps.load(tree, self._toolchain.profile.runtime)):
            self._ran[tree] = known
        return self._ran.get(tree)

    def base(self, tree: str, settings: Settings) -> Suite:
        """The whole suite of the base, with notes of what each test runs where there are none yet."""
        environment = self._environment(settings)
        suite = self._maps.suite(tree, environment) if environment else None
        if suite is None:
            suite = Suite(self._base(tree, settings))
            if environment and suite.report.outcome in ("pass", "fail") and not suite.report.left_out:
                now = datetime.now(UTC).isoformat(timespec="seconds")
                self._maps.keep_suite(tree, environment, replace(suite, taken=now))
        if suite.report.outcome == "pass":
            self._whole[tree] = suite.report
        return suite

    def unmeasured(self, base_tree: str, changed: Sequence[str], chosen: Chosen) -> str:
        """Why no coverage will be measured of a change of that base; empty where it is tried."""
        known = self.known(base_tree)
        if known is None or known.left or not chosen.whole:
            return "there are no notes of what all the tests run on the base"
        return "" if any(path.endswith(".py") for path in changed) else "no Python file changed"

    def coverage(self, base_tree: str, tree: str, sources: Callable[[str], Mapping[str, str]], unmeasured: str) -> Coverage:
        """What the notes on both trees say, whose Python files `sources` gives; `unmeasured` is why there are none."""
        before, after = self.known(base_tree), self.known(tree)
        if unmeasured or before is None or after is None:
            return Coverage(why=unmeasured or "the suite of the result ran without notes")
        return compared(counted(before, sources(base_tree)), counted(after, sources(tree)))

    def distrust(self, tree: str) -> None:
        """Its tests come and go: no later run begins with the report of this one."""
        self._maps.forget_suite(tree)

    def _base(self, tree: str, settings: Settings) -> TestReport:
        if (known := self.known(tree)) and not known.left:
            return self.run(tree, "base", settings)
        report, notes = self._recorded(tree, "base", settings)
        known = self._maps.keep(tree, self._toolchain.profile.runtime, notes) if notes is not None else None
        if known:
            self._ran[tree] = known
        if known and known.left:
            why = f"{report.reason}; {len(known.left):,} more were left out after {settings.full_seconds} s"
            return replace(report, reason=why, left_out=len(known.left))
        return report

    def _environment(self, settings: Settings) -> str:
        """What decides, besides the tree, how its tests end; empty where a report is not to be kept."""
        tools = self._toolchain.environment() if self._earlier else ""
        said = (tools, _own_code(), self._also, settings.tests, settings.full_seconds)
        return hashlib.sha256(repr(said).encode()).hexdigest() if tools else ""

    def run(self, tree: str, name: str, settings: Settings, chosen: Chosen = WHOLE, *, afresh: bool = False) -> TestReport:
        """Run tests on a copy of `tree`. The whole suite runs once for each tree, as its id says that the files are the same;
        `afresh` runs it again all the same."""
        if chosen.nothing:
            return TestReport("neutral", (), 0, chosen.why)
        if chosen.whole and not afresh and tree in self._whole:
            return self._whole[tree]
        if chosen.recorded:
            report, notes = self._recorded(tree, name, settings)
            ran = readable(notes) if notes else None
            if ran and ran.left:  # the recorder makes it slower
                return self.run(tree, name, settings, afresh=True)
            if ran:
                self._ran[tree] = ran
        else:
            report = self._toolchain.run_tests(
                self._box,
                self._copy(tree, name),
                selection=chosen.items or settings.tests,
                related=chosen.related,
                coverage=chosen.coverage,
                seconds=settings.quick_seconds if chosen.quick else settings.full_seconds,
            )
        if chosen.whole and report.outcome == "pass":
            self._whole[tree] = report
        return report

    def _recorded(self, tree: str, name: str, settings: Settings) -> tuple[TestReport, bytes | None]:
        """The whole suite, and notes of what each test ran where the runner can make them.

        What fails runs once more without the recorder, for which a suite is not blamed: by itself, and where it does not all fail
        there too, with everything.
        """
        made = self._toolchain.record(self._box, self._copy(tree, name), selection=settings.tests, seconds=settings.full_seconds)
        if made is None:
            return self.run(tree, name, settings, afresh=True), None
        report, notes = made
        if report.outcome == "error" and not report.timed_out:
            return self.run(tree, name, settings, afresh=True), None
        if report.outcome != "fail":
            return report, notes
        names = tuple(case.id for case in report.failing)
        again = self.run(tree, name, settings, Chosen(names)) if len(names) <= MAX_AGAIN else None
        if again is None or failing(again) != frozenset(names):
            return self.run(tree, name, settings, afresh=True), notes
        alone = {case.id: case for case in again.cases}
        return replace(report, cases=tuple(alone.get(case.id, case) for case in report.cases)), notes


@cache
def _own_code() -> str:
    """A digest of what runs suites and reads their reports: another version may read them otherwise."""
    files = sorted(Path(toolchains.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
