"""How fast a service may be called and when to leave it alone: a token bucket and a circuit breaker, as values.

Times are seconds since the epoch, given by the caller. Every question is answered with the seconds to wait: 0.0 is leave to
call, and whoever has to wait asks again.

Sources: ITU-T I.371 Annex A (GCRA, the bucket as one number); Nygard, "Release It!" (breaker).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

from bot.core.errors import BadInput

RESOLUTION = 1e-6
"""Seconds that count as none: a double holds today's time to a quarter of it."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """`capacity` calls at once, and as many in `seconds`, continuously refilled.

    Its level is kept as `full_at`: when it will be full again, in integer microseconds since the epoch; 0 is a full one.

    Raises:
        BadInput: the capacity or the seconds are out of bounds.
    """

    capacity: int
    seconds: float = 60.0

    def __post_init__(self) -> None:
        if not (1 <= self.capacity <= 100_000 and 1 <= self.seconds <= 86_400):
            raise BadInput(
                f"A rate limit of {self.capacity} calls in {self.seconds} s is out of bounds: "
                "1 to 100,000 calls in 1 to 86,400 s."
            )

    @property
    def _step(self) -> int:
        """Microseconds in which one call's worth comes back."""
        return ceil(self.seconds * 1_000_000 / self.capacity)

    def take(self, full_at: int, now: float) -> tuple[int, float]:
        """The level after a call at `now`, and 0.0; or the level and the seconds until there is one call's worth in it."""
        full_at = self._believed(full_at, now)
        short = full_at + self._step - _micro(now) - self.capacity * self._step
        if short <= 0:
            return full_at + self._step, 0.0
        return full_at, (short + 1) / 1_000_000  # one more: no rounding makes anyone ask twice

    def lowered(self, full_at: int, calls: int, now: float) -> int:
        """The level when the service says that it takes only so many calls now; never a higher one."""
        return max(self._believed(full_at, now), _micro(now) + self._step * (self.capacity - calls))

    def _believed(self, full_at: int, now: float) -> int:
        """Clocks of several machines may differ by `seconds` and nobody gains; after a clock was set back further it is empty."""
        empty = _micro(now) + self.capacity * self._step
        return empty if full_at > empty + self.capacity * self._step else max(full_at, _micro(now))


def _micro(seconds: float) -> int:
    return round(seconds * 1_000_000)


@dataclass(frozen=True, slots=True)
class Circuit:
    """The state of a breaker. `count` is failures in a row while closed, successes in a row while half-open; `until` ends the
    open time or the time of a probe, and is 0.0 where there is none; `probed` is when the last probe was let through."""

    standing: Literal["closed", "open", "half_open"] = "closed"
    count: int = 0
    until: float = 0.0
    probed: float = 0.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """Opens after `failures` in a row, lets one probe at a time through after `seconds`, closes after `successes` of them.

    A call counts once, however often it was tried. A probe that tells nothing gives its place up after `seconds`.

    Raises:
        BadInput: a number is out of bounds.
    """

    failures: int
    successes: int
    seconds: float

    def __post_init__(self) -> None:
        if not (1 <= self.failures <= 100 and 1 <= self.successes <= 50 and 1 <= self.seconds <= 3600):
            raise BadInput(
                f"A breaker of {self.failures} failures, {self.successes} successes and {self.seconds} s is out of bounds: "
                "1 to 100 failures, 1 to 50 successes, 1 to 3600 s."
            )

    def allowed(self, circuit: Circuit, now: float) -> tuple[Circuit, float]:
        """The circuit after leave for a call at `now`, and 0.0; or the circuit and the most seconds until a call may go.

        It may be sooner: a probe that is under way can tell at any time.
        """
        if circuit.standing == "closed":
            return circuit, 0.0
        until = min(circuit.until, now + self.seconds)  # a clock that was set back holds nobody for longer
        if until - now > RESOLUTION:
            return replace(circuit, until=until), until - now
        count = circuit.count if circuit.standing == "half_open" else 0
        return Circuit("half_open", count, now + self.seconds, now), 0.0

    def told(self, circuit: Circuit, ok: bool, now: float, *, asked: float) -> Circuit:
        """The circuit after a call that was allowed at `asked` ended at `now`.

        Calls from before the last probe say how the service was, not how it is; while probes go, only theirs counts.
        """
        closed = circuit.standing == "closed"
        if asked < circuit.probed or not (closed or (circuit.until and circuit.standing == "half_open")):
            return circuit
        if not ok:
            count = circuit.count + 1
            opens = not closed or count >= self.failures
            return Circuit("open", 0, now + self.seconds, circuit.probed) if opens else replace(circuit, count=count)
        count = 0 if closed else circuit.count + 1
        closes = closed or count >= self.successes
        return Circuit("closed", 0, 0.0, circuit.probed) if closes else replace(circuit, count=count, until=0.0)
