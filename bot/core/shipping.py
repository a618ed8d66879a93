"""`ship`: a person wants the change as it stood when its run ended, proved or not, as a draft that says so.

The run ends where it waited, or stays as it failed: nothing here makes it a success. What is delivered is the change as the last
build passed its gate with; the rules about what may land are applied once more where it is published.
"""

from __future__ import annotations

from dataclasses import replace

from bot.core.effects import Deliver
from bot.core.errors import BugError
from bot.core.events import Delivered, RoomFailed, ShipRequested
from bot.core.flow import fail
from bot.core.inert import plain
from bot.core.machines import RunState
from bot.core.opening import ended_by_person
from bot.core.policy import remarks
from bot.core.proving import commit_message
from bot.core.run import Run, Step, branch_name

UNPROVED = "Not proved and not audited to the end"
_WAITED = {
    "approval": "its plan was not approved",
    "budget": "its money was used up",
    "overrun": "it had used more than was planned for it",
    "shared": "a cap that sessions share had no room",
}


def requested(run: Run, event: ShipRequested) -> Step:
    """Deliver what there is; a run that is not over ends with that."""
    changeset = run.changeset
    if changeset is None or not changeset.files or run.state in (RunState.DONE_SUCCESS, RunState.DONE_FAILED_POLICY_VIOLATION):
        raise BugError("there is no change that could be shipped")
    if not run.over:
        run, _ = fail(run, ended_by_person(run), _WAITED[run.waiting.what] if run.waiting else "it was not done")
    run = replace(run, shipped_by=event.by)
    if run.proof is None or run.proof.head.tree != changeset.tree:  # what was seen of another attempt says nothing of this one
        run = replace(run, proof=None, verdict=None, findings=remarks(changeset))
    subject, _, rest = commit_message(run).partition("\n\n")
    message = f"{subject}\n\n{UNPROVED}: shipped as a draft by {plain(event.by, 60)}.\n\n{rest}"
    return run, (Deliver(changeset.tree, branch_name(run), message),)


def delivered(run: Run, event: Delivered) -> Step:
    return replace(run, branch=event.branch, head_sha=event.head_sha, pull=event.pull), ()


def not_delivered(run: Run, event: RoomFailed) -> Step:
    return replace(run, outcome=f"not shipped: {event.message}"), ()
