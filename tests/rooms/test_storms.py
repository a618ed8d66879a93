"""Deliveries that come often, out of order, under new names, late or never: a label starts one session, once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from bot.demo.hub import AppCredentials, Hub, serve
from bot.demo.hub.state import Delivery
from bot.demo.hub.webhooks import plain
from bot.web import starting
from bot.web.sweep import MOST_TRIES, redeliver, sweep
from tests.rooms.app_here import headers, listening
from tests.rooms.test_web_sessions import MEMBERS, PERMISSIONS, REPO, App, app_of, labelled

NOBODY = "http://127.0.0.1:9/webhook"
"""Where nothing listens: what GitHub sends to the App fails."""
CROWD = 12


@pytest.fixture
def town(tmp_path: Path) -> Iterator[tuple[Hub, AppCredentials]]:
    with serve(tmp_path / "hub") as hub:
        hub.repository(REPO, {"README.md": "hello\n"}, MEMBERS)
        credentials = hub.app("ostler", NOBODY)
        hub.install(credentials, REPO, PERMISSIONS)
        yield hub, credentials


@pytest.fixture
def app(town: tuple[Hub, AppCredentials], tmp_path: Path) -> Iterator[App]:
    with app_of(*town, tmp_path) as made:
        yield made


def sent(app: App, event: str = "issues", action: str = "labeled") -> list[Delivery]:
    """What GitHub tried to tell the App, each once."""
    app.hub.wait_idle(30)
    told = [one for one in app.hub.state.deliveries.values() if (one.event, one.action) == (event, action)]
    return [one for one in told if not one.redelivery]


def one_session_each(app: App, issues: list[int]) -> None:
    """Every labelled issue has its session, with one branch, one check run and one 👀."""
    ids = {app.state(issue).session for issue in issues}
    assert len(ids) == len(issues)
    assert app.branches() == sorted(f"refs/heads/{app.state(issue).branch}" for issue in issues)
    assert {check["external_id"] for check in app.checks()} == ids
    assert len(app.checks()) == len(issues)
    for issue in issues:
        assert [one["content"] for one in app.get(f"issues/{issue}/reactions")] == ["eyes"]


def storm(url: str, bodies: list[bytes], also: Sequence[Callable[[], object]], chance: random.Random) -> None:
    """1 to 50 copies of each, shuffled, each under a new name, at the same time as whatever else starts sessions."""
    copies = [body for body in bodies for _ in range(chance.randint(1, 50))]
    chance.shuffle(copies)

    def deliver(number: int, body: bytes) -> int:
        with httpx.Client(trust_env=False, verify=plain(), timeout=60) as client:
            return client.post(f"{url}/webhook/github", content=body, headers=headers(body, guid=f"g-{number}")).status_code

    with ThreadPoolExecutor(CROWD) as crowd:
        answers = [crowd.submit(deliver, number, body) for number, body in enumerate(copies)]
        others = [crowd.submit(step) for step in (*also, *also)]
        assert {answer.result() for answer in answers} == {202}
        assert [step.exception() for step in others] == [None] * len(others)


@pytest.mark.sampled(of=3)
@pytest.mark.parametrize("seed", range(3))
def test_a_storm_of_copies_starts_each_session_once(app: App, seed: int) -> None:
    issues = [labelled(app) for _ in range(3)]
    bodies = [one.body for one in sent(app)]
    assert len(bodies) == len(issues)
    place = app.office.access.place(REPO)
    assert place is not None
    native = [partial(starting.begin, app.office, place, issue) for issue in issues]
    with listening(app.office, app.worker, CollectorRegistry()) as url:
        app.worker.start()
        storm(url, bodies, [lambda: list(sweep(app.office)), *native], random.Random(seed))
        deadline = time.monotonic() + 120
        while app.office.inbox.waiting() and time.monotonic() < deadline:
            time.sleep(0.05)
        app.worker.stop(60)
    assert not app.worker.alive
    app.work()
    one_session_each(app, issues)


def test_labels_of_a_week_without_the_app_all_start_once(app: App) -> None:
    issues = [labelled(app) for _ in range(20)]
    assert {one.status_code for one in sent(app)} == {502}
    app.work()
    app.office.seen.clear()
    app.work()
    one_session_each(app, issues)


def test_a_delivery_that_failed_is_asked_for_once_for_every_failure(app: App) -> None:
    """The App was away when a command was given. Nothing else would tell of it: the sweep only looks at labels."""
    app.hub.person("ada").comment(REPO, labelled(app), "/ostler status")
    failed = sent(app, "issue_comment", "created") + sent(app) + sent(app, "installation", "created")
    assert len(failed) == 3

    def attempts() -> list[int]:
        app.hub.wait_idle(30)
        every = list(app.hub.state.deliveries.values())
        return [sum(one.guid == first.guid for one in every) for first in failed]

    assert attempts() == [1, 1, 1]
    for number in range(2, MOST_TRIES + 3):
        redeliver(app.office)
        assert set(attempts()) == {min(number, MOST_TRIES)}


def test_what_arrived_after_all_is_not_asked_for_again(app: App) -> None:
    labelled(app)
    with listening(app.office, app.worker, CollectorRegistry()) as url:
        (lost,) = sent(app)
        app.hub.app_process(app.hub.state.apps[lost.app_id].id, None, f"{url}/webhook/github")
        app.office.settings.webhook_secret = SecretStr(app.hub.state.apps[lost.app_id].webhook_secret)
        for _ in range(3):
            redeliver(app.office)
            app.hub.wait_idle(30)
    tries = [one.status_code for one in app.hub.state.deliveries.values() if one.guid == lost.guid]
    assert tries == [502, 202]
    assert app.office.inbox.has(lost.guid)
