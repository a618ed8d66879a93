"""`step` under whatever rooms, models and people may do: thousands of random runs, and what holds in every moment of each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any, get_args

import pytest

from bot.core.budget import RUNNER_MINUTES, Charge, Reservation, Usage
from bot.core.conversation import Text, ToolUse
from bot.core.effects import AskPerson, Deliver, Effect, PriceCall, RunProof, SendCall, TakeChangeset, UseTools
from bot.core.errors import BugError
from bot.core.events import (
    AllowanceGiven,
    Answered,
    AuditChecksRan,
    BaselineRan,
    BudgetRaised,
    CallFailed,
    CallPriced,
    ChangesetTaken,
    Delivered,
    Event,
    FixersRan,
    JobBegan,
    JobEnded,
    JobLost,
    ModelReplied,
    OverrunAccepted,
    PlanRevised,
    ProofRan,
    ProofRepeated,
    Resumed,
    RoomFailed,
    StopRequested,
    ToolsUsed,
    WorkspaceReady,
)
from bot.core.jobs import MODEL_JOBS
from bot.core.ladder import most_attempts
from bot.core.limits import Rules
from bot.core.machines import PhaseState, RunState, TierState
from bot.core.minutes import MINUTES
from bot.core.phases import Kind, Role
from bot.core.policy import marked
from bot.core.recovery import MAX_TRIES, ErrorClass
from bot.core.run import Run, contract_digest
from bot.core.selection import ModelId
from bot.core.step import step
from bot.core.strategy import Settings
from bot.core.summary import exit_code, line, phase_rows, status
from bot.core.ticket import freeze
from bot.core.validation import Proof
from tests.core.play import (
    BASE_TREE,
    DEAR,
    FIXER_TICKET,
    FLAT,
    HEAD_SHA,
    MODELS,
    ONE_VENDOR,
    TICKETS,
    Rooms,
    change,
    changeset,
    checks,
    ready,
    request,
    suite,
)

MOST_EVENTS = 1_500
LOST_JOBS = 0.005
ENDED = (PhaseState.COMPLETE, PhaseState.FAILED, PhaseState.SKIPPED)


@dataclass(frozen=True)
class Moment:
    """A run after `event`, and the effect that is to be answered next."""

    before: Run | None
    event: Event
    run: Run
    effect: Effect | None


def played(seed: int, luck: float = 0.9, *, meddling: float = 0.0) -> Iterator[Moment]:
    """One random run. `meddling` is the chance of a stop in any moment."""
    chance = Random(seed)
    cap = chance.choice((20_000, 150_000, 600_000, 3_000_000, 30_000_000))
    settings = Settings(
        cap,
        chance.choice((cap, cap // 3, cap * 2)),
        chance.choice((MODELS, MODELS, ONE_VENDOR, ONE_VENDOR[:1], ())),
        approval=chance.choice(("high-risk", "always", "never")),
        preapproved_by=chance.choice(("", "", "the command line")),
        max_turns=chance.choice((1, 3, 8)),
        denied_paths=chance.choice(((), ("src/secret/*",))),
        repeat_proof=chance.random() < 0.5,
        ci_minute=chance.choice((0, 0, 6_000)),
        planted=2,
    )
    rooms = Rooms(seed, luck)
    event: Event | None = request(chance.choice((*TICKETS, FIXER_TICKET)), settings)
    run: Run | None = None
    while event is not None:
        before = run
        run, effects = step(run, event)
        assert len(effects) <= 1, "two effects at once"
        effect = effects[0] if effects else None
        yield Moment(before, event, run, effect)
        event = following(run, effect, rooms, chance, meddling)


def following(run: Run, effect: Effect | None, rooms: Rooms, chance: Random, meddling: float) -> Event | None:
    if run.over:
        return None
    if chance.random() < meddling:
        return StopRequested("a maintainer")
    if run.request.settings.ci_minute and effect is not None and chance.random() < 0.1:
        job, number = chance.choice(tuple(MINUTES)), chance.choice((7, 8, 9))
        return chance.choice((JobBegan(job, number), JobEnded(job, number, chance.random() * 1000)))
    if isinstance(effect, AskPerson) and chance.random() < 0.3:
        return PlanRevised(freeze(chance.choice(TICKETS), "#7"), "a maintainer", len(run.request.ticket.said) + 1)
    if effect is not None and chance.random() < LOST_JOBS:
        return JobLost(chance.choice(MODEL_JOBS), 7)
    if effect is not None:
        return rooms.perform(run, effect)
    assert run.waiting is not None, f"nothing is pending in {run.state} and nobody is asked for anything"
    if chance.random() < 0.1:
        return StopRequested("a maintainer")
    if run.waiting.what == "shared":
        return Resumed("a maintainer")
    if run.waiting.what == "overrun":
        return OverrunAccepted("a maintainer", "it is worth it")
    assert run.waiting.needed > run.ledger.run_cap
    return BudgetRaised(chance.choice((run.waiting.needed, run.ledger.run_cap + 1, run.waiting.needed * 3)), "a maintainer")


BATCHES = [(first, luck) for first in range(0, 300, 100) for luck in (0.97, 0.85, 0.5)]
batches = pytest.mark.parametrize(("first", "luck"), BATCHES, ids=lambda value: str(value))


def seeds(first: int) -> range:
    return range(first, first + 100)


def check_money(run: Run) -> None:
    ledger = run.ledger
    assert ledger.committed - ledger.committed_to(RUNNER_MINUTES) <= ledger.run_cap
    assert 0 <= ledger.spent <= ledger.committed
    caps = dict(ledger.phase_caps)
    held_by: Counter[str] = Counter()
    items: tuple[Charge | Reservation, ...] = (*ledger.charges, *ledger.reservations)
    for item in items:
        if item.kind in ("LOST", RUNNER_MINUTES):  # a whole job's money, or its minutes
            continue
        assert item.amount <= ledger.call_cap
        held_by[item.kind] += item.amount
    for kind, held in held_by.items():
        assert held <= caps.get(kind, 0), f"{kind} holds {held}"
    assert sum(reservation.kind != RUNNER_MINUTES for reservation in ledger.reservations) <= 1
    assert run.strategy is None or ledger.run_cap == run.strategy.run_cap


@batches
def test_no_cap_is_ever_passed(first: int, luck: float) -> None:
    for seed in seeds(first):
        for moment in played(seed, luck):
            check_money(moment.run)


@batches
def test_a_run_ends_soon_and_for_good(first: int, luck: float) -> None:
    said = (StopRequested("me"), Answered("d", "approved", "me"), BudgetRaised(10**9, "me"))
    late = (*said, RoomFailed("SendCall", "environment", "late"))
    for seed in seeds(first):
        moments = list(played(seed, luck))
        last = moments[-1]
        assert len(moments) < MOST_EVENTS, f"seed {seed}: {len(moments)} events"
        assert last.run.over
        assert last.effect is None, f"seed {seed}: a run that is over wants {last.effect}"
        seen = {type(moment.event): moment.event for moment in moments if not isinstance(moment.event, JobEnded)}
        for event in (*late, *seen.values()):
            with pytest.raises(BugError):
                step(last.run, event)


@batches
def test_a_finished_run_is_a_consistent_one(first: int, luck: float) -> None:
    for seed in seeds(first):
        run = list(played(seed, luck, meddling=0.01))[-1].run
        assert run.outcome, f"seed {seed}: no word about how it ended"
        assert (run.call, run.waiting) == (None, None)
        held = [reservation for reservation in run.ledger.reservations if reservation.kind != RUNNER_MINUTES]
        assert not held, f"seed {seed}: a call in flight was neither paid, lost nor released"
        assert run.attempt <= (most_attempts(run) if run.strategy else 0)
        assert exit_code(run) in (0, 2, 3, 4, 5)
        assert status(run) == ("completed" if run.state is RunState.DONE_SUCCESS else "failed")
        json.dumps(line(run), allow_nan=False)
        assert sum(row.cost for row in phase_rows(run)) == run.ledger.spent
        if run.state is RunState.DONE_SUCCESS:
            check_success(run)
        else:
            check_failure(run)


def check_success(run: Run) -> None:
    assert {tier.state for tier in run.tiers} <= {TierState.COMPLETE, TierState.SKIPPED}
    assert {phase.state for phase in run.phases} <= set(ENDED)
    followed = {phase.origin for phase in run.phases}
    failed = {phase.id for phase in run.phases if phase.state is PhaseState.FAILED}
    assert failed <= followed, "a failed phase was never made good"
    assert not [finding for finding in run.findings if finding.severity == "major"]
    if run.changeset is None or not run.changeset.files:
        assert run.compiled.fixers or run.moves, "a build that changed nothing is no success"
        assert (run.branch, run.outcome) == ("", "nothing to change")
        return
    assert run.branch.startswith("ostler/")
    assert run.head_sha == HEAD_SHA
    assert run.verdict is not None
    assert run.verdict.outcome != "fail"
    assert run.documents.audit is not None
    assert run.proof is not None
    assert run.changeset.tree == run.tree == run.proof.head.tree
    assert run.baseline is not None
    assert (run.changeset.base_sha, run.baseline.tree) == (run.base_sha, run.base_tree), "proved on another base"
    assert not marked(run.changeset, changeset())
    done = [phase.kind for phase in run.phases if phase.state is PhaseState.COMPLETE]
    assert done[-4:] == [Kind.IMPLEMENT, Kind.VERIFY, Kind.REVIEW, Kind.PR]


def check_failure(run: Run) -> None:
    assert not [phase for phase in run.phases if phase.state not in (*ENDED, PhaseState.QUEUED)]
    failed = [tier for tier in run.tiers if tier.state is TierState.FAILED]
    assert len(failed) <= 1
    for tier in failed:
        mine = [phase.state for phase in run.phases if phase.tier == tier.name]
        assert PhaseState.FAILED in mine
        assert {other.state for other in run.tiers[run.tiers.index(tier) + 1 :]} <= {TierState.PENDING}
    assert not [tier for tier in run.tiers if tier.state is TierState.IN_PROGRESS]
    assert not run.branch


@batches
def test_nothing_is_built_before_the_approval_that_the_strategy_asks_for(first: int, luck: float) -> None:
    for seed in seeds(first):
        asked = ""
        for moment in played(seed, luck):
            run = moment.run
            asked = "" if isinstance(moment.event, PlanRevised) else asked
            asked = moment.effect.digest if isinstance(moment.effect, AskPerson) else asked
            if run.strategy and run.strategy.approval_reason and run.attempt:
                assert run.approved_by
                assert asked or run.request.settings.preapproved_by
            if isinstance(moment.event, Answered) and run.approved_by:
                assert (moment.event.digest, moment.event.decision) == (asked, "approved")


@batches
def test_no_model_audits_what_it_built_unless_it_is_the_only_one(first: int, luck: float) -> None:
    """Also after an escalation, when the auditor of the plan may have become the builder."""
    for seed in seeds(first):
        for moment in played(seed, luck):
            run = moment.run
            if not isinstance(moment.effect, PriceCall) or run.phase.kind is not Kind.REVIEW or run.call is None:
                continue
            built = [phase.choice.model for phase in run.phases if phase.kind is Kind.IMPLEMENT and phase.choice][-1]
            others = {model.vendor for model in run.request.settings.models} - {built.vendor}
            assert run.call.choice.model != built or len(run.request.settings.models) == 1, f"seed {seed}"
            heard = [opinion.choice.model for opinion in run.documents.opinions]
            if run.phase.stage == "second":
                others = {model.vendor for model in run.request.settings.models} - {heard[0].vendor}
            if run.phase.stage == "planted":
                assert run.call.choice.model == heard[0]
                continue
            assert run.call.choice.model not in heard
            assert run.call.choice.model.vendor in others or not others


@batches
def test_what_is_asked_for_when_money_is_short_is_enough(first: int, luck: float) -> None:
    """Whoever pays what the message names is not asked again for the same call at the same price."""
    for seed in seeds(first):
        priced: CallPriced | None = None
        for moment in played(seed, luck):
            run = moment.run
            if isinstance(moment.event, CallPriced):
                priced = moment.event
            if priced is None or run.waiting is None or run.waiting.what != "budget":
                continue
            raised, effects = step(run, BudgetRaised(run.waiting.needed, "a maintainer"))
            assert isinstance(effects[0], PriceCall)
            went_on, effects = step(raised, replace(priced, call=effects[0].call))
            assert isinstance(effects[0], SendCall), f"seed {seed}: {run.waiting.text} and then: {went_on.waiting}"
            if not run.request.settings.ci_minute and run.waiting.needed > run.ledger.run_cap + 10_000:
                less, effects = step(run, BudgetRaised(run.waiting.needed - 10_001, "a maintainer"))
                again, effects = step(less, replace(priced, call=less.call.id if less.call else ""))
                assert again.waiting, f"seed {seed}: more was asked for than is needed"


@pytest.mark.parametrize("first", range(0, 120, 40))
def test_calls_never_spend_more_than_the_allowance(first: int) -> None:
    """Whenever one is given, larger or smaller than the one before; only a lost job's money is not counted in it."""
    stops = 0
    for seed in range(first, first + 40):
        chance, rooms = Random(seed), Rooms(seed)
        run, effects = step(None, request(chance.choice(TICKETS)))
        limit = 10**12
        while not run.over:
            used = run.ledger.committed - run.ledger.spent_on("LOST")
            assert used <= limit
            short = run.waiting is not None and run.waiting.what == "shared"
            if short or chance.random() < 0.1:
                amount = run.waiting.needed if short and run.waiting else chance.randint(0, 100_000)
                run, effects = step(run, AllowanceGiven(amount, "day"))
                limit = used + amount
            if short:
                stops += 1
                run, effects = step(run, Resumed("a maintainer"))
                assert isinstance(effects[0], PriceCall)
                continue
            event = following(run, effects[0] if effects else None, rooms, chance, 0.002)
            assert event is not None
            run, effects = step(run, event)
    assert stops > 5


