"""What the fields of GraphQL hold: one function for each field of each type that `schema.graphql` names.

A field is `(call, node, **arguments) -> value`, where a node is a thing of the stand-in's state with its repository. Arguments
have GitHub's own names.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.demo.hub import auth, pull_shapes, shapes
from bot.demo.hub.git import CommitData
from bot.demo.hub.routing import Call
from bot.demo.hub.state import CheckRun, Issue, Reaction, Repository, User, stamp

MOST = 100
_REACTIONS = {
    "+1": "THUMBS_UP", "-1": "THUMBS_DOWN", "laugh": "LAUGH", "hooray": "HOORAY", "confused": "CONFUSED", "heart": "HEART",
    "rocket": "ROCKET", "eyes": "EYES",
}  # fmt: skip


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
}  # fmt: skip


def _id(_: Call, node: Node) -> str:
    number = node.one.pull.id if node.kind == "PullRequest" else node.one if isinstance(node.one, int | str) else node.one.id
    return f"{_PREFIX.get(node.kind, node.kind)}_{number}"


# --- connections ---


def _connection(nodes: Sequence[Node], first: int | None = None, last: int | None = None, after: str | None = None) -> Node:
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


def _listed(nodes: Callable[[Call, Node], Sequence[Node]]) -> Field:
    return lambda call, node, **page: _connection(nodes(call, node), **page)


def _none(_: Call, __: Node) -> Sequence[Node]:
    return ()


def _held(name: str) -> Field:
    return lambda _, node: node.one[name]


def _paged(name: str) -> Field:
    def held(_: Call, node: Node) -> Any:
        if name not in node.one:
            raise Wrong("You must provide a `first` or `last` value between 1 and 100 to properly paginate the connection.")
        return node.one[name]

    return held


_CONNECTION: Mapping[str, Field] = {name: _paged(name) for name in ("nodes", "totalCount", "pageInfo")}


# --- who ---


def _account(user: User) -> Node:
    return Node({"Bot": "Bot", "Organization": "Organization"}.get(user.type, "User"), user)


# A Bot's login has no [bot] at the end here, other than in REST.
_ACCOUNT: Mapping[str, Field] = {
    "id": _id,
    "databaseId": lambda _, node: node.one.id,
    "login": lambda _, node: node.one.login.removesuffix("[bot]"),
    "name": lambda _, __: None,
}


# --- repositories ---


def _repository(call: Call, _: Node | None, owner: str, name: str) -> Node:
    found = call.hub.state.repository(f"{owner}/{name}")
    if found is None or not auth.sees(call.token, found):
        raise Absent("NOT_FOUND", f"Could not resolve to a Repository with the name '{owner}/{name}'.")
    return Node("Repository", found, found)


def _node(call: Call, _: Node | None, id: str) -> Node:
    """Issues and pull requests, by the ids that this answers with."""
    for home in call.hub.state.repositories.values():
        for issue in home.issues.values() if auth.sees(call.token, home) else ():
            node = _ticket(issue, home)
            if _id(call, node) == id:
                return _readable(call, node)
    raise Absent("NOT_FOUND", f"Could not resolve to a node with the global id of '{id}'")


def _ticket(issue: Issue, home: Repository) -> Node:
    return Node("Issue" if issue.pull is None else "PullRequest", issue, home)


def _readable(call: Call, node: Node) -> Node:
    _demand(call, node.place, "issues:read" if node.kind == "Issue" else "pull_requests:read")
    return node


def _demand(call: Call, home: Repository, need: str) -> None:
    if call.token is None or not auth.may(call.token, home, need):
        raise Absent("FORBIDDEN", "Resource not accessible by integration")


def _numbered(kind: str, words: str) -> Field:
    def found(call: Call, node: Node, number: int) -> Node:
        issue = node.place.issues.get(number)
        if issue is None or _ticket(issue, node.place).kind not in kind:
            raise Absent("NOT_FOUND", f"Could not resolve to {words} with the number of {number}.")
        return _readable(call, _ticket(issue, node.place))

    return found


def _tickets(call: Call, node: Node, kind: str, order: Mapping[str, str] | None) -> list[Node]:
    _demand(call, node.place, "issues:read" if kind == "Issue" else "pull_requests:read")
    found = [one for issue in node.place.issues.values() if (one := _ticket(issue, node.place)).kind == kind]
    keys: dict[str, Callable[[Node], Any]] = {
        "CREATED_AT": lambda one: (one.one.created_at, one.one.number),
        "UPDATED_AT": lambda one: (one.one.updated_at, one.one.number),
        "COMMENTS": lambda one: (len(one.one.comments), one.one.number),
    }
    order = order or {"field": "CREATED_AT", "direction": "ASC"}
    return sorted(found, key=keys[order["field"]], reverse=order["direction"] == "DESC")


def _issues(
    call: Call,
    node: Node,
    filterBy: Mapping[str, Any] | None = None,
    orderBy: Mapping[str, str] | None = None,
    states: Sequence[str] | None = None,
    **page: Any,
) -> Node:
    by = filterBy or {}
    states = by.get("states") or states
    if unknown := [name for name in ("mentioned", "milestone", "since") if by.get(name) is not None]:
        raise Wrong(f"The stand-in does not filter issues by {', '.join(unknown)}.")

    def wanted(issue: Issue) -> bool:
        return (
            (not states or issue.state.upper() in states)
            and set(by.get("labels") or ()) <= set(issue.labels)
            and by.get("createdBy") in (None, issue.user.login)
            and by.get("assignee") in (None, *(user.login for user in issue.assignees))
        )

    return _connection([one for one in _tickets(call, node, "Issue", orderBy) if wanted(one.one)], **page)


def _pulls(
    call: Call,
    node: Node,
    baseRefName: str | None = None,
    headRefName: str | None = None,
    orderBy: Mapping[str, str] | None = None,
    states: Sequence[str] | None = None,
    **page: Any,
) -> Node:
    def wanted(one: Node) -> bool:
        pull = one.one.pull
        here = baseRefName in (None, pull.base) and headRefName in (None, pull.head)
        return here and (not states or _pull_state(call, one) in states)

    return _connection([one for one in _tickets(call, node, "PullRequest", orderBy) if wanted(one)], **page)


def _labels(call: Call, node: Node, orderBy: Mapping[str, str], query: str = "", **page: Any) -> Node:
    found = [one for one in node.place.labels.values() if query.lower() in f"{one.name} {one.description or ''}".lower()]
    found.sort(key=lambda one: one.name if orderBy["field"] == "NAME" else one.id, reverse=orderBy["direction"] == "DESC")
    return _connection([Node("Label", one, node.home) for one in found], **page)


# --- issues, pull requests, comments, reviews ---


def _reacted(given: Sequence[Reaction]) -> list[Node]:
    """All eight, each with how many."""
    return [
        Node("ReactionGroup", {"content": word, "users": Node("ReactingUserConnection", {"totalCount": count})})
        for name, word in _REACTIONS.items()
        for count in (sum(one.content == name for one in given),)
    ]


def _page(part: str) -> Field:
    return lambda call, node: f"{shapes.html(call.hub, node.place)}/{part}/{node.one.number}"


def _comments(_: Call, node: Node) -> list[Node]:
    return [Node("IssueComment", one, node.home) for one in node.one.comments.values()]


def _comment_url(call: Call, node: Node) -> str:
    issue = next(issue for issue in node.place.issues.values() if node.one.id in issue.comments)
    place = "pull" if issue.pull else "issues"
    return f"{shapes.html(call.hub, node.place)}/{place}/{issue.number}#issuecomment-{node.one.id}"


def _edited(node: Node) -> bool:
    return bool(node.one.updated_at != node.one.created_at)


def _pull_state(_: Call, node: Node) -> str:
    return "MERGED" if node.one.pull.merged_at else str(node.one.state.upper())


def _full(name: str) -> Field:
    """A field that REST has too."""
    return lambda call, node: pull_shapes.full(call.hub, node.place, node.one)[name]


def _commits(call: Call, node: Node) -> list[Node]:
    bare, (old, new) = call.hub.bare(node.place), pull_shapes.span(call.hub.bare(node.place), node.one.pull)
    found = bare.log(new, most=250, without=old)
    return [Node("PullRequestCommit", one.sha, node.home) for one in reversed(found)]


def _commit(field: Callable[[CommitData], Any]) -> Field:
    def value(call: Call, node: Node) -> Any:
        _demand(call, node.place, "contents:read")
        found = call.hub.bare(node.place).commit(node.one)
        if found is None:
            raise Absent("NOT_FOUND", f"Could not resolve to a Commit with the id '{node.one}'.")
        return field(found)

    return value


def _headline(message: str) -> tuple[str, str]:
    headline, _, body = message.partition("\n")
    return headline, body.strip()


_TEXT: Mapping[str, Field] = {
    "id": _id,
    "databaseId": lambda _, node: node.one.id,
    "body": lambda _, node: node.one.body or "",
    "author": lambda _, node: _account(node.one.user),
    "authorAssociation": lambda _, node: shapes.association(node.place, node.one.user),
    "createdAt": lambda _, node: stamp(node.one.created_at),
    "updatedAt": lambda _, node: stamp(node.one.updated_at),
    "reactionGroups": lambda _, node: _reacted(node.one.reactions),
}
_TICKET: Mapping[str, Field] = {
    **_TEXT,
    "number": lambda _, node: node.one.number,
    "title": lambda _, node: node.one.title,
    "closedAt": lambda _, node: shapes.when(node.one.closed_at),
    "lastEditedAt": lambda _, node: shapes.when(node.one.last_edited_at),
    "labels": _listed(lambda _, node: [Node("Label", node.place.labels[name.lower()], node.home) for name in node.one.labels]),
    "assignees": _listed(lambda _, node: [_account(user) for user in node.one.assignees]),
    "comments": _listed(_comments),
    "milestone": lambda _, __: None,
    "projectCards": _listed(_none),
}


# --- checks ---


def _rollup(call: Call, node: Node) -> Node | None:
    _demand(call, node.place, "checks:read")
    return Node("StatusCheckRollup", node.one, node.home) if _checks(call, node) else None


def _checks(_: Call, node: Node) -> list[Node]:
    """The latest check run of each name and App at the commit."""
    latest: dict[tuple[str, int], CheckRun] = {}
    for one in node.place.checks.values():
        if one.head_sha == node.one:
            latest[one.name, one.app_id] = one
    return [Node("CheckRun", one, node.home) for one in latest.values()]


FIELDS: Mapping[str, Mapping[str, Field]] = {
    "Query": {
        "repository": _repository,
        "node": _node,
        "viewer": lambda call, _: Node("User", call.user),
    },
    "PageInfo": {name: _held(name) for name in ("hasNextPage", "endCursor")},
    "Repository": {
        "id": _id,
        "databaseId": lambda _, node: node.one.id,
        "name": lambda _, node: node.one.name,
        "nameWithOwner": lambda _, node: node.one.full_name,
        "owner": lambda _, node: _account(node.one.owner),
        "isPrivate": lambda _, node: node.one.private,
        "hasIssuesEnabled": lambda _, __: True,
        "url": lambda call, node: shapes.html(call.hub, node.one),
        "labels": _labels,
        "issues": _issues,
        "issue": _numbered("Issue", "an Issue"),
        "issueOrPullRequest": _numbered("Issue PullRequest", "an issue or pull request"),
        "pullRequest": _numbered("PullRequest", "a PullRequest"),
        "pullRequests": _pulls,
    },
    "Issue": {
        **_TICKET,
        "state": lambda _, node: node.one.state.upper(),
        "stateReason": lambda _, node: node.one.state_reason.upper() if node.one.state_reason else None,
        "url": _page("issues"),
    },
    "PullRequest": {
        **_TICKET,
        "databaseId": lambda _, node: node.one.pull.id,
        "state": _pull_state,
        "url": _page("pull"),
        "isDraft": lambda _, node: node.one.pull.draft,
        "mergedAt": lambda _, node: shapes.when(node.one.pull.merged_at),
        "mergeable": lambda _, node: "MERGEABLE" if node.one.state == "open" else "UNKNOWN",
        "maintainerCanModify": lambda _, node: node.one.pull.maintainer_can_modify,
        "isCrossRepository": lambda _, __: False,
        "baseRefName": lambda _, node: node.one.pull.base,
        "headRefName": lambda _, node: node.one.pull.head,
        "headRepository": lambda _, node: Node("Repository", node.home, node.home),
        "headRepositoryOwner": lambda _, node: _account(node.place.owner),
        "additions": _full("additions"),
        "deletions": _full("deletions"),
        "changedFiles": _full("changed_files"),
        "commits": _listed(_commits),
        "reviewRequests": _listed(_none),
        "reviews": _listed(
            lambda _, node: [Node("PullRequestReview", one, node.home) for one in node.one.pull.reviews.values()]
        ),
    },
    "IssueComment": {
        **_TEXT,
        "url": _comment_url,
        "lastEditedAt": lambda _, node: stamp(node.one.updated_at) if _edited(node) else None,
        "includesCreatedEdit": lambda _, node: _edited(node),
        "isMinimized": lambda _, __: False,
        "minimizedReason": lambda _, __: None,
        "viewerDidAuthor": lambda call, node: node.one.user is call.user,
    },
    "PullRequestReview": {
        **{name: _TEXT[name] for name in ("id", "body", "author", "authorAssociation")},
        "submittedAt": lambda _, node: stamp(node.one.submitted_at),
        "state": lambda _, node: node.one.state,
        "commit": lambda _, node: Node("Commit", node.one.commit_id, node.home),
        "reactionGroups": lambda _, __: _reacted(()),
    },
    "Label": {
        "id": _id,
        "name": lambda _, node: node.one.name,
        "description": lambda _, node: node.one.description,
        "color": lambda _, node: node.one.color,
    },
    "ReactionGroup": {name: lambda _, node, name=name, **__: node.one[name] for name in ("content", "users")},
    "ReactingUserConnection": {"totalCount": _held("totalCount")},
    "PullRequestCommit": {"id": _id, "commit": lambda _, node: Node("Commit", node.one, node.home)},
    "Commit": {
        "id": _id,
        "oid": lambda _, node: node.one,
        "messageHeadline": _commit(lambda one: _headline(one.message)[0]),
        "messageBody": _commit(lambda one: _headline(one.message)[1]),
        "authoredDate": _commit(lambda one: stamp(one.author.when)),
        "committedDate": _commit(lambda one: stamp(one.committer.when)),
        "authors": lambda call, node, **page: _connection(
            [_commit(lambda one: Node("GitActor", one.author, node.home))(call, node)], **page
        ),
        "statusCheckRollup": _rollup,
    },
    "GitActor": {"name": lambda _, node: node.one.name, "email": lambda _, node: node.one.email, "user": lambda _, __: None},
    "StatusCheckRollup": {"id": _id, "contexts": _listed(_checks)},
    "CheckRun": {
        "id": _id,
        "databaseId": lambda _, node: node.one.id,
        "name": lambda _, node: node.one.name,
        "status": lambda _, node: node.one.status.upper(),
        "conclusion": lambda _, node: node.one.conclusion.upper() if node.one.conclusion else None,
        "startedAt": lambda _, node: shapes.when(node.one.started_at),
        "completedAt": lambda _, node: shapes.when(node.one.completed_at),
        "detailsUrl": lambda call, node: shapes.check_run(call.hub, node.place, node.one)["details_url"],
        "isRequired": lambda _, __, **___: False,
        "checkSuite": lambda _, node: Node("CheckSuite", node.one.suite_id, node.home),
    },
    "CheckSuite": {"id": _id, "workflowRun": lambda _, __: None},
    "User": _ACCOUNT,
    "Bot": _ACCOUNT,
    "Organization": _ACCOUNT,
    **{
        f"{name}Connection": _CONNECTION
        for name in (
            "Label", "Issue", "PullRequest", "IssueComment", "User", "ProjectCard", "PullRequestCommit",
            "StatusCheckRollupContext", "ReviewRequest", "PullRequestReview", "GitActor",
        )
    },
}  # fmt: skip
