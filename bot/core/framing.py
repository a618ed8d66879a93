"""Framing: STRATEGIZE, SPEC, PLAN (draft, review by the other vendor, refine), THINK; and the approval that ends it."""

from __future__ import annotations

from dataclasses import replace

from bot.core.ageing import to_clean
from bot.core.answers import (
    AnswerError,
    Approach,
    Criterion,
    EdgeCases,
    Objection,
    Plan,
    PlanReview,
    RefinedPlan,
    Spec,
    Task,
    read,
)
from bot.core.calling import ask, reads, text_of, unusable
from bot.core.effects import AskPerson
from bot.core.errors import BadInput, BugError
from bot.core.events import Answered, ModelReplied, PhaseSkipped, PlanRevised
from bot.core.flow import begins, fail, go_on, pass_gate, to_gate
from bot.core.follow_up import SUGGESTION
from bot.core.graph import ordered
from bot.core.machines import PhaseState, RunState
from bot.core.opening import planned
from bot.core.paths import check_path
from bot.core.phases import FRAMING, SKIPPABLE, Kind
from bot.core.policy import protected
from bot.core.reports import FixerCall
from bot.core.run import Documents, Run, Step, Waiting, as_before, contract_digest
from bot.core.steering import without
from bot.core.strategy import compile_strategy
from bot.core.ticket import revised


@begins(Kind.STRATEGIZE, Kind.SPEC, Kind.THINK)
def begin_document(run: Run) -> Step:
    return ask(run)


@reads(Kind.STRATEGIZE, Kind.SPEC, Kind.THINK)
def document_read(run: Run, event: ModelReplied) -> Step:
    try:
        documents = _with_document(run.documents, run.phase.kind, text_of(event))
    except AnswerError as error:
        return unusable(run, event, str(error))
    return _gate(to_gate(replace(run, documents=documents)))


def _with_document(documents: Documents, kind: Kind, text: str) -> Documents:
    if kind is Kind.STRATEGIZE:
        approach = read(Approach, text)
        if not (approach.problem and approach.approach and approach.purpose):
            raise AnswerError("problem, approach and purpose all have to be stated")
        return replace(documents, approach=approach)
    if kind is Kind.SPEC:
        spec = read(Spec, text)
        _check_criteria(spec.criteria)
        return replace(documents, spec=spec)
    cases = read(EdgeCases, text)
    if any(not case.handling for case in cases.cases):
        raise AnswerError("each case needs its handling")
    return replace(documents, edge_cases=cases)


def _check_criteria(criteria: tuple[Criterion, ...]) -> None:
    if not criteria or any(not criterion.text for criterion in criteria):
        raise AnswerError("at least one acceptance criterion that can be checked is needed")
    if len({criterion.id for criterion in criteria}) != len(criteria):
        raise AnswerError("two criteria have the same id")


@begins(Kind.PLAN)
def begin_plan(run: Run) -> Step:
    """A deterministic fixer is its own plan; everything else is drafted by a model."""
    if not run.compiled.fixers:
        return ask(run)
    fixers = run.compiled.fixers
    plan = Plan(
        goal=run.request.ticket.title,
        is_bug=False,
        tasks=tuple(Task(f"T{n}", _task(call), (), ()) for n, call in enumerate(fixers, 1)),
        criteria=(
            Criterion("C1", "exactly what the fixer changes is changed"),
            Criterion("C2", "no test that passed before fails"),
        ),
        tests=(),
        out_of_scope=("anything the fixer does not do by itself",),
        risks=(),
    )
    return _gate(to_gate(replace(run, documents=replace(run.documents, plan=plan))))


def _task(call: FixerCall) -> str:
    if call.name == SUGGESTION:
        return f"apply the suggestion for {call.args[0]}:{call.args[1]} as it stands"
    return f"run {call.name} {' '.join(call.args)}".strip()


@reads(Kind.PLAN)
def plan_read(run: Run, event: ModelReplied) -> Step:
    try:
        return {"draft": _drafted, "review": _reviewed, "refine": _refined}[run.phase.stage](run, text_of(event))
    except AnswerError as error:
        return unusable(run, event, str(error))


def _drafted(run: Run, text: str) -> Step:
    plan = read(Plan, text)
    _check_plan(plan)
    return _stage(replace(run, documents=replace(run.documents, plan=_with_debts(run, plan))), "review")


def _reviewed(run: Run, text: str) -> Step:
    """Ostler's own objections join the reviewer's; without any, the draft stands."""
    review = read(PlanReview, text)
    if review.verdict == "suggest_improvements" and not review.objections:
        raise AnswerError("improvements are suggested but no objection is named")
    review = replace(review, objections=(*review.objections, *_own_objections(run)))
    run = replace(run, documents=replace(run.documents, plan_review=review))
    return _stage(run, "refine") if review.objections else _gate(to_gate(run))


