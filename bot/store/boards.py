"""The dashboards: which issue is a repository's, who paused the repository, and whether its text is out of date."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bot.store.database import Database, boards

DELAY = 2.0
"""Seconds between a change and the new text, so that changes that come together are one edit."""
LEASE = 300.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """A repository's dashboard: the issue, who paused (empty: nobody), the digest of the text that GitHub shows, and how often a
    change was told."""

    repo_id: int
    repo: str
    installation: int
    issue: int
    paused_by: str = ""
    shown: str = ""
    told: int = 0


class Boards:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, repo_id: int) -> Drawn | None:
        with self._database.begin() as connection:
            found = connection.execute(sa.select(boards).where(boards.c.repo_id == repo_id)).one_or_none()
        return _read(found) if found else None

    def adopt(self, new: Drawn, now: float) -> None:
        """The repository's dashboard from now on; its text is due at once."""
        with self._database.begin() as connection:
            connection.execute(sa.delete(boards).where(boards.c.repo_id == new.repo_id))
            connection.execute(sa.insert(boards).values(**asdict(new), due_at=now))

    def drop(self, repo_id: int, issue: int) -> None:
        """The issue is a dashboard no more, and with it goes the pause."""
        with self._database.begin() as connection:
            connection.execute(sa.delete(boards).where(boards.c.repo_id == repo_id, boards.c.issue == issue))

    def pause(self, repo_id: int, by: str) -> None:
        """Who paused the repository; empty: nobody, from now on. It was `touched` by whoever asked for that."""
        with self._database.begin() as connection:
            connection.execute(sa.update(boards).where(boards.c.repo_id == repo_id).values(paused_by=by))

    def touched(self, repo_id: int, now: float) -> None:
        """Somebody changed the text: it is due again, whatever was shown."""
        with self._database.begin() as connection:
            connection.execute(sa.update(boards).where(boards.c.repo_id == repo_id).values(shown=""))
            touch(connection, repo_id, now - DELAY)

    def due(self, now: float) -> Drawn | None:
        """A dashboard whose text is out of date, leased."""
        first = sa.select(boards.c.repo_id).where(boards.c.due_at <= now).order_by(boards.c.due_at).limit(1)
        update = sa.update(boards).where(boards.c.repo_id == first.scalar_subquery()).values(due_at=now + LEASE)
        with self._database.alone() as connection:
            found = connection.execute(update.returning(boards)).one_or_none()
        return _read(found) if found else None

    def drawn(self, old: Drawn, shown: str) -> None:
        """GitHub shows the text with this digest. What changed meanwhile is due again at once."""
        mine = sa.update(boards).where(boards.c.repo_id == old.repo_id, boards.c.issue == old.issue)
        changed = sa.case((boards.c.told == old.told, None), else_=0.0)
        with self._database.begin() as connection:
            connection.execute(mine.values(shown=shown, due_at=changed))


def touch(connection: Connection, repo_id: int, now: float) -> None:
    """Something on the repository's dashboard, if it has one, is not as it was."""
    due = sa.case((sa.or_(boards.c.due_at.is_(None), boards.c.due_at > now + DELAY), now + DELAY), else_=boards.c.due_at)
    connection.execute(sa.update(boards).where(boards.c.repo_id == repo_id).values(told=boards.c.told + 1, due_at=due))


def _read(found: Any) -> Drawn:
    return Drawn(**{field.name: getattr(found, field.name) for field in fields(Drawn)})
