"""Whether this workflow run goes on with a session, and which: by the App's word, or by the signed state and what people say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bot.action.configuration import Files
from bot.action.coordinator import UNBOUNDED, Coordinator
from bot.action.settings import ActionSettings
from bot.config import VENDORS, Configuration, Settings, combine, run_settings
from bot.core.budget import LEAST, MICRO
from bot.core.errors import BadInput, SetupError
from bot.core.events import AllowanceGiven
from bot.core.experience import NONE, Experience
from bot.core.following import LATER, NONE_FAILED, followed, places, why_not
from bot.core.jobs import MODEL_JOBS
from bot.core.queue import PER_REPOSITORY
from bot.core.session import SessionState, branch, is_named, named
from bot.core.triggers import (
    ANSWERED,
    FOLLOWS,
    STARTS,
    Asked,
    Intent,
    IssueFacts,
    Refusal,
    Verb,
    commanded,
    edited_since,
    moment,
    started,
)
from bot.github import actions, facts, following
from bot.github.client import Client
from bot.loop.settling import recover
from bot.rooms import utc_now
from bot.store.envelope import Key


@dataclass(frozen=True, slots=True)
class Claim:
    """What this workflow run is to do: go on in `state`, which is new where nothing was spent or kept so far. `problem` is why it
    may not, which is then told."""

    state: SessionState
    intent: Intent
    fresh: bool
    allowance: AllowanceGiven = UNBOUNDED
    problem: str = ""
    experience: Experience = NONE


def claimed(
    given: ActionSettings, environment: Settings, client: Client, files: Files, about: Mapping[str, Any], found: IssueFacts
) -> Claim | Refusal:
    """By the App's word; what was labelled or said is looked at here all the same."""
    limits, problem = _limits(given, environment, files)
    said = Coordinator(given).claim(limits)
    state = said.state
    if state is None:
        return Refusal(said.why or "the App says no")
    if (state.repo_id, state.issue) != (about["id"], given.issue):
        return Refusal("the App speaks of another issue")
    if state.artifact:
        return Claim(state, Intent("start", state.session, state.requested_by), False, said.allowance, problem)
    if state.follow:
        return Claim(state, Intent("fix", state.session, state.follow_by), True, said.allowance, problem, said.experience)
    asked = facts.asked(client, (given.issue,), state.event) if state.began else None
    if state.began and (asked is None or asked.verb != state.began):
        return Refusal("the command is not there any more as it was written")
    intent = started(about["id"], found, asked)
    if isinstance(intent, Refusal):
        return Refusal(intent.why)
    if intent.session != state.session:
        return Refusal("the label was set again since")
    return Claim(state, intent, True, said.allowance, problem, said.experience)


def _limits(given: ActionSettings, environment: Settings, files: Files) -> tuple[dict[str, int], str]:
    """What the App has to keep, as the default branch has it now: caps in micro-dollars (0 for none), and how many workflow runs
    may work at a time. Sessions share them, whenever each began. Where they cannot be read, why: then nothing goes on."""
    try:
        now = files.now()
        run = run_settings(environment, now.config, now.bounded(given.max_cost), vendors=VENDORS).max_cost
    except (BadInput, SetupError) as error:
        return {"run": LEAST, "session": 0, "day": 0, "per_repository": PER_REPOSITORY}, str(error)
    budget = now.config.budget
    session, day = (int(amount * MICRO) if amount else 0 for amount in (budget.session, budget.day))
    return {"run": run, "session": session, "day": day, "per_repository": now.config.queue.per_repository}, ""


def claimed_here(
    given: ActionSettings, client: Client, files: Files, about: Mapping[str, Any], found: IssueFacts
) -> Claim | Refusal:
    """Without an App: by the facts, and by the signed state that the last workflow run left in a check run."""
    if given.comment:
        return _commanded(given, client, files, about, found)
    if given.session:
        state = known(given, client, about, given.issue, given.session)
        if state is not None and state.standing == "over":
            return _followed(given, client, state)
        if state is None or state.standing != "working":
            return Refusal("there is no session of that name that could go on")
        return _free(given, client, state, Intent("start", state.session, state.requested_by))
    return _begun(given, client, files, about, found, started(about["id"], found))


