"""What all steps of a job share: its folders, environment, masks and status; and the frames that steps stand in."""

from __future__ import annotations

import json
import platform as host
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from bot.demo.runner.commands import Masks
from bot.demo.runner.contexts import Origin
from bot.demo.runner.expressions import Scope
from bot.demo.runner.platform import Annotation, JobIdentity, Machine, Platform, Run
from bot.demo.runner.process import Processes
from bot.demo.runner.values import Exact, Value
from bot.demo.runner.workflow import Job, Permissions, Workflow

Outcome = Literal["success", "failure", "cancelled", "skipped"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """A job with everything it is to be run with."""

    run: Run
    flow: Workflow
    origin: Origin  # of the file the job stands in
    job: Job
    key: str
    identity: JobIdentity
    permissions: Permissions
    github: Mapping[str, Value]
    inputs: Mapping[str, Value]
    needs: Mapping[str, Value]
    secrets: Mapping[str, str]
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Site:
    """The folders of one job's machine."""

    root: Path
    workspace: Path
    temp: Path
    tools: Path
    home: Path
    actions: Path

    @classmethod
    def make(cls, root: Path, repository: str) -> Site:
        name = repository.split("/")[1]
        site = cls(root, root / "work" / name / name, root / "temp", root / "tools", root / "home", root / "actions")
        for folder in (site.workspace, site.temp / "_runner_file_commands", site.tools, site.home, site.actions):
            folder.mkdir(parents=True)
        return site


@dataclass(slots=True)
class Frame:
    """What steps of one list see of each other: those of the job, or those of one use of a composite action."""

    steps: dict[str, Value] = field(default_factory=dict)
    inputs: Mapping[str, Value] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)  # of the step that uses the action
    action: Mapping[str, str] | None = None  # path, ref and repository of a composite action; None for the job itself
    status: Outcome = "success"
    depth: int = 0


@dataclass(slots=True)
class Workplace:
    """The machine of a job while it works."""

    assignment: Assignment
    platform: Platform
    machine: Machine
    site: Site
    processes: Processes
    token: str
    masks: Masks
    deadline: float  # monotonic
    oidc: tuple[str, str] | None
    env: dict[str, str] = field(default_factory=dict)
    path: list[str] = field(default_factory=list)  # what GITHUB_PATH added, latest first
    summary: list[str] = field(default_factory=list)
    annotations: list[Annotation] = field(default_factory=list)
    cancelled: bool = False

    @property
    def event_path(self) -> Path:
        return self.site.temp / "_github_workflow" / "event.json"

    def write_event(self) -> None:
        self.event_path.parent.mkdir()
        self.event_path.write_text(json.dumps(self.assignment.run.event), "utf-8")

    def left(self) -> float:
        """Seconds until the job's time is up."""
        return self.deadline - time.monotonic()

    def search_path(self, env: Mapping[str, str] | None = None) -> str:
        base = (env or {}).get("PATH") or self.env.get("PATH") or self.machine.env.get("PATH") or self.machine.path
        return ":".join([*self.path, base])

    def scope(self, frame: Frame, env: Mapping[str, str]) -> Scope:
        """What an expression of a step in this frame may look at; `env` are the step's own variables."""
        github = dict(self._github(frame))
        contexts: dict[str, Value] = {
            "github": github,
            "job": self._job(frame),
            "runner": self._runner(),
            "env": Exact({**self.env, **frame.env, **env}),
            "steps": frame.steps,
            "inputs": dict(frame.inputs),
        }
        if frame.action is None:
            contexts |= {
                "needs": dict(self.assignment.needs),
                "vars": dict(self.assignment.variables),
                "secrets": {**self.assignment.secrets, "GITHUB_TOKEN": self.token, "github_token": self.token},
            }
        status = {
            "always": lambda: True,
            "success": lambda: frame.status == "success",
            "failure": lambda: frame.status == "failure",
            "cancelled": lambda: self.cancelled,
        }
        return Scope(contexts, status)

    def _github(self, frame: Frame) -> Mapping[str, Value]:
        more: dict[str, Value] = {
            "token": self.token,
            "job": self.assignment.job.id,
            "workspace": str(self.site.workspace),
            "event_path": str(self.event_path),
        }
        if frame.action is not None:
            more |= {f"action_{name}": value for name, value in frame.action.items()} | {"action_status": frame.status}
        return {**self.assignment.github, **more}

    def _job(self, frame: Frame) -> Mapping[str, Value]:
        origin = self.assignment.origin
        return {
            "status": "cancelled" if self.cancelled else frame.status,
            "check_run_id": self.assignment.identity.job_id,
            "workflow_ref": origin.name,
            "workflow_sha": origin.sha,
            "workflow_repository": origin.repository,
            "workflow_file_path": origin.path,
        }

    def _runner(self) -> dict[str, Value]:
        return {
            "name": runner_name(self.assignment.identity),
            "os": {"Linux": "Linux", "Darwin": "macOS"}.get(host.system(), host.system()),
            "arch": {"x86_64": "X64", "aarch64": "ARM64", "arm64": "ARM64"}.get(host.machine(), host.machine()),
            "temp": str(self.site.temp),
            "tool_cache": str(self.site.tools),
            "environment": self.assignment.identity.runner_environment,
        }

    def defaults(self, frame: Frame) -> dict[str, str]:
        """The variables that Actions itself sets for every step; nothing a step writes changes them."""
        github = self._github(frame)
        named = {name: github[name] for name in _GITHUB if github.get(name) is not None}
        found = {f"GITHUB_{name.upper()}": _plain(value) for name, value in named.items()}
        found |= {f"RUNNER_{name.upper()}": value for name, value in self._runner().items()}
        found |= {"CI": "true", "GITHUB_ACTIONS": "true", "HOME": str(self.site.home)}
        found["RUNNER_WORKSPACE"] = str(self.site.workspace.parent)
        if self.oidc:
            found["ACTIONS_ID_TOKEN_REQUEST_URL"], found["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = self.oidc
        return found


_GITHUB = (
    "action_path", "action_ref", "action_repository", "actor", "actor_id", "api_url", "base_ref", "event_name", "event_path",
    "graphql_url", "head_ref", "job", "ref", "ref_name", "ref_protected", "ref_type", "repository", "repository_id",
    "repository_owner", "repository_owner_id", "retention_days", "run_attempt", "run_id", "run_number", "server_url", "sha",
    "triggering_actor", "workflow", "workflow_ref", "workflow_sha", "workspace",
)  # fmt: skip


def _plain(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def runner_name(identity: JobIdentity) -> str:
    return f"machine-{identity.job_id}"


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
