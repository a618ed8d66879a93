"""The job conclude: always runs, says how it went, and leaves the session so that the next workflow run can go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from bot.action.coordinator import Coordinator
from bot.action.handover import had_by, receive, run_of
from bot.action.outputs import summarise
from bot.action.settings import ActionSettings
from bot.core.errors import SetupError
from bot.core.jobs import MODEL_JOBS, Job, next_job, waits
from bot.core.machines import RunState
from bot.core.run import Run
from bot.core.session import SessionState, Standing, asked_at
from bot.core.settling import PhaseLine, Report, settle
from bot.core.summary import budget_line, phase_rows
from bot.core.triggers import moment
from bot.github import actions, comments, facts
from bot.github.client import Client
from bot.loop.comments import status_comment
from bot.loop.settling import anchor_of, show
from bot.rooms import utc_now
from bot.store.envelope import Key, seal
from bot.store.session import SessionFolder

STOPPED = RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW
ENDED_BADLY = ("failure", "cancelled", "timed_out")


def conclude(given: ActionSettings, client: Client) -> dict[str, str]:
    """Settle the workflow run."""
    state = given.session_state
    folder = receive(given, exact=False)
    report = report_of(given, state, folder, _results(given.needs))
    if report.standing != "over" and (by := facts.stopped(client, given.issue, asked_at(state.session))):
        report = replace(report, standing="over", run_state=str(STOPPED), outcome=f"stopped by {by}")
    after = Coordinator(given).settle(report) if given.coordinator else _settle_here(given, client, state, report)
    seconds = (datetime.now(UTC) - moment(asked_at(state.session))).total_seconds()
    text = status_comment(after, report, seconds=seconds, job_url=given.job_url)
    comments.put(client, given.issue, "status", state.session, given.jobs_login, text)
    summarise(given, None, text.split("\n", 1)[0])
    if not given.coordinator and after.standing == "working":
        actions.dispatch(
            client,
            given.workflow_file,
            str(client.get("")["default_branch"]),
            {"issue": str(given.issue), "session": state.session},
        )
    return {"conclusion": after.standing, "run_state": after.run_state, "session_id": after.session, "next": after.next_job}


def report_of(given: ActionSettings, state: SessionState, folder: SessionFolder, ended: Mapping[str, str]) -> Report:
    """What this workflow run did, from its journal and from how its jobs ended."""
    run, head = run_of(folder)
    if problem := _claims_too_much(state, run, ended):
        run = replace(run, state=RunState.DONE_FAILED_POLICY_VIOLATION, outcome=problem, pending=None, waiting=None, pull=0)
    died = tuple(name for name in ended if ended[name] in ENDED_BADLY)
    known = had_by(folder, given.run_id)
    lost = ",".join(name for name in died if name in MODEL_JOBS and name not in known)
    standing: Standing = "over" if run.over else "waiting" if waits(run) or given.refused else "working"
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
        cap=run.ledger.run_cap,
        spent=state.earlier + run.ledger.spent,
        budget_line=budget_line(run),
        head_sha=run.head_sha,
        pull=run.pull,
        lost=lost,
        died=died,
        phases=tuple(PhaseLine(row.kind, row.state, row.calls, row.cost) for row in phase_rows(run)),
        note=run.request.settings.note,
    )


def _claims_too_much(state: SessionState, run: Run, ended: Mapping[str, str]) -> str:
    """Why the journal cannot be true: it tells of work that no job of this workflow run did. The machine that ran the build
    could write any journal; what comes after it was, or was not, done by others."""
    stages = [Job.PLAN, Job.BUILD, Job.PROVE, Job.AUDIT, Job.PUBLISH, Job.CONCLUDE]
    reached = stages.index(Job(state.next_job)) if state.next_job in stages else 0
    while reached < len(stages) - 1 and ended.get(stages[reached], "skipped") not in ("skipped", ""):
        reached += 1
    delivered = run.state is RunState.DONE_SUCCESS and run.changeset is not None and bool(run.changeset.files)
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
    after = settle(replace(state, anchor_sha=anchor), report, utc_now())
    show(
        client,
        after,
        app_id=given.jobs_app_id,
        seal=lambda value: seal(key, value),
        report=report,
        details_url=given.job_url,
        buttons=False,
    )
    return after
