"""The job conclude: always runs, says how it went, and leaves the session so that the next workflow run can go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime

from bot.action.coordinator import Coordinator
from bot.action.handover import NOT_BELIEVED, had_by, receive, run_of
from bot.action.outputs import summarise
from bot.action.settings import ActionSettings
from bot.core import following
from bot.core.budget import LOST, RUNNER_MINUTES
from bot.core.budget_report import spending
from bot.core.errors import BugError, PolicyError, SetupError
from bot.core.inert import plain
from bot.core.jobs import MODEL_JOBS, Job, next_job, waits
from bot.core.machines import RunState
from bot.core.record import taught
from bot.core.run import Run
from bot.core.selection import floor_of
from bot.core.session import SessionState, Standing
from bot.core.settling import PhaseLine, Report, settle
from bot.core.summary import budget_line, iteration_costs, phase_rows
from bot.core.triggers import moment
from bot.github import actions, comments, facts
from bot.github.client import Client, repeatable
from bot.github.following import due
from bot.loop.comments import status_comment
from bot.loop.settling import anchor_of, recover, show
from bot.rooms import utc_now
from bot.store.envelope import Key, seal
from bot.store.session import SessionFolder

STOPPED = RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW
MOST_MODELS = 300
"""Characters of their names that a state keeps."""
ENDED_BADLY = ("failure", "cancelled", "timed_out")


def conclude(given: ActionSettings, client: Client) -> dict[str, str]:
    """Settle the workflow run."""
    state = given.session_state
    if not given.coordinator and state.working_run != given.run_id:
        if _results(given.needs).get(Job.POST) == "success":  # something was noted, and answered
            _shown(given, client, state, None)
        else:  # said on the pull request: it waits its turn with the issue
            _go_on(given, client, state, given.comment)
        return {"conclusion": state.standing, "run_state": state.run_state, "session_id": state.session}
    report = _reported(given, state, _results(given.needs))
    if report.standing != "over" and (by := state.stopped_by or _stopped(client, state)):
        report = replace(report, standing="over", run_state=str(STOPPED), outcome=f"stopped by {by}")

    def text_of(settled: SessionState) -> str:
        return status_comment(settled, report, seconds=seconds, job_url=given.job_url)

    seconds = (datetime.now(UTC) - moment(following.since(state))).total_seconds()
    said = ""
    if given.coordinator and given.run_attempt == 1:  # what is settled is not looked at again, so this is said before
        said = _say(given, client, text_of(settle(state, report, utc_now())))
    after = Coordinator(given).settle(report) if given.coordinator else _settle_here(given, client, state, report)
    text = text_of(after)
    if text != said:
        _say(given, client, text)
    summarise(given, None, text.split("\n", 1)[0])
    if not given.coordinator and (after.standing == "working" or due(client, after)):
        _go_on(given, client, after)
    return {"conclusion": after.standing, "run_state": after.run_state, "session_id": after.session, "next": after.next_job}


def _stopped(client: Client, state: SessionState) -> str | None:
    return facts.stopped(client, following.places(state), following.stops_since(state))


def _say(given: ActionSettings, client: Client, text: str) -> str:
    state = given.session_state
    kind, place = following.comment_kind(state, "status"), following.place(state)
    comments.put(client, place, kind, state.session, given.jobs_login, text)
    return text


def _go_on(given: ActionSettings, client: Client, state: SessionState, comment: int = 0) -> None:
    """Ask for the next workflow run, again when in doubt: of two, one waits for the other and then finds nothing to do."""
    branch, inputs = str(client.get("")["default_branch"]), {"issue": str(state.issue), "session": state.session}
    inputs |= {"comment": str(comment)} if comment else {}
    repeatable(lambda: actions.dispatch(client, given.workflow_file, branch, inputs), clock=client.clock)


def _reported(given: ActionSettings, state: SessionState, ended: Mapping[str, str]) -> Report:
    """By the journal that was left; where that is not the one that was handed over, by the state before."""
    try:
        return report_of(given, state, receive(given, exact=False), ended)
    except (PolicyError, SetupError) as error:
        return _unread(given, state, str(error), ended)
    except BugError as error:
        return _unread(given, state, f"The session's journal tells of what cannot have been: {error}.", ended)


def _unread(given: ActionSettings, state: SessionState, why: str, ended: Mapping[str, str]) -> Report:
    """What was left is not believed: the session goes back to what it last was, and a person has to look. What its model jobs
    spent is not known, so it is all that they could."""
    spenders = [job for job in MODEL_JOBS if ended.get(job, "skipped") not in ("skipped", "")]
    lost = ",".join(dict.fromkeys([*filter(None, state.lost.split(",")), *spenders]))
    taken_over = {field.name for field in fields(Report)} & {field.name for field in fields(SessionState)}
    kept = {name: getattr(state, name) for name in taken_over}
    standing = "waiting" if state.artifact else "over"
    changes = {
        "standing": standing, "next_job": str(Job.CONCLUDE), "run_state": str(RunState.DONE_FAILED_POLICY_VIOLATION),
        "outcome": given.refused or why, "lost": lost, "waits": "", "needs": 0, "added": 0,
    }  # fmt: skip
    return Report(**kept | changes, workflow_run=given.run_id)


def report_of(given: ActionSettings, state: SessionState, folder: SessionFolder, ended: Mapping[str, str]) -> Report:
    """What this workflow run did, from its journal and from how its jobs ended."""
    run, head = run_of(folder)
    refused = given.refused if given.refused.startswith(NOT_BELIEVED) else ""
    if problem := refused or _not_the_one_made(given, run) or _claims_too_much(state, run, ended):
        return _unread(given, state, problem, ended)
    died = tuple(name for name in ended if ended[name] in ENDED_BADLY)
    known = had_by(folder, given.run_id)
    lost = ",".join(name for name in died if name in MODEL_JOBS and name not in known)
    standing: Standing = "over" if run.over and run.pending is None else "waiting" if waits(run) or given.refused else "working"
    waiting = None if run.over else run.waiting
    waited = run.waiting.text if run.waiting else ""
    changed = run.changeset is not None and bool(run.changeset.files)
    return Report(
        session=state.session,
        issue=state.issue,
        workflow_run=given.run_id,
        standing=standing,
        next_job=str(next_job(run)),
        run_state=str(run.state),
        outcome=given.refused or run.outcome or waited,
        artifact=given.artifact_id,
        artifact_run=given.run_id,
        artifact_digest=given.artifact_digest,
        journal_head=head,
        task_digest=run.request.ticket.digest,
        plan_digest=run.contract,
        changeset_digest=run.changeset.digest if run.changeset and changed else "",
        cap=state.earlier + run.ledger.run_cap,
        spent=state.earlier + run.ledger.spent,
        budget_line=budget_line(run),
        head_sha=run.head_sha or state.head_sha,
        pull=run.pull or state.pull,
        runs=state.runs,
        earlier=state.earlier,
        lost=lost,
        waits=waiting.what if waiting else "",
        needs=waiting.needed if waiting and waiting.what == "shared" else 0,
        added=state.added,
        fix_checks=run.request.settings.fix_checks,
        floor=str(floor_of(run.strategy.triage)) if run.strategy else state.floor,
        iterations=state.earlier_iterations + len(iteration_costs(run)),
        models=_models(state, run),
        died=died,
        phases=tuple(PhaseLine(row.kind, row.state, row.calls, row.cost) for row in phase_rows(run)),
        spending=spending(run.ledger.charges),
        experience=taught(run),
        note=run.request.settings.note,
    )


def _models(state: SessionState, run: Run) -> str:
    """The models that all runs of the session asked, in the order of first use."""
    here = [charge.model for charge in run.ledger.charges if charge.kind not in (LOST, RUNNER_MINUTES)]
    return plain(", ".join(dict.fromkeys([*filter(None, state.models.split(", ")), *here])), MOST_MODELS)


def _not_the_one_made(given: ActionSettings, run: Run) -> str:
    """Why what the journal would have published is not what the build made, as that job told it."""
    made = given.expect_changeset
    same = run.changeset is None or not run.changeset.files or run.changeset.digest == made
    return "" if same or not made else "the changeset is not the one that was made, by its digest"


def _claims_too_much(state: SessionState, run: Run, ended: Mapping[str, str]) -> str:
    """Why the journal cannot be true: it tells of work that no job of this workflow run did. The machine that ran the build
    could write any journal; what comes after it was, or was not, done by others."""
    stages = [Job.PLAN, Job.BUILD, Job.PROVE, Job.AUDIT, Job.CONFIRM, Job.PUBLISH, Job.CONCLUDE]
    reached = stages.index(Job(state.next_job)) if state.next_job in stages else 0
    while reached < len(stages) - 1 and ended.get(stages[reached], "skipped") not in ("skipped", ""):
        if stages[reached] is Job.AUDIT and ended[Job.AUDIT] != "success":
            break  # one that died may never have had the journal: what tells of its word may be the machine's before it
        reached += 1
        if stages[reached] is Job.CONFIRM and ended.get(Job.CONFIRM, "skipped") == "skipped":
            reached += 1  # the audit left nothing to try, and on its machine ran no code that could lie about that
    delivered = bool(run.head_sha)
    claimed = Job.CONCLUDE if delivered else next_job(run)
    if claimed not in stages or (claimed is Job.CONCLUDE and not delivered):
        return ""  # it waits for a person, or ended without a result: nothing can be got by claiming that
    return f"the journal tells of work that no job did ({claimed})" if stages.index(claimed) > reached else ""


def _results(needs: str) -> dict[str, str]:
    """Job name to how it ended."""
    try:
        value = json.loads(needs)
    except ValueError as error:
        raise SetupError("OSTLER_NEEDS is no JSON: it names the jobs before this one and how they ended.") from error
    if not isinstance(value, dict) or not all(isinstance(result, str) for result in value.values()):
        raise SetupError("OSTLER_NEEDS is no table of jobs.")
    return value


def _settle_here(given: ActionSettings, client: Client, state: SessionState, report: Report) -> SessionState:
    """Without an App this job signs the state and shows it."""
    key = Key.from_secret(given.state_key.get_secret_value())
    anchor = state.anchor_sha or anchor_of(client, state.branch)
    if not anchor:
        raise SetupError(f"The branch {state.branch} is not there, so the state has no place: re-run the failed jobs.")
    return _shown(given, client, _following(given, client, replace(state, anchor_sha=anchor), report, key), report)


def _shown(given: ActionSettings, client: Client, state: SessionState, report: Report | None) -> SessionState:
    """Sign the state and put it on the check run."""
    key = Key.from_secret(given.state_key.get_secret_value())
    show(
        client,
        state,
        app_id=given.jobs_app_id,
        seal=lambda value: seal(key, value),
        report=report,
        details_url=given.job_url,
        buttons=False,
    )
    return state


def _following(given: ActionSettings, client: Client, state: SessionState, report: Report, key: Key) -> SessionState:
    """The state after `report`. A second attempt of this job may have settled before: then it is the same state, or the next.

    Raises:
        PolicyError: another workflow run went on with the session since, and what it spent would be forgotten.
    """
    after = settle(state, report, utc_now())
    if given.run_attempt == 1:
        return after
    known = recover(client, [key], app_id=given.jobs_app_id, repo_id=state.repo_id, issue=state.issue, session=state.session)
    if known is None or known.seq <= state.seq:
        return after
    if known.artifact_run != given.run_id:
        raise PolicyError("Another workflow run went on with the session since, so this one is not told again.")
    if replace(after, seq=known.seq, prev=known.prev, issued_at=known.issued_at) == known:
        return known
    return replace(after, seq=known.seq + 1, prev=known.digest)
