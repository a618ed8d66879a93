"""Follow-ups: what is said on a session's pull request becomes one more run of the session, on top of its branch.

A submitted review, `/ostler fix`, `/ostler fix-ci` and failed checks each make one. The text is frozen as it was when it was
said: what was edited since, and what people without write permission say, is not what was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from bot.core.errors import BadInput
from bot.core.follow_up import Cause, FollowUp, Suggestion, Thread, blocks, key_parts, short_of
from bot.core.jobs import Job
from bot.core.machines import RunState
from bot.core.paths import check_path
from bot.core.session import SessionState, asked_at
from bot.core.ticket import Ticket, freeze
from bot.core.triggers import ARCHIVED, Actor, may_write, moment

NONE_FAILED = "No check of the branch's head failed: there is nothing to mend."
LATER = "The session is at work or waits for a person: this is next."
FAILED = ("failure", "timed_out")
"""How a check run ended that there is something to mend about."""
MOST_LOG, MOST_ANNOTATIONS, MOST_SUMMARY = 8_000, 20, 2_000
"""Characters of a log's end and of a summary, and annotations, that one failed check gives to a ticket."""
_NOTHING_MORE = re.compile(
    r"(?:please )?(?:see|apply|take|address)?(?: my| the| these| this)?(?: inline)?"
    r"(?: comments?| suggestions?| suggested changes?| remarks?| nits?)?(?: below| inline)?(?:,? please)?[.!]*",
    re.IGNORECASE,
)
"""What a review says above its comments without asking for anything."""


# --- what there is to follow ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PullFacts:
    """A pull request as GitHub tells it now. `head` is its commit, `branch` that commit's branch in this repository, empty where
    it is another's."""

    number: int
    open: bool
    branch: str
    head: str


@dataclass(frozen=True, slots=True)
class Said:
    """Something on a pull request that a follow-up may go by. `name` is the id of a review or comment, or of the commit whose
    checks failed; `at` UTC, ISO 8601. Without an actor it is nobody's word: checks failed."""

    cause: Cause
    name: str
    at: str
    actor: Actor

    @property
    def key(self) -> str:
        return f"{self.at} {self.cause}-{self.name}"


def since(state: SessionState) -> str:
    """When what the session works on was asked for: UTC, ISO 8601."""
    return key_parts(state.follow)[0] if state.follow else asked_at(state.session)


def stops_since(state: SessionState) -> str:
    """From when on a word to stop counts: UTC, ISO 8601. Whoever had the session go on took back what stopped it before."""
    return max(since(state), state.resumed_at or since(state), key=moment)


def place(state: SessionState) -> int:
    """The issue or pull request on which the present run is talked about."""
    return state.pull if state.follow else state.issue


def places(state: SessionState) -> tuple[int, ...]:
    """Where people talk to the session: its issue, and its pull request once there is one."""
    return (state.issue, state.pull) if state.pull else (state.issue,)


def comment_kind(state: SessionState, kind: str) -> str:
    """The kind of a comment, of which each follow-up has one of its own."""
    return f"{kind}-{short_of(state.follow)}" if state.follow else kind


def why_not(state: SessionState, pull: PullFacts) -> str:
    """Why nothing on this pull request is followed; empty where it may be."""
    if not state.pull or pull.number != state.pull or pull.branch != state.branch:
        return "The session delivered no pull request yet."
    if state.archived_by:
        return ARCHIVED
    return "" if pull.open else f"Pull request #{pull.number} is closed: open it again, or put the label on the issue again."


def due(state: SessionState, pull: PullFacts, found: Iterable[Said], *, failed: bool = True) -> Said | None:
    """The oldest that was said since what was followed last, by somebody who may; None while the session is at work. A run that
    failed or was stopped is followed only by what was said since it ended. Checks are mended only where one `failed`, and by
    somebody's word where there is one."""
    if state.standing != "over" or why_not(state, pull):
        return None
    last = _order(state.follow) if state.follow else ()
    if state.run_state != RunState.DONE_SUCCESS:
        last = max(last, (moment(state.issued_at),))
    later = [one for one in found if (one.cause == "checks" or may_write(one.actor)) and _order(one.key) > last]
    asked = any(one.cause == "fix-ci" for one in later)
    idle = {"fix-ci": not failed, "checks": not failed or asked}
    return min((one for one in later if not idle.get(one.cause)), key=lambda one: _order(one.key), default=None)