def test_a_call_that_others_always_overtake_waits_for_a_person_and_goes_on() -> None:
    """A shared cap that says it has room and never gives any must not be asked for ever."""
    run, effects = step(None, request(TICKETS[0], Settings(30_000_000, 30_000_000, MODELS)))
    for event in (ready(), BaselineRan(checks(suite({"t": "passed"})))):
        run, effects = step(run, event)
    tries = 0
    while run.waiting is None:
        assert isinstance(effects[0], PriceCall)
        run, effects = step(run, CallPriced(effects[0].call, FLAT, 1_000, "digest"))
        assert isinstance(effects[0], SendCall)
        tries += 1
        assert tries <= MAX_TRIES
        run, effects = step(run, CallFailed(effects[0].call, "contended", "no", "another run took the rest", None, 0.5))
    assert (run.waiting.what, tries, run.ledger.reservations) == ("shared", MAX_TRIES, ())
    _, effects = step(run, Resumed("me"))
    assert isinstance(effects[0], PriceCall)


def test_a_cap_may_be_raised_at_any_time_and_what_was_to_be_done_is_still_to_be_done() -> None:
    for seed in range(40):
        for moment in played(seed):
            run = moment.run
            if run.over or (run.waiting and run.waiting.what == "budget"):
                continue
            cap = run.strategy.run_cap if run.strategy else run.request.settings.max_cost
            raised, effects = step(run, BudgetRaised(cap + 1, "me", "why"))
            assert (effects, raised.phases, raised.waiting) == ((run.pending,) if run.pending else (), run.phases, run.waiting)
            assert (raised.strategy.run_cap if raised.strategy else raised.request.settings.max_cost) == cap + 1


