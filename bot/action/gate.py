"""The job gate: who asks, may they, what exactly was asked, and how far is it. It runs no code of the repository."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bot.action.claiming import Claim, about_which, claimed, claimed_here, known, nothing
from bot.action.configuration import Files, refuse_what_no_job_holds
from bot.action.handover import ALLOWED, CONFIG, MAX_BYTES, encoded, mark, unpack
from bot.action.outputs import outputs_of, summarise
from bot.action.settings import ActionSettings
from bot.config import VENDORS, Configuration, Settings, combine, run_settings
from bot.core.budget import LEAST, MICRO
from bot.core.effects import AskPerson, Deliver
from bot.core.errors import BadInput, PolicyError, SetupError
from bot.core.events import (
    AllowanceGiven,
    Answered,
    BudgetRaised,
    ClassChosen,
    JobLost,
    OverrunAccepted,
    PhaseSkipped,
    PlanRevised,
    Resumed,
    RoomFailed,
    RunRequested,
    ShipRequested,
)
from bot.core.follow_up import FollowUp
from bot.core.following import place, places, stops_since
from bot.core.jobs import Job
from bot.core.phases import Kind
from bot.core.selection import ModelClass, triage
from bot.core.session import STOP_LABEL, SessionState, is_branch_of, is_named, issue_of, named
from bot.core.settling import taken
from bot.core.steering import noted, told
from bot.core.strategy import Settings as RunSettings
from bot.core.ticket import Ticket, freeze
from bot.core.triage_fixers import fixers_for
from bot.core.triggers import (
    ANSWERED,
    LOOKS,
    NO_SESSION,
    NOTED,
    OPEN_TO_ALL,
    STARTS,
    Intent,
    IssueFacts,
    Refusal,
    commanded,
    may_write,
    started,
)
from bot.github import artifacts, facts, following, refs
from bot.github.client import Client, NotFound
from bot.loop.driver import Driver
from bot.rooms import utc_now
from bot.store.journal import Journal
from bot.store.session import Metadata, SessionFolder


def gate(given: ActionSettings, environment: Settings, client: Client) -> dict[str, str]:
    """Decide whether this workflow run goes on, and hand over the session."""
    about = client.get("")
    found = facts.issue(client, given.issue)
    if found.is_pull and not given.coordinator:
        return _from_pull(given, client, about, found)
    files = Files(given, client, about)
    if given.coordinator:
        claim = claimed(given, environment, client, files, about, found)
    else:
        claim = claimed_here(given, client, files, about, found)
    if isinstance(claim, Refusal):
        return _nothing_to_do(given, about, claim)
    if claim.intent.verb in LOOKS:
        return _looked(given, client, about, claim.intent)
    if claim.intent.verb in ANSWERED:
        return _answered(claim.intent, claim.state)
    if claim.intent.verb in NOTED:
        return _noted(claim.intent, claim.state)
    if given.dry_run:
        print(f"Dry run: session {claim.state.session} would {'begin' if claim.fresh else 'go on'}.", flush=True)
        return {"go": "false", "next": "", "session_id": "", "reply": ""}
    if claim.fresh:
        return _begin(given, environment, client, files, about, found, claim)
    return _go_on(given, environment, client, files, about, found, claim)


def _nothing_to_do(given: ActionSettings, about: Mapping[str, Any], why: Refusal) -> dict[str, str]:
    print(f"Nothing to do: {why.why}.", flush=True)
    summarise(given, None, f"Nothing to do: {why.why}.")
    if not why.say:
        return {"go": "false", "next": "", "session_id": ""}
    state = encoded(nothing(given, about))
    return {"go": "true", "next": "post", "session_id": "", "reply": f"refusal {why.say}", "state": state}


def _answered(intent: Intent, state: SessionState) -> dict[str, str]:
    reply = f"{intent.verb} {intent.point}".strip()
    return {"go": "true", "next": "post", "session_id": "", "reply": reply, "state": encoded(state)}


def _looked(given: ActionSettings, client: Client, about: Mapping[str, Any], intent: Intent) -> dict[str, str]:
    """The states of the sessions that are named, for the job that answers: it has no key to tell real ones by."""
    states = []
    for word in intent.point.split():
        state = known(given, client, about, named(word), word)
        if state is None or not is_named(state.session, word):
            return _nothing_to_do(given, about, Refusal("there is no such session", NO_SESSION.format(word)))
        states.append(encoded(state))
    return _answered(replace(intent, point=",".join(states)), nothing(given, about))


def _noted(intent: Intent, state: SessionState) -> dict[str, str]:
    """The last job signs the state with what was said."""
    after = noted(state, intent.verb, intent.point, intent.by)
    reply = f"refusal {told(intent.verb, intent.point)}"
    return {"go": "true", "next": "post", "session_id": state.session, "reply": reply, "state": encoded(after)}


def _from_pull(given: ActionSettings, client: Client, about: Mapping[str, Any], found: IssueFacts) -> dict[str, str]:
    """Something was said on a pull request. The last job starts the workflow run that does it: one that waits its turn with those
    of the session's issue, which this one does not."""
    on = following.pull(client, given.issue)
    issue = issue_of(on.branch)
    state = known(given, client, about, issue, branch=on.branch) if issue else None
    if given.comment:
        asked = facts.asked(client, (given.issue,), given.comment)
        which = about_which(given, client, about, issue, asked, state) if asked else None
        intent = commanded(asked, which) if asked else Refusal("the comment is no command")
        if asked and isinstance(intent, Intent) and intent.verb in STARTS:
            intent = started(about["id"], found, asked)
        if isinstance(intent, Refusal):
            return _nothing_to_do(given, about, intent)
        if intent.verb in LOOKS:
            return _looked(given, client, about, intent)
        if state is None or intent.verb in OPEN_TO_ALL:
            return _answered(intent, state or nothing(given, about))
    elif state is None or following.due(client, state) is None:
        return _nothing_to_do(given, about, Refusal("nothing is to be followed here"))
    print(f"Session {state.session}: said on pull request #{on.number}.", flush=True)
    return {"go": "false", "next": str(Job.CONCLUDE), "session_id": state.session, "state": encoded(state), "reply": ""}


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
    state = replace(claim.state, base_sha=base)
    problem, configured, onto = claim.problem, combine(None), state.head_sha or base
    follow = FollowUp(state.follow, state.follow_by, state.pull) if state.follow else None
    try:
        configured = files.at(base)
        refuse_what_no_job_holds(configured, given)
        if follow:
            onto, ticket, follow = _asked(given, client, found, state)
        else:
            ticket = _ticket(found)
    except (BadInput, PolicyError, SetupError) as error:
        problem, ticket = str(error), Ticket(f"#{place(state)}", "", f"#{place(state)}", "")
    settings = _frozen(given, environment, configured, claim)
    if follow:
        settings = _budget_now(given, environment, files, settings, state.spent)
        state = replace(state, runs=state.runs + 1, earlier=state.spent, earlier_iterations=state.iterations)
    settings = _with(settings, state.added)
    state, name = replace(state, task_digest=ticket.digest), f"run-{state.runs:02}"
    by = facts.co_author(client, state.follow_by or state.requested_by)
    nonce = secrets.token_hex(6)
    request = RunRequested(state.session, name, ticket, onto, settings, nonce, state.branch, follow=follow, requester=by)
    folder = _folder(given, configured.kept(), request, str(about["full_name"]))
    journal = Journal(folder.journal_path, utc_now)
    driver = Driver(journal, lambda run, effect: None, lambda run, effect: False)
    driver.feed(request)
    _steer(driver, state)
    _give_up_lost(driver, state)
    _allow(driver, claim.allowance)
    if problem:
        driver.feed(RoomFailed("PrepareWorkspace", "environment", problem), journal.records[-1].seq)
    return _handed_over(given, driver, journal, taken(state, given.run_id, utc_now()))


