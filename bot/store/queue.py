"""Whose turn it is: by priority, a person's word, the repository that waited longest, the order of asking; a few in each at once.

Claims are alone in all processes (`Database.alone`), so that no two of them see the same repository idle. Whoever takes a session
has a lease with a number: it is renewed while the work goes on, and without its number nothing is written. A session whose
lease ended is taken by whoever looks next; one that was being started is queued again before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bot.core.queue import LEASE_SECONDS, MAX_RENEWALS, PER_REPOSITORY, Priority
from bot.core.session import SessionState
from bot.core.settling import taken
from bot.store.boards import touch
from bot.store.database import Database, bindings, boards, sessions, turns
from bot.store.runs import BUSY, Lane, Row, change, lane_of, read, remember_run


@dataclass(frozen=True, slots=True)
class Place:
    """A session that is not at rest. `position` is what a person gave it."""

    id: str
    repo: str
    repo_id: int
    issue: int
    lane: Lane
    priority: int
    position: int | None
    attempt: int


@dataclass(frozen=True, slots=True)
class Load:
    """The workflow runs of a repository: how many work, or are being asked for, how many may, and whether one is asked for."""

    running: int = 0
    most: int = PER_REPOSITORY
    starting: bool = False


class Queue:
    """`smart` is false where the first that was asked for is the first, whatever its priority. Times are seconds since 1970."""

    def __init__(self, database: Database, *, smart: bool = True, lease: float = LEASE_SECONDS) -> None:
        self._database, self._lease = database, lease
        last = (sessions.c.event, sessions.c.id)
        waited = sa.func.coalesce(turns.c.last_started, 0.0)
        order = (sessions.c.priority, sessions.c.position.is_(None), sessions.c.position, waited) if smart else ()
        # What was being started comes first: the workflow run that it was asked for may be there.
        self._order = (sessions.c.asked_at == 0, *order, *last)

    def claim(self, now: float) -> Row | None:
        """The next queued session of a repository that has room and is not paused, now `dispatching`.

        Only one of a repository at a time is being started, so that a workflow run that was asked for can be told apart.
        """
        first = sa.select(sessions.c.id, sessions.c.repo_id).select_from(sessions.outerjoin(turns, _of_repository))
        free = (sessions.c.repo_id.not_in(_full()), sessions.c.repo_id.not_in(_PAUSED))
        first = first.where(sessions.c.lane == "queued", *free).order_by(*self._order).limit(1)
        with self._database.alone() as connection:
            _requeue(connection, now)
            found = connection.execute(first).one_or_none()
            if found is None:
                return None
            _upsert(connection, found.repo_id, last_started=now)
            asked = sa.case((sessions.c.asked_at == 0, now), else_=sessions.c.asked_at)
            return self._leased(connection, sessions.c.id == found.id, now, lane="dispatching", asked_at=asked)

    def due(self, now: float) -> Row | None:
        """A session that somebody has to look at, leased: no branch yet, not shown, or working."""
        unsettled = sa.or_(sessions.c.lane.in_(("new", "running")), sessions.c.shown < sessions.c.seq)
        theirs = sessions.c.lane.not_in(("dispatching", "away"))
        first = sa.select(sessions.c.id).where(sessions.c.due_at <= now, theirs, unsettled)
        first = first.order_by(sessions.c.due_at, sessions.c.id).limit(1)
        with self._database.alone() as connection:
            return self._leased(connection, sessions.c.id == first.scalar_subquery(), now)

    def _leased(self, connection: Connection, which: Any, now: float, **values: Any) -> Row | None:
        update = sa.update(sessions).where(which)
        update = update.values(due_at=now + self._lease, lease=sessions.c.lease + 1, renewals=0, **values)
        found = connection.execute(update.returning(sessions)).one_or_none()
        return read(found) if found else None

    def renew(self, row: Row, now: float) -> bool:
        """Whether the holder of `row` keeps it: by a lease that is the last one, has not ended, and was not renewed too often."""
        mine = (sessions.c.id == row.id, sessions.c.lease == row.lease, sessions.c.due_at > now)
        update = sa.update(sessions).where(*mine, sessions.c.renewals < MAX_RENEWALS)
        with self._database.begin() as connection:
            update = update.values(due_at=now + self._lease, renewals=sessions.c.renewals + 1)
            return connection.execute(update).rowcount == 1

    def later(self, row: Row, seq: int, at: float) -> None:
        """The holder of `row` is done with it until `at`; nothing where the session has another state than `seq`, or holder."""
        mine = (sessions.c.id == row.id, sessions.c.lease == row.lease, sessions.c.seq == seq)
        with self._database.begin() as connection:
            connection.execute(sa.update(sessions).where(*mine).values(due_at=at))

    def reset_stale(self, now: float) -> int:
        """How many sessions were queued again because whoever was starting them let the lease end."""
        with self._database.alone() as connection:
            return _requeue(connection, now)

    def bind(self, state: SessionState, workflow_run: int, at: str, now: float) -> SessionState | None:
        """The state with `workflow_run` at work, or None: the session moved on, or its repository has no room."""
        busy = sa.select(sa.func.count()).where(sessions.c.repo_id == state.repo_id, sessions.c.lane.in_(BUSY))
        most = sa.select(turns.c.most).where(turns.c.repo_id == state.repo_id)
        new = taken(state, workflow_run, at)
        with self._database.alone() as connection:
            others = connection.scalar(busy.where(sessions.c.id != state.session)) or 0
            if others >= (connection.scalar(most) or PER_REPOSITORY) or not change(connection, state, new, now):
                return None
            _upsert(connection, state.repo_id, last_started=now)
        return new

    def allow(self, repo_id: int, most: int) -> None:
        """So many workflow runs of the repository may work at a time from now on."""
        with self._database.begin() as connection:
            _upsert(connection, repo_id, most=most)

    def refused(self, repo_id: int, workflow_run: int, session: str) -> None:
        """A second workflow run asked to work on `session` and was sent away: nobody is to take it for their own."""
        with self._database.begin() as connection:
            remember_run(connection, repo_id, workflow_run, session)

    def release(self) -> None:
        """End all leases: for a process that knows it is the only one."""
        with self._database.begin() as connection:
            connection.execute(sa.update(sessions).values(due_at=0.0))

    def leave(self, installation: int, repositories: Sequence[str] = ()) -> None:
        """The App may do nothing there any more, in these repositories or all of the installation: what is unsettled waits."""
        there = sa.and_(sessions.c.installation == installation, sessions.c.repo.in_(repositories) if repositories else sa.true())
        unsettled = sa.or_(sessions.c.lane != "resting", sessions.c.shown < sessions.c.seq)
        with self._database.begin() as connection:
            connection.execute(sa.update(sessions).where(there, unsettled).values(lane="away"))

    def back(self, repo_id: int, installation: int) -> None:
        """The App is in the repository: what waited for that goes on from where it was."""
        waiting = sa.select(sessions).where(sessions.c.repo_id == repo_id, sessions.c.lane == "away")
        with self._database.begin() as connection:
            for row in [read(found) for found in connection.execute(waiting)]:
                values = {"lane": lane_of(row.state), "installation": installation, "due_at": 0.0}
                connection.execute(sa.update(sessions).where(sessions.c.id == row.id).values(**values))

    def at_once(self, session: str) -> None:
        """Something happened to the session: whoever looks next looks at it. Who is starting it keeps it."""
        update = sa.update(sessions).where(sessions.c.id == session, sessions.c.lane != "dispatching")
        with self._database.begin() as connection:
            connection.execute(update.values(due_at=0.0))

    def place(self, session: str, position: int | None, now: float) -> bool:
        """Put the session before all of its priority that have a higher position or none; whether there is such a session."""
        update = sa.update(sessions).where(sessions.c.id == session).values(position=position).returning(sessions.c.repo_id)
        with self._database.begin() as connection:
            repo_id = connection.scalar(update)
            if repo_id is not None:
                touch(connection, repo_id, now)
            return repo_id is not None

    def first(self, session: str, repo_id: int, now: float) -> None:
        """Put a queued session of this repository before all others, and before every priority; the last one put first is."""
        queued = sa.update(sessions).where(sessions.c.id == session, sessions.c.repo_id == repo_id, sessions.c.lane == "queued")
        with self._database.begin() as connection:
            connection.execute(queued.values(priority=Priority.FIRST, position=-int(now)))
            touch(connection, repo_id, now)

    def bound(self, repo_id: int) -> set[int]:
        """The workflow runs of a repository that belong to a session."""
        with self._database.begin() as connection:
            return set(connection.scalars(sa.select(bindings.c.workflow_run).where(bindings.c.repo_id == repo_id)))

    def counts(self) -> list[tuple[Lane, int, str, int]]:
        """How many sessions are in a lane with a priority and of a repository."""
        by = (sessions.c.lane, sessions.c.priority, sessions.c.repo)
        with self._database.begin() as connection:
            found = connection.execute(sa.select(*by, sa.func.count()).group_by(*by)).all()
        return [(lane, priority, repo, number) for lane, priority, repo, number in found]

    def lanes(self) -> dict[str, int]:
        counted = Counter[str]()
        for lane, _, _, number in self.counts():
            counted[lane] += number
        return dict(counted)

    def places(self, most: int) -> list[Place]:
        """The first sessions that are not at rest, in the order of the queue."""
        columns = [sessions.c[name] for name in Place.__dataclass_fields__]
        of = sa.select(*columns).select_from(sessions.outerjoin(turns, _of_repository)).where(sessions.c.lane != "resting")
        with self._database.begin() as connection:
            return [Place(*found) for found in connection.execute(of.order_by(*self._order).limit(most))]

    def loads(self) -> dict[int, Load]:
        """Of the repositories in which something is at work."""
        with self._database.begin() as connection:
            found = connection.execute(_loads().add_columns(sessions.c.repo_id)).all()
        return {int(repo_id): Load(running, most, bool(starting)) for running, most, starting, repo_id in found}

    def paused(self) -> set[int]:
        """The repositories in which nothing is started."""
        with self._database.begin() as connection:
            return set(connection.scalars(_PAUSED))


_PAUSED = sa.select(boards.c.repo_id).where(boards.c.paused_by != "")
_of_repository = turns.c.repo_id == sessions.c.repo_id
_RUNNING = sa.func.count()
_MOST = sa.func.coalesce(sa.func.max(turns.c.most), PER_REPOSITORY)
_STARTING = sa.func.sum(sa.case((sessions.c.lane == "dispatching", 1), else_=0))


def _loads() -> sa.Select[Any]:
    of = sa.select(_RUNNING, _MOST, _STARTING).select_from(sessions.outerjoin(turns, _of_repository))
    return of.where(sessions.c.lane.in_(BUSY)).group_by(sessions.c.repo_id)


def _full() -> sa.Select[Any]:
    """The repositories in which no other session may be started now."""
    return _loads().with_only_columns(sessions.c.repo_id).having(sa.or_(_RUNNING >= _MOST, _STARTING > 0))


def _requeue(connection: Connection, now: float) -> int:
    """Queue again what somebody was starting whose lease ended; its number is used up, so nothing of theirs is written."""
    ended = sa.update(sessions).where(sessions.c.lane == "dispatching", sessions.c.due_at <= now)
    return connection.execute(ended.values(lane="queued", attempt=sessions.c.attempt + 1, lease=sessions.c.lease + 1)).rowcount


def _upsert(connection: Connection, repo_id: int, **values: float) -> None:
    ((name, value),) = values.items()
    upsert = sa.text(
        f"insert into turns (repo_id, {name}) values (:repo, :value)"  # noqa: S608 - names of ours
        f" on conflict (repo_id) do update set {name} = excluded.{name}"
    )
    connection.execute(upsert, {"repo": repo_id, "value": value})