def strangers(run: Run) -> dict[type[Any], Event]:
    """One event of every kind that answers an effect, as good as it can be made for `run`."""
    call = run.call.id if run.call else "c001"
    digest = run.waiting.digest if run.waiting else "d"
    events: tuple[Event, ...] = (
        ready(),
        BaselineRan(checks(suite({}))),
        FixersRan(run.tree, ()),
        CallPriced(call, FLAT, 100, ""),
        ModelReplied(call, "m", FLAT, (Text("{}"),), "end", Usage(), 0.0),
        CallFailed(call, "timeout", "unknown", "no answer"),
        ToolsUsed(call, run.tree, (), (), 0.0),
        ChangesetTaken(changeset(change(), tree=run.tree)),
        ProofRan(Proof(checks(suite({}), run.tree), None, None)),
        ProofRepeated(checks(suite({}), run.tree), Proof(checks(suite({}), run.tree), None, None)),
        AuditChecksRan(()),
        Answered(digest, "approved", "me"),
        PlanRevised(freeze("Add a --quiet flag", "#7"), "me", 7),
        Delivered("ostler/x", HEAD_SHA),
    )
    return {type(event): event for event in events}


FITTING: dict[str, set[type[Any]]] = {
    "PrepareWorkspace": {WorkspaceReady},
    "RunBaseline": {BaselineRan},
    "RunFixers": {FixersRan},
    "PriceCall": {CallPriced},
    "SendCall": {ModelReplied, CallFailed},
    "UseTools": {ToolsUsed},
    "TakeChangeset": {ChangesetTaken},
    "RunProof": {ProofRan},
    "RepeatProof": {ProofRepeated},
    "RunAuditChecks": {AuditChecksRan},
    "AskPerson": {Answered, PlanRevised},
    "Deliver": {Delivered},
    "budget": set(),
}


