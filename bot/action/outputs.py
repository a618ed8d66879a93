"""What a job tells the jobs after it and whoever uses the action."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from bot.action.settings import ActionSettings
from bot.core.budget import MICRO
from bot.core.errors import BugError
from bot.core.jobs import Job, next_job, waits
from bot.core.run import Run, short
from bot.core.summary import line
from bot.loop.comments import step_summary

Outputs = Mapping[str, str]
_NAME = re.compile(r"[a-z_]+")


def outputs_of(given: ActionSettings, run: Run, head: str) -> dict[str, str]:
    """The outputs of a job that worked on `run`; `head` is the hash of its journal's last record."""
    usage = run.ledger.usage
    changed = run.changeset is not None and bool(run.changeset.files)
    return {
        "session_id": run.request.session,
        "run_state": str(run.state),
        "next": str(Job.CONCLUDE if waits(run) and run.waiting and run.waiting.what != "approval" else next_job(run)),
        "verdict": verdict(Job(given.job), run),
        "journal_head": head,
        "branch_name": run.branch or run.request.branch,
        "plan_digest": short(run.contract) if run.contract else "",
        "changeset_digest": run.changeset.digest if run.changeset and changed else "",
        "pr_number": str(run.pull or ""),
        "total_cost_usd": f"{run.ledger.spent / MICRO:.6f}",
        "input_tokens": str(usage.input),
        "output_tokens": str(usage.output),
        "cache_read_tokens": str(usage.cache_read),
        "cache_write_tokens": str(usage.cache_write + usage.cache_write_long),
        "structured_output": json.dumps(line(run)),
    }


def verdict(job: Job, run: Run) -> str:
    """`pass` where what this job judges came out well: the proof after `prove`, the audit after `audit`, as far as what it claims
    is not still to be tried, and after `confirm`, which tries it."""
    if job is Job.PROVE:
        return "pass" if run.verdict and run.verdict.outcome != "fail" and next_job(run) in (Job.AUDIT, Job.PUBLISH) else "fail"
    if job is Job.AUDIT:
        return "pass" if next_job(run) in (Job.CONFIRM, Job.PUBLISH) else "fail"
    if job is Job.CONFIRM:
        return "pass" if next_job(run) is Job.PUBLISH else "fail"
    return ""


def summarise(given: ActionSettings, run: Run | None, told: str) -> None:
    """Leave the job's table on the workflow run's page."""
    if given.summary is not None:
        with given.summary.open("a", encoding="utf-8") as file:
            file.write(step_summary(run, given.job, told=told))


def write(path: Path | None, outputs: Outputs) -> None:
    """Append to the runner's file of outputs. Every value is one line: nothing can end its own entry and begin another."""
    if path is None:
        return
    lines = []
    for name, value in outputs.items():
        if not _NAME.fullmatch(name) or "\n" in value or "\r" in value:
            raise BugError(f"the output {name} is not one line")
        lines.append(f"{name}={value}\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(lines))