def _frozen(given: ActionSettings, environment: Settings, configured: Configuration, claim: Claim) -> RunSettings:
    """What the run is held to, with the digest of the configuration that it came from."""
    settings = run_settings(
        environment,
        configured.config,
        configured.bounded(given.max_cost),
        vendors=VENDORS,
        repeat_proof=True,
        experience=claim.experience,
    )
    if claim.state.began == "plan" and not claim.state.follow:
        settings = replace(settings, approval="asked")
    return replace(settings, sources=configured.sources, configuration=hashlib.sha256(configured.kept()).hexdigest())


def _asked(given: ActionSettings, client: Client, found: IssueFacts, state: SessionState) -> tuple[str, Ticket, FollowUp]:
    """The head that a follow-up begins on, its ticket, and what it goes by.

    Raises:
        BadInput, PolicyError: nothing of it can be followed.
    """
    if STOP_LABEL in found.labels:
        raise BadInput(f"The issue has the label `{STOP_LABEL}`: take it off, then comment `/ostler retry`.")
    on, ticket, follow = following.frozen(client, state, given.jobs_app_id)
    before, now = (refs.entries(client, sha) for sha in (state.base_sha, on.head))
    changed = tuple(sorted(path for path in {*before, *now} if before.get(path) != now.get(path)))
    return on.head, ticket, replace(follow, changed=changed)


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


