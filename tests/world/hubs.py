"""A stand-in GitHub for tests: one small repository, an App with a mailbox, and githubkit as the client of whoever acts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from githubkit import AppAuthStrategy, AppInstallationAuthStrategy, GitHub, TokenAuthStrategy

from bot.demo.hub import AppCredentials, Hub, serve
from bot.demo.hub.git import Bare, Signature
from bot.demo.hub.webhooks import plain

SHOP = "ada/shop"
PERMISSIONS = {
    "actions": "read",
    "checks": "write",
    "contents": "write",
    "issues": "write",
    "metadata": "read",
    "pull_requests": "write",
}


_clients: list[GitHub[Any]] = []  # githubkit's namespaces hold their client by a weak reference only


@dataclass
class Inbox:
    """An App's server: keeps what it gets and answers with `status`."""

    url: str
    received: list[tuple[dict[str, str], bytes]]
    status: int = 200

    def events(self) -> list[tuple[str, str]]:
        return [(headers["x-github-event"], json.loads(body).get("action")) for headers, body in self.received]

    def payloads(self, event: str) -> list[dict[str, Any]]:
        return [json.loads(body) for headers, body in self.received if headers["x-github-event"] == event]


@contextmanager
def shop(folder: Path) -> Iterator[Hub]:
    """A hub with the repository ada/shop: grace writes, tom triages. Whatever it noted as an error must be gone at the end."""
    with serve(folder) as running:
        running.repository(SHOP, {"README.md": "hello\n", "src/a.py": "A = 1\n"}, {"grace": "write", "tom": "triage"})
        yield running
        _clients.clear()
        assert running.errors == []


@contextmanager
def mailbox() -> Iterator[Inbox]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            box.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(box.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        box = Inbox(f"http://127.0.0.1:{server.server_address[1]}/hook", [])
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield box
        server.shutdown()
        thread.join()


def installed(hub: Hub, inbox: Inbox) -> AppCredentials:
    """An App on ada/shop whose webhooks go to `inbox`."""
    made = hub.app("ostler", inbox.url, "it is a secret")
    hub.install(made, SHOP, PERMISSIONS)
    return made


def client(hub: Hub, auth: Any) -> Any:
    made: GitHub[Any] = GitHub(
        auth, base_url=hub.api_url, auto_retry=False, http_cache=False, trust_env=False, ssl_verify=plain()
    )
    _clients.append(made)
    return made


def as_person(hub: Hub, login: str) -> Any:
    return client(hub, TokenAuthStrategy(hub.person(login).token))


def as_app(hub: Hub, app: AppCredentials) -> Any:
    return client(hub, AppAuthStrategy(app.app_id, app.private_key_pem))


def as_installation(hub: Hub, app: AppCredentials) -> Any:
    return client(hub, AppInstallationAuthStrategy(app.app_id, app.private_key_pem, app.installations[SHOP]))


def branch(hub: Hub, name: str, files: dict[str, str]) -> str:
    """A branch with one commit on main."""
    bare = Bare(hub.found(SHOP).git)
    main, who = bare.resolve("main") or "", Signature("grace", "grace@localhost", datetime(2026, 11, 21, tzinfo=UTC))
    sha = bare.write_commit(bare.import_files(files), [main], who, who, "Change\n")
    bare.set_ref(f"refs/heads/{name}", sha, "0" * 40)
    return sha
