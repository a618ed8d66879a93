"""`/ostler model` and `skip`: what may be asked for, what it changes in a run, and that it goes round no gate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from bot.core.errors import BugError
from bot.core.events import ClassChosen, Event, PhaseSkipped
from bot.core.machines import PhaseState
from bot.core.phases import FRAMING, SKIPPABLE, Kind, Role
from bot.core.run import Run
from bot.core.selection import ModelClass, floor_of, pick
from bot.core.session import SessionState, read_state
from bot.core.steering import CLASSES, noted
from bot.core.step import step
from bot.core.triggers import Asked, Intent, Refusal, command, commanded
from tests.core.play import Rooms
from tests.core.test_following import ADA
from tests.core.test_step import batches, played, seeds

STATE = SessionState(1, 42, "issue-42-00000000_20261129_040000", 9, "ada", "ostler/issue-42-x-00000000")
PLANNED = replace(STATE, standing="waiting", next_job="post", plan_digest="0" * 64)


# --- what may be asked for --------------------------------------------------------------------------------------------


def asked(text: str, state: SessionState = STATE) -> Intent | Refusal:
    words = command(text)
    assert words is not None
    return commanded(Asked(*words, ADA, comment=7, place=42), state)


@pytest.mark.parametrize(
    ("text", "state", "told"),
    [
        ("/ostler model", STATE, "Say which class"),
        ("/ostler model mechanical", STATE, "Say which class"),
        ("/ostler model ../x", STATE, "Say which class"),
        ("/ostler model balanced", replace(STATE, floor="advanced"), "This work is of high risk"),
        ("/ostler model advanced", PLANNED, "The plan that waits for approval names its models"),
        ("/ostler skip", STATE, "What can be skipped is STRATEGIZE, SPEC, THINK, MONITOR"),
        ("/ostler skip review", STATE, "What can be skipped is STRATEGIZE, SPEC, THINK, MONITOR"),
        ("/ostler skip verify", STATE, "What can be skipped is STRATEGIZE, SPEC, THINK, MONITOR"),
        ("/ostler skip think", PLANNED, "The plan is made"),
    ],
)
def test_what_is_refused_in_one_line(text: str, state: SessionState, told: str) -> None:
    said = asked(text, state)
    assert isinstance(said, Refusal)
    assert said.say.startswith(told)
    assert "\n" not in said.say


def test_what_is_said_is_kept_once_and_begins_nothing() -> None:
    model, skip = asked("/ostler model Advanced", replace(STATE, floor="advanced")), asked("/ostler skip think")
    assert isinstance(model, Intent)
    assert isinstance(skip, Intent)
    assert (model.point, skip.point) == ("advanced", "THINK")
    after = noted(noted(STATE, "model", model.point, "ada"), "skip", skip.point, "bob")
    assert (after.model_class, after.model_by, after.skips, after.skips_by, after.seq) == ("advanced", "ada", "THINK", "bob", 2)
    assert (after.standing, after.next_job) == (STATE.standing, STATE.next_job)
    assert noted(after, "skip", "THINK", "bob") == after
    assert noted(after, "skip", "SPEC", "bob").skips == "THINK,SPEC"
    assert read_state({name: getattr(after, name) for name in after.__slots__}) == after


# --- in a run ---------------------------------------------------------------------------------------------------------


def heard(seed: int, luck: float, event: Event) -> Iterator[tuple[Run, Run]]:
    """The moments of a run in which `event` is heard: the run before and after it."""
    for moment in played(seed, luck):
        if not moment.run.over:
            yield moment.run, step(moment.run, event)[0]


@batches
def test_no_class_goes_below_what_the_risk_wants_and_no_judge_changes(first: int, luck: float) -> None:
    order = list(ModelClass)
    for seed in seeds(first):
        wanted = CLASSES[seed % 3]
        for before, after in heard(seed, luck, ClassChosen(wanted, "ada")):
            assert (after.state, after.waiting, after.contract) == (before.state, before.waiting, before.contract)
            if after.strategy is None or before.strategy is None:
                continue
            given = max(wanted, floor_of(after.strategy.triage), key=order.index)
            for old, new in zip(before.strategy.choices, after.strategy.choices, strict=True):
                if new.role in (Role.PLANNER, Role.BUILDER):
                    assert new.model == pick(after.request.settings.models, old.model.vendor, given)
                else:
                    assert new == old


@batches
def test_a_skip_goes_round_no_approval_and_nothing_that_the_result_rests_on(first: int, luck: float) -> None:
    for seed in seeds(first):
        kind = SKIPPABLE[seed % len(SKIPPABLE)]
        for before, after in heard(seed, luck, PhaseSkipped(kind, "ada")):
            assert not any(phase.kind is kind and phase.state is PhaseState.QUEUED for phase in after.phases)
            kept = [phase.state for phase in before.phases if phase.kind is not kind]
            moved = [phase.state for phase in after.phases if phase.kind is not kind]
            assert kept == moved or (before.waiting and before.phase.kind is kind)
            if any(phase.kind is Kind.IMPLEMENT and phase.state is PhaseState.EXECUTING for phase in after.phases):
                assert after.contract
                assert after.approved_by or not after.compiled.approval_reason


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in SKIPPABLE])
def test_the_others_cannot_be_skipped(kind: Kind) -> None:
    run = next(moment.run for moment in played(0) if moment.run.phases)
    with pytest.raises(BugError):
        step(run, PhaseSkipped(kind, "ada"))


def test_a_phase_that_waits_for_money_is_done_without_and_the_run_goes_on() -> None:
    seen = 0
    for seed in range(300):
        for moment in played(seed):
            run = moment.run
            if not (run.waiting and run.waiting.what != "approval" and run.phase.kind in SKIPPABLE):
                continue
            seen += 1
            after, effects = step(run, PhaseSkipped(run.phase.kind, "ada"))
            (left,) = [phase for phase in after.phases if phase.id == run.phase.id]
            last = not any(phase.kind in FRAMING and phase.state is PhaseState.QUEUED for phase in run.phases)
            assert left.reason == "skipped by ada" or last
            assert effects
            Rooms(seed).perform(after, effects[0])
    assert seen
