"""Who may ask for what: a trigger and the facts that GitHub tells about it become an intent, or nothing.

Authority is the actor of the latest labelled event, or the author of a command, and needs write permission at that time. What
was edited after it was asked for is not what was asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from bot.core.budget import LEAST, MICRO
from bot.core.inert import plain
from bot.core.run import short
from bot.core.session import LABEL, STOP_LABEL, SessionState, asked_at, session_id
from bot.core.settling import waits_for_money

Verb = Literal["start", "approve", "retry", "budget", "fix", "fix-ci", "rollback", "stop", "status", "help"]
PERSONS_VERBS: tuple[Verb, ...] = ("approve", "retry", "budget", "fix", "fix-ci", "rollback", "stop", "status", "help")
FOLLOWS: tuple[Verb, ...] = ("fix", "fix-ci")
"""What is said on the pull request and makes a further run."""
ANSWERED: tuple[Verb, ...] = ("status", "help", "rollback")
"""What is done and answered at once: no session goes on for it."""
WRITERS = ("admin", "write")
OPEN_TO_ALL: tuple[Verb, ...] = ("status", "help")
VOID = (
    "The issue was edited after it was labelled, so the plan is not for what it says now and cannot be approved: take the label "
    f"`{LABEL}` off and put it on again."
)
MOST = 10_000 * MICRO
"""The most that a cap can be, in micro-dollars; the configuration takes no more either."""
WORDS = 200
"""Characters of a reason that are kept."""
_COMMAND = re.compile(r"/ostler(?:[ \t]+(?P<verb>[a-z-]+)(?:[ \t]+(?P<argument>\S+)(?P<reason>[ \t].*)?)?)?[ \t]*\r?")
_AMOUNT = re.compile(r"\+\$?([0-9]{1,5})(?:\.([0-9]{1,6}))?")
_DIGEST = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True)
class Actor:
    """An account as GitHub tells it. `permission` is that of the repository: admin, write, read or none (custom roles count
    as what they inherit from)."""

    login: str
    id: int
    type: str
    permission: str


@dataclass(frozen=True, slots=True)
class LabelEvent:
    """The latest event that set the trigger label, if the label is still there."""

    id: int
    at: str
    actor: Actor


@dataclass(frozen=True, slots=True)
class IssueFacts:
    """An issue as GitHub tells it now. `edited_at` is the last change of the body or the title, None where there was none;
    `edits_known` is False where GitHub did not say."""

    number: int
    title: str
    body: str
    author: str
    open: bool
    labels: tuple[str, ...]
    labelled: LabelEvent | None
    edited_at: str | None
    edits_known: bool
    is_pull: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person typed or pressed. `edited` is whether it was changed after it was sent; `argument` a digest, an amount with
    its reason, a point or path, or empty; `comment` where it stands, 0 for a button, on the issue or pull request `place`, since
    `at`."""

    verb: Verb
    argument: str
    actor: Actor
    edited: bool = False
    comment: int = 0
    place: int = 0
    at: str = ""


