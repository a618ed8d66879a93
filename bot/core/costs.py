"""What sessions cost, from what their workflow runs told: by run, phase, model, role, repository and day.

A report says what its run has spent so far; what the report before said is taken off, so that everything counts once, on the day
on which it was settled. Micro-dollars and tokens, whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bot.core.budget_report import Spending
from bot.core.forecast import level
from bot.core.settling import Report


@dataclass(frozen=True, slots=True)
class Settled:
    """A report, the UTC day on which it was settled (ISO date), and whose it is."""

    day: str
    repository: str
    report: Report


@dataclass(frozen=True, slots=True)
class Spent:
    """What a workflow run added to one line of its run's spending."""

    day: str
    repository: str
    line: Spending


COUNTS = ("calls", "lost", "input", "cached", "output", "amount")
"""What is added up: calls, those without a known outcome, tokens, micro-dollars."""


def spent_since(settled: Iterable[Settled], since: str) -> list[Spent]:
    """What was spent from the day `since` on, by reports in the order in which they were settled. The earlier ones are needed
    too, to know what is new."""
    known: dict[tuple[str, int, str, str, str], Spending] = {}
    found = []
    for item in settled:
        for line in item.report.spending:
            key = (item.report.session, item.report.runs, line.model, line.role, line.kind)
            before = known.get(key)
            known[key] = line
            more = {name: getattr(line, name) - (getattr(before, name) if before else 0) for name in COUNTS}
            if item.day >= since and any(more.values()):
                found.append(Spent(item.day, item.repository, Spending(line.model, line.role, line.kind, **more)))
    return found


def by(spent: Iterable[Spent], name: str, of: Callable[[Spent], str]) -> list[dict[str, Any]]:
    """One row for each value of `of`, under `name`, in their order."""
    sums: dict[str, dict[str, int]] = {}
    for item in spent:
        row = sums.setdefault(of(item), dict.fromkeys(COUNTS, 0))
        for count in COUNTS:
            row[count] += getattr(item.line, count)
    return [{name: value, **sums[value]} for value in sorted(sums)]


def total(spent: Sequence[Spent]) -> dict[str, int]:
    return {count: sum(getattr(item.line, count) for item in spent) for count in COUNTS}


def costs(spent: Sequence[Spent]) -> dict[str, Any]:
    """Everything, and its parts in five ways; each of them adds up to the total."""
    return {
        "total": total(spent),
        "by_day": by(spent, "day", lambda item: item.day),
        "by_repository": by(spent, "repository", lambda item: item.repository),
        "by_model": by(spent, "model", lambda item: item.line.model),
        "by_role": by(spent, "role", lambda item: item.line.role),
        "by_phase": by(spent, "phase", lambda item: item.line.kind),
    }


def analysis(settled: Iterable[Settled], since: str, most: int) -> dict[str, Any]:
    """The runs that were settled from the day `since` on, the latest first and `most` at most, each against its cap; and how
    many there are in all."""
    latest: dict[tuple[str, int], Settled] = {}
    for item in settled:
        key = (item.report.session, item.report.runs)
        latest.pop(key, None)
        latest[key] = item
    runs = [item for item in reversed(latest.values()) if item.day >= since]
    return {
        "runs_in_all": len(runs),
        "spent": sum(item.report.spent - item.report.earlier for item in runs),
        "limit": sum(item.report.cap - item.report.earlier for item in runs),
        "runs": [_run(item) for item in runs[:most]],
    }


def _run(item: Settled) -> dict[str, Any]:
    report = item.report
    spent, limit = report.spent - report.earlier, report.cap - report.earlier
    return {
        "session": report.session,
        "run": report.runs,
        "repository": item.repository,
        "issue": report.issue,
        "settled": item.day,
        "standing": report.standing,
        "run_state": report.run_state,
        "waits": report.waits,
        "spent": spent,
        "limit": limit,
        "left": max(0, limit - spent),
        "level": level(spent, limit),
        "phases": [asdict(line) for line in report.phases],
        "spending": [asdict(line) for line in report.spending],
    }
