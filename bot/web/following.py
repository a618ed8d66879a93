"""What is said on a session's pull request, and what its checks say: the session's next run, when its turn comes.

A delivery only says that there may be something. What is next is found out from what GitHub tells, the oldest first, so what was
said while the session was at work, or while the App was away, is found as well.
"""

from __future__ import annotations

from bot.core.following import Said, followed
from bot.core.queue import Priority
from bot.core.session import issue_of
from bot.core.triggers import Actor
from bot.github import following
from bot.github.client import NotFound
from bot.store.runs import Row
from bot.telemetry import Asked
from bot.web import starting
from bot.web.office import Office, Place


def row_of(office: Office, place: Place, number: int) -> Row | None:
    """The session whose pull request this is, from the database or else from GitHub."""
    try:
        on = following.pull(office.access.client(place.name, place.installation), number)
    except NotFound:
        return None
    issue = issue_of(on.branch)
    if not issue:
        return None
    if row := next((row for row in office.runs.of_issue(place.id, issue) if row.state.branch == on.branch), None):
        return row
    state = office.recover(place, issue, branch=on.branch)
    return starting.adopt(office, place, state, "", Priority.NORMAL) if state else None


def look(office: Office, place: Place, number: int) -> bool:
    """See whether the session of a pull request has something to follow; False where it is at work and may have later."""
    row = row_of(office, place, number)
    if row is not None:
        follow(office, row)
    return row is None or row.state.standing == "over"


def follow(office: Office, row: Row) -> None:
    """Begin the session's next run, if something was said that it is to follow and it is at rest."""
    found = following.due(office.access.of(row), row.state)
    if found is not None:
        said, on = found
        _begin(office, row, said, on.head)


def mend_checks(office: Office, row: Row, who: Actor) -> None:
    """The same for the checks that failed, because somebody pressed the button."""
    on = following.pull(office.access.of(row), row.state.pull)
    _begin(office, row, Said("checks", on.head, f"{office.at[:19]}Z", who), on.head)


def _begin(office: Office, row: Row, said: Said, head: str) -> None:
    """Nothing where the session moved on meanwhile: whoever moved it looks again when it is at rest."""
    at = office.at
    office.change(row.id, lambda state: followed(state, said, head, at) if state.seq == row.state.seq else state)
    office.telemetry.tell(Asked(said.cause, row.repo, row.state.pull, said.actor.login, "done"))
    office.show(row.id)
