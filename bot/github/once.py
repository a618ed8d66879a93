"""Effects that happen once, over a network that may swallow the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from bot.core.errors import BugError, OstlerError
from bot.github.errors import Conflict, UnknownOutcome
from bot.github.limits import Clock, backoff

LOOKS = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each further look for something that may have been made: GitHub's lists can lag behind."""
MAKES = 3

T = TypeVar("T")


def once(find: Callable[[], T | None], make: Callable[[], T], *, clock: Clock | None = None) -> T:
    """What `find` finds, else what `make` makes: at most once as far as anyone can tell.

    After an answer that says nothing, or that it exists already, `find` looks again several times before a second try,
    because lists lag. Whoever calls this also removes duplicates: a list may lag for longer.
    """
    clock = clock or Clock()
    found = find()
    trouble: OstlerError | None = None
    for _ in range(MAKES):
        if found is not None:
            return found
        if isinstance(trouble, Conflict):
            break
        try:
            return make()
        except (UnknownOutcome, Conflict) as error:
            trouble = error
        found = _look(find, clock)
    if found is not None:
        return found
    raise trouble or BugError("nothing was made and nothing was wrong")


def _look(find: Callable[[], T | None], clock: Clock) -> T | None:
    for wait in (0.0, *LOOKS):
        if wait:
            clock.sleep(wait)
        if (found := find()) is not None:
            return found
    return None


def repeatable(make: Callable[[], T], *, clock: Clock | None = None) -> T:
    """A change that is the same made twice (an edit, a deletion, an object named by its content): sent again when in doubt."""
    clock = clock or Clock()
    for tried in range(1, MAKES):
        try:
            return make()
        except UnknownOutcome:
            clock.sleep(backoff(tried, clock))
    return make()
