"""The stand-in as the Actions runner sees it: bot.demo.runner.platform.Platform over the hub's state and repositories."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bot.core.errors import BadInput, BugError
from bot.demo.hub import artifacts
from bot.demo.hub.git import SHA
from bot.demo.hub.hub import Hub
from bot.demo.hub.oidc import Issuer
from bot.demo.hub.state import Repository, WorkflowRun
from bot.demo.runner.platform import (
    JobIdentity,
    JobRecord,
    Run,
    RunConclusion,
    SavedArtifact,
    Status,
    StoredArtifact,
)

RunChanged = Callable[[Repository, WorkflowRun, str, RunConclusion | None, str], None]


def runner_run(repository: Repository, run: WorkflowRun) -> Run:
    """The latest attempt as the runner takes it."""
    return Run(
        id=run.id,
        attempt=run.attempt,
        number=run.number,
        repository=repository.full_name,
        repository_id=repository.id,
        repository_owner_id=repository.owner.id,
        workflow_path=run.path,
        ref=run.ref,
        sha=run.head_sha,
        event_name=run.event_name,
        event=run.event,
        actor=run.actor.login,
        actor_id=run.actor.id,
        triggering_actor=run.triggering_actor.login,
        inputs=run.inputs,
    )


class HubPlatform:
    """Thread-safe: the state's lock is held for as long as something is read or written."""

    def __init__(self, hub: Hub, issuer: Issuer, run_changed: RunChanged) -> None:
        self._hub = hub
        self._issuer = issuer
        self._run_changed = run_changed

    @property
    def server_url(self) -> str:
        return self._hub.url

    @property
    def api_url(self) -> str:
        return self._hub.api_url

    @property
    def graphql_url(self) -> str:
        return self._hub.graphql_url

    def find(self, run_id: int) -> tuple[Repository, WorkflowRun]:
        """BugError when there is no such run."""
        with self._hub.state.lock:
            for repository in self._hub.state.repositories.values():
                if run_id in repository.runs:
                    return repository, repository.runs[run_id]
        raise BugError(f"there is no run {run_id}")

    # Files

    def resolve(self, repository: str, ref: str) -> str | None:
        found = self._hub.state.repository(repository)
        return self._hub.bare(found).resolve(ref or found.default_branch) if found else None

    def file_at(self, repository: str, sha: str, path: str) -> bytes | None:
        found = self._hub.state.repository(repository)
        return self._hub.bare(found).file(sha, path) if found else None

    def archive(self, repository: str, sha: str) -> bytes:
        found = self._hub.found(repository)
        if not SHA.match(sha):
            raise BadInput(f"{repository}@{sha}: an action is fetched by the 40 hex digits of a commit")
        return self._hub.bare(found).run("archive", "--format=tar", sha)

    def git_url(self, repository: str) -> str:
        return f"{self._hub.url}/{self._hub.found(repository).full_name}.git"

    # Jobs

    def new_job(self, run_id: int, attempt: int, name: str) -> int:
        return self._hub.state.next_id()

    def job_token(self, job: JobIdentity) -> str:
        repository, _ = self.find(job.run_id)
        return self._hub.job_token(repository, job.permissions, name=job.name, run_id=job.run_id, job_id=job.job_id)

    def revoke(self, token: str) -> None:
        self._hub.revoke(token)

    def oidc(self, job: JobIdentity) -> tuple[str, str]:
        repository, run = self.find(job.run_id)
        visibility = "private" if repository.private else "public"
        return self._issuer.open(job, runner_run(repository, run), run.name, visibility)

    def secrets(self, repository: str, environment: str | None) -> Mapping[str, str]:
        found = self._hub.found(repository)
        with self._hub.state.lock:
            if environment is None:
                return dict(found.secrets)
            return dict(found.environments[environment].secrets) if environment in found.environments else {}

    def variables(self, repository: str, environment: str | None) -> Mapping[str, str]:
        found = self._hub.found(repository)
        with self._hub.state.lock:
            if environment is None:
                return dict(found.variables)
            return dict(found.environments[environment].variables) if environment in found.environments else {}

    def process_started(self, token: str, pid: int) -> None:
        self._hub.process_started(token, pid)

    def process_ended(self, token: str, pid: int) -> None:
        self._hub.process_ended(token, pid)

    # What is reported

    def save_artifact(
        self, run_id: int, attempt: int, name: str, data: bytes, *, retention_days: int | None, overwrite: bool
    ) -> SavedArtifact:
        repository, run = self.find(run_id)
        made = artifacts.save(self._hub, repository, run.id, attempt, name, data, days=retention_days, overwrite=overwrite)
        return SavedArtifact(made.id, made.digest)

    def load_artifact(self, run_id: int, artifact_id: int) -> StoredArtifact | None:
        repository, _ = self.find(run_id)
        with self._hub.state.lock:
            found = repository.artifacts.get(artifact_id)
            if found is None or found.run_id != run_id or artifacts.expired(self._hub, found):
                return None
            return StoredArtifact(found.id, found.name, found.digest, found.data)

    def job_changed(self, job: JobRecord) -> None:
        _, run = self.find(job.run_id)
        with self._hub.state.lock:
            now = run.records.setdefault(run.attempt, {})
            for old in [one.id for one in now.values() if one.key == job.key and one.id != job.id]:
                del now[old]  # what a re-run kept until its turn came
            now[job.id] = job
            run.updated_at = self._hub.now()
        if job.status == "completed":
            self._issuer.close(job.id)

    def run_changed(self, run_id: int, attempt: int, status: Status, conclusion: RunConclusion | None, message: str) -> None:
        repository, run = self.find(run_id)
        if run.attempt == attempt:
            self._run_changed(repository, run, status, conclusion, message)
