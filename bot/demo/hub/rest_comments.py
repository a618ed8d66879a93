"""Comments on issues and pull requests, and reactions, over REST."""

from __future__ import annotations

from typing import Any

from bot.demo.hub import issues, shapes
from bot.demo.hub.hub import Hub
from bot.demo.hub.refusals import Refusal, not_found
from bot.demo.hub.rest_issues import ONE, READ, WRITE, issue_of, moment
from bot.demo.hub.routing import PAGED, Answer, Call, Page, Route
from bot.demo.hub.state import Comment, Reaction

_CONTENT = {"content!": frozenset(shapes.REACTIONS)}
_TEXT = {"body!": str}


def _shape(call: Call, one: Comment) -> dict[str, Any]:
    return shapes.comment(call.hub, call.repository, one)


def comment_of(call: Call, level: str) -> Comment:
    """The comment that the path names, on an issue or a pull request that the token reaches."""
    found = call.repository.comment(call.path["id"])
    if found is None:
        raise not_found()
    if call.repository.issues[found.issue].pull is None:
        call.must_as_app(f"issues:{level}")
    return found


def listed(call: Call) -> Page:
    return _page(call, list(issue_of(call, "read").comments.values()))


def repository_comments(call: Call) -> Page:
    found = [one for issue in call.repository.issues.values() for one in issue.comments.values()]
    by_update = call.query.get("sort") == "updated"
    found.sort(key=lambda one: (one.updated_at if by_update else one.created_at, one.id))
    if call.query.get("direction", "asc") == "desc":
        found.reverse()
    return _page(call, found)


def _page(call: Call, found: list[Comment]) -> Page:
    since = moment(call.query["since"]) if "since" in call.query else None
    return Page([_shape(call, one) for one in found if since is None or one.updated_at >= since])


def create(call: Call) -> Answer:
    issue = issue_of(call, "write")
    if issue.locked and not call.may("contents:write"):
        raise Refusal(403, "Unable to create comment because issue is locked.")
    made = issues.comment(call.hub, call.repository, issue, call.token or call.user, call.body["body"])
    return Answer(_shape(call, made), 201)


def get(call: Call) -> dict[str, Any]:
    return _shape(call, comment_of(call, "read"))


def _changeable(call: Call) -> Comment:
    """A person changes their own comments, and with the role `write` everybody's."""
    found = comment_of(call, "write")
    if call.user.type != "Bot" and found.user.id != call.user.id and not call.may("contents:write"):
        raise Refusal(403, "Must have admin rights to Repository.")
    return found


def update(call: Call) -> dict[str, Any]:
    found = _changeable(call)
    issues.edit_comment(call.hub, call.repository, found, call.token or call.user, call.body["body"])
    return _shape(call, found)


def delete(call: Call) -> Answer:
    issues.delete_comment(call.hub, call.repository, _changeable(call), call.token or call.user)
    return Answer(status=204)


# Reactions


def _target(call: Call, level: str) -> list[Reaction]:
    return (comment_of(call, level) if "id" in call.path else issue_of(call, level)).reactions


def reactions(call: Call) -> Page:
    wanted = call.query.get("content")
    found = _target(call, "read")
    return Page([shapes.reaction(call.hub, one) for one in found if wanted in (None, one.content)])


def react(call: Call) -> Answer:
    if call.token is None:
        raise Refusal(401, "Requires authentication")
    made, new = issues.react(call.hub, _target(call, "write"), call.token, call.body["content"])
    return Answer(shapes.reaction(call.hub, made), 201 if new else 200)


def unreact(call: Call) -> Answer:
    given = _target(call, "write")
    found = next((one for one in given if one.id == call.path["reaction"] and one.user.id == call.user.id), None)
    if found is None:
        raise not_found()
    given.remove(found)
    return Answer(status=204)


def routes(_: Hub) -> list[Route]:
    base = "/repos/{owner}/{repo}/issues/comments"
    one = f"{base}/{{id:int}}"
    order: dict[str, Any] = {"sort": frozenset(("created", "updated")), "direction": frozenset(("asc", "desc"))}
    since = PAGED | {"since": str}
    made = [
        Route("GET", base, repository_comments, READ, query=since | order),
        Route("GET", one, get, READ),
        Route("PATCH", one, update, WRITE, body=_TEXT, anyone=True),
        Route("DELETE", one, delete, WRITE, anyone=True),
        Route("GET", f"{ONE}/comments", listed, READ, query=since),
        Route("POST", f"{ONE}/comments", create, WRITE, body=_TEXT, anyone=True),
    ]
    for target in (one, ONE):
        made += [
            Route("GET", f"{target}/reactions", reactions, READ, query=PAGED | {"content": frozenset(shapes.REACTIONS)}),
            Route("POST", f"{target}/reactions", react, WRITE, body=_CONTENT, anyone=True),
            Route("DELETE", f"{target}/reactions/{{reaction:int}}", unreact, WRITE, anyone=True),
        ]
    return made
