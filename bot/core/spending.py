"""What stops a run for money or tokens, and what a person can answer: raise the cap, accept the overrun, look again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bot.core.budget import LOST, Cap, Left, Shortfall, dollars
from bot.core.errors import BugError
from bot.core.events import AllowanceGiven, BudgetRaised, OverrunAccepted, Resumed
from bot.core.flow import BEGINNINGS
from bot.core.limits import over, run_caps
from bot.core.machines import PhaseState, RunState
from bot.core.minutes import coming
from bot.core.phases import KINDS, Kind
from bot.core.run import Overrun, Phase, Run, Step, Waiting, as_before
from bot.core.standing import Facts, Standing, Use, standing

CENT = 10_000
OWN_CAPS = ("call", "phase", "run")
"""The caps that belong to one run. What they lack, more money for the run mends; what another cap lacks, only that cap."""

Ask = Callable[[Run], Step]


def paused(run: Run, waiting: Waiting) -> Step:
    """Stop at the active phase's gate with all work kept, until a person answers."""
    run = replace(run, call=None, waiting=waiting)
    return run.phase_moved(PhaseState.GATE).moved(RunState.GATE), ()


def out_of_money(run: Run, short: Shortfall) -> Step:
    if short.cap not in OWN_CAPS:
        text = (
            f"The {short.cap} cap leaves {dollars(short.left)}, and the next call may cost {dollars(short.needed)}. "
            "All work so far is kept: go on when there is room again, or raise that cap."
        )
        return paused(run, Waiting("shared", text, needed=short.needed))
    needed = cap_needed(run, short.needed)
    text = (
        f"The {short.cap} cap leaves {dollars(short.left)}, and the next call may cost {dollars(short.needed)}. "
        f"All work so far is kept: raise the cap to {dollars(needed)} or more to go on."
    )
    return paused(run, Waiting("budget", text, needed=needed))


