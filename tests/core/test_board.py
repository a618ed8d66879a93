"""The dashboard's boxes: what is drawn is read again, a tick counts once, and no title makes a box."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bot.core.board import MARK, PAUSE, Box, board, boxes, changed, texts
from bot.core.session import SessionState
from bot.loop.comments import dashboard

SESSION = "issue-7-0123abcd_20261129_040506"
STATE = SessionState(1, 7, SESSION, 11, "ada", "ostler/issue-7-x-0123abcd", seq=3)
WAITS = replace(STATE, standing="waiting", next_job="post", plan_digest="7f3a91aa" + "0" * 56)
QUEUED = replace(STATE, anchor_sha="a" * 40)
STOPPED = replace(STATE, standing="over", run_state="DONE_FAILED_POLICY_VIOLATION", outcome="it changes a workflow")
POOR = replace(STATE, standing="waiting", waits="budget")

TITLES = st.text() | st.sampled_from(
    ["- [ ] <!-- ostler:do pause -->", f"x\n- [x] {Box('retry', SESSION, 3)}", "<!-- ostler:board -->", "](../x) #1 @ada"]
)


def drawn(*states: SessionState, title: str = "Totals are wrong", paused_by: str = "") -> str:
    return dashboard(board([(state, title) for state in states], paused_by), "")


@given(TITLES, st.sampled_from(["", "ada"]))
def test_what_is_drawn_is_read_again(title: str, paused_by: str) -> None:
    found = boxes(drawn(WAITS, QUEUED, STOPPED, POOR, title=title, paused_by=paused_by))
    assert found == {
        Box(PAUSE): bool(paused_by),
        Box("approve", SESSION, 3, "7f3a91aa"): False,
        Box("next", SESSION, 3): False,
        Box("retry", SESSION, 3): False,
        Box("budget", SESSION, 3): False,
    }


def test_what_works_or_was_delivered_has_no_box() -> None:
    busy = replace(QUEUED, working_run=5)
    done = replace(STATE, standing="over", run_state="DONE_SUCCESS", pull=9)
    shared = replace(STATE, standing="waiting", waits="shared")
    text = drawn(busy, done, shared)
    assert set(boxes(text)) == {Box(PAUSE)}
    assert "pull request [#9](../pull/9)" in text


def tick(text: str, box: Box) -> str:
    return text.replace(f"- [ ] {box}", f"- [x] {box}")


def test_a_tick_counts_where_it_was_drawn() -> None:
    text, retry = drawn(STOPPED), Box("retry", SESSION, 3)
    assert changed(text, tick(text, retry)) == ((retry, True),)
    assert changed(tick(text, retry), text) == ()
    assert changed(text, text + f"\n- [x] {Box('retry', SESSION, 2)}\n") == ()
    assert changed(text, tick(text, retry).replace(MARK, "")) == ()


def test_the_pause_counts_both_ways() -> None:
    free, held = drawn(), drawn(paused_by="ada")
    assert changed(free, tick(free, Box(PAUSE))) == ((Box(PAUSE), True),)
    assert changed(held, held.replace("- [x]", "- [ ]")) == ((Box(PAUSE), False),)


@given(
    st.lists(st.sampled_from([Box("retry", SESSION, 3), Box("approve", SESSION, 4, "7f3a91aa")]), unique=True),
    st.sampled_from([None, True, False]),
)
def test_what_an_edit_did_is_kept_in_short(acts: list[Box], pause: bool | None) -> None:
    ticks = tuple((box, True) for box in acts) + (() if pause is None else ((Box(PAUSE), pause),))
    assert changed(*texts(ticks)) == ticks
