"""What a run shares with others while it asks models, held in a database: caps, quotas, and the pace of each vendor."""

from __future__ import annotations

from collections.abc import Mapping

from bot.core.budget import Left
from bot.core.pacing import Breaker, Bucket
from bot.core.run import Run
from bot.store.accounts import Accounts
from bot.store.shares import Clock, Shares


class Purse:
    """The shared limits, in a database that all runs of this machine use."""

    def __init__(self, accounts: Accounts, shares: Shares, buckets: Mapping[str, Bucket], breaker: Breaker, clock: Clock) -> None:
        self._accounts, self._shares, self._buckets, self._breaker, self._clock = accounts, shares, buckets, breaker, clock
        self._asked: dict[str, float] = {}

    def left(self, run: Run, vendor: str) -> tuple[Left, ...]:
        caps = self._shares.caps(run.request.session, vendor, self._clock())
        return tuple(Left(cap, cap.limit - left) for cap, left in self._accounts.left(caps).values())

    def closed(self, vendor: str) -> float:
        now = self._clock()
        self._asked[vendor] = now
        return self._accounts.allowed(vendor, self._breaker, now)

    def pace(self, vendor: str) -> float:
        return self._accounts.pace(vendor, self._buckets[vendor], self._clock())

    def told(self, vendor: str, *, ok: bool) -> None:
        now = self._clock()
        self._accounts.told(vendor, self._breaker, ok, now, asked=self._asked.get(vendor, now))

    def reserve(self, run: Run, call: str, vendor: str, money: int, tokens: int) -> str:
        now = self._clock()
        caps = self._shares.caps(run.request.session, vendor, now)
        short = self._accounts.reserve(_key(run, call), caps, money=money, tokens=tokens, at=now)
        return short.cap if short else ""

    def settle(self, run: Run, call: str, money: int, tokens: int) -> None:
        self._accounts.settle(_key(run, call), money=money, tokens=tokens)

    def release(self, run: Run, call: str) -> None:
        self._accounts.release(_key(run, call))

    def follow(self, run: Run) -> int:
        """Make the accounts say what the journal says, and how many bookings differed: a crash may have come between the two.

        What they don't know, because the database was lost or the limit is new, counts from now on: it was spent.
        """
        begun_with = run.strategy.choices if run.strategy else ()
        chosen = (*begun_with, *(phase.choice for phase in run.phases if phase.choice))
        vendors = {choice.model.model: choice.model.vendor for choice in chosen}
        bills: dict[str, dict[str, tuple[int, int | None]]] = {}
        for charge in run.ledger.charges:
            tokens = None if charge.lost else charge.usage.prompt + charge.usage.output
            vendor = vendors.get(charge.model, "")  # a model that the run did not choose counts under no quota
            bills.setdefault(vendor, {})[_key(run, charge.call)] = (charge.amount, tokens)
        now = self._clock()
        return sum(
            self._accounts.reconcile(mine, self._shares.caps(run.request.session, vendor, now), at=now)
            for vendor, mine in bills.items()
        )


def _key(run: Run, call: str) -> str:
    return f"{run.request.session}/{run.request.run}/{call}"
