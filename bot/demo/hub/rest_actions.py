"""The Actions API: workflows, dispatches, runs, jobs, environments."""

from __future__ import annotations

from typing import Any

from starlette.routing import BaseRoute

from bot.demo.hub import artifacts, run_shapes, shapes, workflows
from bot.demo.hub.hub import Hub
from bot.demo.hub.oidc import issuer_routes
from bot.demo.hub.refusals import Refusal, not_found
from bot.demo.hub.routing import PAGED, Answer, Call, Page, Route
from bot.demo.hub.state import Environment, WorkflowRun
from bot.demo.runner.platform import JobRecord

READ, WRITE = "actions:read", "actions:write"
MOST_INPUTS = 25
ALWAYS_TELLS = "2026-03-10"
_SCALAR = (str, bool, int, float)
_STATUSES = frozenset(
    (
        "completed",
        "cancelled",
        "failure",
        "skipped",
        "success",
        "startup_failure",
        "in_progress",
        "queued",
        "requested",
        "pending",
    )
)
_RUNS = {
    **PAGED, "actor": str, "branch": str, "event": str, "status": _STATUSES, "created": str, "head_sha": str,
    "exclude_pull_requests": bool,
}  # fmt: skip


# Workflows


def list_workflows(call: Call) -> Page:
    known = workflows.of(call.hub).known(call.repository)
    return Page([run_shapes.workflow(call.hub, call.repository, one) for one in known], "workflows")


def get_workflow(call: Call) -> dict[str, Any]:
    found = workflows.of(call.hub).find(call.repository, call.path["workflow"])
    return run_shapes.workflow(call.hub, call.repository, found)


def dispatch(call: Call) -> Answer:
    """204, or with return_run_details 200 and where the run is; the API of 2026-03-10 always says where."""
    inputs = call.body.get("inputs") or {}
    if len(inputs) > MOST_INPUTS:
        raise Refusal(422, f"Invalid request.\n\nNo more than {MOST_INPUTS} properties are allowed")
    if not all(isinstance(value, _SCALAR) for value in inputs.values()):
        raise Refusal(422, "Invalid request.\n\nFor 'inputs', a value is neither text, number nor boolean.")
    engine = workflows.of(call.hub)
    run = engine.dispatch(call.repository, call.path["workflow"], call.body["ref"], inputs, call.user)
    newest = call.request.headers.get("x-github-api-version", "") >= ALWAYS_TELLS
    if not (newest or call.body.get("return_run_details")):
        return Answer(status=204)
    url = f"{shapes.api(call.hub, call.repository)}/actions/runs/{run.id}"
    page = f"{shapes.html(call.hub, call.repository)}/actions/runs/{run.id}"
    return Answer({"workflow_run_id": run.id, "run_url": url, "html_url": page})


# Runs


def _run(call: Call) -> WorkflowRun:
    run = call.repository.runs.get(call.path["id"])
    if run is None:
        raise not_found()
    return run


def list_runs(call: Call) -> Page:
    """Newest first, filtered. `created` takes one date or `>=date`, as far as this project needs it."""
    wanted = call.query
    found = sorted(call.repository.runs.values(), key=lambda one: -one.id)
    if "workflow" in call.path:
        chosen = workflows.of(call.hub).find(call.repository, call.path["workflow"])
        found = [one for one in found if one.workflow_id == chosen.id]
    shown = [one for one in found if _matches(one, wanted)]
    return Page([run_shapes.run(call.hub, call.repository, one) for one in shown], "workflow_runs")


def _matches(run: WorkflowRun, wanted: dict[str, Any]) -> bool:
    created = wanted.get("created", "")
    day = run.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        wanted.get("actor", run.actor.login) == run.actor.login
        and wanted.get("branch", run.ref.removeprefix("refs/heads/")) == run.ref.removeprefix("refs/heads/")
        and wanted.get("event", run.event_name) == run.event_name
        and wanted.get("status", run.status) in (run.status, run.conclusion)
        and wanted.get("head_sha", run.head_sha) == run.head_sha
        and (day >= created[2:] if created.startswith(">=") else day.startswith(created))
    )


def get_run(call: Call) -> dict[str, Any]:
    return run_shapes.run(call.hub, call.repository, _run(call))


