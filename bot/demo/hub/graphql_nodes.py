"""Nodes of GraphQL: things of the stand-in's state as types of `schema.graphql`, their ids, and lists of them by the page."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.demo.hub.routing import Call
from bot.demo.hub.state import Repository

MOST = 100


class Wrong(Exception):
    """The query asks for what GitHub would refuse, beyond what its schema says."""


class Absent(Exception):
    """Something that isn't there, or not for whoever asks: `kind` is GitHub's word for it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Node:
    """`one` as a `kind` of the schema, in the repository `home`."""

    kind: str
    one: Any
    home: Repository | None = None

    @property
    def place(self) -> Repository:
        if self.home is None:
            raise Wrong(f"{self.kind} is in no repository")
        return self.home


Field = Callable[..., Any]
_PREFIX = {
    "Repository": "R", "Issue": "I", "PullRequest": "PR", "IssueComment": "IC", "Label": "LA", "User": "U", "Bot": "BOT",
    "Organization": "O", "CheckRun": "CR", "CheckSuite": "CS", "WorkflowRun": "WFR", "Workflow": "W", "PullRequestReview": "PRR",
    "PullRequestReviewThread": "PRRT", "PullRequestReviewComment": "PRRC",
}  # fmt: skip


def node_id(_: Call, node: Node) -> str:
    number = node.one.pull.id if node.kind == "PullRequest" else node.one if isinstance(node.one, int | str) else node.one.id
    return f"{_PREFIX.get(node.kind, node.kind)}_{number}"


# --- connections ---


def connection(nodes: Sequence[Node], first: int | None = None, last: int | None = None, after: str | None = None) -> Node:
    """A page of `nodes`. As on GitHub one of `first` and `last` has to be given, from 1 to 100, where more than the count is
    asked."""
    if (first is None) == (last is None) or not 1 <= (first or last or 0) <= MOST:
        return Node("Connection", {"totalCount": len(nodes)})
    start = _offset(after) if after else 0
    end = min(len(nodes), start + first) if first else len(nodes)
    start = max(start, end - last) if last else start
    info = {"hasNextPage": end < len(nodes), "endCursor": _cursor(end) if end > start else None}
    return Node("Connection", {"nodes": nodes[start:end], "totalCount": len(nodes), "pageInfo": Node("PageInfo", info)})


def _cursor(end: int) -> str:
    return base64.b64encode(f"cursor:{end}".encode()).decode()


def _offset(cursor: str) -> int:
    try:
        return int(base64.b64decode(cursor, validate=True).decode().removeprefix("cursor:"))
    except (ValueError, binascii.Error):
        raise Wrong(f"`{cursor}` does not appear to be a valid cursor.") from None


def listed(nodes: Callable[[Call, Node], Sequence[Node]]) -> Field:
    return lambda call, node, **page: connection(nodes(call, node), **page)


def held(name: str) -> Field:
    return lambda _, node: node.one[name]


def _paged(name: str) -> Field:
    def value(_: Call, node: Node) -> Any:
        if name not in node.one:
            raise Wrong("You must provide a `first` or `last` value between 1 and 100 to properly paginate the connection.")
        return node.one[name]

    return value


CONNECTION: Mapping[str, Field] = {name: _paged(name) for name in ("nodes", "totalCount", "pageInfo")}