def test_every_effect_has_its_answers() -> None:
    assert {kind.__name__ for kind in get_args(Effect)} <= set(FITTING)


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_an_event_that_does_not_fit_changes_nothing(first: int) -> None:
    """In any moment, an answer to another question, another call, another tree or another contract is refused."""
    for seed in range(first, first + 20):
        for moment in played(seed):
            run, at = moment.run, pending(moment)
            if run.over:
                continue
            known = repr(run)
            for kind, event in strangers(run).items():
                assert kind in FITTING[at] or refused(run, event), f"seed {seed}: {kind.__name__} was taken for an answer to {at}"
            for event in wrong(run):
                assert refused(run, event), f"seed {seed}: {event} was taken while {at} was pending"
            assert repr(run) == known


def refused(run: Run, event: Event) -> bool:
    try:
        step(run, event)
    except BugError:
        return True
    return False


def wrong(run: Run) -> Iterator[Event]:
    """Answers of the right kind to something else."""
    yield request()
    yield RoomFailed("Nothing", "environment", "a room nobody asked")
    if run.call:
        yield CallPriced("c999", FLAT, 100, "")
        yield ModelReplied("c999", "m", FLAT, (), "end", Usage(), 0.0)
        yield CallFailed("c999", "timeout", "no", "")
    yield ToolsUsed("c999", run.tree, (), (), 0.0)
    yield ChangesetTaken(changeset(change(), tree="another tree"))
    yield ProofRan(Proof(checks(suite({}), "another tree"), None, None))
    yield Answered("another contract", "approved", "me")
    if run.strategy:
        yield BudgetRaised(run.ledger.run_cap, "me")


