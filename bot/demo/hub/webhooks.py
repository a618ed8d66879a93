"""Events on their way out: to whoever listens inside (workflows), and as signed webhooks to the Apps that are installed.

Like GitHub, a delivery gets 10 seconds and one try; it is kept, and can be redelivered with the same guid.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import ssl
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from bot.demo.hub.state import App, Delivery, State, User

TIMEOUT = 10.0
"""Seconds an App has to answer."""
SENDERS = 4
# What a delivery of an event asks of the installation; an event that isn't here goes to nobody.
NEEDS = {
    "issues": "issues",
    "issue_comment": "issues",
    "pull_request": "pull_requests",
    "pull_request_review": "pull_requests",
    "pull_request_review_comment": "pull_requests",
    "check_run": "checks",
    "check_suite": "checks",
    "workflow_run": "actions",
    "workflow_job": "actions",
    "push": "contents",
    "create": "contents",
    "delete": "contents",
    "repository_dispatch": "contents",
    "deployment": "deployments",
}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `by_job` says that a GITHUB_TOKEN did it: then it starts no workflow, dispatches apart."""

    name: str
    action: str | None
    repository_id: int | None
    actor: User
    payload: dict[str, Any]
    by_job: bool = False
    only_app: int | None = None  # goes to this App and to no other


def plain() -> ssl.SSLContext:
    """For clients that talk to loopback without TLS: loading the machine's certificates takes longer than the request."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(slots=True)
class Post:
    """The post office: one thread hands events on in order, several bring the letters."""

    state: State
    now: Callable[[], datetime]
    errors: list[str]
    listeners: list[Callable[[Event], None]] = field(default_factory=list)
    _events: queue.SimpleQueue[Event | None] = field(default_factory=queue.SimpleQueue)
    _letters: queue.SimpleQueue[Delivery | None] = field(default_factory=queue.SimpleQueue)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _under_way: int = 0
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        jobs = [self._hand_on] + [self._bring] * SENDERS
        self._threads = [threading.Thread(target=job, name="hub-post", daemon=True) for job in jobs]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._events.put(None)
        for _ in range(SENDERS):
            self._letters.put(None)
        for thread in self._threads:
            thread.join(TIMEOUT + 1)

    def put(self, event: Event) -> None:
        self._count(1)
        self._events.put(event)

    def send(self, delivery: Delivery) -> None:
        """Bring a delivery that the state knows already."""
        self._count(1)
        self._letters.put(delivery)

    def idle(self) -> bool:
        with self._changed:
            return self._under_way == 0

    def _count(self, by: int) -> None:
        with self._changed:
            self._under_way += by
            self._changed.notify_all()

    def _hand_on(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                for letter in self._addressed(event):
                    self.send(letter)
                for listener in list(self.listeners):
                    listener(event)
            except Exception as error:  # noqa: BLE001 a listener's trouble is the test's to see, and no reason to lose the next event
                self.errors.append(f"event {event.name}: {type(error).__name__}: {error}")
            finally:
                self._count(-1)

    def _addressed(self, event: Event) -> list[Delivery]:
        with self.state.lock:
            return [
                self.letter(app, event.name, event.action, installation.id, event.repository_id, event.payload)
                for installation in self.state.installations.values()
                for app in [self.state.apps[installation.app_id]]
                if app.webhook_url
                and installation.suspended_at is None
                and _wanted(event, app, installation.repositories, installation.permissions)
            ]

    def letter(
        self,
        app: App,
        event: str,
        action: str | None,
        installation_id: int,
        repository_id: int | None,
        payload: dict[str, Any],
        guid: str = "",
    ) -> Delivery:
        """A delivery, recorded and not sent yet; with `guid` it is a redelivery. The caller holds the lock."""
        installation = self.state.installations.get(installation_id)
        whole = dict(payload)
        if "installation" not in whole and installation is not None:
            whole["installation"] = {"id": installation_id, "node_id": f"I_{installation_id}"}
        made = Delivery(
            id=self.state.next_id(),
            guid=guid or str(uuid.uuid4()),
            app_id=app.id,
            event=event,
            action=action,
            installation_id=installation_id,
            repository_id=repository_id,
            payload=whole,
            body=json.dumps(whole, ensure_ascii=False).encode(),
            delivered_at=self.now(),
            redelivery=bool(guid),
        )
        self.state.deliveries[made.id] = made
        return made

    def _bring(self) -> None:
        # No proxy and no netrc of the machine: the address is the App's own.
        with httpx.Client(trust_env=False, verify=plain(), timeout=TIMEOUT, follow_redirects=False) as client:
            while (delivery := self._letters.get()) is not None:
                try:
                    self._bring_one(client, delivery)
                finally:
                    self._count(-1)

    def _bring_one(self, client: httpx.Client, delivery: Delivery) -> None:
        app = self.state.apps[delivery.app_id]
        delivery.request_headers = headers(app, delivery)
        started = time.monotonic()
        try:
            answer = client.post(app.webhook_url or "", content=delivery.body, headers=delivery.request_headers)
        except httpx.TimeoutException:
            delivery.status, delivery.status_code = "timed out", 504
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            delivery.status, delivery.status_code = f"failed to connect to host: {type(error).__name__}", 502
        else:
            delivery.status_code = answer.status_code
            delivery.status = "OK" if answer.is_success else f"Invalid HTTP Response: {answer.status_code}"
            delivery.response_headers, delivery.response = dict(answer.headers), answer.text
        delivery.duration = round(time.monotonic() - started, 2)


def _wanted(event: Event, app: App, repositories: set[int], permissions: dict[str, str]) -> bool:
    if event.repository_id not in repositories or (event.only_app is not None and event.only_app != app.id):
        return False
    need = NEEDS.get(event.name)
    listed = not app.events or event.name in app.events
    return need is not None and listed and need in permissions


def sign(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def headers(app: App, delivery: Delivery) -> dict[str, str]:
    """What GitHub sends along with the body."""
    return {
        "Accept": "*/*",
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/0000000",
        "X-GitHub-Delivery": delivery.guid,
        "X-GitHub-Event": delivery.event,
        "X-GitHub-Hook-ID": str(app.id),
        "X-GitHub-Hook-Installation-Target-ID": str(app.id),
        "X-GitHub-Hook-Installation-Target-Type": "integration",
        "X-Hub-Signature": "sha1=" + hmac.new(app.webhook_secret.encode(), delivery.body, hashlib.sha1).hexdigest(),
        "X-Hub-Signature-256": sign(app.webhook_secret, delivery.body),
    }