def _order(key: str) -> tuple[Any, ...]:
    at, cause, name = key_parts(key)
    return moment(at), cause, len(name), name


def followed(state: SessionState, said: Said, head: str, at: str) -> SessionState:
    """The session begins anew on its branch's present head. What earlier runs spent stays spent.

    Without a person's word it mends checks only so many times: those are counted.
    """
    fixes = 0 if said.actor.login else state.ci_fixes + 1
    return replace(
        state,
        follow=said.key, follow_by=said.actor.login, from_sha=head, head_sha=head, ci_fixes=fixes,
        standing="working", next_job=str(Job.PLAN), run_state="", outcome="", waits="", needs=0, restarts=0,
        artifact=0, artifact_run=0, artifact_digest="", journal_head="",
        plan_digest="", revised_for=0, changeset_digest="", approved_digest="", approved_by="", stopped_by="",
        shipped_by="",
        seq=state.seq + 1, prev=state.digest, issued_at=at,
    )  # fmt: skip


# --- what exactly is asked for ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Remark:
    """A comment on lines. `edited_at` is its last edit, None where there was none; `review` the review that it came with."""

    id: int
    author: Actor
    body: str
    at: str
    edited_at: str | None
    review: int


@dataclass(frozen=True, slots=True)
class Discussion:
    """A thread as GitHub tells it now. `first` and `last` are its lines in the head, 0 where they are gone; `side` is RIGHT for
    lines that are there now."""

    node: str
    path: str
    first: int
    last: int
    side: str
    outdated: bool
    resolved: bool
    remarks: tuple[Remark, ...]


@dataclass(frozen=True, slots=True)
class ReviewFacts:
    """A submitted review. `at` is when it was submitted; `edited_at` is None where its body was not edited."""

    id: int
    author: Actor
    state: str
    body: str
    at: str
    edited_at: str | None
    discussions: tuple[Discussion, ...]


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """A check run that failed: what it says of itself, `path:line message` for each annotation, the end of its log."""

    name: str
    conclusion: str
    title: str
    summary: str
    annotations: tuple[str, ...]
    log: str


def of_text(said: Said, text: str, pull: PullFacts) -> tuple[Ticket, FollowUp]:
    """The ticket of `/ostler fix TEXT`.

    Raises:
        BadInput, PolicyError: as `ticket.freeze`.
    """
    return freeze(text, f"#{pull.number}"), FollowUp(said.key, said.actor.login, pull.number)


def of_checks(said: Said, failed: Sequence[FailedCheck], pull: PullFacts) -> tuple[Ticket, FollowUp]:
    """The ticket that failed checks make.

    Raises:
        BadInput: none failed.
        PolicyError: as `ticket.freeze`.
    """
    if not failed:
        raise BadInput(NONE_FAILED)
    names = ", ".join(one.name for one in failed)
    told = "\n\n".join(_told(one) for one in failed)
    text = f"Fix the failed checks of pull request #{pull.number}: {names}\n\n{told}"
    return freeze(text, f"#{pull.number}"), FollowUp(said.key, said.actor.login, pull.number)