@pytest.mark.parametrize("kind", sorted(FITTING))
def test_random_runs_come_to_every_effect(kind: str) -> None:
    """The properties above are only worth something if the runs get everywhere."""
    assert any(kind == pending(moment) for seed in range(200) for moment in played(seed))


def pending(moment: Moment) -> str:
    """The effect or the person that the run waits for."""
    if moment.effect is not None:
        return type(moment.effect).__name__
    return moment.run.waiting.what if moment.run.waiting else ""


def test_random_runs_come_to_every_end() -> None:
    ends = {list(played(seed, luck, meddling=0.001))[-1].run.state for seed in range(150) for luck in (0.5, 0.95)}
    assert ends == {state for state in RunState if state.startswith("DONE")}


def until(
    wanted: type[Any],
    seed: int = 1,
    text: str = TICKETS[0],
    cap: int = 50_000_000,
    models: tuple[ModelId, ...] = MODELS,
    rules: Rules | None = None,
) -> tuple[Run, Any, Rooms]:
    """A lucky run up to the first effect of the kind `wanted`."""
    rooms = Rooms(seed, 1.0, rates=(FLAT,))
    run, effects = step(None, request(text, Settings(cap, cap, models, approval="never", rules=rules or Rules())))
    while not isinstance(effects[0], wanted):
        run, effects = step(run, rooms.perform(run, effects[0]))
    return run, effects[0], rooms


