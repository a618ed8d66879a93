"""Who may ask for what: a trigger and the facts that GitHub tells about it become an intent, or nothing.

Authority is the actor of the latest labelled event, or the author of a command, and needs write permission at that time. What
was edited after it was asked for is not what was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from bot.core.budget import LEAST, MICRO
from bot.core.comparing import MOST as MOST_COMPARED
from bot.core.errors import BadInput, PolicyError
from bot.core.inert import plain
from bot.core.run import short
from bot.core.session import LABEL, STOP_LABEL, SessionState, asked_at, named, session_id
from bot.core.settling import approval_waits, unshippable, waits_for_money
from bot.core.steering import unarchivable, unskippable, unusable_class
from bot.core.ticket import freeze

Verb = Literal[
    "start", "plan", "build", "approve", "revise", "retry", "budget", "ship", "model", "skip", "session",
    "compare", "archive", "fix", "fix-ci", "rollback", "stop", "status", "help",
]  # fmt: skip
PERSONS_VERBS: tuple[Verb, ...] = tuple(verb for verb in get_args(Verb) if verb != "start")
STARTS: tuple[Verb, ...] = ("plan", "build")
"""What begins a session as the label does; after `plan` nothing is built before somebody approves."""
OF_PLAN: tuple[Verb, ...] = ("approve", "revise")
"""What is said to a plan that waits for approval."""
IN_WORDS: tuple[Verb, ...] = ("revise", "fix")
"""What takes a text of any length behind it."""
SYNONYMS: Mapping[str, Verb] = {"resume": "retry"}
"""To go on and to try again is one thing: a run that can go on does, for one that ended another is begun."""
FOLLOWS: tuple[Verb, ...] = ("fix", "fix-ci")
"""What is said on the pull request and makes a further run."""
NOTED: tuple[Verb, ...] = ("model", "skip", "archive")
"""What only the session's state keeps: it begins no job."""
LOOKS: tuple[Verb, ...] = ("session", "compare")
"""What shows sessions of the repository by their names."""
NO_SESSION = "There is no session `{}` here."
ARCHIVED = f"This session is archived: put the label `{LABEL}` on the issue again to start another."
ANSWERED: tuple[Verb, ...] = ("status", "help", "rollback", *LOOKS)
"""What is done and answered at once: no session goes on for it."""
WRITERS = ("admin", "write")
OPEN_TO_ALL: tuple[Verb, ...] = ("status", "help")
VOID = (
    "The issue was edited after the session was asked for, so the plan is not for what it says now and cannot be approved: put "
    f"the label `{LABEL}` on it anew."
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
    rollback goes to, or the word of what is `NOTED`, `comment` where it was asked for, `event` the labelled event or the comment
    that begins the session, `at` when it was said."""

    verb: Verb
    session: str
    by: str
    digest: str = ""
    amount: int = 0
    reason: str = ""
    comment: int = 0
    point: str = ""
    event: int = 0
    at: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing is to be done. `say` is what the asker is told; empty is silence."""

    why: str
    say: str = ""


NO_PLAN = Refusal("no plan waits for approval", "No plan waits for approval here.")


def command(body: str) -> tuple[Verb, str] | None:
    """Verb and argument of a comment whose first line is `/ostler VERB [ARGUMENT]`; None where it is no command of ours. `budget`
    takes more than one word, an amount and a reason, with one space between them, `compare` several names, and those `IN_WORDS`
    all that follows; what stands behind the digest of an `approve` is part of it, so that it is refused and not passed over."""
    first, _, more = body.partition("\n")
    match = _COMMAND.fullmatch(first)
    if match is None:
        return None
    verb = SYNONYMS.get(match["verb"], match["verb"]) or "help"
    reason = (match["reason"] or "").strip()
    for known in PERSONS_VERBS:
        if verb == known and (known in ("approve", "budget", "compare", *IN_WORDS) or not reason):
            said = f"{match['argument'] or ''} {reason}".strip()
            return known, f"{said}\n{more}".strip() if known in IN_WORDS else said
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


def started(repo_id: int, facts: IssueFacts, asked: Asked | None = None) -> Intent | Refusal:
    """The session that the trigger label asks for, or the command `asked` on the issue, which needs no label.

    An edit in the same second as the label or the command counts as after it: GitHub's times have no smaller unit.
    """
    event = LabelEvent(asked.comment, asked.at, asked.actor) if asked else facts.labelled
    if event is None or not (asked or LABEL in facts.labels):
        return Refusal("the issue does not have the label")
    if why := _why_none(facts, event, asked):
        return Refusal(why, f"Nothing begins: {why}." if asked and may_write(event.actor) else "")
    session = session_id(repo_id, facts.number, event.id, event.at)
    return Intent(asked.verb if asked else "start", session, event.actor.login, event=event.id)


def _why_none(facts: IssueFacts, event: LabelEvent, asked: Asked | None) -> str:
    """Why no session begins by `event`; empty where one does."""
    if facts.is_pull or (asked and asked.place != facts.number):
        return "this is a pull request, not an issue"
    if not facts.open:
        return "the issue is closed"
    if STOP_LABEL in facts.labels:
        return f"the issue has the label `{STOP_LABEL}`"
    if not may_write(event.actor):
        return f"{event.actor.login} has no write permission here"
    if asked and asked.edited:
        return "the comment was edited"
    if not facts.edits_known:
        return "GitHub does not tell when the issue was edited"
    if facts.edited_at is not None and moment(facts.edited_at) >= moment(event.at):
        return "the issue was edited after that"
    return ""


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
    if asked.verb in STARTS:
        return _begins(asked, state)
    if asked.verb in LOOKS:
        return _looked(asked, state)
    if asked.verb == "archive" and (why := unarchivable(asked.argument, state)):
        return Refusal("it cannot be archived", why)
    if state is None:
        return Refusal("there is no session", f"There is no session on this issue: put the label `{LABEL}` on it to start one.")
    if state.archived_by and asked.verb != "archive":
        return Refusal("it is archived", ARCHIVED)
    if asked.verb in OF_PLAN and edited:
        return Refusal("the issue was edited", VOID)
    return _in_session(asked, state)


def _begins(asked: Asked, state: SessionState | None) -> Intent | Refusal:
    """Whether there may be another session; `started` says which."""
    if state is not None and state.began and state.event == asked.comment:
        return Refusal("done already")
    if state is None or state.standing == "over":
        return Intent(asked.verb, "", asked.actor.login)
    if approval_waits(state):
        how = f"`/ostler approve {short(state.plan_digest)}` has exactly it built, `/ostler revise TEXT` another one made"
        return Refusal("a plan waits for approval", f"A plan waits for approval: {how}.")
    stands = "is at work" if state.standing == "working" else "waits for something"
    return Refusal("there is a session", f"A session of this issue {stands}: `/ostler status` says more, `/ostler stop` ends it.")


def _in_session(asked: Asked, state: SessionState) -> Intent | Refusal:
    if asked.verb in OF_PLAN:
        return _approved(asked, state) if asked.verb == "approve" else _revised(asked, state)
    if asked.verb == "budget":
        return _raised(asked, state)
    if asked.verb in FOLLOWS:
        return _followed(asked, state)
    if asked.verb in NOTED:
        return _noted(asked, state)
    if asked.verb == "retry" and state.standing == "waiting" and state.next_job == "post":
        return Refusal("the plan waits for approval", "The plan waits for approval, not for another try: see its comment.")
    if asked.verb == "retry" and state.standing == "over" and state.run_state == "DONE_SUCCESS":
        return Refusal("the session is done", "The session is done. Put the label on the issue again to start another.")
    if asked.verb == "ship" and (why := unshippable(state)):
        return Refusal("nothing can be shipped", why)
    if asked.verb == "retry" and state.shipped and not state.follow:
        return Refusal("it was shipped", f"It was shipped: say on #{state.pull} what it lacks, with `/ostler fix TEXT`.")
    if asked.verb == "rollback":
        if state.standing != "over" or not (state.head_sha and state.pull):
            return Refusal("nothing was delivered", "This session delivered nothing: there is nothing to take back.")
        return Intent("rollback", state.session, asked.actor.login, point=asked.argument, comment=asked.comment)
    if asked.verb == "stop" and state.standing == "over":
        return Refusal("the session is over", "The session is over: there is nothing to stop.")
    return Intent(asked.verb, state.session, asked.actor.login, at=asked.at)


def _approved(asked: Asked, state: SessionState) -> Intent | Refusal:
    """Exactly the plan that is posted, by the digest that stands in it."""
    wanted = state.plan_digest
    if not approval_waits(state):
        return NO_PLAN
    if not _DIGEST.fullmatch(asked.argument) or not wanted.startswith(asked.argument):
        return Refusal(
            "another digest", f"That is not the digest of the plan that is posted: `/ostler approve {short(wanted)}` approves it."
        )
    return Intent("approve", state.session, asked.actor.login, wanted)


def revised_before(state: SessionState, comment: int) -> bool:
    """Whether another plan was asked for by this comment, or by one after it."""
    return comment <= state.revised_for


def _revised(asked: Asked, state: SessionState) -> Intent | Refusal:
    """Another plan, for what the ticket and this say together."""
    if revised_before(state, asked.comment):
        return Refusal("done already")
    if state.follow:
        how = "A plan on the pull request is not revised: `/ostler stop` it, then say `/ostler fix TEXT`."
        return Refusal("it is a follow-up's plan", how)
    if not approval_waits(state):
        return NO_PLAN
    try:
        freeze(asked.argument, "")
    except (BadInput, PolicyError) as error:
        return Refusal("no text", str(error) if asked.argument else "Say what is to be different: `/ostler revise TEXT`.")
    return Intent("revise", state.session, asked.actor.login, comment=asked.comment)


def _followed(asked: Asked, state: SessionState) -> Intent | Refusal:
    """A further run, on what was delivered."""
    if not state.pull:
        return Refusal("nothing was delivered", "There is no pull request to mend yet.")
    if asked.comment and asked.place != state.pull:
        return Refusal("not on the pull request", f"Say that on the pull request #{state.pull}.")
    if asked.verb == "fix" and not asked.argument:
        return Refusal("no text", "Say what is to be different: `/ostler fix TEXT`.")
    return Intent(asked.verb, state.session, asked.actor.login, comment=asked.comment)


def _looked(asked: Asked, state: SessionState | None) -> Intent | Refusal:
    """Names are checked before anything is looked up by them. `session` alone is the one here."""
    names = list(dict.fromkeys(asked.argument.split())) or ([state.session] if state and asked.verb == "session" else [])
    if asked.verb == "compare" and not 2 <= len(names) <= MOST_COMPARED:
        return Refusal("not several names", f"Name two to {MOST_COMPARED} sessions: `/ostler compare NAME NAME`.")
    if not names or not all(map(named, names)):
        return Refusal("no name", "A session is called like `issue-42-3f9a1c2b`: `/ostler status` names it.")
    return Intent(asked.verb, state.session if state else "", asked.actor.login, point=" ".join(names))


def _noted(asked: Asked, state: SessionState) -> Intent | Refusal:
    if asked.verb == "archive":
        return Intent("archive", state.session, asked.actor.login, point=asked.argument)
    word = asked.argument.lower() if asked.verb == "model" else asked.argument.upper()
    why = unusable_class(word, state) if asked.verb == "model" else unskippable(word, state)
    return Refusal("it cannot be had", why) if why else Intent(asked.verb, state.session, asked.actor.login, point=word)


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
