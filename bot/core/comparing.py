"""Sessions side by side, by their signed states alone: how far each came, what it took, which was the cheapest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.core.machines import RunState
from bot.core.session import SessionState, asked_at

MOST = 5
"""Sessions that are compared at once."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One session as a table shows it. `cost` is micro-dollars; `seconds` is the time from the label to what was settled last,
    with that of waiting for people."""

    session: str
    status: str
    runs: int
    iterations: int
    cost: int
    seconds: float
    outcome: str
    models: str
    pull: int


def figures(state: SessionState) -> Figures:
    began, ended = asked_at(state.session), state.issued_at or asked_at(state.session)
    seconds = (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
    return Figures(
        session=state.session,
        status=status(state),
        runs=state.runs,
        iterations=state.iterations,
        cost=state.spent,
        seconds=max(0.0, seconds),
        outcome=state.outcome,
        models=state.models,
        pull=state.pull,
    )


def status(state: SessionState) -> str:
    """running, paused, completed or failed; archived where it was put away."""
    if state.archived_by:
        return "archived"
    if state.standing != "over":
        return "running" if state.standing == "working" else "paused"
    return "completed" if state.run_state == RunState.DONE_SUCCESS else "failed"


def cheapest(states: Sequence[SessionState]) -> SessionState | None:
    """The one that was done for the least money, the first of those alike; None where none was done."""
    done = [state for state in states if state.standing == "over" and state.run_state == RunState.DONE_SUCCESS]
    return min(done, key=lambda state: state.spent, default=None)