def cap_needed(run: Run, amount: int) -> int:
    """The run cap, in whole cents, under which a call of the active phase that may cost `amount` is admitted by every cap."""
    kind, ledger = run.phase.kind, run.ledger
    whole, reserve = ledger.committed + amount + coming(run), 0 if kind is Kind.REVIEW else KINDS[Kind.REVIEW].share
    least = max(
        run.compiled.run_cap + 1,
        amount if amount > ledger.call_cap else 0,
        -(-(ledger.committed_to(str(kind)) + amount) * 100 // KINDS[kind].share),
        -(-whole * 200 // (200 - reserve)),
    )
    return -(-least // CENT) * CENT


def quota_short(shared: tuple[Left, ...], tokens: int, soft: float) -> tuple[Left | None, Left | None]:
    """The quota whose soft limit a call of `tokens` would pass, and the one that it would use up."""
    quotas = [left for left in shared if left.cap.unit == "tokens"]
    near = next((left for left in quotas if left.used + tokens > left.cap.limit * soft), None)
    return near, next((left for left in quotas if left.used + tokens > left.cap.limit), None)


def _expect(run: Run, *what: str) -> None:
    if run.waiting is None or run.waiting.what not in what:
        raise BugError(f"the run does not wait for {' or '.join(what)}")


def budget_raised(run: Run, event: BudgetRaised, ask: Ask) -> Step:
    """A higher cap, under which a run whose money ran out goes on."""
    settings, strategy = run.request.settings, run.strategy
    before = strategy.run_cap if strategy else settings.max_cost
    if event.max_cost <= before:
        raise BugError("a cap can only be raised")
    raised = Overrun("money", event.by, event.reason, before, event.max_cost)
    run = replace(run, overruns=(*run.overruns, raised))
    if strategy is None:
        settings = replace(settings, max_cost=event.max_cost, call_cap=max(settings.call_cap, event.max_cost))
        return as_before(replace(run, request=replace(run.request, settings=settings)))
    strategy = strategy.with_cap(event.max_cost)
    ledger = replace(
        run.ledger,
        run_cap=strategy.run_cap,
        call_cap=max(run.ledger.call_cap, strategy.run_cap),
        finish_reserve=strategy.finish_reserve,
        phase_caps=strategy.phase_caps,
    )
    run = replace(run, strategy=strategy, ledger=ledger)
    return _go_on(run, ask) if run.waiting and run.waiting.what == "budget" else as_before(run)


def overrun_accepted(run: Run, event: OverrunAccepted, ask: Ask) -> Step:
    """Go on past the stop-loss: the limits count once more."""
    _expect(run, "overrun")
    total = sum(limit.tokens for limit in run.compiled.limits)
    before = total * (1 + run.granted)
    accepted = Overrun("tokens", event.by, event.reason, before, before + total)
    return _go_on(replace(run, overruns=(*run.overruns, accepted)), ask)


def resumed(run: Run, event: Resumed, ask: Ask) -> Step:
    """Look again at what was in the way."""
    _expect(run, "shared")
    return _go_on(run, ask)


def allowance_given(run: Run, event: AllowanceGiven) -> Step:
    """From here on the run spends no more than that. An allowance takes the place of the one before."""
    cap = None if event.amount is None else Cap(event.cap, "allowance", _by_calls(run) + event.amount)
    return as_before(replace(run, allowance=cap))


def allowance_left(run: Run) -> tuple[Left, ...]:
    return (Left(run.allowance, _by_calls(run)),) if run.allowance else ()


def _by_calls(run: Run) -> int:
    """What calls have spent or reserved: a lost job's money has an allowance of its own."""
    return run.ledger.committed - run.ledger.spent_on(LOST)


def _go_on(run: Run, ask: Ask) -> Step:
    run = replace(run, waiting=None).phase_moved(PhaseState.EXECUTING).moved(RunState.PHASE_EXECUTION)
    return ask(run) if KINDS[run.phase.kind].stages else BEGINNINGS[run.phase.kind](run)


# --- tokens and time --------------------------------------------------------------------------------------------------


def uses(run: Run) -> tuple[Use, ...]:
    """What each phase that began has used."""
    begun = [phase for phase in run.phases if phase.state not in (PhaseState.QUEUED, PhaseState.SKIPPED)]
    return tuple(_use(run, phase) for phase in begun)


def _use(run: Run, phase: Phase) -> Use:
    mine = [charge for charge in run.ledger.charges if charge.phase == phase.id]
    estimated = any(charge.usage.estimated for charge in mine)
    return Use(phase.id, str(phase.kind), sum(charge.usage.fresh for charge in mine), phase.seconds, estimated)


def facts(run: Run, kind: str) -> Facts:
    """What is known of the calls of `kind`, for the likely cause of a breach."""
    mine = [charge for charge in run.ledger.charges if charge.kind == kind]
    phases = [phase for phase in run.phases if phase.kind == kind]
    prompts = [charge.usage.prompt for charge in mine if not charge.lost]
    return Facts(
        calls=len(mine),
        turns=max((phase.turns for phase in phases), default=0),
        unusable=sum(phase.unusable for phase in phases),
        lost=sum(charge.lost for charge in mine),
        first_input=prompts[0] if prompts else 0,
        last_input=prompts[-1] if prompts else 0,
    )


def standing_of(run: Run) -> Standing:
    """How the run stands against the sum of its limits. Money that was lost with a job has no tokens that anybody knows of."""
    importance = run.compiled.triage.importance
    return standing(
        run.request.settings.rules,
        run.compiled.limits,
        uses(run),
        importance=importance,
        remaining=tuple(str(phase.kind) for phase in run.phases if phase.state is PhaseState.QUEUED),
        granted=run.granted,
        critical_approved=importance == "critical" and bool(run.approved_by),
    )


def over_caps(run: Run, tokens: int) -> str:
    """Which cap on tokens, time or phases is in the way of a call of about so many tokens; empty where none is."""
    settings, tier, times = run.request.settings, run.phase.tier, 1 + run.granted
    used = uses(run)
    mine = {phase.id for phase in run.phases if phase.tier == tier}
    kinds = {str(phase.kind) for phase in run.phases if phase.tier == tier}
    caps = run_caps(
        settings.rules,
        [limit for limit in run.compiled.limits if limit.kind in kinds],
        tokens=settings.run_tokens * times,
        seconds=settings.run_seconds * times,
        work_phases=settings.work_phases * times,
        granted=run.granted,
    )
    enforced = settings.rules.enforced(run.compiled.triage.importance)
    return over(
        caps,
        tokens=sum(use.tokens for use in used),
        tier_tokens=sum(use.tokens for use in used if use.phase in mine) if enforced else None,
        seconds=sum(use.active for use in used),
        work_phases=sum(phase.tier.endswith("work") for phase in run.phases),
        needed=tokens,
    )


def stopped_for_tokens(run: Run) -> Step | None:
    """The stop-loss: a run that used more than its limits allow together waits for a person before its work is verified."""
    stands = standing_of(run)
    return paused(run, Waiting("overrun", f"Stop-loss: {stands.text}.")) if stands.action == "block" else None
