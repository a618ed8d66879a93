"""What many runs share: caps on money and tokens, rate limits, breakers, and what earlier runs of a repository taught.

An account is a counter of all that is billed or reserved under one name. A call is booked in all its accounts or in none, in
one transaction and always in the same order, so that no number of threads, processes or Apps passes a cap. What is never settled
stays booked: a call whose outcome nobody knows is spent. The journals are the truth about bills; `reconcile` makes the counters
follow.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.engine import Row as SqlRow

from bot.core.budget import Cap, Shortfall, Unit
from bot.core.errors import BugError, PolicyError, SetupError
from bot.core.experience import MAX_OUTCOMES, MAX_RUNS, Experience, Outcome, RunCost, read_experience
from bot.core.pacing import Breaker, Bucket, Circuit
from bot.store.database import Database, accounts, bookings, memories, services

Place = tuple[str, Unit]
"""An account and what is counted in it."""

_BOOK = sa.text(
    "insert into bookings (key, places, money, tokens, open, at) values (:key, :places, :money, :tokens, :open, :at)"
    " on conflict do nothing"
)
_ADD = sa.text(
    "insert into accounts (account, unit, held) values (:account, :unit, :amount)"
    " on conflict (account, unit) do update set held = accounts.held + excluded.held returning held"
)
_TELL = sa.text(
    "insert into accounts (account, unit, held, most) values (:account, :unit, 0, :most)"
    " on conflict (account, unit) do update set most = excluded.most"
)
_SERVE = sa.text(
    "insert into services (name, full_at, standing, count, until, probed) values (:name, 0, 'closed', 0, 0, 0)"
    " on conflict do nothing"
)
_REMEMBER = sa.text("insert into memories (repo, kind, key, value) values (:repo, :kind, :key, :value) on conflict do nothing")


class Accounts:
    """Threads, processes and Apps on one database see the same. Amounts are integer micro-dollars and tokens, never negative."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- caps ---

    def reserve(self, key: str, caps: Sequence[Cap], *, money: int, tokens: int, at: float) -> Shortfall | None:
        """Book the worst case of a call under every cap, or, where one has too little left, under none and say which.

        `key` names the call among all calls of all runs. The same booking again, while it is open, is the one that was made:
        its answer may have been lost.

        Raises:
            BugError: the key was booked before, otherwise or closed.
        """
        wanted = {"money": _checked(money), "tokens": _checked(tokens)}
        places = _places(caps)
        with self._database.begin() as connection:
            if not _insert(connection, key, places, money, tokens, at, is_open=True):
                found = connection.execute(sa.select(bookings).where(bookings.c.key == key)).one()
                if (found.open, found.places, found.money, found.tokens) != (True, _text(places), money, tokens):
                    raise BugError(f"call {key} was booked before")
                return None
            held = {place: _add(connection, place, wanted[place[1]]) for place in places}
            for cap in caps:
                if (now := held[cap.account, cap.unit]) > cap.limit:
                    connection.rollback()
                    need = wanted[cap.unit]
                    return Shortfall(cap.name, max(0, cap.limit - now + need), need, cap.unit)
        return None

    def settle(self, key: str, *, money: int, tokens: int) -> None:
        """Replace the reservation by what was billed, be it less or more. Twice with the same figures is once."""
        self._close(key, _checked(money), _checked(tokens))

    def release(self, key: str) -> None:
        """The call was certainly not billed: its reservation is free again. Twice is once."""
        self._close(key, 0, 0)

    def reconcile(self, bills: Mapping[str, tuple[int, int | None]], caps: Sequence[Cap] = (), *, at: float = 0.0) -> int:
        """How many bookings differed from `bills` (key to money and tokens) and were set to them: the journal wins.

        What is missing here, in a database that was lost, is booked under `caps`, also past their limits: it was spent.
        Without caps it stays missing. Tokens of None mean that nobody knows what the call took: what is booked stays, and where
        nothing is the money is. A call that a journal says nothing of is left alone, and stays spent.
        """
        differed, moves = 0, Counter[Place]()
        with self._database.begin() as connection:
            for key in sorted(bills):
                money, tokens = bills[key]
                missing = bool(caps and (money or tokens)) and _insert(connection, key, _places(caps), 0, 0, at, is_open=False)
                if tokens is None and not missing:
                    continue
                figures = _checked(money), _checked(tokens or 0)
                found = connection.execute(_one(key)).one_or_none()
                if found is not None and (found.money, found.tokens) != figures:
                    differed += 1
                    moves.update(_change(connection, found, *figures))
            _move(connection, moves)
        return differed

    def left(self, caps: Sequence[Cap]) -> dict[Unit, tuple[Cap, int]]:
        """Of each unit that is capped, the tightest cap and what it has left; below zero where more was billed than it allows."""
        found: dict[Unit, tuple[Cap, int]] = {}
        if not caps:
            return found
        names = {cap.account for cap in caps}
        with self._database.begin() as connection:
            rows = connection.execute(sa.select(accounts).where(accounts.c.account.in_(names))).all()
        held = {(row.account, row.unit): int(row.held) for row in rows}
        for cap in caps:
            left = cap.limit - held.get((cap.account, cap.unit), 0)
            if cap.unit not in found or left < found[cap.unit][1]:
                found[cap.unit] = (cap, left)
        return found

    # --- allowances: bookings of many calls ---

    def tell(self, caps: Sequence[Cap]) -> None:
        """Remember what these accounts may hold, for who asks `limits` later; 0 is no limit."""
        with self._database.begin() as connection:
            for cap in sorted(caps, key=lambda cap: (cap.account, cap.unit)):
                connection.execute(_TELL, {"account": cap.account, "unit": cap.unit, "most": cap.limit})

    def limits(self, names: Collection[str]) -> tuple[Cap, ...]:
        """The caps on money of those of these accounts that were told one."""
        of = sa.select(accounts).where(accounts.c.account.in_(names), accounts.c.unit == "money", accounts.c.most > 0)
        with self._database.begin() as connection:
            found = connection.execute(of.order_by(accounts.c.account)).all()
        return tuple(Cap(row.account.partition(":")[0], row.account, int(row.most)) for row in found)

    def booked(self, key: str) -> int | None:
        """The micro-dollars of an open booking."""
        with self._database.begin() as connection:
            found: int | None = connection.scalar(sa.select(bookings.c.money).where(bookings.c.key == key, bookings.c.open))
        return found

    def bill(self, prefix: str, total: int, key: str, caps: Sequence[Cap], at: float) -> None:
        """Make all bookings under `prefix` add up to `total` micro-dollars and close them. Twice is once.

        What is not billed yet goes to the open ones: the oldest takes as much as it holds, the newest the rest. Where none is
        open it is booked as `key` under `caps`, also past their limits: it was spent.
        """
        under = sa.select(bookings).where(bookings.c.key.startswith(prefix, autoescape=True)).with_for_update()
        moves = Counter[Place]()
        with self._database.begin() as connection:
            found = connection.execute(under.order_by(bookings.c.at, bookings.c.key)).all()
            rest = max(0, _checked(total) - sum(row.money for row in found if not row.open))
            waiting = [row for row in found if row.open]
            if rest and not waiting:
                _insert(connection, key, _places(caps), 0, 0, at, is_open=False)
                waiting = [connection.execute(_one(key)).one()]
                rest += waiting[0].money
            for row in waiting:
                taken = rest if row is waiting[-1] else min(rest, row.money)
                moves.update(_change(connection, row, taken, 0))
                rest -= taken
            _move(connection, moves)

    def _close(self, key: str, money: int, tokens: int) -> None:
        with self._database.begin() as connection:
            found = connection.execute(_one(key)).one_or_none()
            if found is None:
                raise BugError(f"call {key} holds no reservation")
            if found.open:
                _move(connection, _change(connection, found, money, tokens))
            elif (found.money, found.tokens) != (money, tokens):
                raise BugError(f"call {key} was settled before, with other figures")

    # --- rate limits and breakers ---

    def pace(self, service: str, bucket: Bucket, now: float) -> float:
        """Seconds to wait and ask again; 0.0 is leave for one call of `service`, which all that call it share."""
        with self._database.begin() as connection:
            full_at, wait = bucket.take(int(_service(connection, service).full_at), now)
            _keep(connection, service, full_at=full_at)
        return wait

    def allowed(self, service: str, breaker: Breaker, now: float) -> float:
        """Seconds, at most, until `service` is tried again; 0.0 is leave for a call, of which `told` hears the end."""
        with self._database.begin() as connection:
            circuit, wait = breaker.allowed(_circuit(_service(connection, service)), now)
            _keep(connection, service, **asdict(circuit))
        return wait

    def told(self, service: str, breaker: Breaker, ok: bool, now: float, *, asked: float) -> None:
        """A call ended, with all its tries, that `allowed` let go at `asked`."""
        with self._database.begin() as connection:
            circuit = breaker.told(_circuit(_service(connection, service)), ok, now, asked=asked)
            _keep(connection, service, **asdict(circuit))

    # --- what earlier runs taught ---

    def learn(self, repo: str, name: str, taught: Experience, day: str) -> None:
        """Keep what the run `name` taught, which ended on `day` (UTC, ISO 8601). Told twice it is kept once."""
        for outcome in taught.outcomes:
            self.remember(repo, f"{name}/{outcome.attempt}", outcome)
        for cost in taught.runs:
            self.remember_run(repo, name, replace(cost, day=day))
        for audited in taught.audits:
            self._remember(repo, "audit", name, asdict(replace(audited, day=day)))

    def remember(self, repo: str, key: str, outcome: Outcome) -> None:
        """Keep how a verified attempt ended; `key` names it, so that a resumed run tells nothing twice."""
        self._remember(repo, "outcome", key, asdict(outcome))

    def remember_run(self, repo: str, key: str, run: RunCost) -> None:
        """Keep what a finished run cost; `key` names it."""
        self._remember(repo, "run", key, asdict(run))

    def experience(self, repo: str) -> Experience:
        """The newest attempts and runs of a repository, in the order in which they were first told.

        Raises:
            SetupError: the database holds something else.
        """
        try:
            outcomes, runs = self._memories(repo, "outcome", MAX_OUTCOMES), self._memories(repo, "run", MAX_RUNS)
            return read_experience({"outcomes": outcomes, "runs": runs, "audits": self._memories(repo, "audit", MAX_RUNS)})
        except (ValueError, PolicyError) as error:
            raise SetupError(
                f"What the database remembers of {repo} is damaged: move the database away and start again."
            ) from error

    def _remember(self, repo: str, kind: str, key: str, value: object) -> None:
        with self._database.begin() as connection:
            connection.execute(_REMEMBER, {"repo": repo, "kind": kind, "key": key, "value": json.dumps(value)})

    def _memories(self, repo: str, kind: str, most: int) -> list[Any]:
        of = sa.select(memories.c.value).where(memories.c.repo == repo, memories.c.kind == kind)
        with self._database.begin() as connection:
            found = list(connection.scalars(of.order_by(memories.c.id.desc()).limit(most)))
        return [json.loads(text) for text in reversed(found)]