def list_jobs(call: Call) -> Page:
    run, attempt = _run(call), call.path.get("attempt")
    if attempt is not None and not 1 <= attempt <= run.attempt:
        raise not_found()
    found = run_shapes.jobs(run, attempt, everything=call.query.get("filter") == "all")
    return Page([run_shapes.job(call.hub, call.repository, run, one) for one in found], "jobs")


def _job(call: Call) -> tuple[WorkflowRun, JobRecord]:
    for run in call.repository.runs.values():
        for jobs in run.records.values():
            if call.path["id"] in jobs:
                return run, jobs[call.path["id"]]
    raise not_found()


def get_job(call: Call) -> dict[str, Any]:
    run, job = _job(call)
    return run_shapes.job(call.hub, call.repository, run, job)


def job_logs(call: Call) -> Answer:
    """GitHub redirects to a signed address; here the text comes at once."""
    _, job = _job(call)
    return Answer(job.log.encode(), 200, {"content-type": "text/plain; charset=utf-8"})


def cancel(call: Call) -> Answer:
    workflows.of(call.hub).cancel(call.repository, _run(call))
    return Answer({}, 202)


def rerun_failed(call: Call) -> Answer:
    workflows.of(call.hub).rerun_failed(call.repository, _run(call), call.user)
    return Answer({}, 201)


def run_artifacts(call: Call) -> Page:
    return artifacts.listed(call, _run(call).id)


# Environments


def list_environments(call: Call) -> Page:
    return Page([_environment(call, one) for one in call.repository.environments.values()], "environments")


def get_environment(call: Call) -> dict[str, Any]:
    found = call.repository.environments.get(call.path["name"])
    if found is None:
        raise not_found()
    return _environment(call, found)


def _environment(call: Call, one: Environment) -> dict[str, Any]:
    since = call.repository.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    number = 1 + sorted(call.repository.environments).index(one.name)
    return {
        "id": number,
        "node_id": f"EN_{call.repository.id}_{number}",
        "name": one.name,
        "url": f"{shapes.api(call.hub, call.repository)}/environments/{one.name}",
        "html_url": f"{shapes.html(call.hub, call.repository)}/deployments/activity_log?environments_filter={one.name}",
        "created_at": since,
        "updated_at": since,
        "protection_rules": [],
        "deployment_branch_policy": None,
    }


def routes(hub: Hub) -> list[Route | BaseRoute]:
    """What this module answers, with the addresses of the identity tokens."""
    engine = workflows.of(hub)
    at = "/repos/{owner}/{repo}/actions"
    one, runs = f"{at}/workflows/{{workflow}}", f"{at}/runs/{{id:int}}"
    body = {"ref!": str, "inputs": object, "return_run_details": bool}
    jobs = {**PAGED, "filter": frozenset(("latest", "all"))}
    return [
        Route("GET", f"{at}/workflows", list_workflows, READ, query=PAGED),
        Route("GET", one, get_workflow, READ),
        Route("POST", f"{one}/dispatches", dispatch, WRITE, body=body),
        Route("GET", f"{one}/runs", list_runs, READ, query=_RUNS),
        Route("GET", f"{at}/runs", list_runs, READ, query=_RUNS),
        Route("GET", runs, get_run, READ, query={"exclude_pull_requests": bool}),
        Route("GET", f"{runs}/jobs", list_jobs, READ, query=jobs),
        Route("GET", f"{runs}/attempts/{{attempt:int}}/jobs", list_jobs, READ, query=PAGED),
        Route("GET", f"{runs}/artifacts", run_artifacts, READ, query={**PAGED, "name": str}),
        Route("POST", f"{runs}/cancel", cancel, WRITE),
        Route("POST", f"{runs}/rerun-failed-jobs", rerun_failed, WRITE, body={"enable_debug_logging": bool}),
        Route("GET", f"{at}/jobs/{{id:int}}", get_job, READ),
        Route("GET", f"{at}/jobs/{{id:int}}/logs", job_logs, READ),
        Route("GET", "/repos/{owner}/{repo}/environments", list_environments, READ, query=PAGED),
        Route("GET", "/repos/{owner}/{repo}/environments/{name}", get_environment, READ),
        *issuer_routes(engine.issuer),
    ]
