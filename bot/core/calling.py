"""One model call, from price to bill: price, reserve, send, settle; and what happens when it fails or the money is short."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bot.core.budget import Shortfall, dollars
from bot.core.conversation import Message, Text
from bot.core.effects import PriceCall, SendCall
from bot.core.errors import BugError
from bot.core.events import BudgetRaised, CallFailed, CallPriced, ModelReplied
from bot.core.flow import fail
from bot.core.machines import PhaseState, RunState
from bot.core.phases import KINDS, Kind, Role, stage_of
from bot.core.recovery import Stop, decide
from bot.core.run import Call, Run, Step, Waiting
from bot.core.selection import Choice

MAX_UNUSABLE = 3
CENT = 10_000

Reader = Callable[[Run, ModelReplied], Step]
READERS: dict[Kind, Reader] = {}
"""How a reply to each kind is read; filled by the modules that own the kinds."""


def reads(*kinds: Kind) -> Callable[[Reader], Reader]:
    """Register how replies to phases of `kinds` are read."""

    def register(reader: Reader) -> Reader:
        READERS.update(dict.fromkeys(kinds, reader))
        return reader

    return register


def ask(run: Run, *, tries: int = 0, wait: float = 0.0) -> Step:
    """Begin a call for the active phase's stage."""
    phase = run.phase
    choice = phase.choice or _choice(run, stage_of(phase.kind, phase.stage).role)
    call = Call(f"c{run.calls + 1:03}", phase.id, phase.stage, choice, tries)
    return replace(run, call=call, calls=run.calls + 1), (PriceCall(call.id, choice.model, wait),)


def _choice(run: Run, role: Role) -> Choice:
    return next(choice for choice in run.compiled.choices if choice.role is role)


def priced(run: Run, event: CallPriced) -> Step:
    """Reserve the worst case; where the money is short, wait for a person rather than spend."""
    call, phase = _current(run, event.call), run.phase
    stage = stage_of(phase.kind, phase.stage)
    ledger, answer = run.ledger.reserve(
        call.id,
        str(phase.kind),
        event.rates,
        input_bound=event.input_bound,
        output_wanted=stage.output,
        output_floor=stage.floor,
        finishing=phase.kind is Kind.REVIEW,
    )
    if isinstance(answer, Shortfall):
        return _paused(run, answer)
    run = replace(run, ledger=ledger, call=replace(call, request_digest=event.request_digest))
    return run, (SendCall(call.id, call.choice.model, answer.max_output),)


def _paused(run: Run, short: Shortfall) -> Step:
    needed = cap_needed(run, short.needed)
    text = (
        f"The {short.cap} cap leaves {dollars(short.left)}, and the next call may cost {dollars(short.needed)}. "
        f"All work so far is kept: raise the cap to {dollars(needed)} or more to go on."
    )
    run = replace(run, call=None, waiting=Waiting("budget", text, needed=needed))
    return run.phase_moved(PhaseState.GATE).moved(RunState.GATE), ()


def cap_needed(run: Run, amount: int) -> int:
    """The run cap, in whole cents, under which a call of the active phase that may cost `amount` is admitted by every cap."""
    kind, ledger = run.phase.kind, run.ledger
    whole, reserve = ledger.committed + amount, 0 if kind is Kind.REVIEW else KINDS[Kind.REVIEW].share
    least = max(
        run.compiled.run_cap + 1,
        amount if amount > ledger.call_cap else 0,
        -(-(ledger.phase_committed(str(kind)) + amount) * 100 // KINDS[kind].share),
        -(-whole * 200 // (200 - reserve)),
    )
    return -(-least // CENT) * CENT


def budget_raised(run: Run, event: BudgetRaised) -> Step:
    """Go on where the money ran out, under a higher cap."""
    if run.waiting is None or run.waiting.what != "budget":
        raise BugError("the run is not waiting for money")
    if event.max_cost <= run.compiled.run_cap:
        raise BugError("a cap can only be raised")
    strategy = run.compiled.with_cap(event.max_cost)
    ledger = replace(
        run.ledger,
        run_cap=strategy.run_cap,
        call_cap=max(run.ledger.call_cap, strategy.run_cap),
        finish_reserve=strategy.finish_reserve,
        phase_caps=strategy.phase_caps,
    )
    run = replace(run, strategy=strategy, ledger=ledger, waiting=None)
    return ask(run.phase_moved(PhaseState.EXECUTING).moved(RunState.PHASE_EXECUTION))


def replied(run: Run, event: ModelReplied) -> Step:
    """Settle the bill first, whatever the answer is worth."""
    call, phase = _current(run, event.call), run.phase
    ledger = run.ledger.settle(call.id, role=str(call.choice.role), rates=event.rates, usage=event.usage)
    run = replace(run, ledger=ledger, call=None).with_phase(replace(phase, turns=phase.turns + 1))
    if event.stop == "refusal":
        return fail(run, RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, f"{event.model} refused to answer in {phase.kind}")
    return READERS[phase.kind](run, event)


def failed(run: Run, event: CallFailed) -> Step:
    """Release or lose the reservation, then do what the recovery table says."""
    call = _current(run, event.call)
    if event.billed == "no":
        ledger = run.ledger.release(call.id)
    else:
        ledger = run.ledger.lose(call.id, role=str(call.choice.role), model=call.choice.model.model)
    run = replace(run, ledger=ledger, call=None)
    decision = decide(event.error, call.tries + 1, event.retry_after)
    if isinstance(decision, Stop):
        return fail(run, decision.state, event.message)
    return ask(run, tries=call.tries if event.error == "interrupted" else call.tries + 1, wait=decision.seconds)


def unusable(run: Run, event: ModelReplied, why: str) -> Step:
    """The answer cannot be read: say why and ask again, three times at most."""
    phase = run.phase
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
