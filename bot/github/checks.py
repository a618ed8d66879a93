"""The check run of a session: exactly one for each commit it stands on, and the signed states that such check runs hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from bot.core.errors import BugError
from bot.core.session import CHECK_NAME
from bot.github.client import Client, Conflict, NotFound, once, repeatable

ACTIONS_APP = 15368
"""The id of the App behind every workflow's own token, on github.com."""
MAX_CHARACTERS = 65_000
"""GitHub takes 65,535 in a summary and in a text."""
MOST_ACTIONS, LONGEST_IDENTIFIER = 3, 20
SUPERSEDED = "Superseded"

Status = Literal["queued", "in_progress", "completed"]
Conclusion = Literal["action_required", "cancelled", "failure", "neutral", "skipped", "success", "timed_out"]


@dataclass(frozen=True, slots=True)
class Action:
    """A button. GitHub takes 20, 40 and 20 characters; the first two are cut."""

    label: str
    description: str
    identifier: str


@dataclass(frozen=True, slots=True)
class Check:
    """What the check run is to show. `conclusion`, `completed_at` and `actions` only with status completed: GitHub shows buttons
    only then. `text` holds the signed state. Times are UTC, ISO 8601; empty ones are left to GitHub."""

    head_sha: str
    session: str
    status: Status
    title: str
    summary: str
    text: str = ""
    conclusion: Conclusion | None = None
    actions: tuple[Action, ...] = ()
    details_url: str = ""
    started_at: str = ""
    completed_at: str = ""


@dataclass(frozen=True, slots=True)
class Stated:
    """A check run as it stands on GitHub."""

    id: int
    session: str
    head_sha: str
    app_id: int
    status: str
    conclusion: str
    title: str
    summary: str
    text: str


def put(client: Client, check: Check, *, app_id: int) -> int:
    """See to it that `check` stands once at its commit, made by the App `app_id` that the client is; its id.

    Of duplicates, which a lagging list may have caused, the oldest is kept and the others are completed as superseded.
    """
    body = _body(check)
    new = {"name": CHECK_NAME, "head_sha": check.head_sha, "external_id": check.session, **body}
    made: list[int] = []

    def make() -> Stated:
        stated = _stated(client.post("check-runs", new))
        made.append(stated.id)
        return stated

    first = once(lambda: next(iter(_own(client, check, app_id)), None), make, clock=client.clock)
    own = {stated.id: stated for stated in (first, *_own(client, check, app_id))}  # a list that lags doesn't have it yet
    kept, *extra = (own[number] for number in sorted(own))
    for stated in extra:
        _supersede(client, stated)
    if kept.id not in made:
        repeatable(lambda: client.patch(f"check-runs/{kept.id}", body), clock=client.clock)
    return kept.id


def read_states(client: Client, head_shas: Iterable[str], app_id: int) -> list[Stated]:
    """All check runs of ours at these commits, by `app_id`; a commit that is gone has none. Their texts are believed by nobody
    before their signature is checked."""
    found: list[Stated] = []
    for sha in dict.fromkeys(head_shas):
        try:
            found += _listed(client, sha, app_id)
        except (NotFound, Conflict):
            continue  # 422: no such commit
    return found


def _own(client: Client, check: Check, app_id: int) -> list[Stated]:
    """The oldest first."""
    own = [stated for stated in _listed(client, check.head_sha, app_id) if stated.session == check.session]
    return sorted(own, key=lambda stated: stated.id)


def _listed(client: Client, sha: str, app_id: int) -> Iterator[Stated]:
    items = client.pages(f"commits/{sha}/check-runs", "check_runs", check_name=CHECK_NAME, app_id=app_id, filter="all")
    for item in items:
        stated = _stated(item)
        if stated.app_id == app_id and item.get("name") == CHECK_NAME:
            yield stated


def _supersede(client: Client, stated: Stated) -> None:
    if stated.status == "completed" and stated.title == SUPERSEDED:
        return
    body = {
        "status": "completed",
        "conclusion": "neutral",
        "output": {"title": SUPERSEDED, "summary": "Another check run of the same session stands for it.", "text": stated.text},
        "actions": [],
    }
    repeatable(lambda: client.patch(f"check-runs/{stated.id}", body), clock=client.clock)


def _body(check: Check) -> dict[str, Any]:
    _check_shape(check)
    done = check.status == "completed"
    output = {"title": check.title[:255], "summary": check.summary[:MAX_CHARACTERS]}
    optional = {
        "conclusion": check.conclusion,
        "details_url": check.details_url,
        "started_at": check.started_at,
        "completed_at": check.completed_at if done else "",
    }
    return {
        "status": check.status,
        "output": output | ({"text": check.text} if check.text else {}),
        **{name: value for name, value in optional.items() if value},
        **({"actions": [_action(action) for action in check.actions]} if done else {}),
    }


def _check_shape(check: Check) -> None:
    """GitHub would refuse these, or show half of them."""
    done = check.status == "completed"
    if (check.conclusion is not None) is not done or (check.actions and not done):
        raise BugError("a check run has a conclusion when it is completed, and buttons only then")
    if len(check.actions) > MOST_ACTIONS or any(len(action.identifier) > LONGEST_IDENTIFIER for action in check.actions):
        raise BugError(f"a check run has at most {MOST_ACTIONS} buttons, with identifiers of {LONGEST_IDENTIFIER} characters")
    if len(check.text) > MAX_CHARACTERS:
        raise BugError("the check run's text would be cut, and a signed state with it")


def _action(action: Action) -> dict[str, str]:
    return {"label": action.label[:20], "description": action.description[:40], "identifier": action.identifier}


def _stated(item: Any) -> Stated:
    output = item.get("output") or {}
    return Stated(
        int(item["id"]),
        item.get("external_id") or "",
        item.get("head_sha") or "",
        int((item.get("app") or {}).get("id") or 0),
        item.get("status") or "",
        item.get("conclusion") or "",
        output.get("title") or "",
        output.get("summary") or "",
        output.get("text") or "",
    )
