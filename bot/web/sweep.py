"""What no webhook told: sessions that labels ask for, sessions that only GitHub knows, deliveries that never arrived.

A webhook only makes this happen sooner. The same code that a delivery starts looks at every open issue with the label.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

from bot.core.board import BOARD_LABEL
from bot.core.errors import OstlerError
from bot.core.session import LABEL, STOP_LABEL, issue_of
from bot.core.triggers import moment
from bot.github.client import NotFound
from bot.telemetry import Swept, Trouble
from bot.web import allowances, asking, dashboard, following, starting
from bot.web.office import Office, Place

REMEMBERED = 7 * 86_400.0
"""Seconds that what was done with a delivery is kept."""
SETTLED = 60.0
"""Seconds after which another change of an issue has another time: GitHub's have no smaller unit than a second."""
REDELIVERABLE = timedelta(days=3)
MOST_LISTED, MOST_REDELIVERED = 2_000, 100
"""Failures that a sweep looks at, the newest, and those that it asks for: the next one goes on."""
MOST_TRIES = 4
"""Of one delivery, all together."""


@dataclass(slots=True)
class Count:
    repositories: int = 0
    started: int = 0
    failed: int = 0


def sweep(office: Office) -> Iterator[None]:
    """Look at every repository, one issue at a time: between two of them there is time for what cannot wait.

    What refuses is told, and does not hide the rest. Deliveries that failed are asked for first: they may hold a command.
    """
    began, count = office.clock(), Count()
    for name, step in (("waking", allowances.wake), ("redelivery", redeliver)):
        try:
            step(office)
        except OstlerError as error:
            _tell(office, name, error)
    for place in _places(office, count):
        yield
        yield from _repository(office, place, count)
    office.inbox.forget(began - REMEMBERED)
    office.telemetry.tell(Swept(count.repositories, count.started, count.failed, office.clock() - began))


def look(office: Office, repositories: Sequence[str]) -> Iterator[None]:
    """The same for repositories in which the App has just been installed."""
    for name in repositories:
        try:
            place = office.access.place(name)
        except OstlerError as error:
            _tell(office, f"sweep of {name}", error)
            continue
        if place is not None:
            yield from _repository(office, place, Count())


def _places(office: Office, count: Count) -> Iterator[Place]:
    try:
        installations = office.access.installations()
    except OstlerError as error:
        _tell(office, "sweep", error)
        return
    for installation in installations:
        try:
            places = list(office.access.places(installation))
        except OstlerError as error:
            count.failed += 1
            _tell(office, f"sweep of installation {installation}", error)
            continue
        count.repositories += len(places)
        yield from places


def _repository(office: Office, place: Place, count: Count) -> Iterator[None]:
    office.queue.back(place.id, place.installation)
    client = office.access.client(place.name, place.installation)
    try:
        for item in client.pages("issues", state="open", labels=BOARD_LABEL):
            dashboard.look(office, place, int(item["number"]), swept=True)
        found = [item for item in client.pages("issues", state="open", labels=LABEL) if "pull_request" not in item]
    except OstlerError as error:
        count.failed += 1
        _tell(office, f"sweep of {place.name}", error)
        return
    for item in found:
        try:
            count.started += _issue(office, place, item)
        except OstlerError as error:
            count.failed += 1
            _tell(office, f"sweep of {place.name}#{item['number']}", error)
        yield
    yield from _pulls(office, place, count)


def _pulls(office: Office, place: Place, count: Count) -> Iterator[None]:
    """The open pull requests of sessions: what was said there."""
    client = office.access.client(place.name, place.installation)
    try:
        found = [item for item in client.pages("pulls", state="open") if issue_of(item["head"]["ref"])]
    except OstlerError as error:
        count.failed += 1
        _tell(office, f"sweep of {place.name}", error)
        return
    for item in found:
        number, changed = int(item["number"]), str(item["updated_at"])
        if office.seen.get((place.id, number)) == changed:
            continue
        try:
            known = following.look(office, place, number)
        except OstlerError as error:
            count.failed += 1
            _tell(office, f"sweep of {place.name}#{number}", error)
        else:
            if known and moment(changed).timestamp() < office.clock() - SETTLED:
                office.seen[place.id, number] = changed
        yield


def _issue(office: Office, place: Place, item: Any) -> int:
    issue, changed = int(item["number"]), str(item["updated_at"])
    if office.seen.get((place.id, issue)) == changed:
        return 0
    if any(label["name"] == STOP_LABEL for label in item["labels"]):
        asking.stop_label(office, place, issue)
        return 0
    before = {row.id for row in office.runs.of_issue(place.id, issue)}
    row = starting.begin(office, place, issue)
    if row is None:
        return 0
    if (row.default_branch, row.installation, row.repo) != (place.default_branch, place.installation, place.name):
        office.runs.moved(row.id, place.name, place.default_branch, place.installation)
    if moment(changed).timestamp() < office.clock() - SETTLED:
        office.seen[place.id, issue] = changed
    return int(row.id not in before)


def redeliver(office: Office) -> None:
    """Ask GitHub again for the deliveries that failed. It does not do so by itself, and can for three days.

    Of each once for every failure, as far as this process remembers: the list of failures tells nothing of successes.
    Source: GitHub's "List deliveries for an app webhook" and "Redeliver a delivery for an app webhook".
    """
    failures: dict[str, list[Any]] = defaultdict(list)
    try:
        for item in islice(office.access.app.pages("/app/hook/deliveries", status="failure"), MOST_LISTED):
            if moment(item["delivered_at"]).timestamp() < office.clock() - REDELIVERABLE.total_seconds():
                break
            if int(item["status_code"]) >= 400:  # an older Enterprise Server lists the others too
                failures[str(item["guid"])].append(item)
    except NotFound:
        return  # an Enterprise Server without the list
    before, office.redelivered = office.redelivered, {}
    asked = 0
    for guid, items in failures.items():
        newest = int(items[0]["id"])
        if before.get(guid) != newest:
            if len(items) >= MOST_TRIES or asked >= MOST_REDELIVERED or office.inbox.has(guid):
                continue
            office.access.app.post(f"/app/hook/deliveries/{newest}/attempts")
            asked += 1
        office.redelivered[guid] = newest


def _tell(office: Office, where: str, error: OstlerError) -> None:
    office.telemetry.tell(Trouble(where.partition(" of ")[0], type(error).__name__, f"{where}: {error}"))
