"""Webhooks: bytes and headers become a slim Delivery, without network. A delivery only starts things; facts are read again by id.

The signature covers the body alone, not the event's name or the delivery's id: so the body must have the shape of its event, and
nothing may be counted by the id. Sources: GitHub's "Validating webhook deliveries" and "Webhook events and payloads".
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic_core import from_json

from bot.core.board import Box, changed, texts
from bot.core.errors import BadInput, PolicyError, SetupError
from bot.core.session import LABEL

MAX_BYTES = 5_000_000
"""GitHub's own cap is 25 MB; the events below are far smaller."""
_SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}")
_FIRST = re.compile(rb'\s*\{\s*"action"\s*:\s*"([a-z_]+)"')
_NAME = LABEL.encode()
"""In the label, the stop label and every command. Encoders of JSON write it as it is: only other characters are escaped."""

_SUBJECTS = frozenset(
    ("issue", "comment", "check_run", "check_suite", "workflow_run", "workflow_job", "pull_request", "review", "discussion")
)
HEARD: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "issues": (frozenset(("issue",)), frozenset(("labeled", "unlabeled", "edited"))),
    "issue_comment": (frozenset(("issue", "comment")), frozenset(("created",))),
    "check_run": (frozenset(("check_run",)), frozenset(("requested_action", "completed"))),
    "pull_request_review": (frozenset(("pull_request", "review")), frozenset(("submitted",))),
    "workflow_run": (frozenset(("workflow_run",)), frozenset(("completed",))),
    "installation": (frozenset(), frozenset(("created", "deleted", "suspend", "unsuspend"))),
    "installation_repositories": (frozenset(), frozenset(("added", "removed"))),
}
"""Per event: which subjects its body has, and the actions that something follows on."""
_NAMED = ("issues", "issue_comment")
_UNHEARD = {
    "ping": "GitHub only tried whether the App is there",
    "label": "a label asks for nothing before it is set on an issue",
    "check_suite": "its check runs and workflow runs are looked at one by one",
    "pull_request": "a pull request is looked at when something is asked for on it",
    "pull_request_review_comment": "it is looked at with its review",
}
_NO_EVENT = "not an event that Ostler listens to"
NO_ACTION = "nothing follows on this action"
_WITHOUT_REPOSITORY = ("installation", "installation_repositories")
_LISTS = {"added": "repositories_added", "removed": "repositories_removed"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Repository:
    full_name: str
    id: int
    default_branch: str


@dataclass(frozen=True, slots=True)
class Sender:
    login: str
    id: int
    type: str


@dataclass(frozen=True, slots=True)
class Comment:
    """Times are UTC, ISO 8601."""

    id: int
    body: str
    author: str
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class CheckRun:
    """`pulls` are the open pull requests of the repository whose head it is about."""

    id: int
    external_id: str
    head_sha: str
    app_id: int
    pulls: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkflowRun:
    """`conclusion` is empty while it runs."""

    id: int
    status: str
    conclusion: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What an event says. `issue` may be a pull request's number. It is 0 and `label`, `requested_action` are empty where it is
    not about one; `ticks` are the boxes of a dashboard that an edit changed, `repositories` the names of those that the App was
    installed in or removed from."""

    event: str
    action: str
    sender: Sender
    installation_id: int
    repository: Repository | None = None
    issue: int = 0
    is_pull: bool = False
    label: str = ""
    comment: Comment | None = None
    check_run: CheckRun | None = None
    requested_action: str = ""
    workflow_run: WorkflowRun | None = None
    ticks: tuple[tuple[Box, bool], ...] = ()
    repositories: tuple[str, ...] = ()


def verify(secrets: Sequence[str], raw: bytes, given: Sequence[str]) -> None:
    """Check that `raw` was signed with one of `secrets` (two while one replaces the other), by all that the delivery has `given`
    under X-Hub-Signature-256.

    Raises:
        PolicyError: no signature, several, another form, or another secret.
        SetupError: there is no secret to check with.
    """
    if not secrets or not all(secrets):
        raise SetupError("No webhook secret is set: without one every delivery could be forged.")
    if len(given) != 1 or not _SIGNATURE.fullmatch(given[0]):
        raise PolicyError("The delivery has no signature of the form that GitHub makes.")
    wanted = [hmac.digest(secret.encode(), raw, hashlib.sha256).hex() for secret in secrets]
    matches = [hmac.compare_digest(f"sha256={digest}", given[0]) for digest in wanted]
    if not any(matches):
        raise PolicyError("The delivery's signature does not match its content.")


def ignored(event: str, raw: bytes) -> str:
    """Why a delivery asks nothing of Ostler, by its name and a look at its text; empty where `parse` has to tell.

    What is ignored has no effect, so nothing else of it is read: most deliveries end here.
    """
    known = HEARD.get(event)
    if known is None:
        return _UNHEARD.get(event, _NO_EVENT)
    first = _FIRST.match(raw)
    if first is None:  # not as GitHub writes it
        return ""
    if first[1].decode() not in known[1]:
        return NO_ACTION
    return "it does not name Ostler" if event in _NAMED and _NAME not in raw else ""


def parse(event: str, raw: bytes) -> Delivery:
    """The delivery in `raw`.

    Raises:
        BadInput: not the JSON of such an event, or none that Ostler listens to.
    """
    if event not in HEARD:
        raise BadInput(f"{event} is {_NO_EVENT}.")
    payload = _object(raw)
    if payload.keys() & _SUBJECTS != HEARD[event][0]:
        raise BadInput(f"The delivery is not of the shape of {event}.")
    return _delivery(event, _take(payload, "action", str), payload)


def slim(delivery: Delivery) -> bytes:
    """The same as JSON that `parse` reads, without the words of a comment: what is kept until the work is done."""
    told: dict[str, Any] = {"action": delivery.action, "sender": _fields(delivery.sender)}
    if delivery.installation_id:
        told["installation"] = {"id": delivery.installation_id}
    if delivery.repository is not None:
        told["repository"] = _fields(delivery.repository)
    if delivery.event == "pull_request_review":
        told |= {"pull_request": {"number": delivery.issue}, "review": {}}
    elif delivery.issue:
        told["issue"] = {"number": delivery.issue} | ({"pull_request": {}} if delivery.is_pull else {})
    if delivery.ticks:
        before, told["issue"]["body"] = texts(delivery.ticks)
        told["changes"] = {"body": {"from": before}}
    if delivery.label:
        told["label"] = {"name": delivery.label}
    if delivery.comment is not None:
        told["comment"] = {**_fields(delivery.comment), "body": "", "user": {"login": delivery.comment.author}}
    if delivery.check_run is not None:
        pulls = [{"number": number} for number in delivery.check_run.pulls]
        told["check_run"] = {**_fields(delivery.check_run), "app": {"id": delivery.check_run.app_id}, "pull_requests": pulls}
        told["requested_action"] = {"identifier": delivery.requested_action}
    if delivery.workflow_run is not None:
        told["workflow_run"] = _fields(delivery.workflow_run)
    if delivery.repositories:
        told[_LISTS[delivery.action]] = [{"full_name": name} for name in delivery.repositories]
    return json.dumps(told).encode()


def _fields(part: Any) -> dict[str, Any]:
    return {name: getattr(part, name) for name in part.__slots__}


def _delivery(event: str, action: str, payload: dict[str, Any]) -> Delivery:
    sender = _take(payload, "sender", dict)
    subject = "pull_request" if event == "pull_request_review" else "issue"
    issue = _take(payload, subject, dict) if subject in payload else None
    asked = payload.get("requested_action") if event == "check_run" else None
    return Delivery(
        event,
        action,
        Sender(_take(sender, "login", str), _take(sender, "id", int), _take(sender, "type", str)),
        _take(_take(payload, "installation", dict), "id", int) if "installation" in payload else 0,
        None if event in _WITHOUT_REPOSITORY else _repository(_take(payload, "repository", dict)),
        _take(issue, "number", int) if issue is not None else 0,
        subject == "pull_request" or (issue is not None and "pull_request" in issue),
        _take(_take(payload, "label", dict), "name", str) if action in ("labeled", "unlabeled") else "",
        _comment(_take(payload, "comment", dict)) if event == "issue_comment" else None,
        _check_run(_take(payload, "check_run", dict)) if event == "check_run" else None,
        _take(_take({"it": asked}, "it", dict), "identifier", str) if action == "requested_action" else "",
        _workflow_run(_take(payload, "workflow_run", dict)) if event == "workflow_run" else None,
        _ticks(issue, payload) if issue is not None and (event, action) == ("issues", "edited") else (),
        _names(_take(payload, _LISTS[action], list)) if event == "installation_repositories" and action in _LISTS else (),
    )


def _ticks(issue: dict[str, Any], payload: dict[str, Any]) -> tuple[tuple[Box, bool], ...]:
    """An edit that left the text alone tells of no old one."""
    told = _take(payload, "changes", dict)
    if "body" not in told or not isinstance(issue.get("body"), str):
        return ()
    return changed(_take(_take(told, "body", dict), "from", str), issue["body"])


def _repository(part: dict[str, Any]) -> Repository:
    return Repository(_take(part, "full_name", str), _take(part, "id", int), _take(part, "default_branch", str))


def _names(parts: list[Any]) -> tuple[str, ...]:
    return tuple(_take(_take({"repository": part}, "repository", dict), "full_name", str) for part in parts)


def _comment(part: dict[str, Any]) -> Comment:
    user = part.get("user")
    return Comment(
        _take(part, "id", int),
        _take(part, "body", str),
        _take(user, "login", str) if isinstance(user, dict) else "",
        _take(part, "created_at", str),
        _take(part, "updated_at", str),
    )


def _check_run(part: dict[str, Any]) -> CheckRun:
    app = _take(part, "app", dict)
    external, pulls = part.get("external_id"), part.get("pull_requests")
    return CheckRun(
        _take(part, "id", int),
        external if isinstance(external, str) else "",
        _take(part, "head_sha", str),
        _take(app, "id", int),
        tuple(_take(_take({"it": one}, "it", dict), "number", int) for one in (pulls if isinstance(pulls, list) else ())),
    )


def _workflow_run(part: dict[str, Any]) -> WorkflowRun:
    conclusion = part.get("conclusion")
    return WorkflowRun(_take(part, "id", int), _take(part, "status", str), conclusion if isinstance(conclusion, str) else "")


def _take(part: dict[str, Any], name: str, kind: type[T]) -> T:
    """`part[name]`, which is exactly of `kind`: a bool is no int here."""
    value = part.get(name)
    if type(value) is not kind:
        raise BadInput(f"The delivery has no {name} that is a {kind.__name__}.")
    return value


def _object(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`. Of a name that stands twice the last counts: only GitHub can have signed it."""
    if len(raw) > MAX_BYTES:
        raise BadInput(f"The delivery is larger than {MAX_BYTES:,} bytes.")
    try:
        value = from_json(raw, allow_inf_nan=False)  # which takes no more than 200 levels
    except ValueError:
        raise BadInput("The delivery is not plain JSON.") from None
    if not isinstance(value, dict):
        raise BadInput("The delivery is not a JSON object.")
    return value
