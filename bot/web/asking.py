"""What people ask for in a session: commands in comments, buttons of the check run, the stop label.

Who may ask for what is decided by `core.triggers` from what GitHub tells now. A move that was made already is not made again, so
that an answer that was lost can be given again.
"""

from __future__ import annotations

from bot.core.budget import dollars
from bot.core.errors import SetupError
from bot.core.following import LATER, NONE_FAILED, places, why_not
from bot.core.session import CHECK_NAME, STOP_LABEL, SessionState
from bot.core.settling import approval_waits, unshippable, waits_for_money
from bot.core.steering import noted, told
from bot.core.triggers import (
    ANSWERED,
    FOLLOWS,
    LOOKS,
    NO_SESSION,
    NOTED,
    OF_PLAN,
    STARTS,
    Asked,
    Intent,
    Refusal,
    Verb,
    commanded,
    edited_since,
    may_write,
    raised_before,
    revised_before,
    started,
)
from bot.github import actions, comments, facts
from bot.github.client import Client, Conflict
from bot.github.following import failing, pull
from bot.github.rollback import roll_back
from bot.github.webhook import Delivery
from bot.loop.comments import help_reply, refusal, rolled_back, sessions_reply, status_reply
from bot.store.runs import Row
from bot.telemetry import Asked as AskedFact
from bot.web import allowances, following, starting
from bot.web.moves import approved, raised, retried, revised, shipped, stopped
from bot.web.office import Office, Place


def comment(office: Office, place: Place, number: int, comment_id: int, *, is_pull: bool = False) -> None:
    """Do what the comment on an issue or pull request asks for, if it asks for anything and its author may."""
    asked = facts.asked(office.access.client(place.name, place.installation), (number,), comment_id)
    if asked is not None:
        row = following.row_of(office, place, number) if is_pull else starting.current(office, place, number)
        if asked.verb == "archive":
            issue, row = row.issue if row and is_pull else number, starting.by_name(office, place, asked.argument)
            row = row if row and row.issue == issue else None
        _ask(office, place, row, number, asked, f"reply-{comment_id}")


def button(office: Office, place: Place, delivery: Delivery) -> None:
    """The same by a button; only of a check run that this App made for a session it knows."""
    pressed = delivery.check_run
    if pressed is None or pressed.app_id != office.access.app_id:
        return
    row = starting.by_name(office, place, pressed.external_id)
    if row is None or row.repo_id != place.id:
        return
    words = read_button(delivery.requested_action)
    if words is None:
        return
    client = office.access.client(place.name, place.installation)
    who = facts.actor(client, {"login": delivery.sender.login, "id": delivery.sender.id, "type": delivery.sender.type})
    latest = starting.current(office, place, row.issue)
    _ask(office, place, latest, row.issue, Asked(*words, who), f"reply-{CHECK_NAME}-{pressed.id}")


def ticked(office: Office, place: Place, session: str, seq: int, asked: Asked) -> None:
    """The same by a box of the dashboard; it was drawn for the session's state `seq`, and counts for no other."""
    row = office.runs.get(session)
    if row is None or row.repo_id != place.id or row.state.seq != seq:
        return
    newest = starting.current(office, place, row.issue)
    if newest is not None and newest.id == session:
        _ask(office, place, newest, row.issue, asked, f"reply-box-{seq}")


def read_button(identifier: str) -> tuple[Verb, str] | None:
    """The command that a button stands for."""
    verb, _, argument = identifier.partition("-")
    if verb == "approve" and argument:
        return "approve", argument
    found: dict[str, tuple[Verb, str]] = {
        "stop": ("stop", ""), "retry": ("retry", ""), "budget": ("budget", "+2 by the button"), "fix-ci": ("fix-ci", ""),
        "ship": ("ship", ""),
    }  # fmt: skip
    return found.get(identifier)


def stop_label(office: Office, place: Place, issue: int) -> None:
    """The stop label wins, whoever set it: it grants nothing."""
    client = office.access.client(place.name, place.installation)
    row = starting.current(office, place, issue)
    if row is None or row.state.standing == "over":
        return
    by = facts.stopped(client, places(row.state), row.state.issued_at)
    if by is None:
        return
    _stop(office, row, f"{by}, with the label {STOP_LABEL}")
    office.telemetry.tell(AskedFact("stop", place.name, issue, by, "done"))


def _ask(office: Office, place: Place, row: Row | None, issue: int, asked: Asked, kind: str) -> None:
    client = office.access.client(place.name, place.installation)
    state = row.state if row else None
    said = _said(office, client, asked, state)
    told = facts.issue(client, asked.place) if isinstance(said, Intent) and said.verb in STARTS else None
    if told is not None:
        said = started(place.id, told, asked)
    outcome = "done" if isinstance(said, Intent) else said.why
    office.telemetry.tell(AskedFact(asked.verb, place.name, issue, asked.actor.login, outcome))
    if isinstance(said, Refusal):
        if said.say:
            _reply(office, client, issue, kind, state, refusal(said.say))
        return
    if asked.comment:
        comments.react(client, "eyes", comment=asked.comment)
    if told is not None:
        starting.enter(office, place, told, said)
        return
    if answer := _shown(office, place, said) if said.verb in LOOKS else _answer(office, client, issue, kind, state, said):
        _reply(office, client, issue, kind, state, answer)
    if row is not None and said.verb not in ANSWERED:
        _move(office, row, said, asked)


