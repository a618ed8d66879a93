"""Workflow runs: start one, look at it, run what failed again, end it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.core.errors import TransientError
from bot.github.client import Client, Conflict, quoted, repeatable


@dataclass(frozen=True, slots=True)
class WorkflowRun:
    """`conclusion` is empty while it runs. Times are UTC, ISO 8601."""

    id: int
    status: str
    conclusion: str
    attempt: int
    event: str
    head_branch: str
    html_url: str
    created_at: str

    @property
    def over(self) -> bool:
        return self.status == "completed"


@dataclass(frozen=True, slots=True)
class WorkflowJob:
    id: int
    name: str
    status: str
    conclusion: str


def dispatch(client: Client, workflow: str, ref: str, inputs: Mapping[str, str]) -> int:
    """Start `workflow` (a file name) on the branch `ref`; the id of the workflow run.

    Raises:
        UnknownOutcome: one may have been started. It can't be found again, and need not be: of two runs of a session
            the gate lets one go on.
    """
    body = {"ref": ref, "inputs": dict(inputs), "return_run_details": True}
    made = client.post(f"actions/workflows/{quoted(workflow)}/dispatches", body)
    if not isinstance(made, dict) or not isinstance(made.get("workflow_run_id"), int):
        raise TransientError("GitHub started a workflow run without telling its id.", billed=None)
    return int(made["workflow_run_id"])


def run(client: Client, run_id: int) -> WorkflowRun:
    """NotFound where it is gone."""
    return _run(client.get(f"actions/runs/{run_id}"))


def jobs(client: Client, run_id: int) -> tuple[WorkflowJob, ...]:
    """The jobs of the latest attempt."""
    found = client.pages(f"actions/runs/{run_id}/jobs", "jobs", filter="latest")
    return tuple(WorkflowJob(int(job["id"]), str(job["name"]), str(job["status"]), job["conclusion"] or "") for job in found)


def rerun_failed(client: Client, run_id: int) -> None:
    """Run the failed jobs of a completed run again, and what needs them. Conflict where there is nothing to run again."""
    client.post(f"actions/runs/{run_id}/rerun-failed-jobs")


def cancel(client: Client, run_id: int) -> None:
    """End a run; one that is over stays as it is."""
    try:
        repeatable(lambda: client.post(f"actions/runs/{run_id}/cancel"), clock=client.clock)
    except Conflict:
        return


def _run(item: Any) -> WorkflowRun:
    return WorkflowRun(
        int(item["id"]),
        str(item["status"]),
        item["conclusion"] or "",
        int(item.get("run_attempt") or 1),
        str(item["event"]),
        item.get("head_branch") or "",
        str(item["html_url"]),
        str(item["created_at"]),
    )
