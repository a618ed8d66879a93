"""The run, tier and phase machines, as tables.

A *run* is one attempt at one goal. It queues a *phase*, executes it, holds it at a *gate*, perhaps waits for CI, takes a
snapshot and queues the next, until nothing is left or it fails for one of four reasons. A person is met only at a gate:
the job ends there, the run does not. A *tier* is an ordered group of phases. A terminal state is never left.

Every change of state goes through `move`, which refuses what the tables do not list. `docs/states.md` is generated from
the tables (`make docs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from bot.core.errors import BugError


class RunState(StrEnum):
    PLAN_BOOTSTRAP = "PLAN_BOOTSTRAP"
    RUN_CREATED = "RUN_CREATED"
    PHASE_QUEUEING = "PHASE_QUEUEING"
    PHASE_EXECUTION = "PHASE_EXECUTION"
    GATE = "GATE"
    CI_RUNNING = "CI_RUNNING"
    SNAPSHOT_CREATED = "SNAPSHOT_CREATED"
    DONE_SUCCESS = "DONE_SUCCESS"
    DONE_FAILED_BUDGET_EXHAUSTED = "DONE_FAILED_BUDGET_EXHAUSTED"
    DONE_FAILED_POLICY_VIOLATION = "DONE_FAILED_POLICY_VIOLATION"
    DONE_FAILED_REQUIRES_HUMAN_REVIEW = "DONE_FAILED_REQUIRES_HUMAN_REVIEW"
    DONE_FAILED_ENVIRONMENT = "DONE_FAILED_ENVIRONMENT"


class TierState(StrEnum):
    PENDING = "PENDING"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


class PhaseState(StrEnum):
    QUEUED = "QUEUED"
    EXECUTING = "EXECUTING"
    GATE = "GATE"
    CI_RUNNING = "CI_RUNNING"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


State = TypeVar("State", RunState, TierState, PhaseState)
Table = Mapping[State, Mapping[State, str]]

RUN_FAILURES: Mapping[RunState, str] = {
    RunState.DONE_FAILED_BUDGET_EXHAUSTED: "paused at a cap, and nobody raised it",
    RunState.DONE_FAILED_POLICY_VIOLATION: "path, command, scope, signature or permission",
    RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW: "attempts used up, unknown error, or stopped",
    RunState.DONE_FAILED_ENVIRONMENT: "missing tool, key or permission, or a broken runner",
}

_RUN: Mapping[RunState, Mapping[RunState, str]] = {
    RunState.PLAN_BOOTSTRAP: {RunState.RUN_CREATED: "strategy compiled, hashed and frozen"},
    RunState.RUN_CREATED: {RunState.PHASE_QUEUEING: "preflight passed"},
    RunState.PHASE_QUEUEING: {
        RunState.PHASE_EXECUTION: "a phase is ready",
        RunState.DONE_SUCCESS: "nothing left, every tier complete or skipped",
    },
    RunState.PHASE_EXECUTION: {
        RunState.GATE: "an attempt delivered evidence, or a person must act",
        RunState.PHASE_QUEUEING: "attempt failed, another is planned",
    },
    RunState.GATE: {
        RunState.CI_RUNNING: "passed, the kind needs CI",
        RunState.SNAPSHOT_CREATED: "passed, no CI",
        RunState.PHASE_QUEUEING: "failed with attempts left, or revised",
        RunState.PHASE_EXECUTION: "a person answered: the same phase goes on",
    },
    RunState.CI_RUNNING: {
        RunState.SNAPSHOT_CREATED: "required checks green at the recorded head",
        RunState.PHASE_QUEUEING: "red, attempts left",
    },
    RunState.SNAPSHOT_CREATED: {RunState.PHASE_QUEUEING: "checkpoint written"},
    RunState.DONE_SUCCESS: {},
    **{state: {} for state in RUN_FAILURES},
}

RUN: Table[RunState] = {state: {**targets, **RUN_FAILURES} if targets else targets for state, targets in _RUN.items()}

TIER: Table[TierState] = {
    TierState.PENDING: {TierState.IN_PROGRESS: "its first phase starts", TierState.SKIPPED: "the strategy says why"},
    TierState.IN_PROGRESS: {
        TierState.COMPLETE: "all phases complete, skipped or superseded",
        TierState.FAILED: "cap, major finding, or a failed phase with no attempt left",
    },
    TierState.COMPLETE: {},
    TierState.FAILED: {},
    TierState.SKIPPED: {},
}

PHASE: Table[PhaseState] = {
    PhaseState.QUEUED: {PhaseState.EXECUTING: "its turn", PhaseState.SKIPPED: "the strategy says why"},
    PhaseState.EXECUTING: {
        PhaseState.GATE: "evidence delivered",
        PhaseState.EXECUTING: "next attempt",
        PhaseState.FAILED: "no attempt left, or superseded",
    },
    PhaseState.GATE: {
        PhaseState.CI_RUNNING: "passed, the kind needs CI",
        PhaseState.COMPLETE: "passed, no CI",
        PhaseState.EXECUTING: "failed, attempts left",
        PhaseState.FAILED: "failed, no attempt left or superseded",
    },
    PhaseState.CI_RUNNING: {
        PhaseState.COMPLETE: "green",
        PhaseState.EXECUTING: "red, attempts left",
        PhaseState.FAILED: "red, no attempt left",
    },
    PhaseState.COMPLETE: {},
    PhaseState.FAILED: {},
    PhaseState.SKIPPED: {},
}


def move(table: Table[State], now: State, to: State) -> State:
    """`to`, where the table lists the change.

    Raises:
        BugError: the change is not in the table; the caller's state is as it was.
    """
    if to not in table[now]:
        raise BugError(f"illegal change of state: {now} -> {to}")
    return to


def terminal(state: RunState) -> bool:
    """Whether a run in `state` is over for good."""
    return not RUN[state]


def diagram(table: Table[State]) -> str:
    """The table as a Mermaid state diagram; the four failures of a run are drawn once, from a state that stands for all."""
    start = next(iter(table))
    failures = {str(state): why for state, why in RUN_FAILURES.items() if state in table}
    lines = ["stateDiagram-v2", f"    [*] --> {start}"]
    for state, targets in table.items():
        for target, why in targets.items():
            if str(target) not in failures:
                lines.append(f"    {state} --> {target}: {why}")
        if not targets and str(state) not in failures:
            lines.append(f"    {state} --> [*]")
    if failures:
        lines.append('    state "every state before the end" as ANY')
    for name, why in failures.items():
        lines += [f"    ANY --> {name}: {why}", f"    {name} --> [*]"]
    return "\n".join(lines)
