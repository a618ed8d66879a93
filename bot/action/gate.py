"""The job gate: who asks, may they, what exactly was asked, and how far is it. It runs no code of the repository."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bot.action.configuration import Files, refuse_what_no_job_holds
from bot.action.coordinator import UNBOUNDED, Coordinator
from bot.action.handover import ALLOWED, CONFIG, MAX_BYTES, encoded, mark, unpack
from bot.action.outputs import outputs_of, summarise
from bot.action.settings import ActionSettings
from bot.config import VENDORS, Settings, combine, run_settings
from bot.core.budget import LEAST, MICRO
from bot.core.effects import AskPerson
from bot.core.errors import BadInput, PolicyError, SetupError
from bot.core.events import (
    AllowanceGiven,
    Answered,
    BudgetRaised,
    JobLost,
    OverrunAccepted,
    Resumed,
    RoomFailed,
    RunRequested,
    StopRequested,
)
from bot.core.experience import NONE, Experience
from bot.core.jobs import MODEL_JOBS, Job
from bot.core.queue import PER_REPOSITORY
from bot.core.selection import triage
from bot.core.session import SessionState, branch, is_branch_of
from bot.core.settling import taken
from bot.core.strategy import Settings as RunSettings
from bot.core.ticket import Ticket, freeze
from bot.core.triage_fixers import fixers_for
from bot.core.triggers import ANSWERED, Intent, IssueFacts, Refusal, commanded, edited_since, moment, started
from bot.github import actions, artifacts, facts
from bot.github.client import Client, NotFound
from bot.loop.driver import Driver
from bot.loop.settling import recover
from bot.rooms import utc_now
from bot.store.envelope import Key
from bot.store.journal import Journal
from bot.store.session import Metadata, SessionFolder


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


def gate(given: ActionSettings, environment: Settings, client: Client) -> dict[str, str]:
    """Decide whether this workflow run goes on, and hand over the session."""
    about = client.get("")
    files, found = Files(given, client, about), facts.issue(client, given.issue)
    claim = _claimed(given, environment, files, about, found) if given.coordinator else _claimed_here(given, client, about, found)
    if isinstance(claim, Refusal):
        print(f"Nothing to do: {claim.why}.", flush=True)
        summarise(given, None, f"Nothing to do: {claim.why}.")
        if not claim.say:
            return {"go": "false", "next": "", "session_id": ""}
        return {
            "go": "true",
            "next": "post",
            "session_id": "",
            "reply": f"refusal {claim.say}",
            "state": encoded(_nothing(given, about)),
        }
    if claim.intent.verb in ANSWERED:
        reply = f"{claim.intent.verb} {claim.intent.point}".strip()
        return {"go": "true", "next": "post", "session_id": "", "reply": reply, "state": encoded(claim.state)}
    if given.dry_run:
        print(f"Dry run: session {claim.state.session} would {'begin' if claim.fresh else 'go on'}.", flush=True)
        return {"go": "false", "next": "", "session_id": "", "reply": ""}
    if claim.fresh:
        return _begin(given, environment, client, files, about, found, claim)
    return _go_on(given, environment, client, files, claim)


# --- may it go on? ---


def _claimed(
    given: ActionSettings, environment: Settings, files: Files, about: Mapping[str, Any], found: IssueFacts
) -> Claim | Refusal:
    """By the App's word; what was labelled is looked at here all the same."""
    limits, problem = _limits(given, environment, files)
    said = Coordinator(given).claim(limits)
    state = said.state
    if state is None:
        return Refusal(said.why or "the App says no")
    if (state.repo_id, state.issue) != (about["id"], given.issue):
        return Refusal("the App speaks of another issue")
    if state.artifact:
        return Claim(state, Intent("start", state.session, state.requested_by), False, said.allowance, problem)
    intent = started(about["id"], found)
    if isinstance(intent, Refusal):
        return intent
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


