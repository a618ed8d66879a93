"""Comments that exist once: found by their author and their first line, made or edited in place, duplicates removed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from bot.core.errors import BugError
from bot.github.client import Client, NotFound, once, repeatable

MAX_CHARACTERS = 65_000
"""GitHub takes 65,536."""
_CUT = "\n\n… (cut: GitHub takes no longer comments)"
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
Reaction = Literal["eyes", "rocket", "confused", "+1", "-1"]


@dataclass(frozen=True, slots=True)
class Comment:
    """`author` is a login, `[bot]` included. Times are UTC, ISO 8601."""

    id: int
    author: str
    body: str
    created_at: str


def marker(kind: str, session: str) -> str:
    """The invisible first line of the comment of `kind` in `session`. It finds a comment and proves nothing."""
    if not (_WORD.fullmatch(kind) and _WORD.fullmatch(session)) or "--" in kind + session:
        raise BugError(f"{kind!r} of {session!r} can't stand in a marker")
    return f"<!-- ostler:{kind} {session} -->"


def find(client: Client, issue: int, kind: str, session: str, author: str) -> Comment | None:
    """The oldest such comment by `author`; anybody else's with the same first line doesn't count."""
    found = _all(client, issue, marker(kind, session), author)
    return found[0] if found else None


def put(client: Client, issue: int, kind: str, session: str, author: str, body: str) -> int:
    """See to it that there is exactly one such comment and that it says `body`; its id."""
    first = marker(kind, session)
    text = f"{first}\n{body}"
    if len(text) > MAX_CHARACTERS:
        text = text[: MAX_CHARACTERS - len(_CUT)] + _CUT
    made = once(
        lambda: find(client, issue, kind, session, author),
        lambda: _comment(client.post(f"issues/{issue}/comments", {"body": text})),
        clock=client.clock,
    )
    listed = _all(client, issue, first, author)
    own = {comment.id: comment for comment in (made, *listed)}  # a list that lags doesn't have it yet
    kept, *extra = (own[number] for number in sorted(own))
    for comment in extra:
        _remove(client, comment)
    if kept.body != text:
        repeatable(lambda: client.patch(f"issues/comments/{kept.id}", {"body": text}), clock=client.clock)
    return kept.id


def react(client: Client, content: Reaction, *, issue: int = 0, comment: int = 0) -> None:
    """Put a reaction on an issue or on a comment; a second one of the same account changes nothing."""
    place = f"issues/comments/{comment}" if comment else f"issues/{issue}"
    repeatable(lambda: client.post(f"{place}/reactions", {"content": content}), clock=client.clock)


def _all(client: Client, issue: int, first: str, author: str) -> list[Comment]:
    """The oldest first."""
    comments = (_comment(item) for item in client.pages(f"issues/{issue}/comments"))
    own = [comment for comment in comments if comment.author == author and _first_line(comment.body) == first]
    return sorted(own, key=lambda comment: comment.id)


def _first_line(body: str) -> str:
    return body.split("\n", 1)[0].rstrip("\r")


def _remove(client: Client, comment: Comment) -> None:
    try:
        repeatable(lambda: client.delete(f"issues/comments/{comment.id}"), clock=client.clock)
    except NotFound:
        return  # gone already


def _comment(item: Any) -> Comment:
    return Comment(int(item["id"]), (item.get("user") or {}).get("login", ""), item.get("body") or "", item["created_at"])