def _refined(run: Run, text: str) -> Step:
    refined, review = read(RefinedPlan, text), run.documents.plan_review
    _check_plan(refined.plan)
    answered_ = {answer.objection for answer in refined.answers if answer.answer}
    if open_ := [objection.id for objection in (review.objections if review else ()) if objection.id not in answered_]:
        raise AnswerError(f"objection {open_[0]} has no answer")
    plan = _with_debts(run, refined.plan)
    return _gate(to_gate(replace(run, documents=replace(run.documents, plan=plan, objection_answers=refined.answers))))


def _with_debts(run: Run, plan: Plan) -> Plan:
    """The plan in order, with a task for each finding in its files that several runs left: who is there anyway cleans up."""
    paths, known = {path for task in plan.tasks for path in task.files}, {task.id for task in plan.tasks}
    debts = [debt for debt in to_clean(run.request.settings.experience.audits) if debt.path in paths]
    tasks = [Task(f"debt-{n}", f"clean up {debt.place}: {debt.claim}", (debt.path,), ()) for n, debt in enumerate(debts, 1)]
    return replace(plan, tasks=(*ordered(plan.tasks), *(task for task in tasks if task.id not in known)))


def _stage(run: Run, name: str) -> Step:
    return ask(run.with_phase(replace(run.phase, stage=name, conversation=(), unusable=0)))


def _check_plan(plan: Plan) -> None:
    if not plan.tasks:
        raise AnswerError("a plan needs at least one task")
    if not any(task.files for task in plan.tasks):
        raise AnswerError("no task names a file: name those that it changes")
    _check_criteria(plan.criteria)
    ordered(plan.tasks)


def _own_objections(run: Run) -> tuple[Objection, ...]:
    """What the policy will refuse later is better known now."""
    plan, denied = run.documents.plan, run.request.settings.denied_paths
    files = [name for task in (plan.tasks if plan else ()) for name in task.files]
    bad = [name for name in files if check_path(name) or protected(name, denied)]
    return tuple(
        Objection(f"policy-{n}", f"{name} may only be changed by a person: plan without it") for n, name in enumerate(bad, 1)
    )


def _gate(run: Run) -> Step:
    """Approval is the gate of the last framing phase."""
    last = not any(phase.kind in FRAMING and phase.state is PhaseState.QUEUED for phase in run.phases)
    reason, settings = run.compiled.approval_reason, run.request.settings
    if not last:
        return pass_gate(run)
    digest = contract_digest(run)
    run = replace(run, contract=digest)
    if not reason:
        return pass_gate(run)
    if settings.preapproved_by:
        return pass_gate(replace(run, approved_by=settings.preapproved_by), f"approved by {settings.preapproved_by}")
    return replace(run, waiting=Waiting("approval", reason, digest=digest)), (AskPerson(digest, reason),)


def plan_revised(run: Run, event: PlanRevised) -> Step:
    """Frame the work anew: what the ticket says now may have another risk, and so another strategy. Money and limits that were
    used stay used. Whoever wanted another plan sees it before anything is built."""
    ticket = revised(run.request.ticket, event.said, event.by, event.comment)
    request = replace(run.request, ticket=ticket, settings=replace(run.request.settings, approval="asked"))
    try:
        strategy = compile_strategy(ticket, request.settings, request.follow).with_cap(run.ledger.run_cap)
    except BadInput as error:
        return fail(run, RunState.DONE_FAILED_ENVIRONMENT, str(error))
    phase = run.phase
    at = run.phases.index(phase)
    run = run.phase_moved(PhaseState.FAILED, reason=f"revised by {event.by}").moved(RunState.PHASE_QUEUEING)
    run = replace(
        run,
        request=request,
        strategy=strategy,
        ledger=replace(run.ledger, finish_reserve=strategy.finish_reserve),
        phases=run.phases[: at + 1],
        documents=Documents(plan=run.documents.plan),
        contract="",
        waiting=None,
    )
    return go_on(planned(run, strategy, phase.id))


def phase_skipped(run: Run, event: PhaseSkipped) -> Step:
    """What has not begun is skipped. What waits at its gate ends there, without its document."""
    if event.kind not in SKIPPABLE:
        raise BugError(f"{event.kind} cannot be skipped")
    run = without(replace(run, skips=(*run.skips, event)))
    if run.waiting is None or run.waiting.what == "approval" or run.phase.kind is not event.kind:
        return as_before(run)
    run = run.with_phase(replace(run.phase, reason=f"skipped by {event.by}"))
    return _gate(replace(run, waiting=None))


def answered(run: Run, event: Answered) -> Step:
    """Only an answer to exactly this contract counts."""
    if run.waiting is None or run.waiting.what != "approval":
        raise BugError("nobody was asked for approval")
    if event.digest != run.waiting.digest:
        raise BugError("the approval is for another contract")
    if event.decision == "declined":
        return fail(run, RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, f"the plan was declined by {event.by}")
    return pass_gate(replace(run, waiting=None, approved_by=event.by), f"approved by {event.by}")
