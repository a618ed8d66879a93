"""A GitHub small enough to see through, for tests of the Actions runner: real bare repositories, everything else in memory."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bot.core.errors import BadInput
from bot.demo.runner.platform import (
    JobIdentity,
    JobRecord,
    Machine,
    Run,
    RunConclusion,
    SavedArtifact,
    Status,
    StoredArtifact,
)
from bot.demo.runner.runner import Runner

WHEN = "2026-11-21T10:00:00Z"
MAIN = ".github/workflows/main.yml"
SECONDS = 60.0
"""How long a run may take before a test gives up on it."""


def git(folder: Path, *arguments: str, data: bytes | None = None) -> bytes:
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    env |= {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "a"), ("EMAIL", "a@b.c"))}
    return subprocess.run(
        ["git", *arguments], cwd=folder, env={**env, "GIT_AUTHOR_DATE": WHEN, "GIT_COMMITTER_DATE": WHEN}, input=data,
        capture_output=True, check=True,
    ).stdout  # fmt: skip


@dataclass
class Small:
    """The platform and its runner. Repositories are made by `commit`; `go` runs a workflow to its end."""

    folder: Path
    secret: dict[str | None, dict[str, str]] = field(default_factory=dict)  # by environment; None is the repository
    variable: dict[str | None, dict[str, str]] = field(default_factory=dict)
    records: dict[int, JobRecord] = field(default_factory=dict)
    history: list[JobRecord] = field(default_factory=list)
    conclusions: list[tuple[str, RunConclusion | None, str]] = field(default_factory=list)
    identities: dict[str, JobIdentity] = field(default_factory=dict)  # by token
    revoked: list[str] = field(default_factory=list)
    processes: dict[int, str] = field(default_factory=dict)
    stored: dict[int, tuple[int, StoredArtifact]] = field(default_factory=dict)
    server_url: str = "http://127.0.0.1:1"
    api_url: str = "http://127.0.0.1:1/api/v3"
    graphql_url: str = "http://127.0.0.1:1/api/graphql"

    def __post_init__(self) -> None:
        self._ids = itertools.count(100)
        self._lock = threading.Lock()
        self.changed = threading.Condition()
        machine = Machine(self.folder / "machines", Path(sys.executable), {"MACHINE": "mine", "PATH": os.environ["PATH"]})
        self.runner = Runner(self, machine)

    # For tests

    def commit(self, files: Mapping[str, str], repository: str = "ada/stable") -> str:
        """A commit on main with exactly these files; its sha."""
        bare = self._bare(repository)
        if not bare.exists():
            bare.mkdir(parents=True)
            git(bare, "init", "--quiet", "--bare", "--initial-branch=main")
            git(bare, "config", "uploadpack.allowAnySHA1InWant", "true")
        work = self.folder / f"tree-{next(self._ids)}"
        for name, text in files.items():
            path = work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), "utf-8")
        git(bare, f"--work-tree={work}", "add", "--all")
        git(bare, f"--work-tree={work}", "commit", "--quiet", "--allow-empty", "-m", "files")
        return git(bare, "rev-parse", "main").decode().strip()

    def make_run(
        self, sha: str, *, event: Mapping[str, Any] | None = None, name: str = "workflow_dispatch", **inputs: Any
    ) -> Run:
        return Run(
            id=next(self._ids), attempt=1, number=7, repository="ada/stable", repository_id=11, repository_owner_id=12,
            workflow_path=MAIN, ref="refs/heads/main", sha=sha, event_name=name, event=event or {"action": "labeled"},
            actor="ada", actor_id=13, triggering_actor="bob", inputs=inputs,
        )  # fmt: skip

    def go(self, *workflows: str, files: Mapping[str, str] | None = None, **more: Any) -> dict[str, JobRecord]:
        """Run the first of the workflows (the others are .github/workflows/1.yml and so on); the jobs by key."""
        named = {MAIN: workflows[0]} | {f".github/workflows/{n}.yml": text for n, text in enumerate(workflows[1:], 1)}
        return self.finish(self.make_run(self.commit({**named, **(files or {})}), **more))

    def finish(self, run: Run, kept: Sequence[JobRecord] = ()) -> dict[str, JobRecord]:
        self.runner.start(run, kept)
        assert self.runner.wait_idle(SECONDS)
        return {one.key: one for one in self.records.values() if (one.run_id, one.attempt) == (run.id, run.attempt)}

    def step_under_way(self, run: Run, name: str) -> None:
        """Wait until a step of that name has said something, that is: until its process runs."""
        with self.changed:
            assert self.changed.wait_for(lambda: self._runs_step(run, name) or self._over(), SECONDS)
            assert not self._over(), self.end

    def _over(self) -> bool:
        return bool(self.conclusions) and self.end[0] == "completed"

    def _runs_step(self, run: Run, name: str) -> bool:
        jobs = [one for one in self.records.values() if one.run_id == run.id]
        return bool(self.processes) and any(
            step.name == name and step.status == "in_progress" for job in jobs for step in job.steps
        )

    @property
    def end(self) -> tuple[str, RunConclusion | None, str]:
        return self.conclusions[-1]

    # Platform

    def _bare(self, repository: str) -> Path:
        return self.folder / "repositories" / f"{repository}.git"

    def resolve(self, repository: str, ref: str) -> str | None:
        try:
            return git(self._bare(repository), "rev-parse", "--verify", f"{ref or 'main'}^{{commit}}").decode().strip()
        except (subprocess.CalledProcessError, OSError):
            return None

    def file_at(self, repository: str, sha: str, path: str) -> bytes | None:
        try:
            return git(self._bare(repository), "show", f"{sha}:{path}")
        except subprocess.CalledProcessError:
            return None

    def archive(self, repository: str, sha: str) -> bytes:
        return git(self._bare(repository), "archive", "--format=tar", sha)

    def git_url(self, repository: str) -> str:
        return f"file://{self._bare(repository)}"

    def new_job(self, run_id: int, attempt: int, name: str) -> int:
        return next(self._ids)

    def job_token(self, job: JobIdentity) -> str:
        token = f"ghs_{job.job_id}_secret"
        self.identities[token] = job
        return token

    def revoke(self, token: str) -> None:
        self.revoked.append(token)

    def oidc(self, job: JobIdentity) -> tuple[str, str]:
        return f"{self.server_url}/_oidc/{job.job_id}?v=1", f"oidc-token-{job.job_id}"

    def secrets(self, repository: str, environment: str | None) -> Mapping[str, str]:
        return self.secret.get(environment, {})

    def variables(self, repository: str, environment: str | None) -> Mapping[str, str]:
        return self.variable.get(environment, {})

    def save_artifact(
        self, run_id: int, attempt: int, name: str, data: bytes, *, retention_days: int | None, overwrite: bool
    ) -> SavedArtifact:
        with self._lock:
            same = [one.id for run, one in self.stored.values() if run == run_id and one.name == name]
            if same and not overwrite:
                raise BadInput(f"run {run_id} already has an artifact named {name}")
            for old in same:
                del self.stored[old]
            made = StoredArtifact(next(self._ids), name, hashlib.sha256(data).hexdigest(), data)
            self.stored[made.id] = (run_id, made)
        return SavedArtifact(made.id, made.digest)

    def load_artifact(self, run_id: int, artifact_id: int) -> StoredArtifact | None:
        owner, found = self.stored.get(artifact_id, (0, None))
        return found if owner == run_id else None

    def job_changed(self, job: JobRecord) -> None:
        with self.changed:
            self.records[job.id] = job
            self.history.append(job)
            self.changed.notify_all()

    def run_changed(self, run_id: int, attempt: int, status: Status, conclusion: RunConclusion | None, message: str) -> None:
        with self.changed:
            self.conclusions.append((status, conclusion, message))
            self.changed.notify_all()

    def process_started(self, token: str, pid: int) -> None:
        with self.changed:
            self.processes[pid] = token
            self.changed.notify_all()

    def process_ended(self, token: str, pid: int) -> None:
        with self.changed:
            del self.processes[pid]


@contextmanager
def small(folder: Path) -> Iterator[Small]:
    github = Small(folder)
    try:
        yield github
    finally:
        github.runner.close()
        assert not github.processes, "a process was left behind"
        assert sorted(github.identities) == sorted(github.revoked), "a token outlived its job"


def next_attempt(run: Run) -> Run:
    return replace(run, attempt=run.attempt + 1)
