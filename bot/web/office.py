"""What every part of the App shares: settings, tables, GitHub's clients, keys, clock. Nothing here decides anything."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bot.config import CONFIG_PATH, Configuration, File, combine
from bot.core.errors import SetupError, TransientError
from bot.core.session import SessionState
from bot.core.settling import Report
from bot.github.client import Client, NotFound, Pace
from bot.github.contents import DEFAULTS, content, defaults_of
from bot.github.limits import Clock
from bot.loop import settling
from bot.store.accounts import Accounts
from bot.store.boards import Boards
from bot.store.database import Database
from bot.store.envelope import Key, seal
from bot.store.inbox import Inbox
from bot.store.queue import Queue
from bot.store.runs import Row, Runs
from bot.telemetry import Telemetry
from bot.web.settings import APPS, AppSettings


@dataclass(frozen=True, slots=True)
class Place:
    """A repository in which the App is installed."""

    name: str
    id: int
    default_branch: str
    installation: int


class Access:
    """GitHub as this App: itself, and each repository it is installed in. Threads may share it."""

    def __init__(self, settings: AppSettings, clock: Clock | None = None) -> None:
        self._settings, self._clock = settings, clock or Clock()
        self._lock = threading.Lock()
        self._app: Client | None = None
        self._bot = ""
        self._paces: dict[int, Pace] = {}
        self._clients: dict[tuple[str, int], Client] = {}

    @property
    def app_id(self) -> int:
        return int(self._settings.app_id)

    @property
    def app(self) -> Client:
        """The App itself, for paths below /app and for where it is installed."""
        with self._lock:
            if self._app is None:
                self._app = Client.app(self._settings.app_id, self._key, self._settings.github_api_url, clock=self._clock)
            return self._app

    @property
    def _key(self) -> str:
        return self._settings.app_private_key.get_secret_value()

    @property
    def bot(self) -> str:
        """The login of the App's own account."""
        if not self._bot:
            self._bot = f"{self.app.get('/app')['slug']}[bot]"
        return self._bot

    def client(self, repo: str, installation: int) -> Client:
        with self._lock:
            if (repo, installation) not in self._clients:
                settings = self._settings
                pace = self._paces.setdefault(
                    installation, Pace(settings.github_pause, self._clock, settings.github_reads_per_minute)
                )
                self._clients[repo, installation] = Client.installation(
                    settings.app_id, self._key, installation, settings.github_api_url, repo, clock=self._clock, pace=pace
                )
            return self._clients[repo, installation]

    def of(self, row: Row) -> Client:
        return self.client(row.repo, row.installation)

    def place(self, repo: str) -> Place | None:
        """The repository as GitHub tells, or None where the App is not installed in it."""
        try:
            installation = int(self.app.get(f"/repos/{repo}/installation")["id"])
        except NotFound:
            return None
        return _place(self.client(repo, installation).get(""), installation)

    def defaults(self, place: Place) -> tuple[str, bytes, str] | None:
        """The owner's file with defaults. Where the App is not installed in that repository it has to be public."""
        owner = place.name.partition("/")[0]
        home = self.place(f"{owner}/{DEFAULTS[0]}") or place
        return defaults_of(self.client(home.name, home.installation), owner)

    def installations(self) -> list[int]:
        """Where the App is installed and not suspended."""
        return [int(item["id"]) for item in self.app.pages("/app/installations") if not item.get("suspended_at")]

    def places(self, installation: int) -> Iterator[Place]:
        """The living repositories of an installation."""
        for found in self.client("", installation).pages("/installation/repositories", "repositories"):
            if not found.get("archived") and not found.get("disabled"):
                yield _place(found, installation)

    def close(self) -> None:
        with self._lock:
            for client in (*self._clients.values(), *([self._app] if self._app else [])):
                client.close()


def _place(item: Any, installation: int) -> Place:
    return Place(str(item["full_name"]), int(item["id"]), str(item["default_branch"]), installation)