def _claimed_here(given: ActionSettings, client: Client, about: Mapping[str, Any], found: IssueFacts) -> Claim | Refusal:
    """Without an App: by the facts, and by the signed state that the last workflow run left in a check run."""
    key = Key.from_secret(given.state_key.get_secret_value())

    def known(session: str = "") -> SessionState | None:
        return recover(client, [key], app_id=given.jobs_app_id, repo_id=about["id"], issue=given.issue, session=session)

    if given.comment:
        asked = facts.asked(client, given.issue, given.comment)
        if asked is None:
            return Refusal("the comment is no command")
        state = known()
        intent = commanded(asked, state, edited=state is not None and edited_since(found, state.session))
        if isinstance(intent, Refusal):
            return intent
        if intent.verb in ANSWERED:
            return Claim(state or _nothing(given, about), intent, fresh=False)
        return _free(given, client, state, intent) if state else Refusal("there is no session")
    if given.session:
        state = known(given.session)
        if state is None or state.standing != "working":
            return Refusal("there is no session of that name that could go on")
        return _free(given, client, state, Intent("start", state.session, state.requested_by))
    intent = started(about["id"], found)
    if isinstance(intent, Refusal):
        return intent
    if (state := known(intent.session)) is not None:
        return _free(given, client, state, intent) if state.standing == "working" else Refusal("that label was answered before")
    return Claim(_new(given, about, found, intent), intent, fresh=True)


def _nothing(given: ActionSettings, about: Mapping[str, Any]) -> SessionState:
    return SessionState(about["id"], given.issue, "", 0, "", "")


def _new(given: ActionSettings, about: Mapping[str, Any], found: IssueFacts, intent: Intent) -> SessionState:
    if found.labelled is None:
        raise SetupError("The issue has no label event.")
    name = branch(given.issue, found.title, intent.session)
    return SessionState(about["id"], given.issue, intent.session, found.labelled.id, intent.by, name, standing="working")


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


# --- a new session ---


def _begin(
    given: ActionSettings,
    environment: Settings,
    client: Client,
    files: Files,
    about: Mapping[str, Any],
    found: IssueFacts,
    claim: Claim,
) -> dict[str, str]:
    """Freeze the ticket and begin the journal. What is wrong with them ends the run with its reason, for people to read."""
    base = claim.state.base_sha or client.get(f"commits/{about['default_branch']}")["sha"]
    problem, configured = claim.problem, combine(None)
    try:
        configured = files.at(base)
        refuse_what_no_job_holds(configured, given)
        ticket = _ticket(found)
    except (BadInput, PolicyError, SetupError) as error:
        problem, ticket = str(error), Ticket(f"#{found.number}", "", f"#{found.number}", "")
    kept = configured.kept()
    settings = replace(
        run_settings(
            environment,
            configured.config,
            configured.bounded(given.max_cost),
            vendors=VENDORS,
            repeat_proof=True,
            experience=claim.experience,
        ),
        sources=configured.sources,
        configuration=hashlib.sha256(kept).hexdigest(),
    )
    settings = _with(settings, claim.state.added)
    state = replace(claim.state, base_sha=base, task_digest=ticket.digest)
    request = RunRequested(state.session, "run-01", ticket, base, settings, secrets.token_hex(6), state.branch)
    folder = _folder(given, kept, request, str(about["full_name"]))
    journal = Journal(folder.journal_path, utc_now)
    driver = Driver(journal, lambda run, effect: None, lambda run, effect: False)
    driver.feed(request)
    _give_up_lost(driver, state)
    _allow(driver, claim.allowance)
    if problem:
        driver.feed(RoomFailed("PrepareWorkspace", "environment", problem), journal.records[-1].seq)
    return _handed_over(given, driver, journal, taken(state, given.run_id, utc_now()))


def _ticket(found: IssueFacts) -> Ticket:
    ticket = freeze(f"{found.title}\n\n{found.body}", f"#{found.number}")
    if not fixers_for(ticket.title, ticket.body) and triage(ticket).vague:
        raise BadInput(f"{ticket.title!r} is too vague to plan: say what should be different afterwards, and where.")
    return ticket


