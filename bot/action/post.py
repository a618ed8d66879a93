"""The job post: puts the plan before people. Without an App it also makes the branch's first commit and its check run.

It holds no model key and runs no code of the repository.
"""

from __future__ import annotations

from dataclasses import replace

from bot.action.handover import receive, run_of
from bot.action.settings import ActionSettings, decoded
from bot.core import following
from bot.core.errors import SetupError
from bot.core.jobs import Job
from bot.core.run import Run
from bot.core.session import SessionState, asked_at
from bot.core.triggers import LOOKS
from bot.github import comments, facts, refs
from bot.github.client import Client
from bot.github.rollback import roll_back
from bot.loop.comments import help_reply, plan_comment, refusal, rolled_back, sessions_reply, status_reply
from bot.loop.settling import show
from bot.rooms import utc_now


def post(given: ActionSettings, client: Client) -> dict[str, str]:
    """Post what the gate asked for: the answer to a command, or the plan."""
    state, (reply, _, said) = given.session_state, given.reply.partition(" ")
    if reply:
        kind, session, place = f"reply-{given.comment}", state.session or "none", _place(given, client)
        if reply == "rollback" and comments.find(client, place, kind, session, given.jobs_login):
            return {}  # a workflow run that is run again moves nothing again
        text = _answer(client, state, reply, said)
        comments.put(client, place, kind, session, given.jobs_login, text)
        return {}
    run, _ = run_of(receive(given, exact=False))
    if facts.stopped(client, following.places(state), following.stops_since(state)):
        return {"next": str(Job.CONCLUDE)}
    outputs = {} if given.coordinator or state.follow else _house(given, client, state, run)
    if run.documents.plan is not None:
        text = plan_comment(run, state, job_url=given.job_url)
        kind, place = following.comment_kind(state, "plan"), following.place(state)
        comments.put(client, place, kind, state.session, given.jobs_login, text)
    return outputs


def _place(given: ActionSettings, client: Client) -> int:
    """Where a command was written, which may be the pull request."""
    return facts.place_of(client, given.comment) if given.comment else given.issue


def _answer(client: Client, state: SessionState, reply: str, said: str) -> str:
    """What a command is answered with."""
    if reply == "rollback":
        return rolled_back(roll_back(client, state, said, utc_now()))
    if reply in LOOKS:
        return sessions_reply([decoded(text) for text in said.split(",")])
    if reply == "refusal":
        return refusal(said)
    return help_reply() if reply == "help" else status_reply(state if state.session else None)


def _house(given: ActionSettings, client: Client, state: SessionState, run: Run) -> dict[str, str]:
    """The branch's first commit and its check run; the last job puts the signed state into it."""
    base, author = run.request.base_sha, refs.author_of(run.request.settings.signed)
    anchor = refs.anchor(client, state.branch, base, state.session, asked_at(state.session), author)
    if not anchor:
        raise SetupError(f"The branch {state.branch} could not be made.")
    if not state.artifact:
        show(
            client,
            replace(state, anchor_sha=anchor),
            app_id=given.jobs_app_id,
            seal=None,
            report=None,
            details_url=given.job_url,
            buttons=False,
        )
    return {"anchor_sha": anchor}
