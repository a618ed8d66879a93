"""Whose turn it is: by priority, then the repository that waited longest, then the order of asking; one at a time in each.

Claims are alone in all processes (`Database.alone`), so that no two of them see the same repository idle. A claim is a lease:
what its holder left undone is due again for whoever looks after it ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bot.core.session import SessionState
from bot.core.settling import taken
from bot.store.boards import touch
from bot.store.database import Database, bindings, boards, sessions, turns
from bot.store.runs import BUSY, Row, change, lane_of, read, remember_run

FIRST = -1
"""The priority of what a person put first."""
LEASE = 600.0
"""Seconds that whoever takes a session has for one step of it; one request to GitHub may wait 300 at a limit."""


class Queue:
    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, now: float) -> Row | None:
        """The next queued session of a repository in which none works, now `dispatching`."""
        other = sessions.alias("other")
        idle = ~sa.exists().where(other.c.repo_id == sessions.c.repo_id, other.c.lane.in_(BUSY))
        paused = sa.exists().where(boards.c.repo_id == sessions.c.repo_id, boards.c.paused_by != "")
        waited = sa.func.coalesce(turns.c.last_started, 0.0)
        first = (
            sa.select(sessions.c.id, sessions.c.repo_id)
            .select_from(sessions.outerjoin(turns, turns.c.repo_id == sessions.c.repo_id))
            .where(sessions.c.lane == "queued", idle, ~paused)
            .order_by(sessions.c.priority, waited, sessions.c.rank, sessions.c.id)
            .limit(1)
        )
        with self._database.alone() as connection:
            found = connection.execute(first).one_or_none()
            if found is None:
                return None
            _turn(connection, found.repo_id, now)
            asked = sa.case((sessions.c.asked_at == 0, now), else_=sessions.c.asked_at)
            update = sa.update(sessions).where(sessions.c.id == found.id)
            update = update.values(lane="dispatching", asked_at=asked, due_at=now + LEASE)
            return read(connection.execute(update.returning(sessions)).one())

    def due(self, now: float) -> Row | None:
        """A session that somebody has to look at, leased: no branch yet, not shown, working, or its dispatcher went away."""
        unsettled = sa.or_(sessions.c.lane.in_(("new", *BUSY)), sessions.c.shown < sessions.c.seq) & (sessions.c.lane != "away")
        first = sa.select(sessions.c.id).where(sessions.c.due_at <= now, unsettled)
        first = first.order_by(sessions.c.due_at, sessions.c.id).limit(1)
        update = sa.update(sessions).where(sessions.c.id == first.scalar_subquery()).values(due_at=now + LEASE)
        with self._database.alone() as connection:
            found = connection.execute(update.returning(sessions)).one_or_none()
        return read(found) if found else None

    def later(self, session: str, seq: int, at: float) -> None:
        """Not before `at`; nothing where the session changed meanwhile."""
        update = sa.update(sessions).where(sessions.c.id == session, sessions.c.seq == seq).values(due_at=at)
        with self._database.begin() as connection:
            connection.execute(update)

    def bind(self, state: SessionState, workflow_run: int, at: str, now: float) -> SessionState | None:
        """The state with `workflow_run` at work, or None: the session moved on, or another of its repository works."""
        other = sa.select(sa.func.count()).where(
            sessions.c.repo_id == state.repo_id, sessions.c.lane.in_(BUSY), sessions.c.id != state.session
        )
        new = taken(state, workflow_run, at)
        with self._database.alone() as connection:
            if connection.scalar(other) or not change(connection, state, new, now):
                return None
            _turn(connection, state.repo_id, now)
        return new

    def refused(self, repo_id: int, workflow_run: int, session: str) -> None:
        """A second workflow run asked to work on `session` and was sent away: nobody is to take it for their own."""
        with self._database.begin() as connection:
            remember_run(connection, repo_id, workflow_run, session)

    def release(self) -> None:
        """Give all leases back: for a process that knows it is the only one."""
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
        """Something happened to the session: whoever looks next looks at it."""
        with self._database.begin() as connection:
            connection.execute(sa.update(sessions).where(sessions.c.id == session).values(due_at=0.0))

    def place(self, session: str, priority: int, rank: float) -> None:
        """Move a session in the queue."""
        with self._database.begin() as connection:
            connection.execute(sa.update(sessions).where(sessions.c.id == session).values(priority=priority, rank=rank))

    def first(self, session: str, repo_id: int, now: float) -> None:
        """Put a queued session of this repository before all others, and before every priority; the last one put first is."""
        queued = sa.update(sessions).where(sessions.c.id == session, sessions.c.repo_id == repo_id, sessions.c.lane == "queued")
        with self._database.begin() as connection:
            connection.execute(queued.values(priority=FIRST, rank=-now))
            touch(connection, repo_id, now)

    def bound(self, repo_id: int) -> set[int]:
        """The workflow runs of a repository that belong to a session."""
        with self._database.begin() as connection:
            return set(connection.scalars(sa.select(bindings.c.workflow_run).where(bindings.c.repo_id == repo_id)))

    def lanes(self) -> dict[str, int]:
        with self._database.begin() as connection:
            counted = connection.execute(sa.select(sessions.c.lane, sa.func.count()).group_by(sessions.c.lane)).all()
        return {str(lane): int(number) for lane, number in counted}


def _turn(connection: Connection, repo_id: int, now: float) -> None:
    upsert = sa.text(
        "insert into turns (repo_id, last_started) values (:repo, :now)"
        " on conflict (repo_id) do update set last_started = excluded.last_started"
    )
    connection.execute(upsert, {"repo": repo_id, "now": now})