def effect_vendor(gone: str) -> str:
    return next(model.vendor for model in MODELS if model.vendor != gone)


class TestMoneyInFlight:
    """Missing state never means zero: a call whose answer is not known counts as spent."""

    def test_a_stop_while_a_call_is_out_counts_the_call(self) -> None:
        run, _, _ = until(SendCall)
        reserved = run.ledger.committed
        run, _ = step(run, StopRequested("a maintainer"))
        assert (run.ledger.spent, run.ledger.committed) == (reserved, reserved)
        assert line(run)["cost_usd"] > 0

    def test_a_room_that_breaks_after_sending_counts_the_call(self) -> None:
        """As when the model that answered has no known price."""
        run, _, _ = until(SendCall)
        reserved = run.ledger.committed
        run, _ = step(run, RoomFailed("SendCall", "environment", "the price of the model that answered is not known"))
        assert run.ledger.spent == reserved
        assert run.ledger.charges[-1].lost

    def test_a_bill_above_the_reservation_is_booked_and_stops_further_calls(self) -> None:
        """The bill is the truth even where the vendor broke its word; nothing more is spent after it."""
        run, effect, _ = until(SendCall, cap=1_000_000)
        huge = Usage(input=100_000)
        run, effects = step(run, ModelReplied(effect.call, "m", DEAR, (Text("?"),), "end", huge, 1.0))
        assert run.ledger.spent > run.ledger.run_cap
        assert isinstance(effects[0], PriceCall)
        run, effects = step(run, CallPriced(effects[0].call, FLAT, 1, ""))
        assert effects == ()
        assert run.waiting is not None
        assert run.waiting.needed > run.ledger.spent

    def test_a_stop_before_the_call_was_sent_costs_nothing(self) -> None:
        run, _, _ = until(PriceCall)
        run, _ = step(run, StopRequested("a maintainer"))
        assert run.ledger.spent == 0


