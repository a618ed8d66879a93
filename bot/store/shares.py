"""The limits that runs share, and a machine that works on one run alone. `bot.store.purse` holds them in a database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bot.core.budget import Cap, Left
from bot.core.pacing import Breaker, Bucket, Circuit
from bot.core.run import Run

Clock = Callable[[], float]
"""Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Shares:
    """The limits that runs share. Money is micro-dollars and 0 is no limit; `repo` and `place` name whose day it is: the
    repository's, and this machine's or installation's. `weekly` is tokens by vendor."""

    repo: str
    place: str
    session: int = 0
    day: int = 0
    installation: int = 0
    weekly: Mapping[str, int] = field(default_factory=dict)

    @property
    def limited(self) -> bool:
        return bool(self.session or self.day or self.installation or self.weekly)

    def caps(self, session: str, vendor: str, now: float) -> tuple[Cap, ...]:
        """The caps of a call that is made `now`. Days are UTC's, weeks those of ISO 8601."""
        moment = datetime.fromtimestamp(now, UTC)
        year, week, _ = moment.isocalendar()
        money = (
            Cap("session", f"session:{session}", self.session),
            Cap("day", f"day:{self.repo}:{moment:%Y-%m-%d}", self.day),
            Cap("installation", f"installation:{self.place}:{moment:%Y-%m-%d}", self.installation),
        )
        name = f"This week's quota of {vendor}"
        quota = Cap(name, f"quota:{self.repo}:{vendor}:{year}-W{week:02}", self.weekly.get(vendor, 0), "tokens")
        return tuple(cap for cap in (*money, quota) if cap.limit)


@dataclass(slots=True)
class Alone:
    """A machine that works on one run, such as an Actions job: nothing is shared, and only the vendors' pace is kept."""

    breaker: Breaker
    buckets: Mapping[str, Bucket]
    clock: Clock
    _circuits: dict[str, Circuit] = field(default_factory=dict)
    _levels: dict[str, int] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)

    def left(self, run: Run, vendor: str) -> tuple[Left, ...]:
        return ()

    def closed(self, vendor: str) -> float:
        self._asked[vendor] = self.clock()
        self._circuits[vendor], wait = self.breaker.allowed(self._circuits.get(vendor, Circuit()), self._asked[vendor])
        return wait

    def pace(self, vendor: str) -> float:
        self._levels[vendor], wait = self.buckets[vendor].take(self._levels.get(vendor, 0), self.clock())
        return wait

    def told(self, vendor: str, *, ok: bool) -> None:
        now = self.clock()
        self._circuits[vendor] = self.breaker.told(self._circuits[vendor], ok, now, asked=self._asked[vendor])

    def reserve(self, run: Run, call: str, vendor: str, money: int, tokens: int) -> str:
        return ""

    def settle(self, run: Run, call: str, money: int, tokens: int) -> None:
        """The run's own ledger holds it."""

    def release(self, run: Run, call: str) -> None:
        """The run's own ledger holds it."""

    def follow(self, run: Run) -> int:
        return 0
