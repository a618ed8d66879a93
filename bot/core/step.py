"""`step(run, event) -> (run, effects)`: the whole behaviour of a run, as a pure function. It only dispatches.

At most one effect is pending, and only its answer or a person's word moves the run. An event that does not fit raises
`BugError` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bot.core import auditing, building, calling, framing, minutes, moving, opening, proving, shipping, spending, steering
from bot.core.effects import (
    AskPerson,
    Deliver,
    PrepareWorkspace,
    PriceCall,
    RepeatProof,
    RunAuditChecks,
    RunBaseline,
    RunFixers,
    RunProof,
    SendCall,
    TakeChangeset,
    UseTools,
)
from bot.core.errors import BugError
from bot.core.events import (
    AllowanceGiven,
    Answered,
    AuditChecksRan,
    BaselineRan,
    BaseMoved,
    BudgetRaised,
    CallFailed,
    CallPriced,
    ChangesetTaken,
    ClassChosen,
    Delivered,
    Event,
    FixersRan,
    JobBegan,
    JobEnded,
    JobLost,
    ModelReplied,
    OverrunAccepted,
    PhaseSkipped,
    PlanRevised,
    ProofRan,
    ProofRepeated,
    Resumed,
    RoomFailed,
    RunRequested,
    ShipRequested,
    StopRequested,
    ToolsUsed,
    WorkspaceReady,
)
from bot.core.run import Run, Step

_HANDLERS: dict[type[Any], Callable[[Run, Any], Step]] = {
    WorkspaceReady: opening.workspace_ready,
    BaselineRan: opening.baseline_ran,
    Answered: framing.answered,
    PlanRevised: framing.plan_revised,
    CallPriced: calling.priced,
    ModelReplied: calling.replied,
    CallFailed: calling.failed,
    BudgetRaised: lambda run, event: spending.budget_raised(run, event, calling.ask),
    OverrunAccepted: lambda run, event: spending.overrun_accepted(run, event, calling.ask),
    Resumed: lambda run, event: spending.resumed(run, event, calling.ask),
    AllowanceGiven: spending.allowance_given,
    ClassChosen: steering.class_chosen,
    PhaseSkipped: framing.phase_skipped,
    FixersRan: building.fixers_ran,
    ToolsUsed: building.tools_used,
    ChangesetTaken: building.changeset_taken,
    ProofRan: proving.proof_ran,
    ProofRepeated: proving.proof_repeated,
    AuditChecksRan: auditing.checks_ran,
    Delivered: proving.delivered,
    BaseMoved: moving.base_moved,
    RoomFailed: opening.room_failed,
    JobBegan: minutes.job_began,
    JobEnded: minutes.job_ended,
    JobLost: minutes.job_lost,
    StopRequested: opening.stop_requested,
    ShipRequested: shipping.requested,
}
_AFTER_THE_END: dict[type[Any], Callable[[Run, Any], Step]] = {
    JobEnded: minutes.job_ended,
    ShipRequested: shipping.requested,
    Delivered: shipping.delivered,
    RoomFailed: shipping.not_delivered,
}
"""What a run that is over still hears: its state stays, whatever becomes of the change."""


_ANSWERS: dict[type[Any], tuple[type[Any], ...]] = {
    PrepareWorkspace: (WorkspaceReady,),
    RunBaseline: (BaselineRan,),
    RunFixers: (FixersRan,),
    PriceCall: (CallPriced,),
    SendCall: (ModelReplied, CallFailed),
    UseTools: (ToolsUsed,),
    TakeChangeset: (ChangesetTaken,),
    RunProof: (ProofRan,),
    RepeatProof: (ProofRepeated,),
    RunAuditChecks: (AuditChecksRan,),
    AskPerson: (Answered, PlanRevised),
    Deliver: (Delivered, BaseMoved),
}
"""What may answer each effect, apart from a `RoomFailed` that names it."""
_UNASKED = (
    Answered, BudgetRaised, OverrunAccepted, Resumed, AllowanceGiven, ClassChosen, PhaseSkipped, StopRequested, ShipRequested,
    JobBegan, JobEnded, JobLost,
)  # fmt: skip
"""What may come at any time; the handlers look whether it fits."""


def step(run: Run | None, event: Event) -> Step:
    """The run after `event`, and what is to be done about it.

    Raises:
        BugError: the event does not fit; the given run is as it was.
    """
    if isinstance(event, RunRequested):
        if run is not None:
            raise BugError("the run was requested twice")
        return opening.requested(event)
    if run is None:
        raise BugError(f"a run cannot begin with {type(event).__name__}")
    handlers = _AFTER_THE_END if run.over else _HANDLERS
    if type(event) not in handlers:
        raise BugError(f"the run is over ({run.state}), {type(event).__name__} comes too late")
    if not _fits(run, event):
        raise BugError(f"{type(event).__name__} is no answer to {type(run.pending).__name__}")
    after, effects = handlers[type(event)](run, event)
    return replace(after, pending=next(iter(effects), None)), effects


def _fits(run: Run, event: Event) -> bool:
    """Whether `event` answers what is pending, or needs no question."""
    if isinstance(event, RoomFailed):
        return event.effect == type(run.pending).__name__
    return isinstance(event, _UNASKED) or type(event) in _ANSWERS.get(type(run.pending), ())