class TestFailedCalls:
    def test_only_what_was_surely_not_billed_is_free(self) -> None:
        run, effect, _ = until(SendCall)
        reserved = run.ledger.committed
        free, _ = step(run, CallFailed(effect.call, "rate_limited", "no", "busy"))
        assert (free.ledger.spent, free.ledger.committed) == (0, 0)
        lost, _ = step(run, CallFailed(effect.call, "timeout", "unknown", "no answer"))
        assert (lost.ledger.spent, lost.ledger.committed) == (reserved, reserved)

    def test_a_vendor_that_is_down_is_asked_five_times_with_growing_waits_and_then_the_run_ends(self) -> None:
        run, effect, rooms = until(PriceCall, models=ONE_VENDOR)
        waits: list[float] = []
        while not run.over and len(waits) < 20:
            waits.append(effect.wait)
            run, effects = step(run, rooms.perform(run, effect))
            assert isinstance(effects[0], SendCall)
            run, effects = step(run, CallFailed(effects[0].call, "transient_api", "no", "HTTP 503"))
            effect = effects[0] if effects else None
        assert waits == [0.0, 1.0, 2.0, 4.0, 8.0]
        assert run.state is RunState.DONE_FAILED_ENVIRONMENT
        assert run.outcome == "HTTP 503"

    def fails(self, run: Run, sent: Any, error: ErrorClass) -> tuple[Run, Any]:
        """The run after the call failed, and what it does then."""
        wait = 90.0 if error == "unavailable" else None
        run, effects = step(run, CallFailed(sent.call, error, "no", "no answer", wait))
        return run, effects[0]

    def test_the_other_vendor_takes_over_from_one_that_is_down_and_keeps_being_judged_by_another(self) -> None:
        run, effect, rooms = until(PriceCall)
        gone = effect.model.vendor
        while effect.model.vendor == gone:
            run, effects = step(run, rooms.perform(run, effect))
            run, effect = self.fails(run, effects[0], "transient_api")
        assert run.left == (gone,)
        assert run.call is not None
        assert gone in run.call.choice.reason
        judged: list[tuple[Role, str]] = []
        while not run.over:
            run, effects = step(run, rooms.perform(run, effect))
            effect = effects[0] if effects else None
            if isinstance(effect, PriceCall) and run.call is not None:
                judged.append((run.call.choice.role, effect.model.vendor))
        assert run.state is RunState.DONE_SUCCESS
        assert {vendor for role, vendor in judged if role in (Role.PLANNER, Role.BUILDER)} == {effect_vendor(gone)}
        assert {vendor for role, vendor in judged if role in (Role.PLAN_REVIEWER, Role.AUDITOR)} == {gone}

    def test_a_vendor_that_is_left_alone_is_not_waited_for_where_there_is_another(self) -> None:
        run, effect, rooms = until(PriceCall)
        run, effects = step(run, rooms.perform(run, effect))
        _, other = self.fails(run, effects[0], "unavailable")
        assert other.model.vendor != effect.model.vendor

    def test_high_risk_work_goes_to_no_other_vendor(self) -> None:
        run, effect, rooms = until(PriceCall, text=TICKETS[2])
        for _ in range(4):
            run, effects = step(run, rooms.perform(run, effect))
            run, again = self.fails(run, effects[0], "unavailable")
            assert (again.model, again.wait) == (effect.model, 60.0)
            effect = again

    def test_a_process_that_keeps_dying_does_not_use_up_the_tries(self) -> None:
        run, _, rooms = until(SendCall)
        for _ in range(8):
            run, effects = step(run, CallFailed(run.call.id if run.call else "", "interrupted", "unknown", "killed"))
            assert isinstance(effects[0], PriceCall)
            run, effects = step(run, rooms.perform(run, effects[0]))
        assert not run.over


def test_without_walls_nothing_is_run_and_nothing_asked() -> None:
    run, _ = step(None, request())
    run, effects = step(run, ready(full=False))
    assert (run.state, effects) == (RunState.DONE_FAILED_ENVIRONMENT, ())
    assert "install bubblewrap" in run.outcome


class TestTurns:
    def test_a_builder_that_never_stops_using_tools_is_cut_off(self) -> None:
        run, effect, rooms = until(UseTools, rules=Rules(mode="observe"))
        while isinstance(effect, (UseTools, PriceCall, SendCall)):
            event = rooms.perform(run, effect)
            if isinstance(effect, SendCall):
                event = rooms.billed(run, effect, (ToolUse("u1", "bash", "{}"),), "tool_use")
            run, effects = step(run, event)
            effect = effects[0]
        assert isinstance(effect, TakeChangeset)
        assert run.phase.turns == run.request.settings.max_turns

    def test_a_write_to_a_forbidden_place_refuses_everything_that_came_with_it(self) -> None:
        run, effect, rooms = until(UseTools)
        run, effects = step(run, ToolsUsed(effect.call, "tree-2", (), ("/etc/passwd",), 0.1))
        while not isinstance(effects[0], TakeChangeset):
            event = rooms.perform(run, effects[0])
            if isinstance(effects[0], SendCall):
                event = rooms.billed(run, effects[0], (Text("done"),))
            run, effects = step(run, event)
        run, _ = step(run, ChangesetTaken(changeset(change(), tree=run.tree)))
        assert run.state is RunState.DONE_FAILED_POLICY_VIOLATION
        assert "/etc/passwd" in run.outcome


