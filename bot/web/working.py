"""Workflow runs: asked for when it is a session's turn, bound to it, watched until they are over, and accounted for.

Between asking for a workflow run and writing down its number the App may die. So the time is written down before; whoever takes
over first looks for a run that this App asked for since and that belongs to no session. Were there two after all, the gate of
the second is refused (`bot.web.jobs`), and it ends before it spends anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from bot.core.errors import SetupError
from bot.core.following import comment_kind, place
from bot.core.jobs import MODEL_JOBS, Job
from bot.core.session import SessionState
from bot.core.settling import MAX_RESTARTS, taken
from bot.github import actions, comments
from bot.github.client import Client, NotFound, UnknownOutcome, quoted
from bot.loop.comments import refusal
from bot.store.runs import Row
from bot.telemetry import Dispatched, Lost
from bot.web import allowances
from bot.web.asking import end_work
from bot.web.moves import begun_anew, given_up
from bot.web.office import Office

EARLIER = 30.0
"""Seconds that GitHub's clock may be behind ours."""
AFTER_DISPATCH = 5.0
"""Seconds before a second look for a workflow run that may or may not have been started."""
RERUN_PAUSE = 60.0
"""Seconds before a workflow run that was told to run again is judged by how it stands."""
_SESSION = re.compile(r"issue-[0-9]+-[0-9a-f]{8}_[0-9]{8}_[0-9]{6}")
SILENT = "the workflow run ended without telling what became of it: look at it, then comment `/ostler retry`"


def dispatch(office: Office, row: Row) -> None:
    """Ask for the workflow run that a session in the lane `dispatching` waits for, or find the one that was asked for."""
    client = office.access.of(row)
    try:
        workflow_run, how = _asked_for(office, client, row), "adopted"
        if not workflow_run:
            inputs = {"issue": str(row.issue), "session": row.id}
            workflow_run = actions.dispatch(client, office.settings.workflow_file, row.default_branch, inputs)
            how = "dispatched"
    except UnknownOutcome:
        office.queue.later(row, row.state.seq, office.clock() + min(AFTER_DISPATCH, office.settings.poll_seconds))
        return
    except NotFound:
        file = office.settings.workflow_file
        give_up(office, row, f"the default branch has no .github/workflows/{file}: add it as the README shows, then retry")
        return
    except SetupError as error:
        give_up(office, row, f"no workflow run could be started: {str(error).rstrip('.')}")
        return
    _bind(office, row, workflow_run, how)


def give_up(office: Office, row: Row, why: str, lost: Sequence[str] = ()) -> None:
    """No workflow run goes on, and no job is left to say so: one comment does, where the session is talked about.

    The comment is first, so that a crash between the two loses neither. One that was stopped is no news.
    """
    before = row.state
    if before.standing != "over":
        kind, text = comment_kind(before, f"trouble-{before.seq}"), refusal(f"{why[:1].upper()}{why[1:]}.")
        comments.put(office.access.of(row), place(before), kind, row.id, office.access.bot, text)

    def move(state: SessionState) -> SessionState:
        same = (state.standing, state.working_run) == (before.standing, before.working_run)
        return given_up(state, why, office.at, tuple(lost)) if same else state

    office.change(row.id, move, lease=row.lease)
    office.show(row.id)


def _bind(office: Office, row: Row, workflow_run: int, how: str) -> None:
    def move(state: SessionState) -> SessionState:
        idle = state.standing == "working" and not state.working_run
        return taken(state, workflow_run, office.at) if idle else state

    now = office.change(row.id, move, lease=row.lease)
    if now.state.working_run == workflow_run:
        office.telemetry.tell(Dispatched(row.id, workflow_run, how))
        office.show(row.id)
        office.queue.later(row, now.state.seq, office.clock() + office.settings.poll_seconds)
    elif now.state.standing == "over":  # stopped meanwhile
        actions.cancel(office.access.of(row), workflow_run)


def _asked_for(office: Office, client: Client, row: Row) -> int:
    """A workflow run that this App asked for since `asked_at` and that belongs to no session; 0 for none.

    Only one session of a repository is started at a time, so it can only be this one's. A title that names another session
    (the caller workflow's `run-name`) says that it is not.
    """
    since = datetime.fromtimestamp(row.asked_at - EARLIER, UTC)
    bound = office.queue.bound(row.repo_id)
    found = client.pages(
        f"actions/workflows/{quoted(office.settings.workflow_file)}/runs",
        "workflow_runs",
        event="workflow_dispatch",
        actor=office.access.bot,
        created=f">={since:%Y-%m-%dT%H:%M:%SZ}",
    )
    free = [item for item in found if int(item["id"]) not in bound and item["status"] != "completed"]
    ours = [int(item["id"]) for item in free if set(_SESSION.findall(str(item.get("display_title") or ""))) <= {row.id}]
    return min(ours, default=0)


def watch(office: Office, row: Row) -> None:
    """Look at the workflow run of a session; where it ended without settling, begin or run it again, then ask for a person."""
    client = office.access.of(row)
    number = row.state.working_run
    try:
        run = actions.run(client, number)
    except NotFound:
        run = None
    if run is not None and not run.over:
        if row.state.standing == "over":
            end_work(office, row)
        office.queue.later(row, row.state.seq, office.clock() + office.settings.poll_seconds)
        return
    if run is not None and run.attempt == 1 and row.state.standing != "over" and _further(office, client, row):
        return
    office.telemetry.tell(Lost(row.id, number, "given up"))
    give_up(office, row, SILENT, _spenders(client, number) if run is not None else MODEL_JOBS)


def _further(office: Office, client: Client, row: Row) -> bool:
    return _anew(office, client, row) or _again(office, client, row)


def _anew(office: Office, client: Client, row: Row) -> bool:
    """Whether the session is queued again: its workflow run did not pass the gate, so nothing was begun or spent. A few times."""
    number = row.state.working_run
    names = {job.name.rpartition(" / ")[2]: job.conclusion for job in actions.jobs(client, number)}
    if names.get(Job.GATE) == "success" or row.state.restarts >= MAX_RESTARTS:
        return False

    def move(state: SessionState) -> SessionState:
        return begun_anew(state, office.at) if state.working_run == number and state.standing != "over" else state

    allowances.settle(office, office.change(row.id, move, lease=row.lease))
    office.telemetry.tell(Lost(row.id, number, "begun anew"))
    return True


def _again(office: Office, client: Client, row: Row) -> bool:
    """Whether GitHub runs the failed jobs again: the last one, which settles, is among them if it did not finish."""
    try:
        actions.rerun_failed(client, row.state.working_run)
    except UnknownOutcome:
        pass  # the next look sees which
    except SetupError:  # refused; GitHub may have begun it already, though its answer said otherwise a moment ago
        run = actions.run(client, row.state.working_run)
        if run.over and run.attempt == 1:
            return False
    office.telemetry.tell(Lost(row.id, row.state.working_run, "rerun"))
    office.queue.later(row, row.state.seq, office.clock() + min(RERUN_PAUSE, 4 * office.settings.poll_seconds))
    return True


def _spenders(client: Client, workflow_run: int) -> tuple[str, ...]:
    """The jobs that held model keys and were not skipped: what they spent is not known, so it is all that they could."""
    names = {job.name.rpartition(" / ")[2]: job.conclusion for job in actions.jobs(client, workflow_run)}
    return tuple(name for name in MODEL_JOBS if names.get(name, "skipped") != "skipped")
