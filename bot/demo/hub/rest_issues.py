"""Issues, labels and their history over REST."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from bot.demo.hub import issues, shapes
from bot.demo.hub.hub import Hub
from bot.demo.hub.refusals import Refusal, invalid, not_found
from bot.demo.hub.routing import PAGED, Answer, Call, Page, Route
from bot.demo.hub.state import Comment, Issue, IssueEvent, Label

ONE = "/repos/{owner}/{repo}/issues/{number:int}"
READ, WRITE = "issues:read|pull_requests:read", "issues:write|pull_requests:write"
_STATES = frozenset(("open", "closed"))
_REASONS = frozenset(("completed", "not_planned", "reopened", "duplicate"))
_DIRECTIONS = frozenset(("asc", "desc"))
_ISSUE = {"title!": str, "body?": str, "labels": [str], "assignees": [str]}
_CHANGES = {
    "title": str,
    "body?": str,
    "labels": [str],
    "assignees": [str],
    "state": _STATES,
    "state_reason?": _REASONS,
}
_SEARCH = PAGED | {
    "state": _STATES | {"all"},
    "labels": str,
    "since": str,
    "creator": str,
    "sort": frozenset(("created", "updated", "comments")),
    "direction": _DIRECTIONS,
}
_LABEL = {"name!": str, "color": str, "description?": str}


def issue_of(call: Call, level: str = "") -> Issue:
    """The issue that the path names. With `level`, an App that holds only pull_requests gets pull requests alone."""
    found = call.repository.issues.get(call.path["number"])
    if found is None:
        raise not_found()
    if level and found.pull is None:
        call.must_as_app(f"issues:{level}")
    return found


def moment(text: str) -> datetime:
    """A time in a query; 422 when it isn't one."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise Refusal(422, f"Invalid time: {text}") from None
    if parsed.tzinfo is None:
        raise Refusal(422, f"Invalid time without a zone: {text}")
    return parsed


def _shape(call: Call, issue: Issue) -> dict[str, Any]:
    return shapes.issue(call.hub, call.repository, issue)


def listed(call: Call) -> Page:
    query, state = call.query, call.query.get("state", "open")
    labels = {name.strip().lower() for name in query.get("labels", "").split(",") if name.strip()}
    since = moment(query["since"]) if "since" in query else None
    found = [
        issue
        for issue in call.repository.issues.values()
        if (state == "all" or issue.state == state)
        and labels <= {name.lower() for name in issue.labels}
        and (since is None or issue.updated_at >= since)
        and ("creator" not in query or issue.user.login == query["creator"])
    ]
    keys: dict[str, Callable[[Issue], Any]] = {
        "created": lambda one: one.number,
        "updated": lambda one: (one.updated_at, one.number),
        "comments": lambda one: (len(one.comments), one.number),
    }
    found.sort(key=keys[query.get("sort", "created")], reverse=query.get("direction", "desc") == "desc")
    return Page([_shape(call, issue) for issue in found])


def create(call: Call) -> Answer:
    labels = call.body.get("labels", []) if call.may("issues:write") else []  # silently dropped, as on GitHub
    made = issues.open_(call.hub, call.repository, _by(call), call.body["title"], call.body.get("body"), labels)
    _assign(call, made)
    return Answer(_shape(call, made), 201)


def _by(call: Call) -> Any:
    return call.token or call.user


def _assign(call: Call, issue: Issue) -> None:
    if "assignees" not in call.body:
        return
    found = [call.hub.state.user(login) for login in call.body["assignees"]]
    if any(user is None or not call.repository.role(user) for user in found):
        raise invalid("Issue", "assignees")
    issue.assignees = [user for user in found if user is not None]


def get(call: Call) -> dict[str, Any]:
    return _shape(call, issue_of(call, "read"))


def update(call: Call) -> dict[str, Any]:
    issue = issue_of(call, "write")
    if issue.user.id != call.user.id and not call.may("issues:write") and not call.may("pull_requests:write"):
        raise Refusal(403, "Must have admin rights to Repository.")
    _assign(call, issue)
    if "labels" in call.body and call.may("issues:write"):
        issues.set_labels(call.hub, call.repository, issue, _by(call), call.body["labels"])
    issues.edit(call.hub, call.repository, issue, _by(call), call.body)
    return _shape(call, issue)


# Labels of an issue


def issue_labels(call: Call) -> Page:
    return Page(shapes.labels(call.hub, call.repository, issue_of(call, "read").labels))


def add_labels(call: Call) -> Page:
    issue = issue_of(call, "write")
    issues.add_labels(call.hub, call.repository, issue, _by(call), call.body.get("labels", []))
    return issue_labels(call)


def set_labels(call: Call) -> Page:
    issue = issue_of(call, "write")
    issues.set_labels(call.hub, call.repository, issue, _by(call), call.body.get("labels", []))
    return issue_labels(call)


