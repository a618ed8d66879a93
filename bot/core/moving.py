"""The branch that a run began from moved on while it worked: the change is put onto what is there now, and proved again there.

What was approved stays so: ticket, plan, paths, budget. Where git merges alone, the audit stands too. Where both changed the same
lines a model gets one attempt, with all three versions. What it leaves in conflict is a person's; the change as it was proved is
kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bot.core.changeset import Changeset
from bot.core.errors import BugError
from bot.core.events import BaseMoved
from bot.core.flow import fail, go_on, insert
from bot.core.machines import PhaseState, RunState
from bot.core.phases import Kind
from bot.core.policy import marked
from bot.core.run import Run, Step

MOST_MOVES = 3
MOST_CONFLICTS = 5
"""How often a base is followed, and how many files in conflict are shown to a model."""
NAMED = 5


def base_moved(run: Run, event: BaseMoved) -> Step:
    """Build, proof, audit and delivery once more, on the new base."""
    told = f"{run.request.base_branch} moved on to {event.base_sha[:12]}"
    if why := _refused(run, event):
        return _given_up(run, run.changeset, f"{told}, {why}")
    phase = run.phase
    alone = bool(run.compiled.fixers) or not event.conflicts
    run = run.phase_moved(PhaseState.FAILED, reason=told).moved(RunState.PHASE_QUEUEING)
    kinds = (Kind.IMPLEMENT, Kind.VERIFY, Kind.REVIEW, Kind.PR)
    rung = "rebase" if alone else "conflict"
    run = insert(run, phase, kinds, brief=(), rung=rung, reason=f"{told}; {_how(run, event)}")
    tree = event.base_tree if run.compiled.fixers else event.tree
    return go_on(replace(run, tree=tree, moves=(*run.moves, event)))


def _how(run: Run, event: BaseMoved) -> str:
    if run.compiled.fixers:
        return "the fixers run again there"
    if event.conflicts:
        return f"both changed the same lines of {_named([conflict.path for conflict in event.conflicts])}"
    return f"both changed {_named(event.both)}, in other places" if event.both else "no file was changed by both"


def _refused(run: Run, event: BaseMoved) -> str:
    """Why only a person can go on; empty where the run can."""
    if len(run.moves) >= MOST_MOVES:
        return f"for the {MOST_MOVES + 1}th time while the change was proved"
    if run.compiled.fixers:
        return ""
    if event.unmergeable:
        return f"where {_named(event.unmergeable)} cannot be merged with the change"
    if len(event.conflicts) > MOST_CONFLICTS:
        return f"and both changed the same lines of {_named([conflict.path for conflict in event.conflicts])}"
    return ""


def unresolved(run: Run, changeset: Changeset) -> Step | None:
    """The end of a run whose model left conflicts, or took back the change; None where it resolved them."""
    before, move = run.phase.began, run.moves[-1]
    if before is None:
        raise BugError("a conflict without the change that it is about")
    left = marked(changeset, before)
    if not left and changeset.files:
        return None
    what = f"left conflicts in {_named(left)}" if left else "took the change back"
    told = f"{run.request.base_branch} moved on to {move.base_sha[:12]}, and the model {what}"
    return _given_up(replace(run, moves=run.moves[:-1]), before, told)


def _given_up(run: Run, proved: Changeset | None, why: str) -> Step:
    if proved is None:
        raise BugError("nothing was proved")
    kept = f"the change, proved on {proved.base_sha[:12]}, is kept: merge it by hand, or start anew"
    run = replace(run, changeset=proved, tree=proved.tree)
    return fail(run, RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, f"{why}; {kept}")


def _named(paths: Sequence[str]) -> str:
    more = len(paths) - NAMED
    return ", ".join(paths[:NAMED]) + (f" and {more} more" if more > 0 else "")
