"""`/ostler session`, `compare` and `archive`: which names are names, what may be put away, and who was the cheapest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.board import board
from bot.core.comparing import cheapest, figures, status
from bot.core.following import due
from bot.core.session import SessionState, is_named, named, session_id
from bot.core.settling import view
from bot.core.steering import noted
from bot.core.triggers import Asked, Intent, Refusal, Verb, command, commanded
from tests.core.test_following import ADA, PULL, STATE, said

NAME = STATE.session.partition("_")[0]


def asked(text: str, state: SessionState | None = STATE) -> Intent | Refusal:
    words = command(text)
    assert words is not None
    return commanded(Asked(*words, ADA, comment=7, place=42), state)


@given(st.integers(1, 10**9 - 1), st.integers(1, 10**12), st.integers(1, 10**12))
def test_ids_and_names_of_sessions_lead_back_to_their_issue(issue: int, repo: int, event: int) -> None:
    id_ = session_id(repo, issue, event, "2026-11-29T04:00:00Z")
    name = id_.partition("_")[0]
    assert named(id_) == named(name) == issue
    assert is_named(id_, id_)
    assert is_named(id_, name)
    assert not is_named(id_, f"{name}_20261129_040001")


@given(st.text(min_size=1, max_size=60).filter(lambda text: not any(map(str.isspace, text))))
def test_whatever_is_no_name_is_looked_up_nowhere(text: str) -> None:
    for word in (text, f"{NAME}/{text}", f"{NAME}_{text}", f"{text}{NAME}"):
        assert isinstance(commanded(Asked("session", word, ADA, comment=7), STATE), Intent) == bool(named(word))
        assert not named(word) or word.isascii()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/ostler session ../../etc", "A session is called like"),
        ("/ostler session refs/heads/main", "A session is called like"),
        (f"/ostler compare {NAME}", "Name two to 5 sessions"),
        (f"/ostler compare {NAME} {NAME}", "Name two to 5 sessions"),
        (f"/ostler compare {NAME} x", "A session is called like"),
        ("/ostler archive", "Say which session"),
        ("/ostler archive x", "Say which session"),
    ],
)
def test_what_gets_one_line(text: str, told: str) -> None:
    answer = asked(text)
    assert isinstance(answer, Refusal)
    assert answer.say.startswith(told)


def test_the_session_here_needs_no_name_and_none_is_none() -> None:
    answer = asked("/ostler session")
    assert isinstance(answer, Intent)
    assert answer.point == STATE.session
    assert isinstance(asked("/ostler session", None), Refusal)


def test_only_writers_look() -> None:
    answer = commanded(Asked("session", NAME, replace(ADA, permission="read"), comment=7), STATE)
    assert isinstance(answer, Refusal)
    assert answer.say == ""


# --- archived ---------------------------------------------------------------------------------------------------------


def test_only_what_is_over_is_put_away_and_then_nothing_goes_on_with_it() -> None:
    for standing in ("working", "waiting"):
        told = asked(f"/ostler archive {NAME}", replace(STATE, standing=standing))
        assert isinstance(told, Refusal)
        assert told.say.startswith("Only a session that is over")
    absent = asked(f"/ostler archive {NAME}", None)
    assert isinstance(absent, Refusal)
    assert NAME in absent.say
    intent = asked(f"/ostler archive {NAME}")
    assert isinstance(intent, Intent)
    after = noted(STATE, "archive", intent.point, "ada")
    assert (after.archived_by, after.seq, after.issued_at) == ("ada", STATE.seq + 1, STATE.issued_at)
    assert noted(after, "archive", intent.point, "bob") == after
    assert (view(after).conclusion, view(after).buttons) == (view(STATE).conclusion, ())
    assert view(after).title.startswith("Archived: ")
    assert due(STATE, PULL, [said()]) is not None
    assert due(after, PULL, [said()]) is None
    assert board([(after, "a title")]).over == ()
    verbs: tuple[Verb, ...] = ("retry", "stop", "rollback", "ship", "fix", "model", "budget")
    for verb in verbs:
        answer = commanded(Asked(verb, "x", ADA, comment=7, place=57), after)
        assert isinstance(answer, Refusal)
        assert answer.say.startswith("This session is archived")


# --- compared ---------------------------------------------------------------------------------------------------------

states = st.builds(
    lambda spent, standing, run_state: replace(STATE, spent=spent, standing=standing, run_state=run_state),
    st.integers(0, 10),
    st.sampled_from(["working", "waiting", "over"]),
    st.sampled_from(["DONE_SUCCESS", "DONE_FAILED_ENVIRONMENT"]),
)


@given(st.lists(states, max_size=5))
def test_the_cheapest_is_one_that_was_done_and_none_was_cheaper(found: list[SessionState]) -> None:
    best, done = cheapest(found), [state for state in found if status(state) == "completed"]
    assert (best is None) == (not done)
    assert best is None or (best in done and all(best.spent <= state.spent for state in done))


def test_a_session_in_figures() -> None:
    row = figures(replace(STATE, iterations=2, models="m-1, m-2"))
    assert (row.status, row.runs, row.iterations, row.cost, row.models, row.pull) == ("completed", 1, 2, 7, "m-1, m-2", 57)
    assert row.seconds == 1800.5
    assert status(replace(STATE, archived_by="ada")) == "archived"
