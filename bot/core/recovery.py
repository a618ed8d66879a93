"""What to do about an error: a decision is a value. Decided by class, never by searching a text for words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bot.core.machines import RunState

ErrorClass = Literal[
    "rate_limited", "transient_api", "timeout", "interrupted", "unavailable", "contended", "refused", "environment", "validation"
]
"""`unavailable`: the vendor failed so often that nobody asks it for a while (an open breaker). `contended`: another run took what
a shared cap had left between the look and the reservation."""
Billed = Literal["no", "unknown"]

MAX_TRIES = 5
MAX_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class Retry:
    """Do it again after `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Switch:
    """Ask another vendor's model instead."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Leave it until a person has it looked at again: what is in the way is not this run's."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Give up: the terminal state to go to."""

    state: RunState


def decide(
    error: ErrorClass, tries: int, retry_after: float | None = None, chance: float = 1.0, *, other: bool = False
) -> Retry | Switch | Wait | Stop:
    """The decision after the `tries`-th failure in a row of one call.

    Waits double from 1 s to 60 s with full jitter (`chance` in [0, 1] is the draw; Brooker, "Exponential Backoff And Jitter");
    a wait that the vendor states wins. `other` says whether another vendor's model may take over.
    """
    if error == "interrupted":
        return Retry(0.0)
    if error == "contended":
        return Retry(chance) if tries < MAX_TRIES else Wait()
    if error == "unavailable" and other:
        return Switch()
    if error in ("rate_limited", "transient_api", "timeout", "unavailable"):
        if tries < MAX_TRIES:
            return Retry(min(MAX_WAIT, retry_after if retry_after is not None else chance * 2.0 ** (tries - 1)))
        return Switch() if other else Stop(RunState.DONE_FAILED_ENVIRONMENT)
    if error in ("refused", "validation"):
        return Stop(RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW)
    return Stop(RunState.DONE_FAILED_ENVIRONMENT)
