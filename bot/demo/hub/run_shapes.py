"""Workflows, runs and jobs as answers and webhooks show them."""

from __future__ import annotations

from typing import Any

from bot.demo.hub import shapes
from bot.demo.hub.hub import Hub
from bot.demo.hub.state import Repository, Workflow, WorkflowRun, stamp
from bot.demo.runner.platform import JobRecord, StepRecord

Shape = dict[str, Any]


def workflow(hub: Hub, home: Repository, one: Workflow) -> Shape:
    since = stamp(one.created_at)
    return {
        "id": one.id,
        "node_id": f"W_{one.id}",
        "name": one.name,
        "path": one.path,
        "state": one.state,
        "created_at": since,
        "updated_at": since,
        "url": f"{shapes.api(hub, home)}/actions/workflows/{one.id}",
        "html_url": f"{shapes.html(hub, home)}/blob/{home.default_branch}/{one.path}",
        "badge_url": f"{shapes.html(hub, home)}/workflows/{one.name}/badge.svg",
    }


def _suite(run: WorkflowRun) -> int:
    return run.id * 10


def run(hub: Hub, home: Repository, one: WorkflowRun) -> Shape:
    """The latest attempt of a run."""
    url, page = f"{shapes.api(hub, home)}/actions/runs/{one.id}", f"{shapes.html(hub, home)}/actions/runs/{one.id}"
    repository = shapes.repository(hub, home)
    return {
        "id": one.id,
        "name": one.name,
        "node_id": f"WFR_{one.id}",
        "head_branch": one.ref.removeprefix("refs/heads/"),
        "head_sha": one.head_sha,
        "path": one.path,
        "display_title": one.display_title,
        "run_number": one.number,
        "run_attempt": one.attempt,
        "event": one.event_name,
        "status": one.status,
        "conclusion": one.conclusion,
        "workflow_id": one.workflow_id,
        "check_suite_id": _suite(one),
        "check_suite_node_id": f"CS_{_suite(one)}",
        "url": url,
        "html_url": page,
        "pull_requests": shapes.pulls_at(hub, home, one.head_sha),
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.updated_at),
        "run_started_at": stamp(one.run_started_at),
        "actor": shapes.user(hub, one.actor),
        "triggering_actor": shapes.user(hub, one.triggering_actor),
        "referenced_workflows": [],
        "jobs_url": f"{url}/jobs",
        "logs_url": f"{url}/logs",
        "check_suite_url": f"{shapes.api(hub, home)}/check-suites/{_suite(one)}",
        "artifacts_url": f"{url}/artifacts",
        "cancel_url": f"{url}/cancel",
        "rerun_url": f"{url}/rerun",
        "previous_attempt_url": f"{url}/attempts/{one.attempt - 1}" if one.attempt > 1 else None,
        "workflow_url": f"{shapes.api(hub, home)}/actions/workflows/{one.workflow_id}",
        "head_commit": _head_commit(hub, home, one),
        "repository": repository,
        "head_repository": repository,
    }


def _head_commit(hub: Hub, home: Repository, one: WorkflowRun) -> Shape | None:
    commit = hub.bare(home).commit(one.head_sha)
    if commit is None:
        return None
    return {
        "id": commit.sha,
        "tree_id": commit.tree,
        "message": commit.message,
        "timestamp": stamp(commit.committer.when),
        "author": {"name": commit.author.name, "email": commit.author.email},
        "committer": {"name": commit.committer.name, "email": commit.committer.email},
    }


def jobs(one: WorkflowRun, attempt: int | None = None, *, everything: bool = False) -> list[JobRecord]:
    """Those of an attempt (the latest by default), or of all attempts, in the order of their ids."""
    attempts = sorted(one.records) if everything else [attempt or one.attempt]
    found = {job.id: job for number in attempts for job in one.records.get(number, {}).values()}
    return [found[key] for key in sorted(found)]


def job(hub: Hub, home: Repository, run: WorkflowRun, one: JobRecord) -> Shape:
    api, page = shapes.api(hub, home), shapes.html(hub, home)
    since = stamp(run.run_started_at)
    return {
        "id": one.id,
        "run_id": run.id,
        "run_url": f"{api}/actions/runs/{run.id}",
        "run_attempt": one.attempt,
        "node_id": f"CR_{one.id}",
        "head_sha": run.head_sha,
        "head_branch": run.ref.removeprefix("refs/heads/"),
        "url": f"{api}/actions/jobs/{one.id}",
        "html_url": f"{page}/actions/runs/{run.id}/job/{one.id}",
        "status": one.status,
        "conclusion": one.conclusion,
        "created_at": one.started_at or since,
        "started_at": one.started_at or since,
        "completed_at": one.completed_at,
        "name": one.name,
        "steps": [_step(step) for step in one.steps],
        "check_run_url": f"{api}/check-runs/{one.id}",
        "labels": list(one.labels),
        "runner_id": one.id if one.runner_name else None,
        "runner_name": one.runner_name or None,
        "runner_group_id": 1 if one.runner_name else None,
        "runner_group_name": "Default" if one.runner_name else None,
        "workflow_name": run.name,
    }


def _step(one: StepRecord) -> Shape:
    return {
        "name": one.name,
        "number": one.number,
        "status": one.status if one.status != "waiting" else "queued",
        "conclusion": one.conclusion,
        "started_at": one.started_at,
        "completed_at": one.completed_at,
    }
