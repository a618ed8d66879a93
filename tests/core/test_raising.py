"""`/ostler budget +2 why`: how it is read, who may, when it counts, and that it counts once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.budget import MICRO
from bot.core.session import SessionState
from bot.core.settling import ADD, Report, settle, view
from bot.core.triggers import MOST, Actor, Asked, Intent, Refusal, amount_of, command, commanded

ADA = Actor("ada", 1, "User", "write")
STATE = SessionState(9, 42, "issue-42-3f9a1c2b_20261121_113431", 5, "ada", "ostler/issue-42-x-3f9a1c2b", cap=2_000_000, spent=1)
WAITS = replace(STATE, standing="waiting", waits="budget")


def asked(text: str, state: SessionState = WAITS, comment: int = 7, who: Actor = ADA) -> Intent | Refusal:
    words = command(text)
    assert words is not None
    return commanded(Asked(*words, who, comment=comment), state)


@given(st.integers(MICRO // 100, MOST))
def test_every_amount_that_is_written_out_is_read(amount: int) -> None:
    assert amount_of(f"+{amount // MICRO}.{amount % MICRO:06}") == amount


@given(st.text(max_size=12))
def test_what_is_no_amount_is_none(text: str) -> None:
    amount = amount_of(text)
    assert amount is None or (text.startswith("+") and MICRO // 100 <= amount <= MOST)


@pytest.mark.parametrize(
    "word", ["", "0", "+0", "-2", "+-2", "2", "+NaN", "+inf", "+1e3", "+0.001", "+10001", "+99999999", "+\u0662", "$2"]
)
def test_a_bad_amount_gets_one_line(word: str) -> None:
    said = asked(f"/ostler budget {word} because")
    assert isinstance(said, Refusal)
    assert said.say.startswith("Say how many dollars more")
    assert "\n" not in said.say


def test_the_reason_is_kept_short_and_without_what_would_act() -> None:
    said = asked("/ostler budget +$2.5  ask @bob why, key sk-ant-" + "a" * 50 + " x" * 300)
    assert isinstance(said, Intent)
    assert (said.amount, said.by, said.comment) == (2_500_000, "ada", 7)
    assert said.reason.startswith("ask @ bob why")
    assert "sk-ant" not in said.reason
    assert len(said.reason) <= 201


@pytest.mark.parametrize("text", ["/ostler retry right now", "/ostler stop it now", "/ostler status of it"])
def test_no_other_command_takes_more_words(text: str) -> None:
    assert command(text) is None


def test_a_line_of_spaces_is_read_at_once() -> None:
    assert command("/ostler budget +2 a" + " " * 60_000 + "\x0b") == ("budget", "+2 a")


REFUSED: dict[str, tuple[SessionState, Actor, int]] = {
    "may not write": (WAITS, replace(ADA, permission="read"), 7),
    "over": (replace(STATE, standing="over"), ADA, 7),
    "shared": (replace(WAITS, waits="shared"), ADA, 7),
    "same comment": (replace(WAITS, added_for=7), ADA, 7),
    "too much": (replace(WAITS, cap=MOST - MICRO), ADA, 7),
    "button of a session that works": (STATE, ADA, 0),
}


@pytest.mark.parametrize("case", REFUSED)
def test_when_it_does_not_count(case: str) -> None:
    state, who, comment = REFUSED[case]
    assert isinstance(asked("/ostler budget +2", state, comment, who), Refusal)


def report(**changes: Any) -> Report:
    empty: dict[str, Any] = dict.fromkeys(("artifact_digest", "task_digest", "plan_digest", "changeset_digest", "head_sha"), "")
    given: dict[str, Any] = {
        "session": STATE.session, "issue": 42, "workflow_run": 77, "standing": "waiting", "next_job": "conclude",
        "run_state": "GATE", "outcome": "The run cap leaves $0.00", "artifact": 1, "artifact_run": 77, "journal_head": "h",
        "cap": 2_000_000, "spent": 5, "budget_line": "", "pull": 0, "waits": "budget",
    }  # fmt: skip
    return Report(**{**empty, **given, **changes})


def test_what_was_added_while_the_run_ran_out_has_it_go_on() -> None:
    state = replace(STATE, working_run=77, added=2_000_000)
    after = settle(state, report(), "now")
    assert (after.standing, after.added) == ("working", 2_000_000)
    after = settle(state, report(added=2_000_000), "now")
    assert (after.standing, after.added, view(after).buttons[0]) == ("waiting", 0, ADD)
    assert settle(state, report(waits="approval"), "now").standing == "waiting"
    assert settle(state, report(standing="over", waits=""), "now").standing == "over"


def test_who_has_a_session_go_on_before_what_was_stopped_has_ended_is_not_stopped_by_its_end() -> None:
    state = replace(STATE, working_run=77, resumed_at="2026-11-21T11:40:00Z")
    late = report(standing="over", waits="", run_state="DONE_FAILED_REQUIRES_HUMAN_REVIEW")
    assert settle(state, late, "now").standing == "working"
    assert settle(state, replace(late, resumed_at=state.resumed_at), "now").standing == "over"
    assert settle(state, replace(late, run_state="DONE_SUCCESS"), "now").standing == "over"
    assert settle(state, late, "now").resumed_at == state.resumed_at
