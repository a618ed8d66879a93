"""The App's sessions: one row each, changed only by compare-and-set on the sequence number of the state.

A row's *lane* says what is next: `new` (no branch yet), `queued`, `dispatching` (a workflow run is being asked for), `running`
(one works), `short` (caps that sessions share have to have room), `resting` (a person, or nobody, is next), `away` (the App was
removed or suspended there). It follows from the state, except for `dispatching` and `away`, which the queue sets.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.engine import Row as SqlRow

from bot.core.errors import PolicyError, SetupError
from bot.core.session import SessionState, asked_at, read_state
from bot.core.settling import Report, read_report
from bot.core.triggers import moment
from bot.store.boards import touch
from bot.store.database import Database, bindings, sessions, states, tokens

Lane = Literal["new", "queued", "dispatching", "running", "short", "resting", "away"]
LANES: tuple[Lane, ...] = get_args(Lane)
BUSY = ("dispatching", "running")
MOST_RESTING = 200


@dataclass(frozen=True, slots=True)
class Row:
    """A session as the App holds it. Times are seconds since 1970; `shown` is the sequence number that GitHub shows, `lease` the
    number of the last lease, `attempt` counts the tries to ask for its next workflow run."""

    repo: str
    repo_id: int
    installation: int
    issue: int
    default_branch: str
    title: str
    state: SessionState
    shown: int
    lane: Lane
    priority: int
    asked_at: float
    lease: int = 0
    attempt: int = 1

    @property
    def id(self) -> str:
        return self.state.session


@dataclass(frozen=True, slots=True)
class Moment:
    """One state of a session's history; `report` is what the workflow run told that led to it."""

    at: float
    state: SessionState
    report: Report | None


def lane_of(state: SessionState) -> Lane:
    if state.working_run:
        return "running"
    if state.standing == "waiting" and state.waits == "shared":
        return "short"
    if state.standing != "working":
        return "resting"
    return "queued" if state.anchor_sha else "new"


def _order(state: SessionState) -> int:
    """When the session was asked for: the second, and within it GitHub's number. Labels' events and comments are numbered apart,
    each in their order."""
    return int(moment(asked_at(state.session)).timestamp()) << 31 | state.event % 2**31


class Runs:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, row: Row, now: float) -> bool:
        """Whether the session is new: its id is what makes it unique, by whichever way it was found."""
        insert = sa.text(
            "insert into sessions (id, repo, repo_id, installation, issue, event, default_branch, title, state, seq, shown,"
            " lane, priority, asked_at, due_at, created_at) values (:id, :repo, :repo_id, :installation, :issue, :event,"
            " :default_branch, :title, :state, :seq, :shown, :lane, :priority, 0, :now, :now) on conflict do nothing"
        )
        values = {name: getattr(row, name) for name in ("repo", "repo_id", "installation", "issue", "default_branch", "title")}
        state = row.state
        values |= {"id": state.session, "event": _order(state), "state": _text(state), "seq": state.seq, "shown": row.shown}
        values |= {"lane": lane_of(state), "priority": row.priority, "now": now}
        with self._database.begin() as connection:
            new = connection.execute(insert, values).rowcount == 1
            if new:
                _remember(connection, row.repo_id, state, None, now)
        return new

    def get(self, session: str) -> Row | None:
        with self._database.begin() as connection:
            found = connection.execute(sa.select(sessions).where(sessions.c.id == session)).one_or_none()
        return read(found) if found else None

    def of_issue(self, repo_id: int, issue: int) -> list[Row]:
        """Newest first."""
        of = sa.select(sessions).where(sessions.c.repo_id == repo_id, sessions.c.issue == issue)
        with self._database.begin() as connection:
            return [read(found) for found in connection.execute(of.order_by(sessions.c.event.desc()))]

    def of_repository(self, repo_id: int) -> list[Row]:
        """Those with something to do in the order of the queue, then those that rest, the newest `MOST_RESTING` first."""
        ours, rests = sa.select(sessions).where(sessions.c.repo_id == repo_id), sessions.c.lane == "resting"
        live = ours.where(~rests).order_by(
            sessions.c.priority, sessions.c.position.is_(None), sessions.c.position, sessions.c.event
        )
        resting = ours.where(rests).order_by(sessions.c.event.desc()).limit(MOST_RESTING)
        with self._database.begin() as connection:
            return [read(found) for query in (live, resting) for found in connection.execute(query)]

    def note(self, repo_id: int) -> str:
        """What the last workflow run of the repository says of its answers, such as that they are scripted; else empty."""
        of = sa.select(states.c.at, states.c.state, states.c.report).join(sessions, sessions.c.id == states.c.session)
        of = of.where(sessions.c.repo_id == repo_id, states.c.report.is_not(None)).order_by(states.c.at.desc()).limit(1)
        with self._database.begin() as connection:
            found = connection.execute(of.add_columns(states.c.session)).one_or_none()
        report = _moment(found).report if found else None
        return report.note if report else ""

    def short(self) -> list[Row]:
        """The sessions that wait for room under shared caps, in the order of the queue."""
        of = sa.select(sessions).where(sessions.c.lane == "short")
        of = of.order_by(sessions.c.priority, sessions.c.event, sessions.c.id)
        with self._database.begin() as connection:
            return [read(found) for found in connection.execute(of)]

    def of_workflow_run(self, repo_id: int, workflow_run: int) -> Row | None:
        of = sa.select(bindings.c.session).where(bindings.c.repo_id == repo_id, bindings.c.workflow_run == workflow_run)
        with self._database.begin() as connection:
            session = connection.scalar(of)
        return self.get(session) if session else None

    def save(
        self, old: SessionState, new: SessionState, now: float, *, report: Report | None = None, lease: int | None = None
    ) -> bool:
        """Whether `new` took the place of `old`; False where another was faster, or has the session by a later lease."""
        with self._database.begin() as connection:
            return change(connection, old, new, now, report, lease)

    def prioritize(self, session: str, priority: int) -> None:
        with self._database.begin() as connection:
            connection.execute(sa.update(sessions).where(sessions.c.id == session).values(priority=priority))

    def shown(self, session: str, seq: int) -> None:
        update = sa.update(sessions).where(sessions.c.id == session, sessions.c.shown < seq).values(shown=seq)
        with self._database.begin() as connection:
            connection.execute(update)

    def moved(self, session: str, repo: str, default_branch: str, installation: int) -> None:
        """What GitHub tells anew about the repository: it was renamed, say."""
        update = sa.update(sessions).where(sessions.c.id == session)
        with self._database.begin() as connection:
            connection.execute(update.values(repo=repo, default_branch=default_branch, installation=installation))

    def history(self, session: str) -> list[Moment]:
        with self._database.begin() as connection:
            found = connection.execute(sa.select(states).where(states.c.session == session).order_by(states.c.seq)).all()
        return [_moment(row) for row in found]

    def settled(self, since: float, most: int) -> list[tuple[float, str, Report]] | None:
        """When, in which repository, and what workflow runs told, the oldest first: all reports of the sessions that were settled
        since then. None where there are more than `most`."""
        told = states.c.report.is_not(None)
        ours = sa.select(states.c.session).where(told, states.c.at >= since)
        of = sa.select(states.c.at, states.c.session, states.c.state, states.c.report, sessions.c.repo).where(told)
        of = of.join(sessions, sessions.c.id == states.c.session).where(states.c.session.in_(ours))
        with self._database.begin() as connection:
            found = list(connection.execute(of.order_by(states.c.at, states.c.session, states.c.seq).limit(most + 1)))
        if len(found) > most:
            return None
        moments = [(_moment(row), row.repo) for row in found]
        return [(moment.at, repo, moment.report) for moment, repo in moments if moment.report]

    def repositories(self) -> dict[int, str]:
        """Names by id, of all sessions."""
        of = sa.select(sessions.c.repo_id, sa.func.max(sessions.c.repo)).group_by(sessions.c.repo_id)
        with self._database.begin() as connection:
            return {int(number): str(name) for number, name in connection.execute(of)}

    def first_use(self, endpoint: str, jti: str, body: bytes, until: float, now: float) -> bool:
        """Whether this token is used for the first time here, or for the same request again (whose answer was lost)."""
        insert = sa.text("insert into tokens (endpoint, jti, body, until) values (:e, :j, :b, :u) on conflict do nothing")
        digest = hashlib.sha256(body).hexdigest()
        with self._database.begin() as connection:
            connection.execute(sa.delete(tokens).where(tokens.c.until < now))
            connection.execute(insert, {"e": endpoint, "j": jti, "b": digest, "u": until})
            held = connection.scalar(sa.select(tokens.c.body).where(tokens.c.endpoint == endpoint, tokens.c.jti == jti))
        return bool(held == digest)


