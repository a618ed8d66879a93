"""The queue for whoever has the App's token: who waits and why, a session put before others, leases that ended."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bot.core.queue import Priority, why_waits
from bot.store.queue import Load
from bot.web.jobs import Refused
from bot.web.office import Office

MOST = 500
"""Sessions that an answer lists."""
MAX_BYTES = 1_000
HIGHEST = 1_000_000
_ORDER = ("running", "dispatching", "queued", "new", "short", "away")
_WHY = {
    "new": "its branch is being made",
    "dispatching": "a workflow run is being asked for",
    "running": "a workflow run works on it",
    "short": "there is no room under a cap that sessions share",
    "away": "the App is not installed there any more",
}


def stats(office: Office, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """`/api/queue/stats`: sessions by status, and those that are not at rest by priority and repository, and one by one."""
    if query:
        raise Refused(422, "There is nothing to ask for here: leave the query out.")
    by: dict[str, Counter[str]] = {"by_status": Counter(), "by_priority": Counter(), "by_repository": Counter()}
    for lane, priority, repo, number in office.queue.counts():
        by["by_status"][lane] += number
        if lane != "resting":
            by["by_priority"][Priority(priority).name] += number
            by["by_repository"][repo] += number
    return {**by, "sessions": _listed(office)}


def reset_stale(office: Office, raw: bytes) -> dict[str, Any]:
    """`/api/queue/reset-stale`: queue again what somebody was starting whose lease ended. What is alive stays as it is."""
    if raw.strip() not in (b"", b"{}"):
        raise Refused(422, "There is nothing to say here: send no body.")
    number = office.queue.reset_stale(office.clock())
    office.wake.set()
    return {"requeued": number}


def place(office: Office, session: str, raw: bytes) -> dict[str, Any]:
    """`/api/queue/{session}/position`: `{"position": 1}` puts it before its priority's others, null back among them."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or body.keys() != {"position"}:
        raise Refused(422, 'The request is JSON with a position: {"position": 1}, or null for none.')
    position = body["position"]
    if position is not None and (type(position) is not int or not 1 <= position <= HIGHEST):
        raise Refused(422, f"A position is a number from 1 to {HIGHEST:,}, or null.")
    if not office.queue.place(session, position, office.clock()):
        raise Refused(404, "There is no such session.")
    office.wake.set()
    return {"session": session, "position": position}


def _listed(office: Office) -> list[dict[str, Any]]:
    """What works first, then the queue as it stands; `place` is the one in it."""
    places, loads, paused = office.queue.places(MOST), office.queue.loads(), office.queue.paused()
    queued = {one: at for at, one in enumerate(place.id for place in places if place.lane == "queued")}
    rows = []
    for each in sorted(places, key=lambda place: _ORDER.index(place.lane)):
        load, at = loads.get(each.repo_id, Load()), queued.get(each.id)
        held = {"starting": load.starting, "paused": each.repo_id in paused}
        why = _WHY[each.lane] if at is None else why_waits(load.running, load.most, at, **held)
        rows.append(
            {
                "session": each.id,
                "repository": each.repo,
                "issue": each.issue,
                "status": each.lane,
                "priority": Priority(each.priority).name,
                "position": each.position,
                "place": None if at is None else at + 1,
                "attempt": each.attempt,
                "why": why,
            }
        )
    return rows
