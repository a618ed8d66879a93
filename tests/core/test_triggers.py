"""What commands ask for: which begin a session, which want another plan, and when neither counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.following import stops_since
from bot.core.session import LABEL, STOP_LABEL, SessionState, asked_at
from bot.core.triggers import Actor, Asked, Intent, IssueFacts, LabelEvent, Refusal, Verb, command, commanded, moment, started

AT = "2026-11-21T11:34:31Z"
ADA = Actor("ada", 1, "User", "write")
PLAN = Asked("plan", "", ADA, comment=7, place=42, at=AT)
FACTS = IssueFacts(42, "Sums are wrong", "2 + 3 should be 5", "zoe", True, (), None, None, True)
STATE = SessionState(9, 42, "issue-42-3f9a1c2b_20261121_113431", 5, "ada", "ostler/issue-42-x-3f9a1c2b")
WAITS = replace(STATE, standing="waiting", next_job="post", plan_digest="7f" * 32)


def said(text: str, state: SessionState | None, comment: int = 8) -> Intent | Refusal:
    words = command(text)
    assert words is not None
    return commanded(Asked(*words, ADA, comment=comment, place=42, at=AT), state)


def test_a_comment_begins_the_same_session_whoever_reads_it() -> None:
    intent = started(9, FACTS, PLAN)
    assert isinstance(intent, Intent)
    assert (intent.verb, intent.event, asked_at(intent.session)) == ("plan", 7, AT)
    assert started(9, replace(FACTS, labels=(LABEL,), labelled=LabelEvent(6, AT, ADA)), PLAN) == intent
    others = {started(9, FACTS, replace(PLAN, comment=8)), started(9, FACTS, replace(PLAN, at="2026-11-21T11:34:32Z"))}
    label = started(9, replace(FACTS, labels=(LABEL,), labelled=LabelEvent(6, AT, ADA)))
    assert len({intent, label, *others}) == 4


NONE: dict[str, tuple[IssueFacts, Asked]] = {
    "closed": (replace(FACTS, open=False), PLAN),
    "stopped": (replace(FACTS, labels=(STOP_LABEL,)), PLAN),
    "edited in the same second": (replace(FACTS, edited_at=AT), PLAN),
    "edits unknown": (replace(FACTS, edits_known=False), PLAN),
    "a pull request": (replace(FACTS, is_pull=True), PLAN),
    "said elsewhere": (FACTS, replace(PLAN, place=43)),
    "an edited comment": (FACTS, replace(PLAN, edited=True)),
}


@pytest.mark.parametrize("case", NONE)
def test_where_none_begins_a_writer_is_told_and_others_are_not(case: str) -> None:
    facts, asked = NONE[case]
    refused = started(9, facts, asked)
    assert isinstance(refused, Refusal)
    assert refused.say.startswith("Nothing begins: ")
    for who in (replace(ADA, permission="read"), replace(ADA, type="Bot")):
        silent = started(9, facts, replace(asked, actor=who))
        assert isinstance(silent, Refusal)
        assert silent.say == ""


@pytest.mark.parametrize("verb", ["plan", "build"])
def test_one_session_of_an_issue_at_a_time(verb: Verb) -> None:
    for state in (None, replace(STATE, standing="over")):
        assert isinstance(said(f"/ostler {verb}", state), Intent)
    for state, words in ((STATE, "is at work"), (replace(STATE, standing="waiting"), "waits for"), (WAITS, "approve 7f7f7f7f")):
        refused = said(f"/ostler {verb}", state)
        assert isinstance(refused, Refusal)
        assert words in refused.say
    assert said(f"/ostler {verb}", replace(STATE, event=8, began=verb, standing="over")) == Refusal("done already")


def test_another_plan_is_asked_for_once_and_only_while_one_waits() -> None:
    intent = said("/ostler revise\nLeave it\n\nas it is", WAITS)
    assert isinstance(intent, Intent)
    assert (intent.verb, intent.comment) == ("revise", 8)
    assert said("/ostler revise it", replace(WAITS, revised_for=8)) == Refusal("done already")
    follow = f"{AT} fix-7"
    for text, state in (("it", STATE), ("it", replace(WAITS, follow=follow)), ("", WAITS), ("it \U000e0041", WAITS)):
        refused = said(f"/ostler revise {text}", state)
        assert isinstance(refused, Refusal)
        assert refused.say
        assert "\n" not in refused.say


def test_to_resume_is_to_retry() -> None:
    assert command("/ostler resume") == command("/ostler retry") == ("retry", "")
    assert command("/ostler resume right now") is None


@given(st.datetimes(), st.datetimes())
def test_what_stopped_a_session_before_it_was_resumed_counts_no_more(stopped: object, resumed: object) -> None:
    at, again = (f"{str(time)[:19].replace(' ', 'T')}Z" for time in (stopped, resumed))
    since = moment(stops_since(replace(STATE, resumed_at=again)))
    assert since >= moment(asked_at(STATE.session))
    assert (moment(at) >= since) == (moment(at) >= moment(again) and moment(at) >= moment(AT))
