"""The beginning and the sudden ends of a run: request, workspace, baseline; a room that failed, a person who stops."""

from __future__ import annotations

from dataclasses import replace

from bot.core.effects import PrepareWorkspace, RunBaseline
from bot.core.errors import BadInput, BugError
from bot.core.events import BaselineRan, RoomFailed, RunRequested, StopRequested, WorkspaceReady
from bot.core.flow import BEGINNINGS, fail, go_on
from bot.core.machines import PhaseState, RunState
from bot.core.minutes import charged, held
from bot.core.phases import FRAMING
from bot.core.run import Phase, Run, Step, Tier
from bot.core.steering import begun
from bot.core.strategy import Strategy, compile_strategy


def requested(event: RunRequested) -> Step:
    first = PrepareWorkspace(event.base_sha)
    return Run(request=event, pending=first), (first,)


def workspace_ready(run: Run, event: WorkspaceReady) -> Step:
    """Compile and freeze the strategy; without a sandbox that holds nothing untrusted may run."""
    _expect(run, RunState.PLAN_BOOTSTRAP)
    run = replace(run, workspace=event, tree=event.base_tree, request=_askable(run.request, event.vendors))
    if not event.sandbox.full:
        return fail(
            run,
            RunState.DONE_FAILED_ENVIRONMENT,
            f"No full sandbox is to be had here, so no test may run: {event.sandbox.advice}",
        )
    try:
        strategy = compile_strategy(run.request.ticket, run.request.settings, run.request.follow)
    except BadInput as error:
        return fail(run, RunState.DONE_FAILED_ENVIRONMENT, str(error))
    run = planned(replace(run, strategy=strategy, ledger=strategy.ledger()), strategy)
    for job in run.jobs:
        run = held(run, job)
    for number, lost in enumerate(run.lost, 1):
        run = charged(run, lost, number)
    return run.moved(RunState.RUN_CREATED), (RunBaseline(event.base_tree),)


def _askable(request: RunRequested, vendors: tuple[str, ...] | None) -> RunRequested:
    """The request with only those models that can be asked: the job that accepts a ticket holds no keys and so cannot tell."""
    if vendors is None:
        return request
    models = tuple(model for model in request.settings.models if model.vendor in vendors)
    return replace(request, settings=replace(request.settings, models=models))


def planned(run: Run, strategy: Strategy, origin: str = "") -> Run:
    """The run with the strategy's phases behind those that it has; `origin` as `Phase` has it."""
    tiers = run.tiers or tuple(Tier(name) for name in dict.fromkeys(plan.tier for plan in strategy.phases))
    phases = tuple(
        Phase(
            f"p{number:02}",
            plan.tier,
            plan.kind,
            PhaseState.SKIPPED if plan.skip else PhaseState.QUEUED,
            plan.skip,
            origin=origin if plan.kind in FRAMING else "",
            fixers=plan.fixers,
        )
        for number, plan in enumerate(strategy.phases, len(run.phases) + 1)
    )
    return begun(replace(run, tiers=tiers, phases=(*run.phases, *phases)))


def baseline_ran(run: Run, event: BaselineRan) -> Step:
    """The first phase begins; where the base moved, the proof that needs the new one's."""
    if event.checks.tree != run.base_tree:
        raise BugError("the baseline is another tree's")
    run = replace(run, baseline=event.checks)
    if run.state is RunState.RUN_CREATED:
        return go_on(run.moved(RunState.PHASE_QUEUEING))
    return BEGINNINGS[run.phase.kind](run.worked(event.seconds))


def room_failed(run: Run, event: RoomFailed) -> Step:
    state = RunState.DONE_FAILED_POLICY_VIOLATION if event.error == "policy" else RunState.DONE_FAILED_ENVIRONMENT
    return fail(run, state, event.message)


def stop_requested(run: Run, event: StopRequested) -> Step:
    return fail(run, ended_by_person(run), f"stopped by {event.by}")


def ended_by_person(run: Run) -> RunState:
    """A run that waits for money ends as out of budget, any other as a person's decision."""
    broke = run.waiting is not None and run.waiting.what != "approval"
    return RunState.DONE_FAILED_BUDGET_EXHAUSTED if broke else RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW


def _expect(run: Run, state: RunState) -> None:
    if run.state is not state:
        raise BugError(f"expected state {state}, the run is in {run.state}")
