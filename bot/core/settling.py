"""How a session stands after a workflow run: the report of its last job becomes the next signed state, and what people see."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from bot.core.budget_report import Spending
from bot.core.errors import PolicyError
from bot.core.experience import NONE, Experience, read_experience
from bot.core.inert import plain
from bot.core.jobs import Job
from bot.core.machines import RunState
from bot.core.quality import Level
from bot.core.rows import rows
from bot.core.run import short
from bot.core.session import SessionState, Standing

MAX_RESTARTS = 2
"""How often a session whose jobs die is begun again before a person has to look."""
RAISABLE = ("budget", "overrun")
"""What a run may wait for that more money has it go on from."""
SHOWN = 120
"""Characters of a title."""

Status = Literal["in_progress", "completed"]
Conclusion = Literal["action_required", "success", "neutral", "failure"]


@dataclass(frozen=True, slots=True)
class PhaseLine:
    """One phase as a table shows it: numbers and names of ours only. Money is micro-dollars."""

    kind: str
    state: str
    calls: int
    cost: int


@dataclass(frozen=True, slots=True)
class Report:
    """What the last job of a workflow run tells. `died` names jobs that ended without finishing, `added` is what the run took up
    of the state's; `spending` is all that the run has spent so far, `experience` what it adds
    to that of its repository once it is over. The rest is as in the state."""

    session: str
    issue: int
    workflow_run: int
    standing: Standing
    next_job: str
    run_state: str
    outcome: str
    artifact: int
    artifact_run: int
    artifact_digest: str
    journal_head: str
    task_digest: str
    plan_digest: str
    changeset_digest: str
    cap: int
    spent: int
    budget_line: str
    head_sha: str
    pull: int
    runs: int = 1
    earlier: int = 0
    lost: str = ""
    waits: str = ""
    needs: int = 0
    added: int = 0
    fix_checks: int = 0
    floor: str = ""
    iterations: int = 0
    models: str = ""
    died: tuple[str, ...] = ()
    phases: tuple[PhaseLine, ...] = ()
    spending: tuple[Spending, ...] = ()
    experience: Experience = NONE
    note: str = ""


def read_report(value: Any) -> Report:
    """The report in decoded JSON.

    Raises:
        PolicyError: not exactly the fields of a report, each of its own type.
    """
    if not isinstance(value, dict) or value.keys() != {field.name for field in fields(Report)}:
        raise PolicyError("The report does not have the fields that a report has.")
    plain = dict(value)
    died, phases, spending, experience = (plain.pop(name) for name in ("died", "phases", "spending", "experience"))
    kinds = {field.name: int if field.type == "int" else str for field in fields(Report)}
    if bad := [name for name, given in plain.items() if type(given) is not kinds[name]]:
        raise PolicyError(f"The report's {bad[0]} is no {kinds[bad[0]].__name__}.")
    if plain["standing"] not in ("working", "waiting", "over"):
        raise PolicyError("The report's standing is none.")
    if not isinstance(died, list | tuple) or any(type(name) is not str for name in died):
        raise PolicyError("The report's died is no list of names.")
    return Report(
        **plain,
        died=tuple(died),
        phases=rows(PhaseLine, phases),
        spending=rows(Spending, spending),
        experience=read_experience(experience),
    )


def settle(state: SessionState, report: Report, at: str) -> SessionState:
    """The state after `report`.

    Told twice, it is the same state. A job that died is begun again, `MAX_RESTARTS` times without progress. A run that ran out
    of money while somebody raised its cap goes on.

    Raises:
        PolicyError: the report is another session's, of a workflow run that is not the session's, or forgets money.
    """
    if (report.session, report.issue) != (state.session, state.issue):
        raise PolicyError(f"The report is about {report.session}, not about {state.session}.")
    if not report.workflow_run or report.workflow_run != (state.working_run or state.artifact_run):
        raise PolicyError(f"The workflow run {report.workflow_run} is not the one that works on {state.session}.")
    if report.spent < state.spent:
        raise PolicyError("The report forgets money that was spent before.")
    if state.working_run == 0:
        return state  # this workflow run has been settled
    moved = report.journal_head != state.journal_head and not report.died
    restarts = 0 if moved else state.restarts + 1
    tired = report.standing == "working" and restarts > MAX_RESTARTS
    more = report.standing == "waiting" and report.waits in RAISABLE and state.added > report.added
    shared = {name: value for name, value in asdict(report).items() if name in _SHARED}
    return replace(
        state,
        **shared,
        standing="waiting" if tired else "working" if more else report.standing,
        outcome=_tired(report) if tired else report.outcome,
        added=max(0, state.added - report.added),
        restarts=restarts,
        working_run=0,
        seq=state.seq + 1,
        prev=state.digest,
        issued_at=at,
    )


_SHARED = {field.name for field in fields(Report)} & {field.name for field in fields(SessionState)} - {
    "standing",
    "outcome",
    "added",
}


def _tired(report: Report) -> str:
    named = ", ".join(report.died) or report.next_job
    return f"{MAX_RESTARTS + 1} tries ended without finishing ({named}): look at the workflow run, then comment `/ostler retry`"


def taken(state: SessionState, workflow_run: int, at: str) -> SessionState:
    """The state once a workflow run was begun for it."""
    return replace(state, standing="working", working_run=workflow_run, seq=state.seq + 1, prev=state.digest, issued_at=at)


@dataclass(frozen=True, slots=True)
class Button:
    """A button of a check run; GitHub allows 20, 40 and 20 characters."""

    label: str
    description: str
    identifier: str


@dataclass(frozen=True, slots=True)
class View:
    """What the check run shows."""

    status: Status
    conclusion: Conclusion | None
    title: str
    buttons: tuple[Button, ...] = ()


CONCLUSIONS: dict[Level, Conclusion] = {"blocked": "failure", "needs review": "action_required"}
STOP = Button("Stop", "End this session; nothing is delivered", "stop")
RETRY = Button("Retry", "Go on from where it stopped", "retry")
ADD = Button("Add $2", "Raise the cap by $2 and go on", "budget")
SHIP = Button("Ship as draft", "The change as it is, not proved, as a draft", "ship")
FIX = Button("Fix CI", "Repair the failed checks of this commit", "fix-ci")

_WORK = {
    Job.PLAN: "Planning", Job.POST: "Posting the plan", Job.BUILD: "Building", Job.PROVE: "Proving", Job.AUDIT: "Auditing",
    Job.CONFIRM: "Trying out what the audit claims",
}  # fmt: skip


def approval_waits(state: SessionState) -> bool:
    return state.standing == "waiting" and state.next_job == Job.POST and bool(state.plan_digest)


def waits_for_money(state: SessionState) -> bool:
    return state.standing == "waiting" and state.waits in RAISABLE


def unshippable(state: SessionState) -> str:
    """Why the change as it stands cannot be shipped, in one line; empty where it can."""
    if state.standing == "working":
        return "The session is at work: what it makes can be shipped once it waits or is over."
    if state.shipped or (state.standing == "over" and state.run_state == RunState.DONE_SUCCESS and state.pull):
        return f"It is delivered: see pull request #{state.pull}."
    if not state.changeset_digest:
        return "There is nothing to ship: no change was made."
    if state.run_state == RunState.DONE_FAILED_POLICY_VIOLATION:
        return "There is nothing to ship: the change was refused, as the status comment says."
    return ""


def view(state: SessionState) -> View:
    """What is put away shows how it ended, and offers nothing any more."""
    seen = _view(state)
    return replace(seen, title=f"Archived: {seen.title}", buttons=()) if state.archived_by else seen


def _view(state: SessionState) -> View:
    """Never green without a proof: what stopped or was not verified ends neutral, what waits for a person asks for action."""
    if state.standing == "working":
        return View("in_progress", None, _WORK.get(Job(state.next_job), "Working"))
    if approval_waits(state):
        digest = short(state.plan_digest)
        approve = Button("Approve the plan", f"Approve exactly the plan {digest}", f"approve-{digest}")
        return View("completed", "action_required", f"Plan {digest} waits for approval", (approve, STOP))
    ship = () if unshippable(state) else (SHIP,)
    if state.standing == "waiting":
        what = "Waits for room" if state.waits == "shared" else "Waits for a person"
        more = (ADD,) if waits_for_money(state) else ()
        rest = ship if ship and more else (*ship, RETRY)
        return View("completed", "action_required", _title(what, state.outcome), (*more, *rest, STOP))
    if state.run_state == RunState.DONE_SUCCESS:
        said = f"Pull request #{state.pull}" if state.pull else "Nothing to change"
        return View("completed", _concluded(state), _title(said, state.outcome), (FIX,) if state.pull else ())
    if state.shipped:
        return View("completed", "neutral", _title(f"Draft #{state.pull}, not proved", state.outcome), (FIX,))
    return View("completed", "neutral", _title("Stopped", state.outcome), (*ship, RETRY))


def _concluded(state: SessionState) -> Conclusion:
    """By what the end of a run says of itself: what is blocked, asks for a look or was verified by no test is not green."""
    if not state.pull:
        return "neutral"
    for level, conclusion in CONCLUSIONS.items():
        if f"{level}: " in state.outcome:
            return conclusion
    return "neutral" if "not verified" in state.outcome else "success"


def _title(what: str, why: str) -> str:
    return f"{what}: {plain(why, SHOWN - len(what))}" if why and why != "done" else what


def state_label(state: SessionState) -> str:
    """The one state label of the issue."""
    if state.standing == "working":
        return "ostler:planning" if state.next_job in (Job.PLAN, Job.POST) else "ostler:building"
    if approval_waits(state):
        return "ostler:awaiting-approval"
    if state.standing == "over" and state.run_state == RunState.DONE_SUCCESS:
        return "ostler:in-review" if state.pull else "ostler:done"
    return "ostler:needs-human"
