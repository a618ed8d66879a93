"""The App's tables, in SQLite or Postgres, and how they are opened. One dialect: what differs is in this file.

The database is a projection. GitHub's check runs hold every session's state, signed, so that a lost database loses nothing but
the history on the run pages; a damaged one is refused, not mended.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Double, Integer, LargeBinary, MetaData, String, Table, Text
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from bot.core.errors import SetupError, TransientError
from bot.core.queue import PER_REPOSITORY

SCHEMA = 4
BUSY_SECONDS = 10
RIGHT_SECONDS = 300
"""Seconds that a thread waits for a right that another process has."""
GONE_SECONDS = 30
"""Seconds of silence after which Postgres asks whether a client's machine is still there."""
_CLAIMS = 7_404_715
"""The number of the advisory lock that claims take in Postgres. SQLite has one writer at a time anyway."""

metadata = MetaData()

deliveries = Table(
    "deliveries",
    metadata,
    Column("guid", String(100), primary_key=True),
    Column("event", String(60), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("status", String(10), nullable=False, server_default="pending"),  # pending, done, refused
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("due_at", Double, nullable=False, server_default="0"),
    Column("why", Text, nullable=False, server_default=""),
)
waiting = sa.Index(
    "deliveries_waiting",
    deliveries.c.received_at,
    deliveries.c.guid,
    sqlite_where=deliveries.c.status == "pending",
    postgresql_where=deliveries.c.status == "pending",
)
"""Without it, taking the oldest of many would look at all that are kept."""

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(120), primary_key=True),
    Column("repo", String(140), nullable=False),
    Column("repo_id", BigInteger, nullable=False),
    Column("installation", BigInteger, nullable=False),
    Column("issue", Integer, nullable=False),
    Column("event", BigInteger, nullable=False),  # grows with the time at which sessions were asked for
    Column("default_branch", String(250), nullable=False),
    Column("title", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("shown", Integer, nullable=False),  # the seq that GitHub shows; -1 for none
    Column("lane", String(12), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("position", Integer, nullable=True),  # given by a person; those that have one come first in their priority
    Column("attempt", Integer, nullable=False, server_default="1"),  # of asking for the next workflow run
    Column("lease", Integer, nullable=False, server_default="0"),  # the number of the last lease: only its holder may write
    Column("renewals", Integer, nullable=False, server_default="0"),  # of that lease
    Column("asked_at", Double, nullable=False),  # before the first try to dispatch; 0 where there was none
    Column("due_at", Double, nullable=False),  # nobody else is to touch the session before
    Column("created_at", Double, nullable=False),
    sa.Index("sessions_by_issue", "repo_id", "issue"),
    sa.Index("sessions_by_lane", "lane", "due_at"),
)

states = Table(
    "states",
    metadata,
    Column("session", String(120), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("state", Text, nullable=False),
    Column("report", Text, nullable=True),
)

turns = Table(
    "turns",
    metadata,
    Column("repo_id", BigInteger, primary_key=True, autoincrement=False),
    Column("last_started", Double, nullable=False, server_default="0"),
    Column("most", Integer, nullable=False, server_default=str(PER_REPOSITORY)),  # workflow runs that work at a time
)

boards = Table(
    "boards",
    metadata,
    Column("repo_id", BigInteger, primary_key=True, autoincrement=False),
    Column("repo", String(140), nullable=False),
    Column("installation", BigInteger, nullable=False),
    Column("issue", Integer, nullable=False),
    Column("paused_by", String(60), nullable=False),  # empty: nobody
    Column("shown", String(64), nullable=False),  # sha256 of the text on GitHub
    Column("told", Integer, nullable=False),  # how often something changed
    Column("due_at", Double, nullable=True),  # when a new text is due; none where it is up to date
)

bindings = Table(
    "bindings",
    metadata,
    Column("repo_id", BigInteger, primary_key=True, autoincrement=False),
    Column("workflow_run", BigInteger, primary_key=True, autoincrement=False),
    Column("session", String(120), nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("endpoint", String(20), primary_key=True),
    Column("jti", String(200), primary_key=True),
    Column("body", String(64), nullable=False),  # sha256 of the request it came with
    Column("until", Double, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("account", String(300), primary_key=True),
    Column("unit", String(10), primary_key=True),  # money, tokens
    Column("held", BigInteger, nullable=False),  # billed and reserved, in micro-dollars or tokens
    Column("most", BigInteger, nullable=False, server_default="0"),  # the limit that was told last; 0 for none
)

bookings = Table(
    "bookings",
    metadata,
    Column("key", String(300), primary_key=True),
    Column("places", Text, nullable=False),  # the accounts and their units, sorted, as JSON
    Column("money", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("open", sa.Boolean, nullable=False),  # the call's end is not known
    Column("at", Double, nullable=False),
)

services = Table(
    "services",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("full_at", BigInteger, nullable=False),  # the level of its bucket
    Column("standing", String(10), nullable=False),  # the circuit of its breaker, and the three below
    Column("count", Integer, nullable=False),
    Column("until", Double, nullable=False),
    Column("probed", Double, nullable=False),
)

memories = Table(
    "memories",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("repo", String(140), nullable=False),
    Column("kind", String(10), nullable=False),  # outcome, run, audit
    Column("key", String(300), nullable=False),
    Column("value", Text, nullable=False),
    sa.UniqueConstraint("repo", "kind", "key"),
)

about = Table("about", metadata, Column("name", String(20), primary_key=True), Column("value", String(60), nullable=False))


class Database:
    """One engine: transactions, the one lock that claims take, and the right to what there is outside."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._lock = -1
        self._rights: dict[str, threading.Lock] = {}
        self._mine = threading.local()
        self._turn: AbstractContextManager[object] = threading.Lock() if engine.dialect.name == "sqlite" else nullcontext()

    @classmethod
    def open(cls, address: str) -> Database:
        """Connect, make missing tables, and look whether the database is whole.

        Raises:
            SetupError: not an address of SQLite or Postgres, out of reach, damaged, or of another version.
        """
        url = _url(address)
        database = cls(_engine(url))
        try:
            database._prepare()
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            database.close()
            raise SetupError(_unusable(url, error)) from error
        except SetupError:
            database.close()
            raise
        return database

    def _prepare(self) -> None:
        if self.engine.dialect.name == "sqlite":
            with self.begin() as connection:
                said = connection.exec_driver_sql("pragma quick_check").scalar()
            if said != "ok":
                raise SetupError(_unusable(self.engine.url, sqlite3.DatabaseError(str(said))))
        with self.alone() as connection:
            metadata.create_all(connection)
            waiting.create(connection, checkfirst=True)  # in tables from before it
            found = connection.scalar(sa.select(about.c.value).where(about.c.name == "schema"))
            if found is None:
                connection.execute(sa.insert(about).values(name="schema", value=str(SCHEMA)))
            elif found != str(SCHEMA):
                raise SetupError(f"The database is of version {found}, this Ostler knows {SCHEMA}: run the Ostler that made it.")

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction; committed, and on disk, when the block ends without an exception.

        In SQLite the threads of this process take turns: one that SQLite makes wait sleeps longer than the wait lasts.
        """
        with self._turn, self.engine.begin() as connection:
            yield connection

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """A transaction of which only one is under way at a time, in all processes of this App."""
        with self.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("select pg_advisory_xact_lock(:number)"), {"number": _CLAIMS})
            yield connection

    @contextmanager
    def right(self, name: str) -> Iterator[None]:
        """What one thread at a time has, in all processes of this App; a thread that has it may ask again.

        It is held across requests to GitHub, so it is no transaction; a process that dies gives it back.

        Raises:
            TransientError: another has it for too long.
        """
        mine: set[str] = self._mine.__dict__.setdefault("names", set())
        if name in mine:
            yield
            return
        with self._rights.setdefault(name, threading.Lock()), self._everywhere(name):
            mine.add(name)
            try:
                yield
            finally:
                mine.remove(name)

    @contextmanager
    def _everywhere(self, name: str) -> Iterator[None]:
        if self.engine.dialect.name != "postgresql":
            yield  # there is one process: see `hold`
            return
        apart = sa.create_engine(self.engine.url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        sa.event.listen(apart, "connect", _alert)
        with apart.connect() as connection:
            try:
                connection.execute(sa.text(f"set lock_timeout = {RIGHT_SECONDS * 1000}"))
                connection.execute(sa.text("select pg_advisory_lock(hashtextextended(:name, 0))"), {"name": name})
            except OperationalError as error:
                raise TransientError(f"Another process has {name} for more than {RIGHT_SECONDS} seconds.") from error
            yield

    def hold(self) -> bool:
        """Whether this process is now the only App on the database, until it ends. Postgres may serve several.

        Raises:
            SetupError: another App has the SQLite file.
        """
        if self.engine.dialect.name != "sqlite":
            return False
        path = f"{self.engine.url.database}.lock"
        self._lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SetupError(
                f"Another `ostler serve` uses {self.engine.url.database}: stop it, or take Postgres for both."
            ) from error
        return True

    def answers(self) -> bool:
        try:
            with self.begin() as connection:
                return connection.scalar(sa.select(about.c.value).where(about.c.name == "schema")) == str(SCHEMA)
        except SQLAlchemyError:
            return False

    def close(self) -> None:
        self.engine.dispose()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


_AWAY = "move it away and start again, the sessions come back from GitHub"


def _url(address: str) -> URL:
    try:
        url = make_url(address)
    except ArgumentError as error:
        raise SetupError(
            "OSTLER_DATABASE_URL is no address such as sqlite:////path/ostler.db or postgresql://host/name."
        ) from error
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername in ("sqlite", "sqlite+pysqlite") and url.database and url.database != ":memory:":
        return url.set(drivername="sqlite+pysqlite")
    raise SetupError("OSTLER_DATABASE_URL has to name a SQLite file (sqlite:////path/ostler.db) or Postgres (postgresql://...).")


def _engine(url: URL) -> Engine:
    if url.drivername.startswith("postgresql"):
        engine = sa.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": BUSY_SECONDS})
        sa.event.listen(engine, "connect", _alert)
        return engine
    path = Path(str(url.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise SetupError(f"{path} cannot be written ({error.strerror}): set OSTLER_DATABASE_URL to a place that can.") from error
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    sa.event.listen(engine, "connect", _durable)
    sa.event.listen(engine, "begin", _at_once)
    return engine


def _alert(connection: Any, _: Any) -> None:
    """Locks of a machine that is gone are given back soon, not when the operating system's two hours are over."""
    connection.execute(f"set tcp_keepalives_idle = {GONE_SECONDS}; set tcp_keepalives_interval = {GONE_SECONDS}")
    connection.commit()


def _durable(connection: Any, _: Any) -> None:
    """FULL: what was acknowledged is on disk. No isolation level: transactions begin where `_at_once` says so."""
    connection.isolation_level = None
    for pragma in ("journal_mode=wal", "synchronous=full", f"busy_timeout={BUSY_SECONDS * 1000}"):
        connection.execute(f"pragma {pragma}").close()


def _at_once(connection: Connection) -> None:
    """Take the writer's lock at the beginning: a transaction that reads first and writes later could not wait for it."""
    connection.connection.cursor().execute("begin immediate").close()


def _unusable(url: URL, error: Exception) -> str:
    reason = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
    if url.drivername.startswith("sqlite"):
        return f"The database {url.database} cannot be used ({reason}): {_AWAY}."
    return f"The database at {url.host or 'the given address'} cannot be used ({reason}): see OSTLER_DATABASE_URL."