class Office:
    """The App's desk: everything a part of it needs to do its work."""

    def __init__(
        self,
        settings: AppSettings,
        database: Database,
        telemetry: Telemetry,
        access: Access | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings, self.database, self.telemetry, self.clock = settings, database, telemetry, clock
        self.inbox, self.runs = Inbox(database, 2 * settings.lease_seconds), Runs(database)
        self.queue = Queue(database, smart=settings.smart_queue, lease=settings.lease_seconds)
        self.accounts, self.boards = Accounts(database), Boards(database)
        self.access = access or Access(settings)
        self.key = Key.from_secret(settings.state_key.get_secret_value())
        self.wake = threading.Event()
        self.seen: dict[tuple[int, int], str] = {}
        """When a labelled issue last changed that led to a session: the sweep need not ask about it again."""
        self.redelivered: dict[str, int] = {}
        """The failed attempt of a delivery, by the delivery's guid, that GitHub was asked to repeat."""

    @property
    def at(self) -> str:
        """Now, UTC, ISO 8601."""
        return datetime.fromtimestamp(self.clock(), UTC).isoformat()

    def page_key(self, session: str) -> str:
        """What opens a session's page: whoever may read the check run has the link."""
        secret = self.settings.state_key.get_secret_value().encode()
        return hmac.new(secret, b"ostler/run-page/1\0" + session.encode(), hashlib.sha256).hexdigest()[:32]

    def page(self, session: str) -> str:
        return f"{self.settings.public_url}/runs/{session}?key={self.page_key(session)}"

    def recover(self, place: Place, issue: int, session: str = "", branch: str = "") -> SessionState | None:
        """The newest state of the issue's sessions, or of this one, that GitHub holds with our signature."""
        client = self.access.client(place.name, place.installation)
        keys, app_id = [self.key], self.access.app_id
        return settling.recover(client, keys, app_id=app_id, repo_id=place.id, issue=issue, session=session, branch=branch)

    def defaults(self, place: Place) -> tuple[File, ...]:
        """What lies beneath the repository's own configuration: the App's defaults, and over them its owner's."""
        shared, owners = self.settings.defaults, self.access.defaults(place)
        return (*([File(APPS, shared.encode())] if shared else []), *([File(*owners)] if owners else []))

    def configuration(self, place: Place, ref: str) -> Configuration:
        """What configures sessions of the repository, with its own file as it is at `ref`, under its usual name. Where that does
        not hold it is as if nothing was said: the job gate refuses it with its reason, before a model is asked."""
        client = self.access.client(place.name, place.installation)
        try:
            raw = content(client, CONFIG_PATH, ref)
            return combine(None if raw is None else File(CONFIG_PATH, raw, ref), self.defaults(place))
        except SetupError:
            return combine(None)

    def right(self, session: str) -> AbstractContextManager[None]:
        """The right to change what GitHub shows of a session: one thread of all processes has it at a time."""
        return self.database.right(f"the session {session}")

    def show(self, session: str, report: Report | None = None) -> Row:
        """Put the session's latest state on GitHub. Safe to repeat; what is not shown is shown by the worker later."""
        with self.right(session):
            row = self.held(session)
            if report is None:
                report = next((moment.report for moment in reversed(self.runs.history(session)) if moment.report), None)
            client = self.access.of(row)
            settling.show(
                client,
                row.state,
                app_id=self.access.app_id,
                seal=lambda state: seal(self.key, state),
                report=report,
                details_url=self.page(session),
            )
            self.runs.shown(session, row.state.seq)
        return row

    def held(self, session: str) -> Row:
        row = self.runs.get(session)
        if row is None:
            raise SetupError(f"The database has no session {session}.")
        return row

    def change(
        self,
        session: str,
        move: Callable[[SessionState], SessionState],
        report: Report | None = None,
        lease: int | None = None,
    ) -> Row:
        """Make a move on the latest state, again where another was faster. A move that changes nothing is none.

        Raises:
            TransientError: the session is taken over from the holder of `lease`.
        """
        while True:
            row = self.held(session)
            if lease not in (None, row.lease):
                raise TransientError(f"Another has taken {session} over: nothing was written.")
            new = move(row.state)
            if new.seq == row.state.seq or self.runs.save(row.state, new, self.clock(), report=report, lease=lease):
                return self.held(session)
