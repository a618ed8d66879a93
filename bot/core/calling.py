"""One model call, from price to bill: price, reserve, send, settle; and what happens when it fails or the money is short."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bot.core.budget import Left, Shortfall
from bot.core.conversation import Message, Text
from bot.core.effects import PriceCall, SendCall
from bot.core.errors import BugError
from bot.core.events import CallFailed, CallPriced, ModelReplied
from bot.core.flow import fail
from bot.core.machines import RunState
from bot.core.phases import Kind, Role, stage_of
from bot.core.recovery import MAX_TRIES, Retry, Stop, Switch, Wait, decide
from bot.core.run import Call, Run, Step, Waiting
from bot.core.selection import Choice, ModelId, apart, substitute
from bot.core.spending import allowance_left, out_of_money, over_caps, paused, quota_short

MAX_UNUSABLE = 3
BYTES_PER_TOKEN = 4
"""What most tokens stand for. Money is reserved by the bound; what only bounds work goes by this."""

Reader = Callable[[Run, ModelReplied], Step]
READERS: dict[Kind, Reader] = {}
"""How a reply to each kind is read; filled by the modules that own the kinds."""


def reads(*kinds: Kind) -> Callable[[Reader], Reader]:
    """Register how replies to phases of `kinds` are read."""

    def register(reader: Reader) -> Reader:
        READERS.update(dict.fromkeys(kinds, reader))
        return reader

    return register


Skipper = Callable[[Run, str], Step]
SKIPPERS: dict[Kind, Skipper] = {}
"""How a phase of each kind goes on without its optional stage, and why it has to."""


def skips(kind: Kind) -> Callable[[Skipper], Skipper]:
    """Register how phases of `kind` do without an optional stage."""

    def register(skipper: Skipper) -> Skipper:
        SKIPPERS[kind] = skipper
        return skipper

    return register


def ask(run: Run, *, tries: int = 0, wait: float = 0.0) -> Step:
    """Begin a call for the active phase's stage."""
    phase = run.phase
    choice = chosen(run, stage_of(phase.kind, phase.stage).role)
    call = Call(f"c{run.calls + 1:03}", phase.id, phase.stage, choice, tries)
    return replace(run, call=call, calls=run.calls + 1), (PriceCall(call.id, choice.model, wait),)


def chosen(run: Run, role: Role) -> Choice:
    """The model of `role` in the active phase. Judges stay with another vendor than who they judge."""
    choice = run.phase.choice or next(choice for choice in run.compiled.choices if choice.role is role)
    if role is Role.PLAN_REVIEWER:
        return apart(choice, run.request.settings.models, chosen(run, Role.PLANNER).model)
    return choice if role is Role.AUDITOR else available(run, choice)


def available(run: Run, choice: Choice) -> Choice:
    """`choice`, or the like of a vendor that was not given up in this run."""
    if choice.model.vendor not in run.left or run.compiled.triage.high_risk:
        return choice
    other = substitute(run.request.settings.models, choice.model, set(run.left))
    return Choice(choice.role, other, f"{choice.model.vendor} was given up in this run: {choice.reason}") if other else choice


