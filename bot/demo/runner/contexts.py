"""The contexts that expressions look at, made from a run: github, inputs, and the concurrency group of a whole run. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bot.core.errors import BadInput
from bot.demo.runner import triggers
from bot.demo.runner.expressions import Scope
from bot.demo.runner.platform import Platform, Run
from bot.demo.runner.values import Value
from bot.demo.runner.workflow import Concurrency, Workflow


@dataclass(frozen=True, slots=True)
class Group:
    """A concurrency group. `cancels`: who comes later ends the one under way."""

    name: str
    cancels: bool
    queue: Literal["single", "max"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a workflow file came from."""

    repository: str
    path: str
    ref: str  # as the caller wrote it: a commit, or refs/heads/main of the run
    sha: str

    @property
    def name(self) -> str:
        """`workflow_ref`: owner/name/path@ref."""
        return f"{self.repository}/{self.path}@{self.ref}"


def github(run: Run, workflow: str, platform: Platform) -> dict[str, Value]:
    """The `github` context of a run, without what only a job has (token, job, workspace, event_path)."""
    event = dict(run.event)
    pull = event.get("pull_request") if run.event_name.startswith("pull_request") else None
    kind = "tag" if run.ref.startswith("refs/tags/") else "branch"
    short = run.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
    return {
        "event": event,
        "event_name": run.event_name,
        "actor": run.actor,
        "actor_id": str(run.actor_id),
        "triggering_actor": run.triggering_actor,
        "repository": run.repository,
        "repository_id": str(run.repository_id),
        "repository_owner": run.repository.split("/")[0],
        "repository_owner_id": str(run.repository_owner_id),
        "repositoryUrl": f"{platform.server_url}/{run.repository}.git",
        "ref": run.ref,
        "ref_name": short,
        "ref_type": kind,
        "ref_protected": False,
        "sha": run.sha,
        "head_ref": pull["head"]["ref"] if pull else "",
        "base_ref": pull["base"]["ref"] if pull else "",
        "run_id": str(run.id),
        "run_number": str(run.number),
        "run_attempt": str(run.attempt),
        "retention_days": "90",
        "secret_source": "Actions",
        "workflow": workflow,
        "workflow_ref": f"{run.repository}/{run.workflow_path}@{run.ref}",
        "workflow_sha": run.sha,
        "server_url": platform.server_url,
        "api_url": platform.api_url,
        "graphql_url": platform.graphql_url,
    }


def dispatched(flow: Workflow, given: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """The inputs of a workflow_dispatch, checked and with defaults. BadInput says what is wrong with them."""
    trigger = flow.on.get("workflow_dispatch")
    if trigger is None:
        raise BadInput(f"{flow.file} does not have a workflow_dispatch trigger")
    scope = Scope({"github": {}, "inputs": {}, "vars": dict(variables)})
    return triggers.take(trigger.inputs, given, scope, "", strings=True)


def inputs(flow: Workflow, run: Run, variables: Mapping[str, str]) -> dict[str, Any]:
    """The `inputs` context of a run: empty unless it was dispatched."""
    return dispatched(flow, run.inputs, variables) if run.event_name == "workflow_dispatch" else {}


def group(flow: Workflow, run: Run, variables: Mapping[str, str], platform: Platform) -> Group | None:
    """The concurrency group of the whole run."""
    contexts = {"github": github(run, flow.name, platform), "inputs": inputs(flow, run, variables), "vars": dict(variables)}
    return grouped(flow.concurrency, Scope(contexts))


def grouped(concurrency: Concurrency | None, scope: Scope) -> Group | None:
    if concurrency is None:
        return None
    name = concurrency.group.text(scope)
    if not name:
        raise BadInput(f"{concurrency.group.file}:{concurrency.group.line}: the concurrency group is empty")
    return Group(name, concurrency.cancel.flag(scope, "cancel-in-progress"), concurrency.queue)
