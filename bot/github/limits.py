"""How fast GitHub may be asked, and how long to wait when it says no.

Sources: GitHub's "Rate limits for the REST API" and "Best practices for using the REST API": one change at a time and a second
between two of them, at most 80 a minute and 500 an hour; `retry-after` first, then `x-ratelimit-reset`, else at least a minute
and twice as long each time.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import isfinite

from bot.core.errors import TransientError

TRIES = 6
TOTAL_WAIT = 300.0
"""Seconds that one request may wait in all."""
LIMIT_PAUSE = 60.0
"""Seconds to wait at a limit that comes without a time."""
BACKOFF, LONGEST_BACKOFF = 1.0, 30.0
A_MINUTE, AN_HOUR = (60.0, 80), (3600.0, 500)
"""(seconds, changes in them)."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, as functions so that a test can hold them. `now` is seconds since the epoch, `chance` in [0, 1)."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random


class Pace:
    """Changes one after the other, `pause` seconds apart. One Pace may serve several clients of the same account.

    A pause of zero is for a stand-in that has no limits.
    """

    def __init__(self, pause: float, clock: Clock) -> None:
        self._pause, self._clock = pause, clock
        self._lock = threading.RLock()
        self._made: deque[float] = deque(maxlen=AN_HOUR[1])

    def __enter__(self) -> None:
        """Wait for the turn and hold it.

        Raises:
            TransientError: the turn is further away than a request may wait.
        """
        self._lock.acquire()
        try:
            self._wait()
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, *_: object) -> None:
        self._made.append(self._clock.now())
        self._lock.release()

    def _wait(self) -> None:
        if not self._pause or not self._made:
            return
        now, due = self._clock.now(), self._made[-1] + self._pause
        for seconds, most in (A_MINUTE, AN_HOUR):
            if len(self._made) >= most:
                due = max(due, self._made[-most] + seconds)
        if due - now > TOTAL_WAIT:
            raise TransientError("As many changes were made on GitHub as an hour allows.", retry_after=due - now, billed=False)
        if due > now:
            self._clock.sleep(due - now)


def is_limit(status: int, headers: Mapping[str, str], said: str) -> bool:
    """Whether an answer means "slower" and not "never". A 403 is told apart by its headers or, where it has none, its words."""
    if status == 429:
        return True
    if status != 403:
        return False
    words = said.casefold()
    return (
        "retry-after" in headers
        or headers.get("x-ratelimit-remaining") == "0"
        or "rate limit" in words
        or "abuse detection" in words
    )


def limit_wait(headers: Mapping[str, str], tried: int, now: float) -> float:
    """Seconds to wait at a limit after `tried` tries."""
    asked = _retry_after(headers.get("retry-after", ""), now)
    if asked is not None:
        return asked
    if headers.get("x-ratelimit-remaining") == "0":
        reset = headers.get("x-ratelimit-reset", "")
        if reset.isascii() and reset.isdecimal():
            return max(0.0, float(reset) - now) + 1
    return LIMIT_PAUSE * 2.0 ** (tried - 1)


def backoff(tried: int, clock: Clock) -> float:
    """Seconds to wait after trouble: exponential with full jitter."""
    return clock.chance() * min(LONGEST_BACKOFF, BACKOFF * 2.0**tried)


def _retry_after(text: str, now: float) -> float | None:
    """Seconds or an HTTP date."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now
    return max(0.0, seconds) if isfinite(seconds) else None