def priced(run: Run, event: CallPriced) -> Step:
    """Reserve the worst case; where the money is short, wait for a person rather than spend."""
    call, phase = _current(run, event.call), run.phase
    stage = stage_of(phase.kind, phase.stage)
    if reached := over_caps(run, event.input_bound // BYTES_PER_TOKEN + stage.floor):
        return _without(run, "a limit is reached") if stage.optional else paused(run, Waiting("overrun", reached))
    near, used_up = quota_short(event.shared, event.input_bound + stage.output, run.request.settings.quota_soft)
    if near and (other := _elsewhere(run, call)):
        return _switched(run, call.choice, other, f"{near.cap.name} is nearly used up")
    if used_up and stage.optional:
        return _without(run, f"{used_up.cap.name} is used up")
    if used_up:
        return paused(run, Waiting("shared", _no_quota(run, used_up)))
    ledger, answer = run.ledger.reserve(
        call.id,
        str(phase.kind),
        phase.id,
        event.rates,
        input_bound=event.input_bound,
        output_wanted=stage.output,
        output_floor=stage.floor,
        finishing=phase.kind is Kind.REVIEW and not stage.optional,
        shared=(*event.shared, *allowance_left(run)),
    )
    if isinstance(answer, Shortfall) and stage.optional:
        return _without(run, f"the {answer.cap} cap leaves too little")
    if isinstance(answer, Shortfall):
        return out_of_money(run, answer)
    run = replace(run, ledger=ledger, call=replace(call, request_digest=event.request_digest))
    return run, (SendCall(call.id, call.choice.model, answer.max_output, answer.amount, answer.tokens),)


def _without(run: Run, why: str) -> Step:
    """The active stage is one to do without."""
    return SKIPPERS[run.phase.kind](replace(run, call=None), why)


def _no_quota(run: Run, left: Left) -> str:
    why = " High-risk work is given to no other vendor for want of a quota." if run.compiled.triage.high_risk else ""
    return (
        f"{left.cap.name} is used up ({left.used:,} of {left.cap.limit:,} tokens).{why} All work so far is kept: go on when it "
        "begins anew, or raise it in the configuration."
    )


def replied(run: Run, event: ModelReplied) -> Step:
    """Settle the bill first, whatever the answer is worth."""
    call = _current(run, event.call)
    ledger = run.ledger.settle(call.id, role=str(call.choice.role), rates=event.rates, usage=event.usage)
    run = replace(run, ledger=ledger, call=None).worked(event.seconds)
    run = run.with_phase(replace(run.phase, turns=run.phase.turns + 1))
    if event.stop == "refusal" and stage_of(run.phase.kind, run.phase.stage).optional:
        return _without(run, f"{event.model} refused")
    if event.stop == "refusal":
        why = f"{event.model} refused to answer in {run.phase.kind}"
        return fail(run, RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, why)
    return READERS[run.phase.kind](run, event)


def failed(run: Run, event: CallFailed) -> Step:
    """Release or lose the reservation, then do what the recovery table says."""
    call = _current(run, event.call)
    if event.billed == "no":
        ledger = run.ledger.release(call.id)
    else:
        ledger = run.ledger.lose(call.id, role=str(call.choice.role), model=call.choice.model.model)
    run = replace(run, ledger=ledger, call=None)
    if stage_of(run.phase.kind, run.phase.stage).optional:
        return _without(run, event.message)
    other = _elsewhere(run, call)
    decision = decide(event.error, call.tries + 1, event.retry_after, event.chance, other=other is not None)
    if isinstance(decision, Switch) and other is not None:
        return _switched(run, call.choice, other, f"{call.choice.model.vendor} does not answer")
    if isinstance(decision, Retry):
        counted = 0 if event.error == "interrupted" else 1
        return ask(run, tries=call.tries + counted, wait=decision.seconds)
    if isinstance(decision, Wait):
        why = f"{event.message[:1].upper()}{event.message[1:]}, {MAX_TRIES} times in a row."
        return paused(run, Waiting("shared", f"{why} All work so far is kept: go on when there is room again."))
    state = decision.state if isinstance(decision, Stop) else RunState.DONE_FAILED_ENVIRONMENT
    return fail(run, state, event.message)


def _elsewhere(run: Run, call: Call) -> ModelId | None:
    """The model of another vendor that may take over, of the same class: none for high-risk work, none of a vendor that was left
    before, and nobody judges what a model of the same vendor made."""
    if run.compiled.triage.high_risk or call.choice.role in (Role.PLAN_REVIEWER, Role.AUDITOR):
        return None
    left = {call.choice.model.vendor, *run.left}
    return substitute(run.request.settings.models, call.choice.model, left)


def _switched(run: Run, gone: Choice, model: ModelId, why: str) -> Step:
    """Another vendor's model goes on with a brief: a transcript holds tools and reasoning that only its own model can read."""
    phase = run.phase
    choice = Choice(gone.role, model, f"{why}, so {model.vendor}'s model of the same class goes on")
    begun = (f"{why}: another model began this. The files are as it left them.",) if phase.conversation else ()
    phase = replace(phase, choice=choice if phase.choice else None, conversation=(), brief=(*phase.brief, *begun))
    return ask(replace(run, call=None, left=(*run.left, gone.model.vendor)).with_phase(phase))


def unusable(run: Run, event: ModelReplied, why: str) -> Step:
    """The answer cannot be read: say why and ask again, three times at most."""
    phase = run.phase
    if stage_of(phase.kind, phase.stage).optional:
        return _without(run, f"the answer cannot be used: {why}")
    if phase.unusable + 1 >= MAX_UNUSABLE:
        told = f"{event.model} gave {MAX_UNUSABLE} unusable answers in {phase.kind} ({phase.stage}): {why}"
        return fail(run, RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, told)
    again = Message(
        "user", (Text(f"Your answer cannot be used: {why}. Answer again, with nothing but the JSON object that was asked for."),)
    )
    said = (Message("assistant", event.blocks),) if event.blocks else ()
    return ask(run.with_phase(replace(phase, unusable=phase.unusable + 1, conversation=(*phase.conversation, *said, again))))


def text_of(event: ModelReplied) -> str:
    """The words of a reply, joined."""
    return "".join(block.text for block in event.blocks if isinstance(block, Text))


def _current(run: Run, call: str) -> Call:
    if run.call is None or run.call.id != call:
        raise BugError(f"call {call} is not under way")
    return run.call
