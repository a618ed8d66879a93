"""The dashboard of a repository: an issue that shows its sessions, with boxes that do what commands do.

A box names the session's state that it was drawn for, so that a tick counts for what the person saw and for nothing later.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bot.core.run import short
from bot.core.session import SessionState
from bot.core.settling import approval_waits, waits_for_money

MARK = "<!-- ostler:board -->"
"""The first line of a dashboard's text."""
BOARD_LABEL = "ostler:dashboard"
RECENT = 10
"""Sessions that are over and still shown."""
Act = Literal["approve", "budget", "retry", "next", "pause"]
PAUSE: Act = "pause"
_BOX = re.compile(
    r"(?m)^- \[(?P<tick>[ xX])\] <!-- ostler:do (?P<act>approve|budget|retry|next|pause)"
    r"(?: (?P<session>issue-[0-9]{1,10}-[0-9a-f]{8}_[0-9]{8}_[0-9]{6}) (?P<seq>[0-9]{1,9}))?(?: (?P<digest>[0-9a-f]{8}))? -->"
)


@dataclass(frozen=True, slots=True)
class Box:
    """Something to tick. `session` is empty and `seq` 0 for what is about the whole repository; `digest` is of a plan."""

    act: Act
    session: str = ""
    seq: int = 0
    digest: str = ""

    def __str__(self) -> str:
        words = ["ostler:do", self.act, *([self.session, str(self.seq)] if self.session else []), *filter(None, [self.digest])]
        return f"<!-- {' '.join(words)} -->"


@dataclass(frozen=True, slots=True)
class Listed:
    """A session as the dashboard lists it."""

    state: SessionState
    title: str
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Board:
    """What a dashboard shows: sessions that wait for a person, that work, that wait for their turn (in its order), that wait for
    a cap, and that ended last. `paused_by` is who paused the repository, empty where nobody did."""

    waiting: tuple[Listed, ...]
    working: tuple[Listed, ...]
    queued: tuple[Listed, ...]
    short: tuple[Listed, ...]
    over: tuple[Listed, ...]
    paused_by: str = ""


def board(sessions: Sequence[tuple[SessionState, str]], paused_by: str = "") -> Board:
    """The dashboard of `sessions`, each with its issue's title, in the order in which they are to be listed."""
    listed = [Listed(state, title, _box(state)) for state, title in sessions if not state.archived_by]
    live = [one for one in listed if one.state.standing != "over"]
    return Board(
        waiting=tuple(one for one in live if one.state.standing == "waiting" and one.state.waits != "shared"),
        working=tuple(one for one in live if one.state.standing == "working" and one.state.working_run),
        queued=tuple(one for one in live if one.state.standing == "working" and not one.state.working_run),
        short=tuple(one for one in live if one.state.standing == "waiting" and one.state.waits == "shared"),
        over=tuple(one for one in listed if one.state.standing == "over")[:RECENT],
        paused_by=paused_by,
    )


def _box(state: SessionState) -> Box | None:
    if approval_waits(state):
        return Box("approve", state.session, state.seq, short(state.plan_digest))
    if state.standing == "working":
        return None if state.working_run else Box("next", state.session, state.seq)
    if waits_for_money(state):
        return Box("budget", state.session, state.seq)
    return None if state.shipped or state.run_state == "DONE_SUCCESS" else Box("retry", state.session, state.seq)


def boxes(text: str) -> dict[Box, bool]:
    """The boxes of a dashboard's text, and whether each is ticked; none where it is no dashboard."""
    if text.split("\n", 1)[0].rstrip("\r") != MARK:
        return {}
    found = {}
    for match in _BOX.finditer(text):
        box = Box(match["act"], match["session"] or "", int(match["seq"] or 0), match["digest"] or "")  # type: ignore[arg-type]
        found[box] = match["tick"] != " "
    return found


def changed(before: str, after: str) -> tuple[tuple[Box, bool], ...]:
    """The boxes that an edit ticked (True) or, for the pause alone, took the tick from. What was not there before, nobody saw."""
    old, new = boxes(before), boxes(after)
    return tuple((box, tick) for box, tick in new.items() if box in old and tick != old[box] and (tick or box.act == PAUSE))


def texts(ticks: Sequence[tuple[Box, bool]]) -> tuple[str, str]:
    """The shortest texts of a dashboard, before and after, in which these boxes are what `changed`."""
    old, new = (
        "\n".join([MARK, *(f"- [{'x' if tick == after else ' '}] {box}" for box, tick in ticks)]) for after in (False, True)
    )
    return old, new
