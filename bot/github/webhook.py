"""Webhooks: bytes and headers become a slim Delivery, without network. A delivery only starts things; facts are read again by id.

The signature covers the body alone, not the event's name or the delivery's id: so the body must have the shape of its event, and
nothing may be counted by the id. Sources: GitHub's "Validating webhook deliveries" and "Webhook events and payloads".
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from bot.core.board import Box, changed
from bot.core.errors import BadInput, PolicyError, SetupError

MAX_BYTES = 5_000_000
"""GitHub's own cap is 25 MB; the events below are far smaller."""
MAX_DEPTH = 64
SIGNATURE = "x-hub-signature-256"
_SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}")
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
"""Strings, so that brackets in them don't count (one without an end reaches to the end of the text), and brackets."""

_SUBJECTS = frozenset(
    ("issue", "comment", "check_run", "check_suite", "workflow_run", "workflow_job", "pull_request", "review", "discussion")
)
_EVENTS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "issues": (
        frozenset(("issue",)),
        frozenset(("opened", "edited", "labeled", "unlabeled", "closed", "reopened", "deleted", "transferred")),
    ),
    "issue_comment": (frozenset(("issue", "comment")), frozenset(("created", "edited", "deleted"))),
    "check_run": (frozenset(("check_run",)), frozenset(("created", "rerequested", "completed", "requested_action"))),
    "workflow_run": (frozenset(("workflow_run",)), frozenset(("requested", "in_progress", "completed"))),
    "installation": (frozenset(), frozenset(("created", "deleted", "suspend", "unsuspend", "new_permissions_accepted"))),
    "installation_repositories": (frozenset(), frozenset(("added", "removed"))),
}
"""Per event: which subjects its body has, and the actions we look at."""
_WITHOUT_REPOSITORY = ("installation", "installation_repositories")

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
    id: int
    external_id: str
    head_sha: str
    app_id: int


@dataclass(frozen=True, slots=True)
class WorkflowRun:
    """`conclusion` is empty while it runs."""

    id: int
    status: str
    conclusion: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What an event says. `issue` is 0 and `label`, `requested_action` are empty where it is not about one; `ticks` are the
    boxes of a dashboard that an edit changed."""

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


def verify(secrets: Sequence[str], raw: bytes, headers: Mapping[str, str]) -> None:
    """Check that `raw` was signed with one of `secrets` (two while one replaces the other).

    `headers` may be a multi-mapping whose `items()` repeats names.

    Raises:
        PolicyError: no signature, several, another form, or another secret.
        SetupError: there is no secret to check with.
    """
    if not secrets or not all(secrets):
        raise SetupError("No webhook secret is set: without one every delivery could be forged.")
    given = [value for name, value in headers.items() if name.lower() == SIGNATURE]
    if len(given) != 1 or not _SIGNATURE.fullmatch(given[0]):
        raise PolicyError("The delivery has no signature of the form that GitHub makes.")
    wanted = [hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest() for secret in secrets]
    matches = [hmac.compare_digest(f"sha256={digest}", given[0]) for digest in wanted]
    if not any(matches):
        raise PolicyError("The delivery's signature does not match its content.")


def parse(event: str, raw: bytes) -> Delivery | None:
    """The delivery in `raw`, or None for an event or action that Ostler does not look at.

    Raises:
        BadInput: not the JSON of such an event.
    """
    known = _EVENTS.get(event)
    if known is None:
        return None
    subjects, actions = known
    payload = _object(raw)
    action = _take(payload, "action", str)
    if payload.keys() & _SUBJECTS != subjects:
        raise BadInput(f"The delivery is not of the shape of {event}.")
    if action not in actions:
        return None
    return _delivery(event, action, payload)


def _delivery(event: str, action: str, payload: dict[str, Any]) -> Delivery:
    sender = _take(payload, "sender", dict)
    issue = _take(payload, "issue", dict) if "issue" in payload else None
    asked = payload.get("requested_action") if event == "check_run" else None
    return Delivery(
        event,
        action,
        Sender(_take(sender, "login", str), _take(sender, "id", int), _take(sender, "type", str)),
        _take(_take(payload, "installation", dict), "id", int) if "installation" in payload else 0,
        None if event in _WITHOUT_REPOSITORY else _repository(_take(payload, "repository", dict)),
        _take(issue, "number", int) if issue is not None else 0,
        issue is not None and "pull_request" in issue,
        _take(_take(payload, "label", dict), "name", str) if action in ("labeled", "unlabeled") else "",
        _comment(_take(payload, "comment", dict)) if event == "issue_comment" else None,
        _check_run(_take(payload, "check_run", dict)) if event == "check_run" else None,
        _take(_take({"it": asked}, "it", dict), "identifier", str) if action == "requested_action" else "",
        _workflow_run(_take(payload, "workflow_run", dict)) if event == "workflow_run" else None,
        _ticks(issue, payload) if issue is not None and (event, action) == ("issues", "edited") else (),
    )


def _ticks(issue: dict[str, Any], payload: dict[str, Any]) -> tuple[tuple[Box, bool], ...]:
    """An edit that left the text alone tells of no old one."""
    told = _take(payload, "changes", dict)
    if "body" not in told or not isinstance(issue.get("body"), str):
        return ()
    return changed(_take(_take(told, "body", dict), "from", str), issue["body"])


def _repository(part: dict[str, Any]) -> Repository:
    return Repository(_take(part, "full_name", str), _take(part, "id", int), _take(part, "default_branch", str))


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
    external = part.get("external_id")
    return CheckRun(
        _take(part, "id", int), external if isinstance(external, str) else "", _take(part, "head_sha", str), _take(app, "id", int)
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
    """The JSON object in `raw`: bounded in size and depth, without double names, NaN or half characters."""
    if len(raw) > MAX_BYTES:
        raise BadInput(f"The delivery is larger than {MAX_BYTES:,} bytes.")
    _check_depth(raw)
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        if b"\\ud" in raw or b"\\uD" in raw:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a character can't be encoded
    except (ValueError, RecursionError):
        raise BadInput("The delivery is not plain JSON.") from None
    if not isinstance(value, dict):
        raise BadInput("The delivery is not a JSON object.")
    return value


def _check_depth(raw: bytes) -> None:
    """Before parsing, because a parser may give up in worse ways."""
    depth = 0
    for match in _TOKENS.finditer(raw):
        first = raw[match.start()]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise BadInput(f"The delivery is nested deeper than {MAX_DEPTH} levels.")
        elif first in b"]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(name)
