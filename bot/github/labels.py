"""Labels: which state a session is in, how risky a change is. For people to see and filter by."""

from __future__ import annotations

from bot.core.errors import BugError
from bot.core.risk import LEVELS, Level
from bot.core.session import STATE_LABELS
from bot.github.client import Client, Conflict, NotFound, once, quoted, repeatable

COLOR = "8a6d3b"
DESCRIPTION = "Set by Ostler; changing it changes nothing"
NO_DRAFT_LABEL = "ostler:not-a-draft"
RISK_LABELS = tuple(f"risk:{level}" for _, level in LEVELS if level != "low")


def has(client: Client, issue: int, label: str) -> bool:
    return label in names(client, issue)


def names(client: Client, issue: int) -> tuple[str, ...]:
    """The labels of an issue, in GitHub's order."""
    return tuple(str(item["name"]) for item in client.pages(f"issues/{issue}/labels"))


def set_state(client: Client, issue: int, label: str | None) -> None:
    """Make `label`, one of STATE_LABELS, the only state label of the issue; None takes them all away."""
    if label is not None and label not in STATE_LABELS:
        raise BugError(f"{label} is no state label")
    _only(client, issue, label, STATE_LABELS)


def set_risk(client: Client, pull: int, level: Level) -> None:
    """Say by a label how risky the change of the pull request is; a low risk has none."""
    _only(client, pull, f"risk:{level}" if level != "low" else None, RISK_LABELS)


def set_no_draft(client: Client, pull: int) -> None:
    """Say by a label that the pull request is no draft, other than Ostler's usually are."""
    _only(client, pull, NO_DRAFT_LABEL, (NO_DRAFT_LABEL,))


def _only(client: Client, issue: int, label: str | None, group: tuple[str, ...]) -> None:
    """One label at a time, never the whole list: a person may be setting another at this moment. The old ones go first, so that
    there are never two of the group."""
    present = names(client, issue)
    for old in present:
        if old in group and old != label:
            _remove(client, issue, old)
    if label is not None and label not in present:
        _define(client, label)
        repeatable(lambda: client.post(f"issues/{issue}/labels", {"labels": [label]}), clock=client.clock)


def _remove(client: Client, issue: int, label: str) -> None:
    try:
        repeatable(lambda: client.delete(f"issues/{issue}/labels/{quoted(label)}"), clock=client.clock)
    except NotFound:
        return  # gone already


def _define(client: Client, label: str) -> None:
    """See to it that the repository has the label: GitHub would make a missing one without colour and description."""

    def found() -> bool | None:
        try:
            client.get(f"labels/{quoted(label)}")
        except NotFound:
            return None
        return True

    def make() -> bool:
        client.post("labels", {"name": label, "color": COLOR, "description": DESCRIPTION})
        return True

    try:
        once(found, make, clock=client.clock)
    except Conflict:
        return  # it exists in another spelling; GitHub's names ignore case
