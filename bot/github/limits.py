"""How fast GitHub may be asked, and how long to wait when it says no.

Sources: GitHub's "Rate limits for the REST API" and "Best practices for using the REST API": one change at a time and a second
between two of them, at most 80 a minute and 500 an hour; `retry-after` first, then `x-ratelimit-reset`, else at least a minute
and twice as long each time. Reads have no such rule of their own: they are kept to a rate far below the hourly limit, so that
what other tools of an installation need is left to them.
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
from bot.core.pacing import Bucket

TRIES = 6
TOTAL_WAIT = 300.0
"""Seconds that one request may wait in all."""
LIMIT_PAUSE = 60.0
"""Seconds to wait at a limit that comes without a time."""
BACKOFF, LONGEST_BACKOFF = 1.0, 30.0
A_MINUTE, AN_HOUR = (60.0, 80), (3600.0, 500)
"""(seconds, changes in them)."""
READS = 100
"""Reads a minute."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, as functions so that a test can hold them. `now` is seconds since the epoch, `chance` in [0, 1)."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random


class Pace:
    """Changes one after the other, `pause` seconds apart, and so many `reads` a minute. One Pace may serve several clients of
    the same account.

    A pause of zero is for a stand-in that has no limits, and reads have none then either; zero reads are as many as asked for.
    """

    def __init__(self, pause: float, clock: Clock, reads: int = READS) -> None:
        self._pause, self._clock = pause, clock
        self._lock = threading.RLock()
        self._made: deque[float] = deque(maxlen=AN_HOUR[1])
        self._bucket = Bucket(reads) if pause and reads else None
        self._reading = threading.Lock()
        self._full_at, self._reset = 0, 0.0

    def read(self) -> None:
        """Wait for the turn of a read.

        Raises:
            TransientError: the turn is further away than a request may wait.
        """
        waited = 0.0
        while wait := self._read_wait():
            waited += wait
            if waited > TOTAL_WAIT:
                raise TransientError("As much was read from GitHub as its limit allows.", retry_after=wait, billed=False)
            self._clock.sleep(wait)

    def heard(self, headers: Mapping[str, str]) -> None:
        """What GitHub says is left until its reset lowers the rate; where nothing is, nothing is read before.

        GraphQL has a limit of its own, and an answer from before the last reset, which a cache may have kept, says nothing.
        """
        left, reset = headers.get("x-ratelimit-remaining", ""), headers.get("x-ratelimit-reset", "")
        if not self._bucket or not _is_number(left) or not _is_number(reset):
            return
        with self._reading:
            now = self._clock.now()
            if headers.get("x-ratelimit-resource", "core") == "core" and float(reset) > now:
                self._full_at = self._bucket.lowered(self._full_at, int(left), now)
                self._reset = float(reset) + 1 if int(left) == 0 else self._reset

    def _read_wait(self) -> float:
        """Seconds to wait and ask again; 0.0 where the read may go."""
        if not self._bucket:
            return 0.0
        with self._reading:
            now = self._clock.now()
            if self._reset > now:
                return self._reset - now
            self._full_at, wait = self._bucket.take(self._full_at, now)
            return wait

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
        if _is_number(reset):
            return max(0.0, float(reset) - now) + 1
    return LIMIT_PAUSE * 2.0 ** (tried - 1)


def backoff(tried: int, clock: Clock) -> float:
    """Seconds to wait after trouble: exponential with full jitter."""
    return clock.chance() * min(LONGEST_BACKOFF, BACKOFF * 2.0**tried)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


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