def _said(office: Office, client: Client, asked: Asked, state: SessionState | None) -> Intent | Refusal:
    if _done_before(asked, state):
        return Refusal("done already")
    to_plan = asked.verb in OF_PLAN and state is not None and not state.follow
    edited = to_plan and edited_since(facts.issue(client, state.issue), state.session) if state else False
    said = commanded(asked, state, edited=edited)
    if isinstance(said, Intent) and said.verb in FOLLOWS and state and (why := _why_not(client, state, said.verb)):
        return Refusal(why, why)
    if isinstance(said, Intent) and said.amount and state and (why := allowances.over(office, state, said.amount)):
        return Refusal("a shared cap is in the way", why)
    return said


def _why_not(client: Client, state: SessionState, verb: Verb) -> str:
    """Why nothing can be followed on the session's pull request now."""
    on = pull(client, state.pull)
    none = verb == "fix-ci" and state.standing == "over" and not failing(client, on, state.session)
    return why_not(state, on) or (NONE_FAILED if none else "")


def _shown(office: Office, place: Place, said: Intent) -> str:
    """The sessions that are asked for by name."""
    states = []
    for word in said.point.split():
        if (row := starting.by_name(office, place, word)) is None:
            return refusal(NO_SESSION.format(word))
        states.append(row.state)
    return sessions_reply(states)


def _answer(office: Office, client: Client, issue: int, kind: str, state: SessionState | None, said: Intent) -> str:
    """What is answered in words; empty where what is done shows by itself."""
    if said.verb == "help":
        return help_reply()
    if said.verb == "status":
        return status_reply(state)
    if said.verb == "rollback" and state is not None:
        if comments.find(client, issue, kind, state.session, office.access.bot):
            return ""  # a delivery that comes again moves nothing again
        return rolled_back(roll_back(client, state, said.point, office.at))
    if said.verb in NOTED:
        return refusal(told(said.verb, said.point))
    if said.verb in FOLLOWS and state is not None and state.standing != "over":
        return refusal(LATER)
    if said.amount and state is not None and not waits_for_money(state):
        return refusal(f"The next workflow run has {dollars(said.amount)} more to spend.")
    return ""


def _done_before(asked: Asked, state: SessionState | None) -> bool:
    """A delivery that is worked on twice: silence, not a refusal of what was just done."""
    if state is None or not may_write(asked.actor) or asked.edited:
        return False
    if asked.verb in FOLLOWS:
        return state.standing != "over" if not asked.comment else state.follow.endswith(f" {asked.verb}-{asked.comment}")
    if asked.verb == "approve":
        wanted = state.approved_digest
        return bool(wanted and asked.argument and wanted.startswith(asked.argument) and state.plan_digest == wanted)
    if asked.verb == "ship" and state.shipped_by:
        return asked.at == state.resumed_at if asked.comment else state.standing == "working"
    if asked.verb == "stop":
        return state.standing == "over" and bool(state.stopped_by)
    return asked.verb == "retry" and state.standing == "working"


def _move(office: Office, row: Row, said: Intent, asked: Asked) -> None:
    if said.verb == "stop":
        _stop(office, row, said.by)
        return
    if said.verb in NOTED:
        office.change(row.id, lambda state: noted(state, said.verb, said.point, said.by))
        office.show(row.id)
        return
    if said.verb in FOLLOWS:
        if asked.comment:
            following.follow(office, row)
        else:
            following.mend_checks(office, row, asked.actor)
        return
    if said.verb == "approve":
        office.change(
            row.id,
            lambda state: (
                approved(state, said.digest, said.by, office.at)
                if state.standing == "waiting" and state.plan_digest == said.digest
                else state
            ),
        )
    elif said.verb == "revise":
        office.change(row.id, lambda state: _another(state, said.comment, office.at))
    elif said.verb == "budget":
        office.change(row.id, lambda state: _more(state, said, office.at))
    elif said.verb == "ship":
        office.change(row.id, lambda state: _as_it_is(state, said, office.at))
    elif said.verb == "retry":
        office.change(row.id, lambda state: _again(state, said, office.at))
    office.show(row.id)


def _more(state: SessionState, said: Intent, at: str) -> SessionState:
    if state.standing == "over" or raised_before(state, said.comment):
        return state
    return raised(state, said.amount, said.by, said.reason, said.comment, at)


def _again(state: SessionState, said: Intent, at: str) -> SessionState:
    return retried(state, at, said.at or at) if state.standing != "working" else state


def _as_it_is(state: SessionState, said: Intent, at: str) -> SessionState:
    return state if unshippable(state) else shipped(state, said.by, at, said.at or at)


def _another(state: SessionState, comment: int, at: str) -> SessionState:
    return revised(state, comment, at) if approval_waits(state) and not revised_before(state, comment) else state


def _stop(office: Office, row: Row, by: str) -> None:
    """Over first, then the workflow run is ended: a crash between the two is noticed by whoever watches the run."""
    row = office.change(row.id, lambda state: stopped(state, by, office.at) if state.standing != "over" else state)
    end_work(office, row)
    office.show(row.id)


def end_work(office: Office, row: Row) -> None:
    """Cancel the workflow run of a session that is over."""
    if not row.state.working_run:
        return
    try:
        actions.cancel(office.access.of(row), row.state.working_run)
    except (Conflict, SetupError):
        return  # it is over, or gone


def _reply(office: Office, client: Client, issue: int, kind: str, state: SessionState | None, text: str) -> None:
    session = state.session if state else f"issue-{issue}"
    comments.put(client, issue, kind, session, office.access.bot, text)
