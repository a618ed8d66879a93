"""Findings over runs: what an audit leaves behind again and again becomes debt that somebody has to clean up.

Age counts distinct runs, never sightings: three in one run are one. A finding is known by category and file, because no two
audits use the same words. It is resolved when its file was audited again and nobody named it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bot.core.experience import Audited

RUNS, RUNS_CRITICAL = 3, 2
"""Distinct runs after which a finding needs cleaning up; in safety-critical work after fewer."""
MOST_SHOWN = 10

Standing = Literal["open", "needs_cleanup", "resolved"]


@dataclass(frozen=True, slots=True)
class Debt:
    """One finding of a project. `runs` are the distinct ones that left it; `first` and `last` are their days."""

    key: str
    claim: str
    place: str
    severity: str
    runs: int
    first: str
    last: str
    standing: Standing

    @property
    def path(self) -> str:
        """The file of the finding."""
        return self.key.partition("@")[2]

    @property
    def effective_severity(self) -> str:
        return "major" if self.standing == "needs_cleanup" else self.severity


def backlog(runs: Sequence[Audited]) -> tuple[Debt, ...]:
    """The findings that `runs`, oldest first, left in the project: those that need cleaning up first, then by age."""
    found: dict[str, list[int]] = {}
    for number, run in enumerate(runs):
        for key in {sighting.key for sighting in run.left}:
            found.setdefault(key, []).append(number)
    debts = [_debt(key, numbers, runs) for key, numbers in found.items()]
    order: tuple[Standing, ...] = ("needs_cleanup", "open", "resolved")
    return tuple(sorted(debts, key=lambda debt: (order.index(debt.standing), -debt.runs, debt.key)))


def _debt(key: str, numbers: Sequence[int], runs: Sequence[Audited]) -> Debt:
    seen = [runs[number] for number in numbers]
    newest = next(sighting for sighting in seen[-1].left if sighting.key == key)
    path = key.partition("@")[2]
    looked_again = any(path in {file.path for file in run.files} for run in runs[numbers[-1] + 1 :])
    limit = RUNS_CRITICAL if any(run.safety_critical for run in seen) else RUNS
    standing: Standing = "resolved" if looked_again else "needs_cleanup" if len(numbers) >= limit else "open"
    return Debt(key, newest.claim, newest.place, newest.severity, len(numbers), seen[0].day, seen[-1].day, standing)


def to_clean(runs: Sequence[Audited]) -> tuple[Debt, ...]:
    """What needs cleaning up."""
    return tuple(debt for debt in backlog(runs) if debt.standing == "needs_cleanup")
