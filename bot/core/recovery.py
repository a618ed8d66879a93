"""What to do about an error: a decision is a value. Decided by class, never by searching a text for words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bot.core.machines import RunState

ErrorClass = Literal["rate_limited", "transient_api", "timeout", "interrupted", "refused", "environment", "validation"]
Billed = Literal["no", "unknown"]

MAX_TRIES = 5
MAX_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class Retry:
    """Do it again after `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Give up: the terminal state to go to."""

    state: RunState


def decide(error: ErrorClass, tries: int, retry_after: float | None = None) -> Retry | Stop:
    """The decision after the `tries`-th failure in a row of one call. Waits double from 1 s to 60 s; a stated wait wins.

    The wait has no jitter: one run has one call at a time, so there is no herd to spread.
    """
    if error == "interrupted":
        return Retry(0.0)
    if error in ("rate_limited", "transient_api", "timeout") and tries < MAX_TRIES:
        return Retry(min(MAX_WAIT, retry_after if retry_after is not None else 2.0 ** (tries - 1)))
    if error in ("refused", "validation"):
        return Stop(RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW)
    return Stop(RunState.DONE_FAILED_ENVIRONMENT)