def change(
    connection: Connection,
    old: SessionState,
    new: SessionState,
    now: float,
    report: Report | None = None,
    lease: int | None = None,
) -> bool:
    """Put `new` in the place of `old`, due at once, with its history and the workflow run it is bound to."""
    update = sa.update(sessions).where(sessions.c.id == old.session, sessions.c.seq == old.seq)
    if lease is not None:
        update = update.where(sessions.c.lease == lease)
    values = {"state": _text(new), "seq": new.seq, "lane": lane_of(new), "due_at": now, "asked_at": 0.0, "attempt": 1}
    if connection.execute(update.values(**values)).rowcount != 1:
        return False
    _remember(connection, new.repo_id, new, report, now)
    return True


def _remember(connection: Connection, repo_id: int, state: SessionState, report: Report | None, now: float) -> None:
    told = json.dumps(asdict(report)) if report else None
    values = {"session": state.session, "seq": state.seq, "at": now, "state": _text(state), "report": told}
    connection.execute(sa.insert(states).values(**values))
    touch(connection, repo_id, now)
    if state.working_run:
        remember_run(connection, repo_id, state.working_run, state.session)


def remember_run(connection: Connection, repo_id: int, workflow_run: int, session: str) -> None:
    insert = sa.text("insert into bindings (repo_id, workflow_run, session) values (:repo, :run, :id) on conflict do nothing")
    connection.execute(insert, {"repo": repo_id, "run": workflow_run, "id": session})


def read(found: SqlRow[Any]) -> Row:
    """
    Raises:
        SetupError: the row does not hold what was written.
    """
    state = _state(found.state)
    if (state.session, state.repo_id, state.issue, state.seq) != (found.id, found.repo_id, found.issue, found.seq):
        raise SetupError(_damaged(found.id))
    names = (name for name in Row.__dataclass_fields__ if name != "state")
    return Row(state=state, **{name: getattr(found, name) for name in names})


def _text(state: SessionState) -> str:
    return state.payload.decode()


def _state(text: str) -> SessionState:
    try:
        return read_state(json.loads(text))
    except (ValueError, PolicyError) as error:
        raise SetupError(_damaged("a session")) from error


def _moment(found: Any) -> Moment:
    try:
        report = read_report(json.loads(found.report)) if found.report else None
    except (ValueError, PolicyError) as error:
        raise SetupError(_damaged(found.session)) from error
    return Moment(found.at, _state(found.state), report)


def _damaged(what: str) -> str:
    return f"The database's row of {what} is damaged: move the database away and start again, the sessions come back from GitHub."
