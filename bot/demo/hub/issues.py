"""What happens to issues, whoever asks for it: each change leaves its events behind and sends its webhooks.

The caller holds the state's lock. `by` is a token, or a user where the administrator acts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bot.demo.hub import pull_shapes, shapes
from bot.demo.hub.refusals import Refusal, invalid
from bot.demo.hub.state import Comment, Issue, IssueEvent, Label, Reaction, Repository, Token, User

if TYPE_CHECKING:
    from bot.demo.hub.hub import Hub

LONGEST_TITLE, LONGEST_BODY = 256, 65_536
DEFAULT_COLOR = "ededed"


def actor(by: Token | User) -> User:
    return by.user if isinstance(by, Token) else by


def app_of(by: Token | User) -> int | None:
    return by.app_id if isinstance(by, Token) else None


def good_title(title: str, resource: str = "Issue") -> str:
    """422 for a title that is blank or too long."""
    if not title.strip():
        raise invalid(resource, "title", "missing_field")
    if len(title) > LONGEST_TITLE:
        raise invalid(resource, "title", "custom", f"title is too long (maximum is {LONGEST_TITLE} characters)")
    return title


def good_body(body: str | None, resource: str, *, needed: bool = False) -> str | None:
    """422 for a text that is too long, or blank where one is needed."""
    if needed and not (body or "").strip():
        raise Refusal(
            422,
            "Validation Failed",
            [{"resource": resource, "code": "unprocessable", "field": "data", "message": "Body cannot be blank"}],
        )
    if body is not None and len(body) > LONGEST_BODY:
        raise invalid(resource, "body", "custom", f"body is too long (maximum is {LONGEST_BODY} characters)")
    return body


def make(hub: Hub, home: Repository, by: Token | User, title: str, body: str | None) -> Issue:
    """An issue in the list, without webhooks: pull requests begin like this too."""
    now = hub.now()
    made = Issue(hub.state.next_id(), home.next_number(), actor(by), title, body, now, now, app_id=app_of(by))
    home.issues[made.number] = made
    return made


def open_(hub: Hub, home: Repository, by: Token | User, title: str, body: str | None, labels: Sequence[str] = ()) -> Issue:
    """A new issue. Labels given at once are `labeled` events by the same actor, after `opened`, as an issue form's are."""
    made = make(hub, home, by, good_title(title), good_body(body, "Issue"))
    defined = [define(hub, home, name) for name in labels]
    made.labels = list(dict.fromkeys(label.name for label in defined))
    tell(hub, "opened", home, made, by)
    for name in made.labels:
        _labeled(hub, home, made, by, name)
    return made


def tell(hub: Hub, action: str, home: Repository, issue: Issue, by: Token | User, **more: Any) -> None:
    """The webhook of an issue; of a pull request it is `pull_request`."""
    if issue.pull is None:
        hub.emit("issues", action, home, {"issue": shapes.issue(hub, home, issue)} | more, by)
    else:
        shape = pull_shapes.full(hub, home, issue)
        hub.emit("pull_request", action, home, {"number": issue.number, "pull_request": shape} | more, by)


def note(hub: Hub, issue: Issue, by: Token | User, event: str, **more: Any) -> None:
    """One line of the issue's history."""
    made = IssueEvent(hub.state.next_id(), event, actor(by), hub.now(), app_id=app_of(by), **more)
    issue.events.append(made)
    issue.updated_at = hub.now()


# Labels


def define(hub: Hub, home: Repository, name: str) -> Label:
    """The repository's label of that name, made when it isn't there, as GitHub does when an issue gets an unknown one."""
    if not name.strip() or len(name) > 50:
        raise invalid("Label", "name")
    if name.lower() not in home.labels:
        home.labels[name.lower()] = Label(hub.state.next_id(), name, DEFAULT_COLOR)
    return home.labels[name.lower()]


def _labeled(hub: Hub, home: Repository, issue: Issue, by: Token | User, name: str) -> None:
    label = home.labels[name.lower()]
    note(hub, issue, by, "labeled", label=(label.name, label.color))
    tell(hub, "labeled", home, issue, by, label=shapes.label(hub, home, label))


