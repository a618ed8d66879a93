"""`/ostler ship`: who may when, what becomes of the run, and that what is delivered never passes for more than it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.core.effects import Deliver
from bot.core.errors import BugError
from bot.core.events import Delivered, RoomFailed, ShipRequested
from bot.core.following import followed, stops_since
from bot.core.machines import RunState
from bot.core.run import Run
from bot.core.session import SessionState
from bot.core.settling import state_label, view
from bot.core.step import step
from bot.core.triggers import Asked, Refusal, commanded
from tests.core.play import HEAD_SHA
from tests.core.test_following import ADA, said
from tests.core.test_step import Moment, batches, played, seeds

REFUSED = RunState.DONE_FAILED_POLICY_VIOLATION
STATE = SessionState(
    1, 42, "issue-42-00000000_20261129_040000", 9, "ada", "ostler/issue-42-x-00000000",
    standing="over", run_state="DONE_FAILED_REQUIRES_HUMAN_REVIEW", outcome="no progress", changeset_digest="c" * 64,
)  # fmt: skip
SHIPPED = replace(STATE, shipped_by="ada", resumed_at="2026-11-29T05:00:00Z", pull=57, head_sha="e" * 40)


def shippable(run: Run) -> bool:
    return bool(run.changeset and run.changeset.files) and run.state not in (RunState.DONE_SUCCESS, REFUSED)


def moments(seed: int, luck: float) -> list[Moment]:
    """Where a person can be heard: the run waits, or is over."""
    return [moment for moment in played(seed, luck) if moment.run.waiting or moment.run.over]


@batches
def test_whatever_was_built_can_be_had_and_nothing_else(first: int, luck: float) -> None:
    for seed in seeds(first):
        for moment in moments(seed, luck):
            before = moment.run
            if not shippable(before):
                with pytest.raises(BugError):
                    step(before, ShipRequested("ada"))
                continue
            run, effects = step(before, ShipRequested("ada"))
            (effect,) = effects
            assert isinstance(effect, Deliver)
            assert before.changeset is not None
            assert (run.changeset, effect.tree) == (before.changeset, before.changeset.tree)
            assert "Not proved and not audited" in effect.message
            assert run.proof is None or run.proof.head.tree == effect.tree
            assert run.over
            assert not before.over or run.state is before.state
            assert run.state is not RunState.DONE_SUCCESS
            for event, head in (
                (Delivered(effect.branch, HEAD_SHA, 57), HEAD_SHA),
                (RoomFailed("Deliver", "policy", "the branch was moved"), ""),
            ):
                after, more = step(run, event)
                assert (after.state, after.head_sha, more) == (run.state, head, ())
                assert after.outcome


ASKED: dict[str, tuple[str, SessionState, str]] = {
    "failed": ("ship", STATE, ""),
    "waits": ("ship", replace(STATE, standing="waiting", run_state="GATE", waits="overrun"), ""),
    "works": ("ship", replace(STATE, standing="working"), "The session is at work"),
    "no change": ("ship", replace(STATE, changeset_digest=""), "There is nothing to ship: no change"),
    "refused": ("ship", replace(STATE, run_state=str(REFUSED)), "There is nothing to ship: the change was refused"),
    "delivered": ("ship", replace(STATE, run_state="DONE_SUCCESS", pull=57), "It is delivered: see pull request #57"),
    "shipped": ("ship", SHIPPED, "It is delivered: see pull request #57"),
    "retry": ("retry", SHIPPED, "It was shipped: say on #57 what it lacks"),
    "retry of a follow-up": ("retry", replace(SHIPPED, follow="2026-11-29T04:50:00Z fix-2", from_sha="d" * 40), ""),
}


@pytest.mark.parametrize("case", ASKED)
def test_when_it_may_be_asked_for(case: str) -> None:
    verb, state, told = ASKED[case]
    intent = commanded(Asked(verb, "", ADA, False, 9, 42), state)  # type: ignore[arg-type]  # spelt out above
    found = intent.say if isinstance(intent, Refusal) else ""
    assert found.startswith(told)
    assert bool(found) == bool(told)
    reader = commanded(Asked("ship", "", replace(ADA, permission="read"), False, 9, 42), state)
    assert isinstance(reader, Refusal)
    assert reader.say == ""


def test_what_was_shipped_is_never_green_and_offers_what_goes_on_from_there() -> None:
    seen = view(SHIPPED)
    assert (seen.conclusion, seen.title) == ("neutral", "Draft #57, not proved: no progress")
    assert [button.identifier for button in seen.buttons] == ["fix-ci"]
    assert state_label(SHIPPED) == "ostler:needs-human"
    for state in (STATE, replace(STATE, standing="waiting", waits="budget"), replace(STATE, standing="waiting", waits="shared")):
        names = [button.identifier for button in view(state).buttons]
        assert "ship" in names
        assert len(names) <= 3


def test_what_was_said_before_it_stops_nothing_and_a_follow_up_begins_without_it() -> None:
    assert stops_since(SHIPPED) == "2026-11-29T05:00:00Z"
    after = followed(SHIPPED, said("fix", at="2026-11-29T06:00:00Z"), "e" * 40, "2026-11-29T06:00:01Z")
    assert (after.shipped_by, stops_since(after)) == ("", "2026-11-29T06:00:00Z")
