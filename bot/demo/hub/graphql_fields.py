"""What the fields of GraphQL hold: one function for each field of each type that `schema.graphql` names.

A field is `(call, node, **arguments) -> value`, where a node is a thing of the stand-in's state with its repository. Arguments
have GitHub's own names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from bot.demo.hub import auth, pull_shapes, shapes
from bot.demo.hub.git import CommitData
from bot.demo.hub.graphql_nodes import CONNECTION, Absent, Field, Node, Wrong, connection, held, listed, node_id
from bot.demo.hub.routing import Call
from bot.demo.hub.state import CheckRun, Issue, Pull, Reaction, Repository, User, stamp

_REACTIONS = {
    "+1": "THUMBS_UP", "-1": "THUMBS_DOWN", "laugh": "LAUGH", "hooray": "HOORAY", "confused": "CONFUSED", "heart": "HEART",
    "rocket": "ROCKET", "eyes": "EYES",
}  # fmt: skip


# --- who ---


def _account(user: User) -> Node:
    return Node({"Bot": "Bot", "Organization": "Organization"}.get(user.type, "User"), user)


# A Bot's login has no [bot] at the end here, other than in REST.
_ACCOUNT: Mapping[str, Field] = {
    "id": node_id,
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
    return _readable(call, _by_id(call, id, _seen(call)))


def _seen(call: Call) -> Iterator[Node]:
    """The issues and pull requests of all repositories that the token sees."""
    for home in call.hub.state.repositories.values():
        if auth.sees(call.token, home):
            yield from (_ticket(issue, home) for issue in home.issues.values())


def _by_id(call: Call, id: str, nodes: Iterable[Node]) -> Node:
    found = next((node for node in nodes if node_id(call, node) == id), None)
    if found is None:
        raise Absent("NOT_FOUND", f"Could not resolve to a node with the global id of '{id}'")
    return found


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

    return connection([one for one in _tickets(call, node, "Issue", orderBy) if wanted(one.one)], **page)


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

    return connection([one for one in _tickets(call, node, "PullRequest", orderBy) if wanted(one)], **page)


def _labels(call: Call, node: Node, orderBy: Mapping[str, str], query: str = "", **page: Any) -> Node:
    found = [one for one in node.place.labels.values() if query.lower() in f"{one.name} {one.description or ''}".lower()]
    found.sort(key=lambda one: one.name if orderBy["field"] == "NAME" else one.id, reverse=orderBy["direction"] == "DESC")
    return connection([Node("Label", one, node.home) for one in found], **page)


# --- issues, pull requests, comments, reviews ---


def _none(_: Call, __: Node) -> Sequence[Node]:
    return ()


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


def _last_edited(_: Call, node: Node) -> str | None:
    return stamp(node.one.updated_at) if _edited(node) else None


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


# --- threads of reviews: a comment on lines, and those that answer it ---


def _threads(_: Call, node: Node) -> list[Node]:
    begun = [one for one in node.one.pull.review_comments.values() if one.reply_to is None]
    return [Node("PullRequestReviewThread", one, node.home) for one in begun]


def _pull_of(node: Node) -> Pull:
    found = (issue.pull for issue in node.place.issues.values() if issue.pull)
    return next(pull for pull in found if node.one.id in pull.review_comments)


def _said_in(_: Call, node: Node) -> list[Node]:
    found = _pull_of(node).review_comments.values()
    said = [one for one in found if node.one.id in (one.id, one.reply_to)]
    return [Node("PullRequestReviewComment", one, node.home) for one in said]


def _lines(call: Call, node: Node) -> tuple[int | None, int | None]:
    """The first line, where the thread is on several, and the last; none where they were changed since."""
    first, last = pull_shapes.now_at(call.hub.bare(node.place), _pull_of(node), node.one) or (None, None)
    return first if node.one.start_line else None, last


def _resolve(call: Call, _: None, input: Mapping[str, Any]) -> Node:
    pulls = (node for node in _seen(call) if node.kind == "PullRequest")
    thread = _by_id(call, input["threadId"], (thread for pull in pulls for thread in _threads(call, pull)))
    _demand(call, thread.place, "pull_requests:write")
    thread.one.resolved = True
    return Node("ResolveReviewThreadPayload", {"thread": thread, "clientMutationId": input.get("clientMutationId")})


_TEXT: Mapping[str, Field] = {
    "id": node_id,
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
    "labels": listed(lambda _, node: [Node("Label", node.place.labels[name.lower()], node.home) for name in node.one.labels]),
    "assignees": listed(lambda _, node: [_account(user) for user in node.one.assignees]),
    "comments": listed(_comments),
    "milestone": lambda _, __: None,
    "projectCards": listed(_none),
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
    "Mutation": {"resolveReviewThread": _resolve},
    "ResolveReviewThreadPayload": {name: held(name) for name in ("thread", "clientMutationId")},
    "PageInfo": {name: held(name) for name in ("hasNextPage", "endCursor")},
    "Repository": {
        "id": node_id,
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
        "headRefOid": lambda _, node: node.one.pull.head_sha,
        "headRepository": lambda _, node: Node("Repository", node.home, node.home),
        "headRepositoryOwner": lambda _, node: _account(node.place.owner),
        "additions": _full("additions"),
        "deletions": _full("deletions"),
        "changedFiles": _full("changed_files"),
        "commits": listed(_commits),
        "reviewRequests": listed(_none),
        "reviews": listed(
            lambda _, node: [Node("PullRequestReview", one, node.home) for one in node.one.pull.reviews.values()]
        ),
        "reviewThreads": listed(_threads),
    },
    "IssueComment": {
        **_TEXT,
        "url": _comment_url,
        "lastEditedAt": _last_edited,
        "includesCreatedEdit": lambda _, node: _edited(node),
        "isMinimized": lambda _, __: False,
        "minimizedReason": lambda _, __: None,
        "viewerDidAuthor": lambda call, node: node.one.user is call.user,
    },
    "PullRequestReview": {
        **{name: _TEXT[name] for name in ("id", "databaseId", "body", "author", "authorAssociation")},
        "submittedAt": lambda _, node: stamp(node.one.submitted_at),
        "lastEditedAt": lambda _, node: shapes.when(node.one.edited_at),
        "state": lambda _, node: node.one.state,
        "commit": lambda _, node: Node("Commit", node.one.commit_id, node.home),
        "reactionGroups": lambda _, __: _reacted(()),
    },
    "PullRequestReviewThread": {
        "id": node_id,
        "isResolved": lambda _, node: node.one.resolved,
        "isOutdated": lambda call, node: _lines(call, node)[1] is None,
        "path": lambda _, node: node.one.path,
        "line": lambda call, node: _lines(call, node)[1],
        "startLine": lambda call, node: _lines(call, node)[0],
        "diffSide": lambda _, node: node.one.side,
        "comments": listed(_said_in),
    },
    "PullRequestReviewComment": {
        **{name: field for name, field in _TEXT.items() if name != "reactionGroups"},
        "lastEditedAt": _last_edited,
    },
    "Label": {
        "id": node_id,
        "name": lambda _, node: node.one.name,
        "description": lambda _, node: node.one.description,
        "color": lambda _, node: node.one.color,
    },
    "ReactionGroup": {name: lambda _, node, name=name, **__: node.one[name] for name in ("content", "users")},
    "ReactingUserConnection": {"totalCount": held("totalCount")},
    "PullRequestCommit": {"id": node_id, "commit": lambda _, node: Node("Commit", node.one, node.home)},
    "Commit": {
        "id": node_id,
        "oid": lambda _, node: node.one,
        "messageHeadline": _commit(lambda one: _headline(one.message)[0]),
        "messageBody": _commit(lambda one: _headline(one.message)[1]),
        "authoredDate": _commit(lambda one: stamp(one.author.when)),
        "committedDate": _commit(lambda one: stamp(one.committer.when)),
        "authors": lambda call, node, **page: connection(
            [_commit(lambda one: Node("GitActor", one.author, node.home))(call, node)], **page
        ),
        "statusCheckRollup": _rollup,
    },
    "GitActor": {"name": lambda _, node: node.one.name, "email": lambda _, node: node.one.email, "user": lambda _, __: None},
    "StatusCheckRollup": {"id": node_id, "contexts": listed(_checks)},
    "CheckRun": {
        "id": node_id,
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
    "CheckSuite": {"id": node_id, "workflowRun": lambda _, __: None},
    "User": _ACCOUNT,
    "Bot": _ACCOUNT,
    "Organization": _ACCOUNT,
    **{
        f"{name}Connection": CONNECTION
        for name in (
            "Label", "Issue", "PullRequest", "IssueComment", "User", "ProjectCard", "PullRequestCommit",
            "StatusCheckRollupContext", "ReviewRequest", "PullRequestReview", "PullRequestReviewThread",
            "PullRequestReviewComment", "GitActor",
        )
    },
}  # fmt: skip