def _checked(amount: int) -> int:
    if amount < 0:
        raise BugError(f"an amount of {amount} cannot be booked")
    return amount


def _places(caps: Iterable[Cap]) -> tuple[Place, ...]:
    """Each account once, in the order in which every transaction takes them: no two of them can wait for each other."""
    return tuple(sorted({(cap.account, cap.unit) for cap in caps}))


def _text(places: Sequence[Place]) -> str:
    return json.dumps(places)


def _one(key: str) -> sa.Select[Any]:
    return sa.select(bookings).where(bookings.c.key == key).with_for_update()


def _insert(
    connection: Connection, key: str, places: Sequence[Place], money: int, tokens: int, at: float, *, is_open: bool
) -> bool:
    """Whether the booking is new."""
    values = {"key": key, "places": _text(places), "money": money, "tokens": tokens, "open": is_open, "at": at}
    return connection.execute(_BOOK, values).rowcount == 1


def _change(connection: Connection, found: SqlRow[Any], money: int, tokens: int) -> dict[Place, int]:
    """Give a booking new figures; by how much its accounts have to move."""
    update = sa.update(bookings).where(bookings.c.key == found.key)
    connection.execute(update.values(open=False, money=money, tokens=tokens))
    moved = {"money": money - found.money, "tokens": tokens - found.tokens}
    return {(account, unit): moved[unit] for account, unit in json.loads(found.places)}


def _move(connection: Connection, moves: Mapping[Place, int]) -> None:
    for place in sorted(moves):
        _add(connection, place, moves[place])


def _add(connection: Connection, place: Place, amount: int) -> int:
    """What the account holds now. Its row stays locked until the transaction ends."""
    return int(connection.execute(_ADD, {"account": place[0], "unit": place[1], "amount": amount}).scalar_one())


def _service(connection: Connection, service: str) -> SqlRow[Any]:
    """The row of `service`, locked until the transaction ends."""
    connection.execute(_SERVE, {"name": service})
    return connection.execute(sa.select(services).where(services.c.name == service).with_for_update()).one()


def _keep(connection: Connection, service: str, **values: Any) -> None:
    connection.execute(sa.update(services).where(services.c.name == service).values(**values))


def _circuit(row: SqlRow[Any]) -> Circuit:
    values = row._mapping  # a column is named `count`, which is a method of rows
    return Circuit(row.standing, values["count"], row.until, row.probed)