def remove_label(call: Call) -> Page:
    issues.remove_label(call.hub, call.repository, issue_of(call, "write"), _by(call), call.path["name"])
    return issue_labels(call)


# Labels of the repository


def repository_labels(call: Call) -> Page:
    return Page([shapes.label(call.hub, call.repository, one) for one in call.repository.labels.values()])


def _label(call: Call) -> Label:
    found = call.repository.labels.get(call.path["name"].lower())
    if found is None:
        raise not_found()
    return found


def _good_color(color: str) -> str:
    if len(color) != 6 or set(color.lower()) - set("0123456789abcdef"):
        raise invalid("Label", "color")
    return color.lower()


def create_label(call: Call) -> Answer:
    if call.body["name"].lower() in call.repository.labels:
        raise invalid("Label", "name", "already_exists")
    color = _good_color(call.body.get("color", issues.DEFAULT_COLOR))
    if len(call.body.get("description") or "") > 100:
        raise invalid("Label", "description", "custom", "description is too long (maximum is 100 characters)")
    made = issues.define(call.hub, call.repository, call.body["name"])
    made.color, made.description = color, call.body.get("description")
    return Answer(shapes.label(call.hub, call.repository, made), 201)


def get_label(call: Call) -> dict[str, Any]:
    return shapes.label(call.hub, call.repository, _label(call))


def update_label(call: Call) -> dict[str, Any]:
    found = _label(call)
    if "color" in call.body:
        found.color = _good_color(call.body["color"])
    found.description = call.body.get("description", found.description)
    return shapes.label(call.hub, call.repository, found)


def delete_label(call: Call) -> Answer:
    found = _label(call)
    for issue in call.repository.issues.values():
        if found.name in issue.labels:
            issues.remove_label(call.hub, call.repository, issue, _by(call), found.name)
    del call.repository.labels[found.name.lower()]
    return Answer(status=204)


# History


def events(call: Call) -> Page:
    return Page([_event(call, one) for one in issue_of(call, "read").events])


def repository_events(call: Call) -> Page:
    found = [(one, issue) for issue in call.repository.issues.values() for one in issue.events]
    found.sort(key=lambda pair: -pair[0].id)
    return Page([_event(call, one) | {"issue": _shape(call, issue)} for one, issue in found])


def get_event(call: Call) -> dict[str, Any]:
    for issue in call.repository.issues.values():
        for one in issue.events:
            if one.id == call.path["id"]:
                return _event(call, one) | {"issue": _shape(call, issue)}
    raise not_found()


def _event(call: Call, one: IssueEvent) -> dict[str, Any]:
    return shapes.event(call.hub, call.repository, one)


def timeline(call: Call) -> Page:
    issue = issue_of(call, "read")
    entries: list[IssueEvent | Comment] = [*issue.events, *issue.comments.values()]
    entries.sort(key=lambda one: (one.created_at, one.id))
    return Page([_entry(call, one) for one in entries])


def _entry(call: Call, one: IssueEvent | Comment) -> dict[str, Any]:
    if isinstance(one, IssueEvent):
        return _event(call, one)
    shape = shapes.comment(call.hub, call.repository, one)
    return shape | {"event": "commented", "actor": shape["user"]}


def routes(_: Hub) -> list[Route]:
    base, labels = "/repos/{owner}/{repo}/issues", "/repos/{owner}/{repo}/labels"
    names = {"labels!": [str]}
    return [
        Route("GET", base, listed, READ, query=_SEARCH),
        Route("POST", base, create, "issues:write", body=_ISSUE, anyone=True),
        Route("GET", f"{base}/events", repository_events, READ, query=PAGED),
        Route("GET", f"{base}/events/{{id:int}}", get_event, READ),
        Route("GET", ONE, get, READ),
        Route("PATCH", ONE, update, WRITE, body=_CHANGES, anyone=True),
        Route("GET", f"{ONE}/labels", issue_labels, READ, query=PAGED),
        Route("POST", f"{ONE}/labels", add_labels, WRITE, body=names),
        Route("PUT", f"{ONE}/labels", set_labels, WRITE, body=names),
        Route("DELETE", f"{ONE}/labels/{{name:rest}}", remove_label, WRITE),
        Route("GET", f"{ONE}/events", events, READ, query=PAGED),
        Route("GET", f"{ONE}/timeline", timeline, READ, query=PAGED),
        Route("GET", labels, repository_labels, READ, query=PAGED),
        Route("POST", labels, create_label, WRITE, body=_LABEL),
        Route("GET", f"{labels}/{{name:rest}}", get_label, READ),
        Route("PATCH", f"{labels}/{{name:rest}}", update_label, WRITE, body={"color": str, "description?": str}),
        Route("DELETE", f"{labels}/{{name:rest}}", delete_label, WRITE),
    ]
