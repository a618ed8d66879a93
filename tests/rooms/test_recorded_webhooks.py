"""Webhooks that GitHub has sent to others, as they were and bent: kept or ignored or refused, and never more than that."""

from __future__ import annotations

import asyncio
import gc
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from bot.telemetry import Delivered, Trouble
from bot.web.app import Door
from tests.node_packages.there import needs_payloads, recorded
from tests.rooms.app_here import App, headers, running

pytestmark = needs_payloads

BENT = 10_000
GROWTH = 60_000_000
"""Bytes that the process may have grown by after all of them."""
INSTALLED = b'{"installation": {"id": 7}, '
"""Not as GitHub begins a delivery, so that it is read to its end."""
PIECES = (
    b"null", b"{}", b"[]", b'""', b"0", b"true", b"-1", b"1e999", b'"\\udc00"', b",", b":", b'"', b"\\", b"\x00", b"\xf0",
    b"[" * 70, b'"action":"labeled",', b'"ostler"', b'"User"',
)  # fmt: skip


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with running(tmp_path) as made:
        yield made


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def through_the_door(app: App, deliveries: Iterable[tuple[bytes, dict[str, str]]]) -> Counter[int]:
    """How often which status is answered, without a network between."""
    door, statuses = Door(app.office, app.worker, CollectorRegistry()).asgi(), Counter[int]()

    async def deliver(content: bytes, given: dict[str, str]) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses[message["status"]] += 1

        scope = {"type": "http", "method": "POST", "path": "/webhook/github", "root_path": "", "query_string": b""}
        await door({**scope, "headers": [(name.encode(), value.encode()) for name, value in given.items()]}, receive, send)

    async def all_of_them() -> None:
        for content, given in deliveries:
            await deliver(content, given)

    asyncio.run(all_of_them())
    return statuses


def work_off(app: App) -> None:
    while app.office.inbox.waiting():
        app.worker.once()


def nothing_happened(app: App) -> bool:
    """No session, and GitHub was at most read."""
    return app.office.queue.lanes() == {} and {request.method for request in app.hub.log} <= {"GET"}


def test_every_recorded_delivery_is_kept_or_ignored_with_a_reason(app: App) -> None:
    payloads = recorded()
    assert (len(payloads), len({event for event, _ in payloads})) == (329, 58)
    for number, (event, content) in enumerate(payloads):
        assert app.deliver(content, event=event, guid=f"g-{number}").status_code in (202, 204), (event, content[:300])
    told = [fact for fact in app.facts if isinstance(fact, Delivered)]
    assert all(fact.outcome == "stored" or (fact.outcome == "ignored" and fact.why) for fact in told)
    assert {fact.event for fact in told if fact.outcome == "stored"} == {
        "installation",
        "installation_repositories",
        "pull_request_review",
    }
    work_off(app)
    assert nothing_happened(app)
    assert not any(isinstance(fact, Trouble) for fact in app.facts)


def bent(chance: random.Random) -> Iterator[tuple[bytes, dict[str, str]]]:
    """Cut, overwritten, doubled, under another event's name; nine of ten signed all the same."""
    payloads = recorded()
    events = [event for event, _ in payloads]
    read = [(event, content.replace(b"{", INSTALLED, 1)) for event, content in payloads if event in ("issues", "issue_comment")]
    for number in range(BENT):
        event, content = chance.choice(chance.choice((payloads, read)))
        raw = bytearray(content)
        for _ in range(chance.randint(1, 3)):
            start = chance.randrange(len(raw))
            raw[start : start + chance.choice((0, 1, 1, 4, 20, 5_000))] = chance.choice(PIECES)
        given = headers(bytes(raw), event=chance.choice((event, event, chance.choice(events))), guid=f"b-{number}")
        if number % 10 == 0:
            given = headers(content, event=event, guid=f"b-{number}")
        yield bytes(raw), given


def test_ten_thousand_bent_ones_do_nothing(app: App) -> None:
    through_the_door(app, ((content, headers(content, event=event)) for event, content in recorded()))
    work_off(app)
    app.facts.clear()
    gc.collect()
    before = resident() if Path("/proc/self/statm").exists() else 0
    statuses = through_the_door(app, bent(random.Random(20261129)))
    after = resident() if before else 0
    assert set(statuses) == {202, 204, 400, 401}, statuses
    assert statuses.total() == BENT
    assert min(statuses[400], statuses[401]) > BENT // 20
    work_off(app)
    assert nothing_happened(app)
    assert not any(isinstance(fact, Trouble) for fact in app.facts)
    assert after - before < GROWTH
