"""How risky a change is by what it touches: 0 to 100, from the diff alone.

Not the same as the ticket's risk, which is guessed from its words before anything is changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from bot.core.changeset import Changeset, added_lines, removed_lines
from bot.core.policy import is_test_support
from bot.core.run import Run

Level = Literal["low", "medium", "high", "critical"]
LEVELS: tuple[tuple[int, Level], ...] = ((70, "critical"), (50, "high"), (25, "medium"), (0, "low"))
LINES = ((1_000, 25), (500, 20), (200, 10))
PLACES = re.compile(
    r"(?:^|/)(?:migrations?|auth|infra|deployments?)/|(?:^|/)config/production|^\.github/workflows/", re.IGNORECASE
)
EXTENSIONS = (".sql", ".yaml", ".yml", ".env", ".production")
UNTESTED = 50
"""Changed lines of sources that come without any change to a test."""
LATER = re.compile(r"\b(?:TODO|FIXME|HACK|XXX|TEMP)\b")


@dataclass(frozen=True, slots=True)
class DiffRisk:
    """`reasons` says what counted, the points of each in parentheses."""

    score: int
    reasons: tuple[str, ...]

    @property
    def level(self) -> Level:
        return next(level for least, level in LEVELS if self.score >= least)

    @property
    def high(self) -> bool:
        """Whether it is to be looked at like work of the categories with high risk."""
        return self.level in ("high", "critical")


def diff_risk(changeset: Changeset) -> DiffRisk:
    """The risk of `changeset`."""
    counted = list(_counted(changeset))
    return DiffRisk(min(100, sum(points for points, _ in counted)), tuple(f"{why} ({points})" for points, why in counted))


def high_risk(run: Run) -> bool:
    """Whether the ticket is of high risk, or the change itself: then two models audit, and the quality gate is strict."""
    return run.compiled.triage.high_risk or (run.changeset is not None and diff_risk(run.changeset).high)


def _counted(changeset: Changeset) -> Iterator[tuple[int, str]]:
    paths = sorted(changeset.paths)
    added = {change.path: added_lines(change) for change in changeset.files}
    lines = {change.path: len(added[change.path]) + len(removed_lines(change)) for change in changeset.files}
    total = sum(lines.values())
    if points := next((points for more, points in LINES if total > more), 0):
        yield points, f"{total:,} lines"
    if places := [path for path in paths if PLACES.search(path)]:
        yield min(30, 15 * len(places)), f"touches {', '.join(places[:3])}"
    if named := [path for path in paths if path.casefold().endswith(EXTENSIONS)]:
        yield min(15, 5 * len(named)), f"configuration or data: {', '.join(named[:3])}"
    sources = sum(count for path, count in lines.items() if not is_test_support(path))
    if sources > UNTESTED and not any(is_test_support(path) for path in paths):
        yield 20, "no test changed"
    if later := sum(len(LATER.findall(text)) for rows in added.values() for _, text in rows):
        yield min(10, 3 * later), f"{later} left for later (TODO and the like)"
