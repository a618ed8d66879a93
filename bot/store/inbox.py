"""Webhook deliveries between the answer 202 and the work: on disk before they are acknowledged, taken with a lease.

The guid is no proof of anything (its header is not signed) and only the first filter: what makes a session unique is its id,
which is computed later from what GitHub's API tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import sqlalchemy as sa

from bot.store.database import Database, deliveries

LEASE = 600.0
"""Seconds after which a delivery that was taken and neither done nor refused may be taken again."""
MOST = 32
"""Deliveries that are put at once; the statement grows with them."""


class Arrived(NamedTuple):
    """A delivery that is not on disk yet. `received_at` is seconds since 1970."""

    guid: str
    event: str
    body: bytes
    received_at: float


@dataclass(frozen=True, slots=True)
class Pending:
    """A delivery that waits for its work. `tries` counts this one."""

    guid: str
    event: str
    body: bytes
    tries: int


@cache
def _insert(number: int) -> sa.TextClause:
    rows = ", ".join(f"(:guid{n}, :event{n}, :body{n}, :received_at{n})" for n in range(number))
    begin = "insert into deliveries (guid, event, body, received_at) values"
    return sa.text(f"{begin} {rows} on conflict do nothing returning guid")


class Inbox:
    def __init__(self, database: Database, lease: float = LEASE) -> None:
        self._database, self._lease = database, lease

    def put(self, arrived: Sequence[Arrived]) -> list[bool]:
        """Whether each of at most `MOST` deliveries is new. All are on disk when this returns, after one sync for all of them."""
        values = {f"{name}{n}": value for n, one in enumerate(arrived) for name, value in one._asdict().items()}
        with self._database.begin() as connection:
            new = set(connection.scalars(_insert(len(arrived)), values))
        first = {one.guid: n for n, one in reversed([*enumerate(arrived)])}
        return [one.guid in new and first[one.guid] == n for n, one in enumerate(arrived)]

    def take(self, now: float) -> Pending | None:
        """The oldest delivery that nobody is at."""
        oldest = (
            sa.select(deliveries.c.guid)
            .where(deliveries.c.status == "pending", deliveries.c.due_at <= now)
            .order_by(deliveries.c.received_at, deliveries.c.guid)
            .limit(1)
            .scalar_subquery()
        )
        update = (
            sa.update(deliveries)
            .where(deliveries.c.guid == oldest)
            .values(due_at=now + self._lease, tries=deliveries.c.tries + 1)
            .returning(deliveries.c.guid, deliveries.c.event, deliveries.c.body, deliveries.c.tries)
        )
        with self._database.alone() as connection:
            row = connection.execute(update).one_or_none()
        return Pending(row.guid, row.event, bytes(row.body), row.tries) if row else None

    def done(self, guid: str, why: str = "") -> None:
        self._end(guid, "done", why)

    def refused(self, guid: str, why: str) -> None:
        self._end(guid, "refused", why)

    def _end(self, guid: str, status: str, why: str) -> None:
        """The body goes: it holds text of people, and nobody reads it again."""
        self._change(guid, status=status, why=why[:300], body=b"")

    def later(self, guid: str, at: float, why: str) -> None:
        """Try again at `at`."""
        self._change(guid, due_at=at, why=why[:300])

    def _change(self, guid: str, **values: object) -> None:
        with self._database.begin() as connection:
            connection.execute(sa.update(deliveries).where(deliveries.c.guid == guid).values(**values))

    def release(self) -> None:
        """Give all leases back: for a process that knows it is the only one."""
        with self._database.begin() as connection:
            connection.execute(sa.update(deliveries).where(deliveries.c.status == "pending").values(due_at=0.0))

    def has(self, guid: str) -> bool:
        with self._database.begin() as connection:
            return connection.scalar(sa.select(sa.func.count()).where(deliveries.c.guid == guid)) == 1

    def waiting(self) -> int:
        with self._database.begin() as connection:
            return connection.scalar(sa.select(sa.func.count()).where(deliveries.c.status == "pending")) or 0

    def forget(self, before: float) -> None:
        """Drop what was done before that time."""
        gone = sa.delete(deliveries).where(deliveries.c.status != "pending", deliveries.c.received_at < before)
        with self._database.begin() as connection:
            connection.execute(gone)