def _begun(
    given: ActionSettings, client: Client, files: Files, about: Mapping[str, Any], found: IssueFacts, intent: Intent | Refusal
) -> Claim | Refusal:
    """The session that a label or a command begins, unless it began before."""
    if isinstance(intent, Refusal):
        return intent
    if (state := known(given, client, about, given.issue, intent.session)) is not None:
        return _free(given, client, state, intent) if state.standing == "working" else Refusal("that was answered before")
    now = _configured(files)
    if say := facts.capped(client, now.config.sessions_per_day.caps, given.issue, intent, now.origin):
        return Refusal("a cap on sessions is reached", say)
    name, began = branch(given.issue, found.title, intent.session), intent.verb if intent.verb in STARTS else ""
    new = SessionState(about["id"], given.issue, intent.session, intent.event, intent.by, name, began=began)
    return Claim(new, intent, fresh=True)


def _configured(files: Files) -> Configuration:
    """What is configured now. Where that does not hold it has no caps: the session begins, and ends with what is wrong."""
    try:
        return files.now()
    except SetupError:
        return combine(None)


def known(
    given: ActionSettings, client: Client, about: Mapping[str, Any], issue: int, session: str = "", branch: str = ""
) -> SessionState | None:
    """The signed state of the issue's latest session, or of this one."""
    key = Key.from_secret(given.state_key.get_secret_value())
    return recover(client, [key], app_id=given.jobs_app_id, repo_id=about["id"], issue=issue, session=session, branch=branch)


def _commanded(
    given: ActionSettings, client: Client, files: Files, about: Mapping[str, Any], found: IssueFacts
) -> Claim | Refusal:
    """What the comment asks for, which stands on the issue or on the session's pull request."""
    state = known(given, client, about, given.issue, given.session)
    asked = facts.asked(client, places(state) if state else (given.issue,), given.comment)
    if asked is None:
        return Refusal("the comment is no command")
    state = about_which(given, client, about, given.issue, asked, state)
    edited = state is not None and not state.follow and edited_since(found, state.session)
    intent = commanded(asked, state, edited=edited)
    if isinstance(intent, Refusal):
        return intent
    if intent.verb in STARTS:
        return _begun(given, client, files, about, found, started(about["id"], found, asked))
    if intent.verb in ANSWERED:
        return Claim(state or nothing(given, about), intent, fresh=False)
    if state is None:
        return Refusal("there is no session")
    return _followed(given, client, state, intent.verb) if intent.verb in FOLLOWS else _free(given, client, state, intent)


def about_which(
    given: ActionSettings, client: Client, about: Mapping[str, Any], issue: int, asked: Asked, latest: SessionState | None
) -> SessionState | None:
    """The session that a command is about: the issue's latest, or the one of this issue that it names to archive."""
    if asked.verb != "archive":
        return latest
    state = known(given, client, about, issue, asked.argument) if named(asked.argument) == issue else None
    return state if state and is_named(state.session, asked.argument) else None


def _followed(given: ActionSettings, client: Client, state: SessionState, verb: Verb = "start") -> Claim | Refusal:
    """What was said on the session's pull request and is next: the oldest first. `verb` is what a comment asks for."""
    if state.standing != "over":
        return Refusal("the session is not over", LATER)
    if why := why_not(state, following.pull(client, state.pull)):
        return Refusal(why, why)
    due = following.due(client, state)
    if due is None:
        return Refusal("there is nothing to follow", NONE_FAILED if verb == "fix-ci" else "")
    said, on = due
    claim = _free(given, client, state, Intent("fix", state.session, said.actor.login))
    if isinstance(claim, Refusal):
        return claim
    return replace(claim, state=followed(claim.state, said, on.head, utc_now()), fresh=True)


def nothing(given: ActionSettings, about: Mapping[str, Any]) -> SessionState:
    return SessionState(about["id"], given.issue, "", 0, "", "")


def _free(given: ActionSettings, client: Client, state: SessionState, intent: Intent) -> Claim | Refusal:
    """One workflow run at a time. One that ended without settling has lost what its model jobs spent."""
    lost = [name for name in state.lost.split(",") if name]
    for number in _unsettled(given, client, state):
        if not actions.run(client, number).over:
            return Refusal("another workflow run works on this session")
        names = {job.name.rpartition(" / ")[2]: job.conclusion for job in actions.jobs(client, number)}
        lost += [name for name in MODEL_JOBS if names.get(name, "skipped") != "skipped"]
    return Claim(replace(state, lost=",".join(lost)), intent, fresh=False)


def _unsettled(given: ActionSettings, client: Client, state: SessionState) -> list[int]:
    """The workflow runs that took the session up since it was last settled, by what their gates left. Whoever forges one of
    these only makes the session poorer."""
    settled = moment(state.issued_at).replace(microsecond=0)
    left = client.pages("actions/artifacts", "artifacts", name=f"ostler-{state.session}-gate-1")
    since = {int(item["workflow_run"]["id"]) for item in left if moment(item["created_at"]) >= settled}
    return sorted(since - {given.run_id, state.artifact_run})
