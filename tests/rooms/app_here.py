"""The App at its door, over real HTTP and beside a small GitHub, for the tests of its parts."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import jwt
import uvicorn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from bot.core.session import SessionState
from bot.core.settling import Report
from bot.demo.hub.webhooks import plain
from bot.github import oidc
from bot.github.client import Client
from bot.store.database import Database
from bot.store.runs import Row, lane_of
from bot.telemetry import Fact, Metrics, Telemetry
from bot.web.app import Door
from bot.web.jobs import Desk
from bot.web.office import Access, Office, Place
from bot.web.settings import AppSettings
from bot.web.worker import Worker
from tests.rooms.small_github import APP_ID, REPOSITORY, SmallGitHub, small_github

SECRET, OLD_SECRET = "the webhook secret of a test", "the secret before that one"
ISSUER, ORIGIN = "https://issuer.example.com", "https://ostler.example.com"
WORKFLOW = "ostler/ostler/.github/workflows/improve.yml@"
SESSION = "issue-42-3f9a1c2b_20261121_113431"
REPO_ID = 9
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
).decode()


class LocalAccess(Access):
    """The stand-in's one repository, whichever is asked for."""

    def __init__(self, settings: AppSettings, hub: SmallGitHub) -> None:
        super().__init__(settings)
        self._client = hub.client()

    @property
    def bot(self) -> str:
        return "ostler[bot]"

    @property
    def app(self) -> Client:
        return self._client

    def client(self, repo: str, installation: int) -> Client:
        return self._client

    def place(self, repo: str) -> Place | None:
        return Place(REPOSITORY, REPO_ID, "main", 7) if repo == REPOSITORY else None

    def installations(self) -> list[int]:
        return []


@dataclass
class App:
    url: str
    office: Office
    hub: SmallGitHub
    worker: Worker
    facts: list[Fact]

    def post(self, path: str, content: bytes, headers: Any) -> httpx.Response:
        with httpx.Client(trust_env=False, verify=plain(), timeout=20) as client:
            return client.post(self.url + path, content=content, headers=headers)

    def get(self, path: str) -> httpx.Response:
        with httpx.Client(trust_env=False, verify=plain(), timeout=20) as client:
            return client.get(self.url + path)

    def deliver(self, content: bytes, *, secret: str = SECRET, event: str = "issues", guid: str = "g-1") -> httpx.Response:
        return self.post("/webhook/github", content, headers(content, secret=secret, event=event, guid=guid))

    def ask(self, endpoint: str, body: Any, token: str | None) -> httpx.Response:
        authorization = {"authorization": f"Bearer {token}"} if token else {}
        return self.post(f"/api/jobs/{endpoint}", json.dumps(body).encode(), authorization)

    def add(self, **changes: Any) -> Row:
        made = row(**changes)
        assert self.office.runs.add(made, time.time())
        return made

    def state(self) -> SessionState:
        return self.office.held(SESSION).state


def headers(content: bytes, *, secret: str = SECRET, event: str = "issues", guid: str = "g-1") -> dict[str, str]:
    digest = hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()
    return {"x-hub-signature-256": f"sha256={digest}", "x-github-event": event, "x-github-delivery": guid}


def payload(**changes: Any) -> dict[str, Any]:
    return {
        "action": "labeled",
        "sender": {"login": "ada", "id": 3, "type": "User"},
        "installation": {"id": 7},
        "repository": {"full_name": REPOSITORY, "id": REPO_ID, "default_branch": "main"},
        "issue": {"number": 42},
        "label": {"name": "ostler"},
        **changes,
    }


def raw(**changes: Any) -> bytes:
    return json.dumps(payload(**changes)).encode()


def row(**changes: Any) -> Row:
    state = SessionState(REPO_ID, 42, SESSION, 5, "ada", "ostler/issue-42-sums-3f9a1c2b", issued_at="2026-11-21T11:34:31+00:00")
    state = replace(state, base_sha="b" * 40, anchor_sha="a" * 40, cap=2_000_000, **changes)
    return Row(REPOSITORY, REPO_ID, 7, 42, "main", "Sums <are> wrong", state, state.seq, lane_of(state), 2, 0.0)


def report(**changes: Any) -> Report:
    empty: dict[str, Any] = dict.fromkeys(("outcome", "artifact_digest", "task_digest", "changeset_digest", "head_sha"), "")
    numbers: dict[str, Any] = dict.fromkeys(("artifact", "pull"), 0)
    given: dict[str, Any] = {
        "session": SESSION, "issue": 42, "workflow_run": 77, "standing": "waiting", "next_job": "post", "run_state": "GATE",
        "artifact_run": 77, "journal_head": "h" * 64, "plan_digest": "7f" * 32, "cap": 2_000_000, "spent": 700_000,
        "budget_line": "Budget: 35% used ($0.70/$2.00) - ~15 iterations remaining",
    }  # fmt: skip
    return Report(**{**empty, **numbers, **given, **changes})


def token(**changes: Any) -> str:
    now = int(time.time())
    key = changes.pop("key", KEY)
    claims = {
        "iss": ISSUER, "aud": ORIGIN, "iat": now, "nbf": now - 5, "exp": now + 300, "jti": f"j-{time.monotonic_ns()}",
        "repository_id": str(REPO_ID), "repository": REPOSITORY, "ref": "refs/heads/main", "event_name": "workflow_dispatch",
        "run_id": "77", "run_attempt": "1", "job_workflow_ref": f"{WORKFLOW}refs/tags/v1", "job_workflow_sha": "c" * 40,
        "runner_environment": "github-hosted", **changes,
    }  # fmt: skip
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": "one"})


def jwks() -> dict[str, Any]:
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
    return {"keys": [{**public, "kid": "one", "use": "sig", "alg": "RS256"}]}


def settings(folder: Path) -> AppSettings:
    return AppSettings(
        app_id=str(APP_ID),
        app_private_key=SecretStr(PEM),
        webhook_secret=SecretStr(SECRET),
        webhook_secret_old=SecretStr(OLD_SECRET),
        state_key=SecretStr("k" * 40),
        database_url=f"sqlite:///{folder}/ostler.db",
        public_url=ORIGIN,
        oidc_issuer=ISSUER,
        workflow_ref_prefix=WORKFLOW,
        github_pause=0,
        poll_seconds=1,
    )


@contextmanager
def listening(office: Office, worker: Worker, registry: CollectorRegistry) -> Iterator[str]:
    door = Door(office, worker, registry, Desk(office, oidc.Keys(jwks)))
    config = uvicorn.Config(door.asgi(), log_config=None, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


@contextmanager
def running(folder: Path, **changes: Any) -> Iterator[App]:
    """The App's door is open; its worker does one step where a test says so (`app.worker.once()`)."""
    given = settings(folder).model_copy(update=changes)
    facts, registry = list[Fact](), CollectorRegistry()
    database = Database.open(given.database_url)
    with small_github() as hub:
        office = Office(given, database, Telemetry([facts.append, Metrics(registry)]), LocalAccess(given, hub))
        worker = Worker(office)
        with listening(office, worker, registry) as url:
            yield App(url, office, hub, worker, facts)
    database.close()
