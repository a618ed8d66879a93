"""What earlier runs of a repository cost and how their attempts ended: what forecasts, model choice and new budgets rest on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bot.core.errors import PolicyError
from bot.core.rows import rows


@dataclass(frozen=True, slots=True)
class Outcome:
    """A build attempt that was verified, `attempt` counted from 1. `model_class` is its class; `ok` is whether its proof held."""

    category: str
    scope: str
    vendor: str
    model: str
    model_class: str
    ok: bool
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class KindUse:
    """What the phases of one kind used together: fresh tokens (`Usage.fresh`), and active seconds."""

    kind: str
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RunCost:
    """A finished run: what it cost in micro-dollars, what each kind used, and the day it ended (UTC, ISO 8601)."""

    category: str
    scope: str
    importance: str
    cost: int
    uses: tuple[KindUse, ...] = ()
    day: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """A file that an audit looked at."""

    path: str


@dataclass(frozen=True, slots=True)
class Sighting:
    """A finding that a run delivered its change with. `key` is `category@file`."""

    key: str
    severity: str
    place: str
    claim: str


@dataclass(frozen=True, slots=True)
class Audited:
    """A delivered run whose change models audited, and the day it ended. Two auditors called `points` things major between them,
    and were apart on `disagreed` of them. `planted` is what became of a known defect that `auditor` was shown: `caught` or
    `approved`, empty where none was."""

    safety_critical: bool
    disagreed: int
    points: int
    files: tuple[File, ...] = ()
    left: tuple[Sighting, ...] = ()
    day: str = ""
    auditor: str = ""
    planted: str = ""


@dataclass(frozen=True, slots=True)
class Experience:
    """The newest last: at most `MAX_OUTCOMES` attempts, `MAX_RUNS` runs and as many audits of one repository."""

    outcomes: tuple[Outcome, ...] = ()
    runs: tuple[RunCost, ...] = ()
    audits: tuple[Audited, ...] = ()


MAX_OUTCOMES, MAX_RUNS = 400, 50
FROZEN_AUDITS = 10
"""Audits of which a run is given the findings: an older finding that nobody saw since is no debt of today."""
FROZEN = 100
"""Outcomes that a run is given: it keeps them in its journal."""
NONE = Experience()


def frozen(found: Experience) -> Experience:
    """As much of it as a run decides by."""
    older, newer = found.audits[:-FROZEN_AUDITS], found.audits[-FROZEN_AUDITS:]
    counted = tuple(replace(audited, files=(), left=()) for audited in older)
    return Experience(found.outcomes[-FROZEN:], tuple(replace(run, uses=()) for run in found.runs), (*counted, *newer))


def read_experience(value: Any) -> Experience:
    """The experience in decoded JSON.

    Raises:
        PolicyError: not exactly the fields of one, each of its own type, or more than is kept.
    """
    if not isinstance(value, dict) or value.keys() != {"outcomes", "runs", "audits"}:
        raise PolicyError("The experience does not have its three fields.")
    outcomes, runs = rows(Outcome, value["outcomes"]), rows(RunCost, value["runs"], uses=KindUse)
    audits = rows(Audited, value["audits"], files=File, left=Sighting)
    if max(len(runs), len(audits)) > MAX_RUNS or len(outcomes) > MAX_OUTCOMES:
        raise PolicyError("The experience is more than is kept.")
    return Experience(outcomes, runs, audits)
