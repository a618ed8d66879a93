"""Two instances of the App on one Postgres, behind one address, and a hand that kills the first at any of its statements.

    with two_apps(town, postgres, Killer(which)) as pair:
        number = town.ask()
        pair.settle()

A relay lies between each instance and Postgres and reads what goes through. While the first lives the second gets to no
transaction, so that the first does the work; when it is killed the second goes on, until the first is there again.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from bot.demo.stage import free_port
from bot.store.database import Database
from tests.world.town import Town

HOST = "127.0.0.1"
LEASE = "5"
SECONDS = 600.0
_READY = b"Z\x00\x00\x00\x05"
"""How Postgres' message begins that says that a statement is done (ReadyForQuery)."""

Connect = Callable[[], socket.socket]


class Relay:
    """Passes connections on to the first of the targets that takes them."""

    def __init__(self, *targets: Connect, port: int = 0) -> None:
        self._targets = targets
        self._listener = socket.create_server((HOST, port), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with closing(client):
            for connect in self._targets:
                with suppress(OSError):
                    server = connect()
                    break
            else:
                return
            with closing(server):
                self.carry(client, server)

    def carry(self, client: socket.socket, server: socket.socket) -> None:
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True)
class Statement:
    """What is asked of Postgres, and what was asked before it on the same connection."""

    text: str
    before: str = ""


class Killer:
    """Kills a process with -9 at its statements: each that `which` chooses once, by turns before Postgres gets it and before its
    answer is told."""

    def __init__(self, which: Callable[[Statement], bool], kinds: tuple[str, ...] = ("before", "after")) -> None:
        self._which, self._kinds = which, kinds
        self.deaths: dict[Statement, str] = {}
        self.pid = 0
        """The process; 0 while there is none to be killed."""

    def kind(self, statement: Statement) -> str:
        """`before`, `after` or nothing."""
        if not self.pid or statement in self.deaths or not self._which(statement):
            return ""
        return self._kinds[len(self.deaths) % len(self._kinds)]

    def kill(self, statement: Statement, kind: str) -> None:
        pid, self.pid = self.pid, 0
        self.deaths[statement] = kind
        os.kill(pid, signal.SIGKILL)


@dataclass(slots=True)
class Line:
    """One connection to Postgres, as the relay knows it."""

    buffer: bytes = b""
    begun: bool = False
    last: str = ""
    dying: Statement | None = None