def _folder(given: ActionSettings, kept: bytes, request: RunRequested, repository: str) -> SessionFolder:
    mark(given)
    (given.out / CONFIG).write_bytes(kept)
    folder = SessionFolder(given.out)
    name = request.session.split("_", 1)[0]
    folder.save(Metadata(name, request.session, repository, request.ticket.title, "running", utc_now()))
    return folder


# --- a session that goes on ---


def _go_on(given: ActionSettings, environment: Settings, client: Client, files: Files, claim: Claim) -> dict[str, str]:
    """Take up the journal where it was left, and record what was said since."""
    state = claim.state
    if claim.problem:
        return _refused(given, state, claim.problem)
    try:
        folder = unpack(given, _left(client, state), state.journal_head, exact=True)
    except (PolicyError, SetupError) as error:
        return _refused(given, state, str(error))
    journal = Journal(folder.journal_path, utc_now)
    driver = Driver(journal, lambda run, effect: None, lambda run, effect: False)
    _give_up_lost(driver, state)
    if claim.intent.verb in ("retry", "budget"):
        state = replace(state, restarts=0)
    if claim.intent.amount:  # beside an App it stands in the state
        intent = claim.intent
        state = replace(
            state, added=state.added + intent.amount, added_by=intent.by, added_why=intent.reason, added_for=intent.comment
        )
    if claim.intent.verb == "stop" or state.stopped_by:
        if not driver.run.over:
            driver.feed(StopRequested(state.stopped_by or claim.intent.by))
    elif driver.run.over and driver.run.state != "DONE_SUCCESS":
        old = driver.run.request
        settings = _with(_budget_now(given, environment, files, old.settings, state.spent), state.added)
        journal, driver, state = _again(given, replace(old, settings=settings), journal, state)
        _allow(driver, claim.allowance)
    else:
        _allow(driver, claim.allowance)
        _answer(given, environment, driver, state, claim.intent, files)
    return _handed_over(given, driver, journal, taken(state, given.run_id, utc_now()))


def _refused(given: ActionSettings, state: SessionState, why: str) -> dict[str, str]:
    """What the session left is gone or not what it left: nothing goes on, and the last job says so."""
    print(f"Session {state.session}: {why}", flush=True)
    shutil.rmtree(given.out, ignore_errors=True)
    summarise(given, None, why)
    state = taken(state, given.run_id, utc_now())
    outputs = {"go": "false", "next": str(Job.CONCLUDE), "session_id": state.session}
    return outputs | {"state": encoded(state), "refused": " ".join(why.split()), "reply": ""}


def _give_up_lost(driver: Driver, state: SessionState) -> None:
    """Jobs that left no journal may have spent all they could."""
    for job in (name for name in state.lost.split(",") if name):
        if not driver.run.over:
            driver.feed(JobLost(job, state.working_run or state.artifact_run))


def _left(client: Client, state: SessionState) -> dict[str, bytes]:
    """The session's files. Where one job does everything its artifact has no id yet when the state is signed: it is looked up
    in that workflow run alone, and the journal's digest says whether it is the one.

    Raises:
        SetupError: it is gone.
    """
    found, digest = state.artifact, state.artifact_digest
    try:
        if not found:
            listed = client.pages(f"actions/runs/{state.artifact_run}/artifacts", "artifacts")
            found = max((item["id"] for item in listed if item["name"].startswith(f"ostler-{state.session}-")), default=0)
        return artifacts.download(
            client, found, run_id=state.artifact_run, digest=digest or None, allow=ALLOWED, max_bytes=MAX_BYTES
        )
    except NotFound as error:
        raise SetupError(
            "The session's artifact is gone, so it cannot go on: take the label off and put it on again to start anew."
        ) from error