class TestProofDecides:
    def test_the_same_problem_twice_ends_the_run(self) -> None:
        """Numbers and addresses that differ from run to run don't make it another problem."""
        run, effects = self._failing("took 12 ms at 0xfe01")
        run, effects = self._failing("took 99 ms at 0xab77", run, effects)
        assert run.state is RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW
        assert "no progress" in run.outcome

    def test_the_next_attempt_is_told_what_failed_and_not_how_it_was_tried(self) -> None:
        run, _ = self._failing("the total is off by one")
        assert run.phase.kind is Kind.IMPLEMENT
        assert any("off by one" in problem for problem in run.phase.brief)
        assert run.phase.conversation == ()

    def _failing(self, why: str, run: Run | None = None, effects: tuple[Effect, ...] = ()) -> tuple[Run, tuple[Effect, ...]]:
        """Drive to the proof and let a test fail there with `why`."""
        rooms = Rooms(5, 1.0, rates=(FLAT,))
        if run is None:
            run, effects = step(None, request(settings=Settings(50_000_000, 50_000_000, MODELS, approval="never")))
        while not isinstance(effects[0], RunProof):
            event = rooms.perform(run, effects[0])
            if isinstance(effects[0], TakeChangeset):
                event = ChangesetTaken(changeset(change(), tree=effects[0].tree))
            run, effects = step(run, event)
        report = suite({"t::new": "failed"})
        report = replace(report, cases=tuple(replace(case, message=why) for case in report.cases))
        return step(run, ProofRan(Proof(checks(report, effects[0].tree), None, None)))


class TestApproval:
    def test_an_approval_of_another_contract_is_refused(self) -> None:
        rooms = Rooms(2, 1.0, rates=(FLAT,))
        run, effects = step(None, request(settings=Settings(50_000_000, 50_000_000, MODELS, approval="always")))
        while not isinstance(effects[0], AskPerson):
            run, effects = step(run, rooms.perform(run, effects[0]))
        assert effects[0].digest == contract_digest(run)
        other = replace(run, request=replace(run.request, base_sha="d" * 40))
        assert contract_digest(other) != effects[0].digest
        with pytest.raises(BugError):
            step(run, Answered(contract_digest(other), "approved", "me"))
        declined, effects = step(run, Answered(contract_digest(run), "declined", "me"))
        assert (declined.state, effects, declined.approved_by) == (RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, (), "")
        approved, effects = step(run, Answered(contract_digest(run), "approved", "me"))
        assert approved.approved_by == "me"
        assert effects

    @pytest.mark.parametrize("seed", range(12))
    def test_another_plan_is_made_for_what_the_ticket_says_now_and_asked_about(self, seed: int) -> None:
        """It may be of another risk; what was spent stays spent, and the first contract is worth nothing."""
        rooms = Rooms(seed, 1.0, rates=(FLAT,))
        run, effects = step(None, request(settings=Settings(50_000_000, 50_000_000, MODELS, approval="always")))
        while not isinstance(effects[0], AskPerson):
            run, effects = step(run, rooms.perform(run, effects[0]))
        first, before = effects[0], run
        said = freeze("Let users log in with OAuth, over a new authentication layer.", "#7")
        run, effects = step(run, PlanRevised(said, "bob", 3))
        with pytest.raises(BugError):
            step(run, Answered(first.digest, "approved", "me"))
        while not isinstance(effects[0], AskPerson):
            run, effects = step(run, rooms.perform(run, effects[0]))
        assert effects[0].digest == contract_digest(run) != first.digest
        assert run.ledger.charges[: len(before.ledger.charges)] == before.ledger.charges
        assert (run.ledger.run_cap, run.request.ticket.said) == (before.ledger.run_cap, (3,))
        assert (before.compiled.triage.high_risk, run.compiled.triage.high_risk) == (False, True)
        with pytest.raises(BugError):
            step(run, Answered(first.digest, "approved", "me"))
        approved, _ = step(run, Answered(effects[0].digest, "approved", "me"))
        assert approved.approved_by == "me"


def test_what_is_delivered_is_what_was_tested() -> None:
    run, effect, _ = until(Deliver)
    assert effect.tree == run.tree != BASE_TREE
    assert run.proof is not None
    assert run.proof.head.tree == effect.tree