class PostgresRelay(Relay):
    """Reads statements as they go by; `gate` is open while they may begin a transaction, `killer` is told of each."""

    def __init__(self, connect: Connect, killer: Killer | None = None) -> None:
        super().__init__(connect)
        self.gate, self.killer = threading.Event(), killer
        self.gate.set()
        self._lock = threading.Lock()

    def carry(self, client: socket.socket, server: socket.socket) -> None:
        line = Line()
        back = threading.Thread(target=self._answers, args=(server, client, line), daemon=True)
        back.start()
        with suppress(OSError):
            while data := client.recv(65_536):
                line.buffer += data
                self._forward(line, server)
        for each in (client, server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        back.join()

    def _forward(self, line: Line, server: socket.socket) -> None:
        """All messages that are whole. The first of a connection has no letter; Query and Parse hold a statement's text."""
        while len(line.buffer) >= 5:
            start = 1 if line.begun else 0
            size = start + int.from_bytes(line.buffer[start : start + 4])
            if len(line.buffer) < size:
                return
            message, line.buffer = line.buffer[:size], line.buffer[size:]
            if line.begun and message[:1] in (b"Q", b"P"):
                self._look(line, message)
            line.begun = True
            server.sendall(message)

    def _look(self, line: Line, message: bytes) -> None:
        body = message[5:] if message[:1] == b"Q" else message[5:].partition(b"\0")[2]
        text = body.partition(b"\0")[0].decode()
        if text == "BEGIN":
            self.gate.wait(SECONDS)
        statement = Statement(text, line.last)
        line.last = text
        if self.killer is None:
            return
        with self._lock:
            kind = self.killer.kind(statement)
            if kind == "before":
                self.killer.kill(statement, kind)
                raise OSError("killed before Postgres knew")
            if kind == "after":
                line.dying = statement

    def _answers(self, server: socket.socket, client: socket.socket, line: Line) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                if line.dying is not None and _READY in data[-6:] and self.killer is not None:
                    with self._lock:
                        if self.killer.pid:
                            self.killer.kill(line.dying, "after")
                    return
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@dataclass(slots=True)
class Pair:
    """The two instances. The first is the one that is killed, and started again."""

    town: Town
    address: str
    killer: Killer
    relays: tuple[PostgresRelay, PostgresRelay]
    ports: tuple[int, int]
    folder: Path
    apps: list[subprocess.Popen[bytes] | None] = field(default_factory=lambda: [None, None])
    starts: int = 0

    def start(self, which: int) -> None:
        """Start an instance; one that is killed meanwhile is started again by `tend`."""
        scene = self.town.scene
        through = f"@{HOST}:{self.relays[which].port}/"
        head, _, rest = self.address.partition("@/")
        query = "sslmode=disable&gssencmode=disable"
        name = rest.partition("?")[0]
        env = {**scene.app_env, "OSTLER_PORT": str(self.ports[which]), "OSTLER_LEASE_SECONDS": LEASE,
               "OSTLER_SWEEP_MINUTES": "0.05", "OSTLER_DATABASE_URL": f"{head}{through}{name}?{query}"}  # fmt: skip
        with (self.folder / f"app-{which}.log").open("ab") as log:
            app = subprocess.Popen(
                [*scene.python, "serve"], env=env, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        self.apps[which] = app
        if which == 0:
            self.starts += 1
            self.killer.pid = app.pid

    def answers(self, which: int) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://{HOST}:{self.ports[which]}/health", timeout=2) as answer:
            return bool(answer.status == 200)
        return False

    def tend(self) -> None:
        """Let the second go on while the first is dead, and start that again."""
        first = self.apps[0]
        if first is not None and first.poll() is not None:
            self.relays[1].gate.set()
            self.start(0)
        elif self.killer.pid and self.answers(0):
            self.relays[1].gate.clear()

    def settle(self) -> None:
        """Wait until nothing is under way."""
        deadline, quiet = time.monotonic() + SECONDS, 0
        busy = ("select count(*) from sessions where lane in ('new', 'queued', 'dispatching', 'running') or shown < seq",
                "select count(*) from deliveries where status = 'pending'")  # fmt: skip
        with closing(Database.open(self.address)) as database:
            while quiet < 10:
                self.tend()
                with database.begin() as connection:
                    moving = sum(connection.scalar(sa.text(query)) or 0 for query in busy)
                with self.town.hub.state.lock:
                    runs = [run for run in self.town.hub.found(self.town.name).runs.values() if run.status != "completed"]
                quiet = 0 if moving or runs or not self.answers(0) else quiet + 1
                assert time.monotonic() < deadline, self.log()
                time.sleep(0.1)
        self.town.hub.wait_idle(SECONDS)

    def log(self) -> str:
        return "\n".join(path.read_text("utf-8", "replace")[-3_000:] for path in sorted(self.folder.glob("app-?.log")))

    def end(self) -> None:
        self.killer.pid = 0
        self.relays[1].gate.set()
        for app in filter(None, self.apps):
            app.kill()
            app.wait()


@contextmanager
def two_apps(town: Town, address: str, killer: Killer) -> Iterator[Pair]:
    """Instead of the town's own App, whose address leads to the first of the two that answers."""
    folder = str(sa.make_url(address).query["host"])

    def postgres() -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.connect(f"{folder}/.s.PGSQL.5432")
        return made

    town.scene.end_app()
    ports = (free_port(), free_port())
    relays = (PostgresRelay(postgres, killer), PostgresRelay(postgres))
    fronts = (partial(socket.create_connection, (HOST, port)) for port in ports)
    front = Relay(*fronts, port=town.scene.port)
    pair = Pair(town, address, killer, relays, ports, town.scene.folder)
    pair.start(1)
    pair.start(0)
    try:
        yield pair
    finally:
        pair.end()
        for relay in (front, *relays):
            relay.close()
