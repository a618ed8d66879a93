"""How many sessions may begin in a day (UTC): counted by the labels and commands of people who may write that ask for one.

What is over a cap begins nothing and counts for nothing, so nobody uses up another's. It is counted in the order in which it was
asked for, so whoever counts, and whenever, comes to the same answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

Scope = Literal["person", "issue", "repository"]
SCOPES: dict[Scope, str] = {"person": "one person", "issue": "one issue", "repository": "this repository"}
SETTING = "sessions_per_day"


@dataclass(frozen=True, slots=True)
class Start:
    """What asks for a session: id and time (UTC, ISO 8601) of the label's event or the comment, the issue, the login of who."""

    event: int
    at: str
    issue: int
    by: str

    @property
    def order(self) -> tuple[str, int]:
        return self.at, self.event


Caps = dict[Scope, int]
"""Sessions a day, by what they are counted for; what is left out has no cap."""


def reached(caps: Caps, others: Iterable[Start], mine: Start) -> Scope | None:
    """The cap that is in the way of `mine`, after what began before it on its day; None where it may begin."""
    counted: Counter[tuple[Scope, int | str]] = Counter()
    before = {one.order: one for one in others if one.order < mine.order and one.at[:10] == mine.at[:10]}
    for order in sorted(before):
        if _over(caps, counted, before[order]) is None:
            counted.update(_keys(before[order]))
    return _over(caps, counted, mine)


def _over(caps: Caps, counted: Counter[tuple[Scope, int | str]], one: Start) -> Scope | None:
    return next((key[0] for key in _keys(one) if key[0] in caps and counted[key] >= caps[key[0]]), None)


def _keys(one: Start) -> tuple[tuple[Scope, int | str], ...]:
    return ("person", one.by), ("issue", one.issue), ("repository", 0)


def refused(caps: Caps, others: Iterable[Start], mine: Start, origin: Callable[[str], str]) -> str:
    """Why `mine` begins nothing, in a line for whoever asked; empty where it may begin. `origin` names the file that says
    a setting."""
    name = reached(caps, others, mine)
    if name is None:
        return ""
    most, tomorrow = caps[name], date.fromisoformat(mine.at[:10]) + timedelta(days=1)
    sessions, key = "1 session" if most == 1 else f"{most} sessions", f"{SETTING}.{name}"
    return (
        f"No session begins: for {SCOPES[name]} {sessions} may begin in a day (`{key}` in {origin(key)}). From {tomorrow} 00:00 "
        "UTC on, ask again: by the label, put on anew, or by a command."
    )
