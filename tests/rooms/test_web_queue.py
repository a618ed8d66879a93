"""The queue at the App's door: what is told of it and may be changed, and what becomes of a session whose holder is slow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from bot.core.queue import LEASE_SECONDS, MAX_RENEWALS, Priority
from bot.core.session import SessionState
from bot.demo.hub.webhooks import plain
from bot.store.runs import Row, lane_of
from bot.telemetry import Trouble
from tests.rooms.app_here import SESSION, App, row, running
from tests.rooms.small_github import REPOSITORY, Reply, Request

TOKEN = "t" * 40
STATS, STALE, PLACE = "/api/queue/stats", "/api/queue/reset-stale", f"/api/queue/{SESSION}/position"
DISPATCHES = f"/repos/{REPOSITORY}/actions/workflows/ostler.yml"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with running(tmp_path) as made:
        made.office.settings.api_token = SecretStr(TOKEN)
        yield made


def send(app: App, method: str, path: str, content: bytes = b"", token: str | None = TOKEN) -> httpx.Response:
    with httpx.Client(trust_env=False, verify=plain(), timeout=20) as client:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return client.request(method, app.url + path, content=content, headers=headers)


def more(app: App, number: int, priority: Priority, **changes: Any) -> Row:
    name = f"issue-{number}-0000000{number % 10}_20261121_120000"
    state: SessionState = replace(row().state, session=name, issue=number, event=number, **changes)
    made = replace(row(), state=state, issue=number, priority=priority, lane=lane_of(state))
    assert app.office.runs.add(made, time.time())
    return made


class TestTelling:
    @pytest.mark.parametrize(("method", "path"), [("GET", STATS), ("POST", STALE), ("POST", PLACE)])
    def test_who_has_no_token_sees_and_changes_nothing(self, app: App, method: str, path: str) -> None:
        app.add()
        for wrong in (None, "", TOKEN[:-1]):
            assert send(app, method, path, b'{"position": 1}', wrong).status_code == 401
        app.office.settings.api_token = SecretStr("")
        assert send(app, method, path, b'{"position": 1}').status_code == 404
        assert app.office.queue.places(1)[0].position is None

    def test_sessions_stand_in_every_part_and_in_their_order(self, app: App) -> None:
        app.add(working_run=77)
        more(app, 7, Priority.NORMAL)
        more(app, 8, Priority.URGENT)
        more(app, 9, Priority.LOW, anchor_sha="")
        more(app, 10, Priority.LOW, standing="over")
        said = send(app, "GET", STATS).json()
        assert said["by_status"] == {"running": 1, "queued": 2, "new": 1, "resting": 1}
        assert said["by_priority"] == {"HIGH": 1, "NORMAL": 1, "URGENT": 1, "LOW": 1}
        assert said["by_repository"] == {REPOSITORY: 4}
        assert [(each["issue"], each["place"]) for each in said["sessions"]] == [(42, None), (8, 1), (7, 2), (9, None)]
        full = "1 of 1 workflow run of the repository at work"
        assert [each["why"] for each in said["sessions"][1:]] == [full, full, "its branch is being made"]
        assert send(app, "GET", f"{STATS}?days=3").status_code == 422

    def test_a_position_goes_before_its_like_and_can_be_taken_back(self, app: App) -> None:
        app.add()
        other = more(app, 7, Priority.HIGH)
        more(app, 8, Priority.URGENT)

        def order() -> list[int]:
            return [each["issue"] for each in send(app, "GET", STATS).json()["sessions"]]

        assert order() == [8, 42, 7]
        path = PLACE.replace(SESSION, other.id)
        assert send(app, "POST", path, b'{"position": 1}').json() == {"session": other.id, "position": 1}
        assert order() == [8, 7, 42]
        assert send(app, "POST", path, b'{"position": null}').status_code == 200
        assert order() == [8, 42, 7]
        assert send(app, "POST", PLACE.replace(SESSION, "nobody"), b'{"position": 1}').status_code == 404

    @pytest.mark.parametrize(
        "body", [b"", b"[1]", b"{}", b'{"position": 0}', b'{"position": "1"}', b'{"position": true}', b'{"position": 1, "a": 1}']
    )
    def test_what_is_no_position_is_refused_in_one_sentence(self, app: App, body: bytes) -> None:
        app.add()
        answer = send(app, "POST", PLACE, body)
        assert answer.status_code == 422
        assert answer.json()["error"].endswith(".")

    def test_too_much_is_not_read(self, app: App) -> None:
        assert send(app, "POST", STALE, b" " * 2_000).status_code == 413
        assert send(app, "POST", STALE, b'{"all": true}').status_code == 422

    def test_only_leases_that_ended_are_reset(self, app: App) -> None:
        app.add()
        assert app.office.queue.claim(time.time()) is not None
        assert send(app, "POST", STALE).json() == {"requeued": 0}
        app.office.clock = lambda: time.time() + LEASE_SECONDS + 1
        assert send(app, "POST", STALE).json() == {"requeued": 1}
        (each,) = send(app, "GET", STATS).json()["sessions"]
        assert (each["status"], each["attempt"]) == ("queued", 2)


class Slow:
    """GitHub takes its time to start a workflow run: `meanwhile` happens."""

    def __init__(self, app: App, meanwhile: Any) -> None:
        self.app, self.now, self.meanwhile = app, time.time(), meanwhile
        app.office.clock = lambda: self.now
        app.hub.on("GET", f"{DISPATCHES}/runs", Reply(200, {"workflow_runs": []}))
        app.hub.on("POST", f"{DISPATCHES}/dispatches", self.dispatch)

    def dispatch(self, _: Request) -> Reply:
        self.meanwhile(self)
        return Reply(200, {"workflow_run_id": 77})


class TestLeases:
    def test_what_is_written_after_another_took_over_is_refused(self, app: App) -> None:
        app.add()
        taken: list[Row | None] = []

        def take_over(slow: Slow) -> None:
            slow.now += LEASE_SECONDS + 1
            taken.append(app.office.queue.claim(slow.now))

        Slow(app, take_over)
        app.worker.once()
        (holder,) = taken
        assert holder is not None
        held = app.office.held(SESSION)
        assert (held.lane, held.lease, held.attempt, held.state.working_run) == ("dispatching", holder.lease, 2, 0)
        assert app.office.queue.reset_stale(app.office.clock() + LEASE_SECONDS - 1) == 0

    def test_who_is_slow_but_alive_keeps_it(self, app: App) -> None:
        app.add()

        def wait(slow: Slow) -> None:
            for _ in range(MAX_RENEWALS):
                slow.now += 240
                app.worker.renew()
                assert app.office.queue.claim(slow.now) is None

        Slow(app, wait)
        app.worker.once()
        assert (app.state().working_run, app.office.held(SESSION).lane) == (77, "running")
        assert [fact for fact in app.facts if isinstance(fact, Trouble)] == []

    def test_a_holder_that_takes_forever_loses_it_and_says_so(self, app: App) -> None:
        app.add()

        def hang(slow: Slow) -> None:
            for _ in range(MAX_RENEWALS + 1):
                slow.now += 240
                app.worker.renew()

        Slow(app, hang)
        app.worker.once()
        assert [fact.where for fact in app.facts if isinstance(fact, Trouble)] == ["lease"]


def test_first_in_first_out_where_the_queue_is_not_to_be_smart(tmp_path: Path) -> None:
    with running(tmp_path, smart_queue=False) as app:
        app.add()
        more(app, 7, Priority.URGENT)
        found = app.office.queue.claim(time.time())
        assert found is not None
        assert found.issue == 42
