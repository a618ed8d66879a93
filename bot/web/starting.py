"""A session's beginning: from the label's facts to a row, and from the row to a branch, a check run and a place in the queue.

Every step may be repeated: the row is unique by the session's id, the anchor commit by its content, the check run by its session.
A session that the database does not know may still be one that GitHub knows; so GitHub is asked before anything begins.
"""

from __future__ import annotations

from bot.core.errors import SetupError
from bot.core.queue import Priority, priority
from bot.core.session import SessionState, asked_at, branch, branch_prefix, is_branch_of, is_named, named
from bot.core.triggers import STARTS, Intent, IssueFacts, Refusal, started
from bot.github import comments, facts, refs
from bot.github.client import Client
from bot.loop.comments import refusal
from bot.store.runs import Row, lane_of
from bot.telemetry import Asked, Started
from bot.web import allowances
from bot.web.moves import anchored, stopped
from bot.web.office import Office, Place

JOBS_LOGIN = "github-actions[bot]"
POSTED = ("plan", "status")
"""Comments that a session has written once it has got anywhere."""


def begin(office: Office, place: Place, issue: int) -> Row | None:
    """The session that the issue's label asks for, new or known; None where it asks for none, or for another time."""
    client = office.access.client(place.name, place.installation)
    told = facts.issue(client, issue)
    intent = started(place.id, told)
    if isinstance(intent, Refusal):
        by = told.labelled.actor.login if told.labelled else ""
        office.telemetry.tell(Asked("start", place.name, issue, by, intent.why))
        return None
    return enter(office, place, told, intent)


def enter(office: Office, place: Place, told: IssueFacts, intent: Intent) -> Row | None:
    """The session of an intent to begin one, new or known; None where its state is lost, or another is at work."""
    issue = told.number
    if row := office.runs.get(intent.session):
        if row.priority not in (Priority.FIRST, now := priority(told.labels)):
            office.runs.prioritize(row.id, now)
        return row
    if state := office.recover(place, issue, intent.session):
        return adopt(office, place, state, told.title, priority(told.labels))
    if _lost(office, place, issue, intent.session):
        office.telemetry.tell(Asked("start", place.name, issue, intent.by, "the session's state is lost: a new label is needed"))
        return None
    configured, client = office.configuration(place, place.default_branch), office.access.client(place.name, place.installation)
    if say := facts.capped(client, configured.config.sessions_per_day.caps, issue, intent, configured.origin):
        office.telemetry.tell(Asked("start", place.name, issue, intent.by, "a cap on sessions is reached"))
        comments.put(client, issue, "reply-start", intent.session, office.access.bot, refusal(say))
        return None
    if not _room(office, place, issue, intent):
        return None
    return _new(office, place, told, intent)


def adopt(office: Office, place: Place, state: SessionState, title: str, order: int) -> Row | None:
    """The row of a session that GitHub knows and the database did not. What GitHub holds is what GitHub shows."""
    row = _row(place, state, title, order, shown=state.seq)
    if office.runs.add(row, office.clock()):
        allowances.settle(office, row)
        office.telemetry.tell(Started(state.session, place.name, state.requested_by, "recovered"))
    return office.runs.get(state.session)


def current(office: Office, place: Place, issue: int) -> Row | None:
    """The issue's latest session that is not archived, from the database or else from GitHub."""
    if rows := office.runs.of_issue(place.id, issue):
        return next((row for row in rows if not row.state.archived_by), None)
    state = office.recover(place, issue)
    return adopt(office, place, state, "", Priority.NORMAL) if state else None


def by_name(office: Office, place: Place, word: str) -> Row | None:
    """The repository's session with this id or name, from the database or else from GitHub."""
    issue = named(word)
    if not issue:
        return None
    if row := next((row for row in office.runs.of_issue(place.id, issue) if is_named(row.id, word)), None):
        return row
    state = office.recover(place, issue, word)
    return adopt(office, place, state, "", Priority.NORMAL) if state and is_named(state.session, word) else None


def _lost(office: Office, place: Place, issue: int, session: str) -> bool:
    """Whether this session was at work once although no state of it is left. Missing state never means an unspent budget."""
    client = office.access.client(place.name, place.installation)
    authors = (office.access.bot, JOBS_LOGIN)
    return any(comments.find(client, issue, kind, session, author) for kind in POSTED for author in authors)


def _room(office: Office, place: Place, issue: int, intent: Intent) -> bool:
    """One live session per issue: a newer label ends one that only waits, and itself waits (for the sweep) for one that works."""
    for other in office.runs.of_issue(place.id, issue):
        if other.state.working_run or other.state.standing == "working":
            office.telemetry.tell(Asked("start", place.name, issue, intent.by, f"{other.id} is at work on the issue"))
            return False
        if other.state.standing == "waiting":
            office.change(other.id, lambda state: stopped(state, f"{intent.by}, with a new label", office.at))
            office.show(other.id)
    return True


def _new(office: Office, place: Place, told: IssueFacts, intent: Intent) -> Row | None:
    state = SessionState(
        repo_id=place.id,
        issue=told.number,
        session=intent.session,
        event=intent.event,
        requested_by=intent.by,
        branch=branch(told.number, told.title, intent.session),
        began=intent.verb if intent.verb in STARTS else "",
        issued_at=office.at,
    )
    if office.runs.add(_row(place, state, told.title, priority(told.labels), shown=-1), office.clock()):
        office.telemetry.tell(Started(state.session, place.name, intent.by, "new"))
    return office.runs.get(state.session)


def _row(place: Place, state: SessionState, title: str, order: int, *, shown: int) -> Row:
    return Row(
        place.name,
        place.id,
        place.installation,
        state.issue,
        place.default_branch,
        title,
        state,
        shown,
        lane_of(state),
        order,
        0.0,
    )


def prepare(office: Office, row: Row) -> Row:
    """The 👀, the branch with its empty first commit, and the check run on it; then the session is queued."""
    with office.right(row.id):
        row = office.held(row.id)
        if row.lane != "new":
            return row
        client = office.access.of(row)
        comments.react(client, "eyes", issue=row.issue)
        name, base = _begun(client, row) or (row.state.branch, _head(client, row.default_branch))
        place = Place(row.repo, row.repo_id, row.default_branch, row.installation)
        signed = office.configuration(place, base).config.pull_request.commit == "signed"
        anchor = refs.anchor(client, name, base, row.id, asked_at(row.id), refs.author_of(signed))
        office.change(row.id, lambda state: state if state.anchor_sha else anchored(state, name, base, anchor, office.at))
        return office.show(row.id)


def _head(client: Client, default_branch: str) -> str:
    sha = refs.head(client, default_branch)
    if sha is None:
        raise SetupError(f"The default branch {default_branch} is not there: has the repository a first commit?")
    return sha


def _begun(client: Client, row: Row) -> tuple[str, str] | None:
    """Name and base of a branch that was made for the session before its row was lost or its title changed."""
    for name, head in refs.matching(client, branch_prefix(row.issue)):
        if is_branch_of(name, row.issue, row.id):
            return name, str(client.get(f"git/commits/{head}")["parents"][0]["sha"])
    return None