@dataclass(frozen=True, slots=True)
class Intent:
    """What is to be done, for whom, in which session. `amount` is micro-dollars that the cap is raised by, `point` what a
    rollback goes to, `comment` where it was asked for."""

    verb: Verb
    session: str
    by: str
    digest: str = ""
    amount: int = 0
    reason: str = ""
    comment: int = 0
    point: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing is to be done. `say` is what the asker is told; empty is silence."""

    why: str
    say: str = ""


def command(body: str) -> tuple[Verb, str] | None:
    """Verb and argument of a comment whose first line is `/ostler VERB [ARGUMENT]`; None where it is no command of ours. `budget`
    takes more than one word, an amount and a reason, with one space between them, and `fix` all that follows; what stands
    behind the digest of an `approve` is part of it, so that it is refused and not passed over."""
    first, _, more = body.partition("\n")
    match = _COMMAND.fullmatch(first)
    if match is None:
        return None
    verb = match["verb"] or "help"
    reason = (match["reason"] or "").strip()
    for known in PERSONS_VERBS:
        if verb == known and (known in ("approve", "budget", "fix") or not reason):
            said = f"{match['argument'] or ''} {reason}".strip()
            return known, f"{said}\n{more}".strip() if known == "fix" else said
    return None


def amount_of(text: str) -> int | None:
    """`+2`, `+2.50` or `+$2` in micro-dollars; None where it is no amount from a cent to 10,000 dollars."""
    match = _AMOUNT.fullmatch(text)
    if match is None:
        return None
    amount = int(match[1]) * MICRO + int((match[2] or "").ljust(6, "0"))
    return amount if LEAST <= amount <= MOST else None


def may_write(actor: Actor) -> bool:
    return actor.permission in WRITERS and actor.type == "User"


def started(repo_id: int, facts: IssueFacts) -> Intent | Refusal:
    """The session that the trigger label asks for.

    An edit in the same second as the label counts as after it: GitHub's times have no smaller unit.
    """
    event = facts.labelled
    if facts.is_pull:
        return Refusal("the label is on a pull request, not on an issue")
    if event is None or LABEL not in facts.labels:
        return Refusal("the issue does not have the label")
    if not facts.open:
        return Refusal("the issue is closed")
    if STOP_LABEL in facts.labels:
        return Refusal("the issue has the stop label")
    if not may_write(event.actor):
        return Refusal(f"{event.actor.login} has no write permission here")
    if not facts.edits_known:
        return Refusal("GitHub does not tell when the issue was edited")
    if facts.edited_at is not None and moment(facts.edited_at) >= moment(event.at):
        return Refusal("the issue was edited after it was labelled")
    return Intent("start", session_id(repo_id, facts.number, event.id, event.at), event.actor.login)


def edited_since(facts: IssueFacts, session: str) -> bool:
    """Whether the issue may say something else now than when the label of `session` was set."""
    if not facts.edits_known:
        return True
    return facts.edited_at is not None and moment(facts.edited_at) >= moment(asked_at(session))


def commanded(asked: Asked, state: SessionState | None, *, edited: bool = False) -> Intent | Refusal:
    """What a command or button asks for, in the session `state` of its issue. `edited` is what `edited_since` said of it."""
    if asked.verb in OPEN_TO_ALL and asked.actor.type == "User" and not asked.edited:
        return Intent(asked.verb, state.session if state else "", asked.actor.login)
    if not may_write(asked.actor):
        return Refusal(f"{asked.actor.login} has no write permission here")
    if asked.edited:
        return Refusal("the comment was edited", "A command counts as it was first written: write it again.")
    if state is None:
        return Refusal("there is no session", f"There is no session on this issue: put the label `{LABEL}` on it to start one.")
    if asked.verb == "approve" and edited:
        return Refusal("the issue was edited", VOID)
    return _in_session(asked, state)


def _in_session(asked: Asked, state: SessionState) -> Intent | Refusal:
    if asked.verb == "approve":
        return _approved(asked, state)
    if asked.verb == "budget":
        return _raised(asked, state)
    if asked.verb in FOLLOWS:
        return _followed(asked, state)
    if asked.verb == "retry" and state.standing == "waiting" and state.next_job == "post":
        return Refusal("the plan waits for approval", "The plan waits for approval, not for another try: see its comment.")
    if asked.verb == "retry" and state.standing == "over" and state.run_state == "DONE_SUCCESS":
        return Refusal("the session is done", "The session is done. Put the label on the issue again to start another.")
    if asked.verb == "rollback":
        if state.standing != "over" or not (state.head_sha and state.pull):
            return Refusal("nothing was delivered", "This session delivered nothing: there is nothing to take back.")
        return Intent("rollback", state.session, asked.actor.login, point=asked.argument, comment=asked.comment)
    if asked.verb == "stop" and state.standing == "over":
        return Refusal("the session is over", "The session is over: there is nothing to stop.")
    return Intent(asked.verb, state.session, asked.actor.login)


def _approved(asked: Asked, state: SessionState) -> Intent | Refusal:
    """Exactly the plan that is posted, by the digest that stands in it."""
    wanted = state.plan_digest
    if state.standing != "waiting" or state.next_job != "post" or not wanted:
        return Refusal("no plan waits for approval", "No plan waits for approval here.")
    if not _DIGEST.fullmatch(asked.argument) or not wanted.startswith(asked.argument):
        return Refusal(
            "another digest", f"That is not the digest of the plan that is posted: `/ostler approve {short(wanted)}` approves it."
        )
    return Intent("approve", state.session, asked.actor.login, wanted)


def _followed(asked: Asked, state: SessionState) -> Intent | Refusal:
    """A further run, on what was delivered."""
    if not state.pull:
        return Refusal("nothing was delivered", "There is no pull request to mend yet.")
    if asked.comment and asked.place != state.pull:
        return Refusal("not on the pull request", f"Say that on the pull request #{state.pull}.")
    if asked.verb == "fix" and not asked.argument:
        return Refusal("no text", "Say what is to be different: `/ostler fix TEXT`.")
    return Intent(asked.verb, state.session, asked.actor.login, comment=asked.comment)


def raised_before(state: SessionState, comment: int) -> bool:
    """Whether this was done already: a comment counts once, a button (0) while it is shown."""
    return comment <= state.added_for if comment else not waits_for_money(state)


def _raised(asked: Asked, state: SessionState) -> Intent | Refusal:
    """So many dollars more for a session that is not over."""
    word, _, reason = asked.argument.partition(" ")
    amount = amount_of(word)
    if amount is None:
        how = "Say how many dollars more and why, such as `/ostler budget +2 the tests are slow`: from +0.01 to +10000."
        return Refusal("no amount", how)
    if raised_before(state, asked.comment):
        return Refusal("done already")
    if state.standing == "over":
        return Refusal("the session is over", "The session is over: its budget cannot be raised any more.")
    if state.standing == "waiting" and state.waits == "shared":
        return Refusal(
            "a shared cap is in the way",
            "A cap that sessions share is in the way, not this session's own: more money does not help.",
        )
    if max(state.cap, state.spent) + state.added + amount > MOST:
        return Refusal("too much", "A session's budget is at most 10,000 dollars: raise it by less.")
    return Intent("budget", state.session, asked.actor.login, amount=amount, reason=plain(reason, WORDS), comment=asked.comment)


def moment(at: str) -> datetime:
    """GitHub's times: ISO 8601, UTC."""
    return datetime.fromisoformat(at)