def add_labels(hub: Hub, home: Repository, issue: Issue, by: Token | User, names: Sequence[str]) -> None:
    """Labels the issue has already make no event."""
    for name in names:
        label = define(hub, home, name)
        if label.name not in issue.labels:
            issue.labels.append(label.name)
            _labeled(hub, home, issue, by, label.name)


def remove_label(hub: Hub, home: Repository, issue: Issue, by: Token | User, name: str) -> None:
    """404 when the issue doesn't have it."""
    label = home.labels.get(name.lower())
    if label is None or label.name not in issue.labels:
        raise Refusal(404, "Label does not exist")
    issue.labels.remove(label.name)
    note(hub, issue, by, "unlabeled", label=(label.name, label.color))
    tell(hub, "unlabeled", home, issue, by, label=shapes.label(hub, home, label))


def set_labels(hub: Hub, home: Repository, issue: Issue, by: Token | User, names: Sequence[str]) -> None:
    wanted = [define(hub, home, name).name for name in names]
    for name in [one for one in issue.labels if one not in wanted]:
        remove_label(hub, home, issue, by, name)
    add_labels(hub, home, issue, by, wanted)


# Edits


def edit(hub: Hub, home: Repository, issue: Issue, by: Token | User, changes: dict[str, Any]) -> None:
    """Title, body and state, each with its event."""
    told: dict[str, Any] = {}
    if "title" in changes and changes["title"] != issue.title:
        before, issue.title = issue.title, good_title(changes["title"])
        note(hub, issue, by, "renamed", rename=(before, issue.title))
        told["title"] = {"from": before}
    if "body" in changes and changes["body"] != issue.body:
        told["body"] = {"from": issue.body or ""}
        issue.body = good_body(changes["body"], "Issue")
        issue.last_edited_at = issue.updated_at = hub.now()
    if told:
        tell(hub, "edited", home, issue, by, changes=told)
    if changes.get("state", issue.state) != issue.state:
        set_state(hub, home, issue, by, changes["state"], changes.get("state_reason"))


def set_state(hub: Hub, home: Repository, issue: Issue, by: Token | User, state: str, reason: str | None) -> None:
    closed = state == "closed"
    issue.state = "closed" if closed else "open"
    if issue.pull is None:
        issue.state_reason = reason or ("completed" if closed else "reopened")
    issue.closed_at = hub.now() if closed else None
    action = "closed" if closed else "reopened"
    note(hub, issue, by, action)
    tell(hub, action, home, issue, by)


# Comments


def comment(hub: Hub, home: Repository, issue: Issue, by: Token | User, body: str) -> Comment:
    text = good_body(body, "IssueComment", needed=True) or ""
    now = hub.now()
    made = Comment(hub.state.next_id(), issue.number, actor(by), text, now, now, app_of(by))
    issue.comments[made.id] = made
    issue.updated_at = now
    _told_of_comment(hub, "created", home, made, by)
    return made


def edit_comment(hub: Hub, home: Repository, one: Comment, by: Token | User, body: str) -> None:
    text = good_body(body, "IssueComment", needed=True) or ""
    if text == one.body:
        return
    before, one.body, one.updated_at = one.body, text, hub.now()
    _told_of_comment(hub, "edited", home, one, by, changes={"body": {"from": before}})


def delete_comment(hub: Hub, home: Repository, one: Comment, by: Token | User) -> None:
    _told_of_comment(hub, "deleted", home, one, by)
    del home.issues[one.issue].comments[one.id]


def _told_of_comment(hub: Hub, action: str, home: Repository, one: Comment, by: Token | User, **more: Any) -> None:
    issue = shapes.issue(hub, home, home.issues[one.issue])
    hub.emit("issue_comment", action, home, {"issue": issue, "comment": shapes.comment(hub, home, one)} | more, by)


def react(hub: Hub, given: list[Reaction], by: Token, content: str) -> tuple[Reaction, bool]:
    """The reaction, and whether it is new: everybody has each one once."""
    for one in given:
        if one.user.id == by.user.id and one.content == content:
            return one, False
    made = Reaction(hub.state.next_id(), by.user, content, hub.now())
    given.append(made)
    return made, True
