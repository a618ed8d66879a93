"""What GitHub knows about an issue and about who asked for something, read by id: the facts that `core.triggers` decides on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from bot.core.session import LABEL, STOP_LABEL, asked_at
from bot.core.starts import Caps, Start, refused
from bot.core.triggers import STARTS, Actor, Asked, Intent, IssueFacts, LabelEvent, command, may_write, moment
from bot.github.client import Client, Conflict, NotFound, quoted
from bot.github.once import LOOKS

_COUNTS_AS = {"admin": "admin", "maintain": "write", "write": "write", "triage": "read", "read": "read"}
_EDITED = """
query($owner: String!, $name: String!, $number: Int!) {
  repository(owner: $owner, name: $name) { issue(number: $number) { lastEditedAt } }
}"""


def issue(client: Client, number: int, label: str = LABEL) -> IssueFacts:
    """An issue as it is now, and who put `label` on it. Raises NotFound where there is no issue."""
    found = client.get(f"issues/{number}")
    names = tuple(one if isinstance(one, str) else str(one["name"]) for one in found["labels"])
    events = _events(client, number)
    for wait in LOOKS if label in names else ():  # the list of events can lag behind the label
        if _latest(events, label):
            break
        client.clock.sleep(wait)
        events = _events(client, number)
    is_pull = "pull_request" in found
    known, edited = (False, None) if is_pull else _edited(client, number)
    renamed = [event["created_at"] for event in events if event["event"] == "renamed"]
    times = [time for time in (edited, *renamed) if time is not None]
    return IssueFacts(
        number=number,
        title=found["title"],
        body=found.get("body") or "",
        author=(found.get("user") or {}).get("login", ""),
        open=found["state"] == "open",
        labels=names,
        labelled=_labelled(client, events, label),
        edited_at=max(times, key=moment) if times else None,
        edits_known=known,
        is_pull=is_pull,
    )


def asked(client: Client, places: Iterable[int], comment_id: int) -> Asked | None:
    """The command in a comment on one of these issues and pull requests; None where it holds none, or stands elsewhere."""
    try:
        comment = client.get(f"issues/comments/{comment_id}")
    except NotFound:
        return None
    words = command(comment.get("body") or "")
    place = int(str(comment["issue_url"]).rpartition("/")[2])
    if words is None or place not in places:
        return None
    edited = comment["updated_at"] != comment["created_at"]
    return Asked(words[0], words[1], actor(client, comment.get("user")), edited, comment_id, place, comment["created_at"])


def stopped(client: Client, places: Iterable[int], since: str) -> str | None:
    """Who stopped the work, on one of these issues and pull requests: the stop label, whoever set it, or `/ostler stop` by
    somebody who may write.

    `since` is UTC, ISO 8601; a comment of the same second counts. A label is asked for first: it stops until it is taken away.
    """
    return next((by for number in places if (by := _stopped(client, number, since))), None)


def capped(client: Client, caps: Caps, issue: int, intent: Intent, origin: Callable[[str], str]) -> str:
    """Why the session that `intent` would begin does not, as in `starts.refused`; empty where it may."""
    if not caps:
        return ""
    mine = Start(intent.event, asked_at(intent.session), issue, intent.by)
    return refused(caps, _starts(client, mine.at[:10]), mine, origin)


def _starts(client: Client, day: str) -> Iterator[Start]:
    """What asked for sessions on a day: labels and commands on issues, by people who may write now."""
    known: dict[int, bool] = {}

    def counts(who: Any) -> bool:
        if who and who["id"] not in known:
            known[who["id"]] = may_write(actor(client, who))
        return bool(who and known[who["id"]])

    for event in client.pages("issues/events"):  # the newest first
        if event["created_at"][:10] < day:
            break
        issue = event.get("issue") or {}
        asks = event["event"] == "labeled" and event["label"]["name"] == LABEL and "pull_request" not in issue
        if asks and counts(event.get("actor")):
            yield Start(int(event["id"]), event["created_at"], int(issue["number"]), event["actor"]["login"])
    for comment in client.pages("issues/comments", since=f"{day}T00:00:00Z"):
        words = command(comment.get("body") or "")
        asks = words is not None and words[0] in STARTS and "/pull/" not in comment["html_url"]
        if asks and comment["updated_at"] == comment["created_at"] and counts(comment.get("user")):
            number = int(str(comment["issue_url"]).rpartition("/")[2])
            yield Start(int(comment["id"]), comment["created_at"], number, comment["user"]["login"])


def place_of(client: Client, comment_id: int) -> int:
    """The issue or pull request that a comment stands on."""
    return int(str(client.get(f"issues/comments/{comment_id}")["issue_url"]).rpartition("/")[2])


def _stopped(client: Client, number: int, since: str) -> str | None:
    found = client.get(f"issues/{number}")
    if STOP_LABEL in (label if isinstance(label, str) else label["name"] for label in found["labels"]):
        event = _latest(_events(client, number), STOP_LABEL) or {}
        return str((event.get("actor") or {}).get("login") or "somebody")
    for comment in client.pages(f"issues/{number}/comments", since=since):
        if _says_stop(comment, since):
            who = actor(client, comment.get("user"))
            if may_write(who):
                return who.login
    return None


def _says_stop(comment: Any, since: str) -> bool:
    words = command(comment.get("body") or "")
    late, edited = moment(comment["created_at"]) >= moment(since), comment["updated_at"] != comment["created_at"]
    return words is not None and words[0] == "stop" and late and not edited


def actor(client: Client, user: Any) -> Actor:
    """An account with its permission now; a deleted account has none."""
    if not user:
        return Actor("ghost", 0, "User", "none")
    return Actor(user["login"], int(user["id"]), user["type"], permission(client, user["login"], int(user["id"])))


def co_author(client: Client, login: str) -> str:
    """An account as a `Co-authored-by` trailer names it, by the address that GitHub keeps for it and that nobody can read mail
    at; empty where the account is gone."""
    try:
        found = client.get(f"/users/{quoted(login)}")
    except NotFound:
        return ""
    return f"{found['login']} <{found['id']}+{found['login']}@users.noreply.github.com>"


def permission(client: Client, login: str, user_id: int) -> str:
    """admin, write, read or none. A login that belongs to another account by now has none."""
    try:
        found = client.get(f"collaborators/{quoted(login)}/permission")
    except NotFound:
        return "none"
    if (found.get("user") or {}).get("id") != user_id:
        return "none"
    return _COUNTS_AS.get(found["permission"], "none")


def _events(client: Client, number: int) -> list[Any]:
    """The oldest first; GitHub's times have no smaller unit than a second, and ids grow."""
    return sorted(client.pages(f"issues/{number}/events"), key=lambda event: (moment(event["created_at"]), event["id"]))


def _latest(events: Iterable[Any], label: str) -> Any | None:
    """The event that set `label` last, if none has taken it away since."""
    latest = None
    for event in events:
        if event["event"] in ("labeled", "unlabeled") and (event.get("label") or {}).get("name") == label:
            latest = event if event["event"] == "labeled" else None
    return latest


def _labelled(client: Client, events: Iterable[Any], label: str) -> LabelEvent | None:
    event = _latest(events, label)
    return None if event is None else LabelEvent(int(event["id"]), event["created_at"], actor(client, event.get("actor")))


def _edited(client: Client, number: int) -> tuple[bool, str | None]:
    """Whether GitHub tells about edits of the body, and the time of the last one."""
    owner, _, name = client.repository.partition("/")
    try:
        data = client.graphql(_EDITED, owner=owner, name=name, number=number)
    except (NotFound, Conflict):
        return False, None
    found = ((data or {}).get("repository") or {}).get("issue")
    if not isinstance(found, dict) or "lastEditedAt" not in found:
        return False, None
    time = found["lastEditedAt"]
    return (True, time) if time is None or isinstance(time, str) else (False, None)
