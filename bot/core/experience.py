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
class Experience:
    """The newest last: at most `MAX_OUTCOMES` attempts and `MAX_RUNS` runs of one repository."""

    outcomes: tuple[Outcome, ...] = ()
    runs: tuple[RunCost, ...] = ()


MAX_OUTCOMES, MAX_RUNS = 400, 50
FROZEN = 100
"""Outcomes that a run is given: it keeps them in its journal."""
NONE = Experience()


def frozen(found: Experience) -> Experience:
    """As much of it as a run decides by."""
    return Experience(found.outcomes[-FROZEN:], tuple(replace(run, uses=()) for run in found.runs))


def read_experience(value: Any) -> Experience:
    """The experience in decoded JSON.

    Raises:
        PolicyError: not exactly the fields of one, each of its own type, or more than is kept.
    """
    if not isinstance(value, dict) or value.keys() != {"outcomes", "runs"}:
        raise PolicyError("The experience does not have its two fields.")
    outcomes, runs = rows(Outcome, value["outcomes"]), rows(RunCost, value["runs"], uses=KindUse)
    if len(runs) > MAX_RUNS or len(outcomes) > MAX_OUTCOMES:
        raise PolicyError("The experience is more than is kept.")
    return Experience(outcomes, runs)