def _answer(
    given: ActionSettings, environment: Settings, driver: Driver, state: SessionState, intent: Intent, files: Files
) -> None:
    """What a person said for what the run waits for."""
    waiting = driver.run.waiting
    _raise(given, environment, driver, state, intent, files)
    if waiting is None:
        return
    digest, by = (intent.digest, intent.by) if intent.verb == "approve" else (state.approved_digest, state.approved_by)
    if waiting.what == "approval" and digest == waiting.digest:
        driver.answer(Answered(waiting.digest, "approved", by), AskPerson)
    elif waiting.what == "overrun":  # nobody but a person has a session go on that waits
        by, why = (state.added_by, state.added_why) if state.added else (intent.by, "")
        driver.feed(OverrunAccepted(by, why or "asked to go on after the stop"))
    elif waiting.what == "shared":
        driver.feed(Resumed(intent.by))


def _raise(
    given: ActionSettings, environment: Settings, driver: Driver, state: SessionState, intent: Intent, files: Files
) -> None:
    """More money: what a person added, or what the default branch's configuration has by now for a run that ran out."""
    run = driver.run
    now = run.ledger.run_cap if run.strategy else run.request.settings.max_cost
    cap = now + state.added
    if run.waiting and run.waiting.what == "budget":
        cap = max(cap, _budget_now(given, environment, files, run.request.settings, state.earlier).max_cost)
    if cap > now and not run.over:
        by, why = (state.added_by, state.added_why) if state.added else (intent.by, "")
        driver.feed(BudgetRaised(cap, by, why))


def _allow(driver: Driver, allowance: AllowanceGiven) -> None:
    """What the App set aside for this workflow run takes the place of what it had set aside for the one before."""
    if not driver.run.over and (allowance.amount is not None or driver.run.allowance is not None):
        driver.feed(allowance)


def _with(settings: RunSettings, added: int) -> RunSettings:
    """`settings` with so much more money; where one call may cost all of it, still so."""
    whole = settings.call_cap == settings.max_cost
    return replace(settings, max_cost=settings.max_cost + added, call_cap=settings.call_cap + (added if whole else 0))


def _budget_now(given: ActionSettings, environment: Settings, files: Files, old: RunSettings, gone: int) -> RunSettings:
    """`old` with what is left of the money, after the `gone` micro-dollars of the session's earlier runs, by the configuration
    that the default branch has by now: whoever may write there can raise it. Nothing else that changed since counts in a
    session that has begun; a configuration that is none changes nothing."""
    try:
        found = files.now()
        now = run_settings(environment, found.config, found.bounded(given.max_cost), vendors=VENDORS)
    except (BadInput, SetupError) as error:
        print(f"The budget stays as it was: {error}", flush=True)
        now = old
    left = max(LEAST, now.max_cost - gone)
    return replace(old, max_cost=left, call_cap=min(now.call_cap, left))


def _again(
    given: ActionSettings, request: RunRequested, journal: Journal, state: SessionState
) -> tuple[Journal, Driver, SessionState]:
    """Another run of the session, for a run that is over does not begin again; what was spent stays spent."""
    number = state.runs + 1
    journal.close()
    journal.path.unlink()
    request = replace(request, run=f"run-{number:02}", nonce=secrets.token_hex(6))
    journal = Journal(given.out / "journal.jsonl", utc_now)
    driver = Driver(journal, lambda run, effect: None, lambda run, effect: False)
    driver.feed(request)
    return journal, driver, replace(state, runs=number, earlier=state.spent)


def _handed_over(given: ActionSettings, driver: Driver, journal: Journal, state: SessionState) -> dict[str, str]:
    head = journal.records[-1].hash
    journal.close()
    run = driver.run
    outputs = outputs_of(given, run, head)
    state = replace(state, next_job=outputs["next"], lost="")
    if not is_branch_of(state.branch, state.issue, state.session):
        raise PolicyError("The session's branch is not one of Ostler's.")
    print(f"Session {state.session}: next is {outputs['next']}, {run.ledger.spent / MICRO:.4f} dollars spent.", flush=True)
    summarise(given, run, f"Next: {outputs['next']}.")
    goes = str(outputs["next"] != Job.CONCLUDE or run.over).lower()
    return outputs | {"go": goes, "base_sha": run.request.base_sha, "state": encoded(state), "reply": ""}
