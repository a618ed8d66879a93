"""A setback: what a gate held against an attempt, and how attempts compare by what they changed and what they left failing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bot.core.changeset import Changeset, decoded
from bot.core.diagnosis import Diagnosis

UNDOING = 0.7
"""The share of a diff that takes back the one before it above which attempts only go to and fro."""
WINDOW = 3
"""Attempts in a row that have to get somewhere."""
PLATEAU = 0.1
"""Changed lines in the mean of a window at which nothing moves any more."""
Lines = Counter[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Setback:
    """Why an attempt did not pass. `began` and `changeset` are the change as the attempt found and as it left it; `failing` names
    what fails, alike from run to run. An excused one is no failure of the model's."""

    problems: tuple[str, ...]
    found: tuple[Diagnosis, ...]
    failing: frozenset[str]
    began: Changeset
    changeset: Changeset
    excused: bool = False

    @property
    def names(self) -> frozenset[str]:
        return frozenset(row.name for row in self.found)

    @property
    def told(self) -> str:
        """The classes in a few words: `import (2), type`."""
        return ", ".join(f"{row.name} ({row.count})" if row.count > 1 else row.name for row in self.found)


def fingerprint(problems: Sequence[str]) -> str:
    """Problems without what changes from run to run: numbers, addresses, spacing."""
    return re.sub(r"0x[0-9a-f]+|\d+|\s+", " ", "\n".join(sorted(problems)).lower())


def moved(began: Changeset, ended: Changeset) -> tuple[Lines, Lines]:
    """The lines added and removed between two states of a change, by file. Blank lines don't count."""
    added, removed = Lines(), Lines()
    for path in {*began.paths, *ended.paths}:
        old, new = _lines(path, began, ended), _lines(path, ended, began)
        added += new - old
        removed += old - new
    return added, removed


def _lines(path: str, state: Changeset, other: Changeset) -> Lines:
    """The lines of a file in `state`: those of the base, as `other` tells, where it is not changed there."""
    mine = next((change for change in state.files if change.path == path), None)
    content = mine.after if mine else next(change.before for change in other.files if change.path == path)
    return Lines((path, line) for line in (decoded(content) or "").splitlines() if line.strip())


def size(setback: Setback) -> int:
    """How many lines the attempt added and removed."""
    added, removed = moved(setback.began, setback.changeset)
    return added.total() + removed.total()


def undone(before: Setback, after: Setback) -> float:
    """The share of what `after` changed that takes back what `before` did; 0 where it did not go on from there."""
    total = size(after)
    if not total or after.began.tree != before.changeset.tree:
        return 0.0
    (added, removed), (again, gone) = moved(before.began, before.changeset), moved(after.began, after.changeset)
    return ((added & gone).total() + (removed & again).total()) / total


def stuck(setbacks: Sequence[Setback]) -> str:
    """Why another attempt would only cost, after these in a row, in one sentence; empty where they get somewhere."""
    *earlier, last = setbacks
    if not earlier:
        return ""
    if fingerprint(earlier[-1].problems) == fingerprint(last.problems):
        return "no progress, the same problems twice in a row"
    if (share := undone(earlier[-1], last)) > UNDOING:
        return f"no progress, {share:.0%} of the last attempt takes back the one before it"
    if len(setbacks) >= WINDOW and sum(map(size, setbacks[-WINDOW:])) <= PLATEAU * WINDOW:
        return f"converged: the last {WINDOW} attempts changed nothing any more"
    left = [len(one.failing) for one in setbacks if one.changeset.files]
    if len(left) > WINDOW and min(left[-WINDOW:]) >= left[-WINDOW - 1]:
        return f"no progress, in {WINDOW} attempts what fails did not get less"
    if {"unknown"} == earlier[-1].names == last.names:
        return "what is wrong is of no known kind, and an attempt to find out did not help"
    return ""


def best(setbacks: Sequence[Setback]) -> Setback:
    """The attempt that left least failing, the latest of those alike."""
    return min(reversed(setbacks), key=lambda one: len(one.failing))


def worse(setbacks: Sequence[Setback]) -> str:
    """Why the last attempt is better undone: it broke more than it mended, or each one breaks something of another kind."""
    if len(setbacks) < 2:
        return ""
    before, last = setbacks[-2:]
    if len(last.failing) > len(before.failing):
        return f"the last attempt left {len(last.failing)} failures where there were {len(before.failing)}"
    apart = [not one.names & other.names for one, other in pairwise(setbacks)]
    if len(apart) >= 2 and all(apart[-2:]):
        return "each attempt left failures of another kind"
    return ""