def _go_on(
    given: ActionSettings,
    environment: Settings,
    client: Client,
    files: Files,
    about: Mapping[str, Any],
    found: IssueFacts,
    claim: Claim,
) -> dict[str, str]:
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
    state = _heard(state, claim.intent)
    if not state.stopped_by and not given.coordinator:
        state = replace(state, stopped_by=facts.stopped(client, places(state), stops_since(state)) or "")
    if state.stopped_by:  # the run keeps its state: whoever has the session go on finds it as it was
        return _handed_over(given, driver, journal, taken(state, given.run_id, utc_now()))
    if state.shipped_by:
        if not isinstance(driver.run.pending, Deliver):
            driver.feed(ShipRequested(state.shipped_by))
        return _handed_over(given, driver, journal, taken(state, given.run_id, utc_now()))
    if driver.run.over and driver.run.state != "DONE_SUCCESS" and state.follow:
        journal.close()
        journal.path.unlink()
        return _begin(given, environment, client, files, about, found, replace(claim, state=state))
    if driver.run.over and driver.run.state != "DONE_SUCCESS":
        old = driver.run.request
        settings = _with(_budget_now(given, environment, files, old.settings, state.spent), state.added)
        journal, driver, state = _again(given, replace(old, settings=settings), journal, state)
        _steer(driver, state)
        _allow(driver, claim.allowance)
    else:
        _steer(driver, state)
        _allow(driver, claim.allowance)
        _revise(client, driver, state)
        _answer(given, environment, driver, state, claim.intent, files)
    return _handed_over(given, driver, journal, taken(state, given.run_id, utc_now()))


def _heard(state: SessionState, intent: Intent) -> SessionState:
    """What a person said, where no App has put it into the state."""
    if intent.verb in ("retry", "budget", "revise", "ship"):
        state = replace(state, restarts=0)
    if intent.verb == "stop":
        return replace(state, stopped_by=intent.by)
    if intent.verb == "retry":
        return replace(state, stopped_by="", resumed_at=intent.at, shipped_by="")
    if intent.verb == "ship":
        return replace(state, stopped_by="", resumed_at=intent.at, shipped_by=intent.by)
    if intent.verb == "revise":
        return replace(state, revised_for=intent.comment)
    if intent.amount:
        added = state.added + intent.amount
        return replace(state, added=added, added_by=intent.by, added_why=intent.reason, added_for=intent.comment)
    return state


def _refused(given: ActionSettings, state: SessionState, why: str) -> dict[str, str]:
    """What the session left is gone or not what it left: nothing goes on, and the last job says so."""
    print(f"Session {state.session}: {why}", flush=True)
    shutil.rmtree(given.out, ignore_errors=True)
    summarise(given, None, why)
    state = taken(state, given.run_id, utc_now())
    outputs = {"go": "false", "next": str(Job.CONCLUDE), "session_id": state.session}
    return outputs | {"state": encoded(state), "refused": " ".join(why.split()), "reply": ""}


def _steer(driver: Driver, state: SessionState) -> None:
    """What a person said of models and phases since."""
    if state.model_class:
        chosen = ClassChosen(ModelClass(state.model_class), state.model_by)
        if not driver.run.over and driver.run.chosen_class != chosen:
            driver.feed(chosen)
    for kind in map(Kind, filter(None, state.skips.split(","))):
        if not driver.run.over and kind not in {event.kind for event in driver.run.skips}:
            driver.feed(PhaseSkipped(kind, state.skips_by))


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


def _revise(client: Client, driver: Driver, state: SessionState) -> None:
    """Have another plan made, where somebody asked for one since. Of a comment that is another by now nothing is taken: the plan
    that was posted waits on."""
    run, comment = driver.run, state.revised_for
    if run.waiting is None or run.waiting.what != "approval" or comment in (0, *run.request.ticket.said):
        return
    asked = facts.asked(client, (state.issue,), comment)
    if asked is None or asked.verb != "revise" or asked.edited or not may_write(asked.actor):
        print("The comment that asked for another plan is not there any more as it was written: the plan stays.", flush=True)
        return
    said = freeze(asked.argument, run.request.ticket.reference)
    driver.answer(PlanRevised(said, asked.actor.login, comment), AskPerson)


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
    return journal, driver, replace(state, runs=number, earlier=state.spent, earlier_iterations=state.iterations)


def _handed_over(given: ActionSettings, driver: Driver, journal: Journal, state: SessionState) -> dict[str, str]:
    head = journal.records[-1].hash
    journal.close()
    run = driver.run
    outputs = outputs_of(given, run, head)
    if state.stopped_by:
        outputs["next"] = str(Job.CONCLUDE)
    state = replace(state, next_job=outputs["next"], lost="")
    if not is_branch_of(state.branch, state.issue, state.session):
        raise PolicyError("The session's branch is not one of Ostler's.")
    print(f"Session {state.session}: next is {outputs['next']}, {run.ledger.spent / MICRO:.4f} dollars spent.", flush=True)
    summarise(given, run, f"Next: {outputs['next']}.")
    goes = str(outputs["next"] != Job.CONCLUDE or run.over).lower()
    return outputs | {"go": goes, "base_sha": run.request.base_sha, "state": encoded(state), "reply": ""}
