"""Moves that every kind of phase makes: begin the next, pass a gate, go back, end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bot.core import ladder, machines
from bot.core.machines import PhaseState, RunState, TierState
from bot.core.phases import KINDS, Kind
from bot.core.quality import quality
from bot.core.reports import FixerCall
from bot.core.run import Phase, Run, Step

Begin = Callable[[Run], Step]
BEGINNINGS: dict[Kind, Begin] = {}
"""How each kind begins; filled by the modules that own the kinds, read by `go_on`."""


def begins(*kinds: Kind) -> Callable[[Begin], Begin]:
    """Register how phases of `kinds` begin."""

    def register(begin: Begin) -> Begin:
        BEGINNINGS.update(dict.fromkeys(kinds, begin))
        return begin

    return register


def go_on(run: Run) -> Step:
    """Begin the next queued phase, or end the run well."""
    waiting = next((phase for phase in run.phases if phase.state is PhaseState.QUEUED), None)
    if waiting is None:
        return replace(run.moved(RunState.DONE_SUCCESS), outcome=run.outcome or _how(run)), ()
    tier = next(tier for tier in run.tiers if tier.name == waiting.tier)
    if tier.state is TierState.PENDING:
        run = run.tier_moved(tier.name, TierState.IN_PROGRESS)
    spec = KINDS[waiting.kind]
    stage = spec.stages[0].name if spec.stages else ""
    run = run.with_phase(replace(waiting, state=machines.move(machines.PHASE, waiting.state, PhaseState.EXECUTING), stage=stage))
    return BEGINNINGS[waiting.kind](run.moved(RunState.PHASE_EXECUTION))


def _how(run: Run) -> str:
    """How a run ends well."""
    level, why = quality(run)
    buts = [f"{level}: {why}"] if level != "ok" else []
    if run.verdict is not None and run.verdict.outcome != "pass":
        buts.insert(0, "not verified by tests")
    return f"done, but {'; '.join(buts)}" if buts else "done"


def to_gate(run: Run) -> Run:
    """The active phase delivered its evidence."""
    return run.phase_moved(PhaseState.GATE).moved(RunState.GATE)


def pass_gate(run: Run, note: str = "") -> Step:
    """The active phase, at its gate, is complete; the next begins."""
    tier = run.phase.tier
    run = run.phase_moved(PhaseState.COMPLETE, reason=note).moved(RunState.SNAPSHOT_CREATED).moved(RunState.PHASE_QUEUEING)
    return go_on(close_tier(run, tier))


def close_tier(run: Run, name: str) -> Run:
    """Complete the tier when nothing in it is left to do."""
    open_ = (PhaseState.QUEUED, PhaseState.EXECUTING, PhaseState.GATE, PhaseState.CI_RUNNING)
    if any(phase.tier == name and phase.state in open_ for phase in run.phases):
        return run
    tier = next(tier for tier in run.tiers if tier.name == name)
    return run.tier_moved(name, TierState.COMPLETE) if tier.state is TierState.IN_PROGRESS else run


def skip_rest(run: Run, why: str) -> Run:
    """Skip every queued phase: there is nothing for it to do."""
    phases = tuple(replace(p, state=PhaseState.SKIPPED, reason=why) if p.state is PhaseState.QUEUED else p for p in run.phases)
    names = {tier.name for tier in run.tiers if tier.state is TierState.PENDING}
    run = replace(run, phases=phases)
    for name in sorted(names):
        run = run.tier_moved(name, TierState.SKIPPED)
    return run


def go_back(run: Run, kinds: tuple[Kind, ...], problems: tuple[str, ...]) -> Step:
    """The active phase failed at its gate: append new phases of `kinds` right behind it, as the ladder says, or end."""
    run = ladder.judged(run, problems)
    follows = ladder.decide(run)
    if isinstance(follows, ladder.Halt):
        return fail(ladder.kept(run), follows.state, follows.why)
    phase = run.phase
    run = run.phase_moved(PhaseState.FAILED, reason="; ".join(problems)).moved(RunState.PHASE_QUEUEING)
    run = replace(run, changeset=follows.changeset, tree=follows.changeset.tree)
    return go_on(insert(run, phase, kinds, brief=follows.problems, fixers=follows.fixers, reason=follows.why))


def insert(
    run: Run,
    phase: Phase,
    kinds: tuple[Kind, ...],
    *,
    brief: tuple[str, ...],
    fixers: tuple[FixerCall, ...] = (),
    rung: str = "",
    reason: str = "",
) -> Run:
    """New phases of `kinds` right behind `phase`; what else is said is the build's."""
    at = [one.id for one in run.phases].index(phase.id) + 1
    new = [Phase(f"p{len(run.phases) + n:02}", phase.tier, kind, origin=phase.id) for n, kind in enumerate(kinds, 1)]
    built = [
        replace(one, brief=brief, fixers=fixers, rung=rung, reason=reason, began=run.changeset)
        if one.kind is Kind.IMPLEMENT
        else one
        for one in new
    ]
    return replace(run, phases=(*run.phases[:at], *built, *run.phases[at:]))


def fail(run: Run, state: RunState, why: str) -> Step:
    """End the run in one of the four failures; the active phase and its tier fail with it.

    A call that is still out may be billed: its whole reservation is spent.
    """
    if run.call and any(reservation.call == run.call.id for reservation in run.ledger.reservations):
        choice = run.call.choice
        run = replace(run, ledger=run.ledger.lose(run.call.id, role=str(choice.role), model=choice.model.model))
    active = [p for p in run.phases if p.state in (PhaseState.EXECUTING, PhaseState.GATE, PhaseState.CI_RUNNING)]
    if active:
        tier = active[0].tier
        run = run.phase_moved(PhaseState.FAILED, reason=why).tier_moved(tier, TierState.FAILED)
    return replace(run.moved(state), outcome=why, waiting=None, call=None), ()