def of_review(said: Said, review: ReviewFacts, pull: PullFacts) -> tuple[Ticket, FollowUp]:
    """The ticket of a review: its suggestions to apply as they are, the rest to build.

    Raises:
        BadInput: it asks for nothing, or its text was edited since it was submitted.
        PolicyError: as `ticket.freeze`.
    """
    if not _as_submitted(review.edited_at, review.at):
        raise BadInput("The review was edited after it was submitted, so it is not what was asked for: submit another.")
    threads, suggestions, wishes = [], [], []
    for discussion in review.discussions:
        for remark in _asked(discussion, review):
            thread, suggestion = _suggestion(discussion, remark)
            threads.append(thread)
            if suggestion is not None:
                suggestions.append(suggestion)
            elif not thread.refused:
                wishes.append(_wish(discussion, review, remark))
    body = "" if (threads and _NOTHING_MORE.fullmatch(review.body.strip())) else review.body.strip()
    clash = _overlapping(suggestions)
    threads = [replace(one, refused="it overlaps another suggestion") if one.comment in clash else one for one in threads]
    kept = tuple(one for one in suggestions if one.comment not in clash)
    rest = bool(body or wishes)
    if not rest and not kept:
        why = f": {threads[0].refused}" if threads else ""
        raise BadInput(f"The review asks for nothing that can be done{why}.")
    done = [f"Already applied as suggested: {', '.join(f'{one.path}:{one.first}' for one in kept)}."] if kept and rest else []
    title = f"Address the review of pull request #{pull.number} by {review.author.login}"
    text = "\n\n".join([title, body, *wishes, *done])
    follow = FollowUp(said.key, review.author.login, pull.number, kept, tuple(threads), rest)
    return freeze(text, f"#{pull.number}"), follow


def _told(check: FailedCheck) -> str:
    parts = [f"Check {check.name!r}: {check.conclusion}. {check.title}".strip(), check.summary[:MOST_SUMMARY]]
    parts += [f"- {one}" for one in check.annotations[:MOST_ANNOTATIONS]]
    if check.log:
        parts.append(f"The end of its log:\n\n```\n{check.log[-MOST_LOG:]}\n```")
    return "\n".join(part for part in parts if part)


def _as_submitted(edited_at: str | None, at: str) -> bool:
    """An edit in the same second counts as after it: GitHub's times have no smaller unit."""
    return edited_at is None or moment(edited_at) < moment(at)


def _asked(discussion: Discussion, review: ReviewFacts) -> list[Remark]:
    """The review's own comments in an open thread, as they were submitted."""
    own = [one for one in discussion.remarks if one.review == review.id and one.author.id == review.author.id]
    return [] if discussion.resolved else [one for one in own if _as_submitted(one.edited_at, review.at)]


def _wish(discussion: Discussion, review: ReviewFacts, remark: Remark) -> str:
    """What a comment asks for, with what people who may write said before it in its thread."""
    where = f"{discussion.path}:{discussion.last}" if discussion.last else discussion.path
    before = [
        one
        for one in discussion.remarks
        if one.id != remark.id and one.review != review.id and may_write(one.author) and moment(one.at) < moment(review.at)
    ]
    said = [f"{one.author.login} said before: {one.body}" for one in before if _as_submitted(one.edited_at, review.at)]
    return "\n\n".join([f"At {where}: {remark.body}", *said])


# --- suggestions ------------------------------------------------------------------------------------------------------


def _suggestion(discussion: Discussion, remark: Remark) -> tuple[Thread, Suggestion | None]:
    """The thread of a comment, and what it suggests where that can be applied as it is."""
    found, path = blocks(remark.body), discussion.path
    last = 0 if discussion.outdated or discussion.side != "RIGHT" else discussion.last
    first = discussion.first if last and discussion.first else last
    thread = Thread(discussion.node, remark.id, path, first, last)
    if not found:
        return thread, None
    if why := _unusable(found, discussion, last) or check_path(path):
        return replace(thread, refused=why), None
    return thread, Suggestion(remark.id, path, first, last, found[0])


def _unusable(found: tuple[str, ...], discussion: Discussion, last: int) -> str:
    if len(found) > 1:
        return "it has several suggestions for the same lines"
    if discussion.side != "RIGHT":
        return "it is about lines that are not there any more"
    return "" if last else "it is outdated: its lines were changed since"


def _overlapping(suggestions: Iterable[Suggestion]) -> frozenset[int]:
    """The comments whose suggestions share lines with another's."""
    pairs = [(one, other) for one, other in combinations(suggestions, 2) if one.path == other.path]
    clash = [(one, other) for one, other in pairs if one.first <= other.last and other.first <= one.last]
    return frozenset(one.comment for pair in clash for one in pair)
