"""What people and the App itself do to a session's state. Pure: each makes the next state of the one it is given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bot.core.jobs import Job
from bot.core.machines import RunState
from bot.core.session import SessionState
from bot.core.settling import waits_for_money

STOPPED = str(RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW)


def approved(state: SessionState, digest: str, by: str, at: str) -> SessionState:
    """The plan with this digest is approved: the build may begin."""
    return _next(state, at, approved_digest=digest, approved_by=by, standing="working", next_job=str(Job.BUILD), restarts=0)


def revised(state: SessionState, comment: int, at: str) -> SessionState:
    """Another plan is to be made; the one that was posted can be approved no more."""
    changes: dict[str, Any] = {"revised_for": comment, "plan_digest": "", "next_job": str(Job.PLAN)}
    return _next(state, at, **changes, standing="working", waits="", outcome="", restarts=0)


def retried(state: SessionState, at: str, said_at: str = "") -> SessionState:
    """Go on from where it stopped, as a person said at that time or nobody did; the tries are counted anew."""
    changes: dict[str, Any] = {"stopped_by": "", "shipped_by": "", "resumed_at": said_at or state.resumed_at}
    return _next(state, at, **changes, standing="working", outcome="", run_state="", restarts=0)


def shipped(state: SessionState, by: str, at: str, said_at: str) -> SessionState:
    """The change as it stands is to become a draft, as a person said at that time."""
    changes: dict[str, Any] = {"stopped_by": "", "shipped_by": by, "resumed_at": said_at, "next_job": str(Job.PUBLISH)}
    return _next(state, at, **changes, standing="working", outcome="", waits="", needs=0, restarts=0)


def stopped(state: SessionState, by: str, at: str) -> SessionState:
    """Over. A workflow run that still works stays bound, so that what it spent is told when it is settled."""
    return _next(state, at, standing="over", run_state=STOPPED, outcome=f"stopped by {by}", stopped_by=by)


def still_stopped(before: SessionState, settled: SessionState) -> SessionState:
    """What a workflow run told does not undo that a person stopped the session, unless it was done before. Same number."""
    if not before.stopped_by or before.standing != "over" or settled.run_state == RunState.DONE_SUCCESS:
        return settled
    return replace(settled, standing="over", run_state=before.run_state, outcome=before.outcome, stopped_by=before.stopped_by)


def begun_anew(state: SessionState, at: str) -> SessionState:
    """Its workflow run ended before it could begin anything: another one is its turn."""
    return _next(state, at, working_run=0, restarts=state.restarts + 1)


def given_up(state: SessionState, why: str, at: str, lost: tuple[str, ...] = ()) -> SessionState:
    """No workflow run goes on, and a person has to look. One that was stopped anyhow only loses its workflow run.

    `lost` names the jobs of it that may have spent money: the next run has to count that as spent.
    """
    names = ",".join(dict.fromkeys([*filter(None, state.lost.split(",")), *lost]))
    if state.standing == "over":
        return _next(state, at, working_run=0, lost=names)
    return _next(state, at, standing="waiting", outcome=why, working_run=0, lost=names, waits="", needs=0)


def short_of_room(state: SessionState, why: str, needs: int, at: str) -> SessionState:
    """No workflow run goes on before caps that sessions share have so much left."""
    return _next(state, at, standing="waiting", outcome=why, working_run=0, waits="shared", needs=needs)


def raised(state: SessionState, amount: int, by: str, why: str, comment: int, at: str) -> SessionState:
    """The next run has so much more. What waits for money goes on at once."""
    changes: dict[str, Any] = {"added": state.added + amount, "added_by": by, "added_why": why}
    if comment:
        changes["added_for"] = comment
    if waits_for_money(state):
        changes |= {"standing": "working", "outcome": "", "restarts": 0}
    return _next(state, at, **changes)


def anchored(state: SessionState, branch: str, base_sha: str, anchor_sha: str, at: str) -> SessionState:
    """The session's branch is there, with its empty first commit."""
    return _next(state, at, branch=branch, base_sha=base_sha, anchor_sha=anchor_sha)


def _next(state: SessionState, at: str, **changes: Any) -> SessionState:
    return replace(state, **changes, seq=state.seq + 1, prev=state.digest, issued_at=at)
