"""What the runner needs from the GitHub it runs for, and what it reports back: the seam to the stand-in (bot/demo/hub).

The runner is made once per GitHub and told to start runs:

    runner = Runner(platform, machine)                 # bot.demo.runner.runner.Runner
    runner.start(run)                                  # returns at once; the run goes on in threads
    runner.start(again, kept=records)                  # "re-run failed jobs": attempt + 1, the records of the attempt before
    runner.cancel(run_id)                              # jobs under way get SIGTERM; always() steps and jobs still run
    runner.kill_job(run_id, "improve / gate")          # SIGKILL: the machine is gone, no further steps ("lost runner")
    runner.wait_idle(timeout) -> bool                  # True when no run is under way
    runner.close()                                     # kills what is left

For deciding what to start, before there is a run:

    flow = workflow.read(data, ".github/workflows/ostler.yml")      # BadInput with file and line
    flow.on["issues"].wants(payload, ref) -> bool                   # types and branches
    contexts.dispatched(flow, given, variables) -> dict             # of workflow_dispatch: checked, typed, defaults
    contexts.group(flow, run, variables, platform) -> Group | None   # `concurrency:` of the whole run: name, cancels, queue

The platform holds a run back for its own group; groups of called workflows and of jobs are the runner's business.

Every method of Platform may be called from several threads at once, and none of the runner's locks is held then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

Status = Literal["queued", "waiting", "in_progress", "completed"]
Conclusion = Literal["success", "failure", "cancelled", "skipped"]
RunConclusion = Literal["success", "failure", "cancelled", "skipped", "startup_failure"]


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine every job gets, like the image and the .env file of a self-hosted runner.

    `folder` is where the machines' folders are made; `env` is the whole environment a job starts with, besides what Actions
    sets and HOME; PATH in it is kept, without it `path` is taken. `python` is what actions/setup-python offers.
    """

    folder: Path
    python: Path
    env: Mapping[str, str] = field(default_factory=dict)
    path: str = "/usr/local/bin:/usr/bin:/bin"
    labels: tuple[str, ...] = ("ubuntu-24.04", "ubuntu-latest")
    parallel: int = 4  # jobs at once


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt of one workflow run, as the platform wants it executed."""

    id: int
    attempt: int  # 1 for the first
    number: int
    repository: str  # owner/name of the repository the event is about; the workflow file lies in it
    repository_id: int
    repository_owner_id: int
    workflow_path: str  # .github/workflows/ostler.yml
    ref: str  # refs/heads/main
    sha: str  # 40 hex digits: the commit of `ref`, where the workflow file is read
    event_name: str
    event: Mapping[str, Any]  # the webhook payload
    actor: str
    actor_id: int
    triggering_actor: str  # who asked for this attempt
    inputs: Mapping[str, Any] = field(default_factory=dict)  # of workflow_dispatch


@dataclass(frozen=True, slots=True)
class JobIdentity:
    """Who a job is: what its token and its OIDC claims are made from."""

    run_id: int
    attempt: int
    job_id: int  # from Platform.new_job; also the check run id
    name: str  # "improve / gate"
    repository: str
    permissions: Mapping[str, str]  # {"contents": "read", ...}: exactly what the token may do; "id-token" among them
    environment: str | None
    workflow_ref: str  # owner/name/.github/workflows/caller.yml@refs/heads/main
    workflow_sha: str
    job_workflow_ref: str  # of the file the job stands in: owner/ostler/.github/workflows/improve.yml@<sha>
    job_workflow_sha: str
    runner_environment: str = "self-hosted"


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step as the jobs API shows it. Times are ISO 8601, UTC, whole seconds, `Z`."""

    number: int  # from 1
    name: str
    status: Status = "queued"
    conclusion: Conclusion | None = None
    started_at: str | None = None
    completed_at: str | None = None
    log: str = ""  # secrets masked


@dataclass(frozen=True, slots=True)
class Annotation:
    level: Literal["notice", "warning", "error"]
    message: str
    title: str = ""
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job of one attempt as the jobs API shows it, and what a later attempt needs of it (outputs, key)."""

    run_id: int
    attempt: int  # the attempt that executed it; a job kept by a re-run keeps the older number
    id: int
    key: str  # "improve/gate": ids in the workflow files, outermost first
    name: str  # "improve / gate": what GitHub shows
    status: Status = "queued"
    conclusion: Conclusion | None = None
    started_at: str | None = None
    completed_at: str | None = None
    labels: tuple[str, ...] = ()
    runner_name: str = ""
    environment: str | None = None
    permissions: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[StepRecord, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""  # GITHUB_STEP_SUMMARY of all steps, masked

    @property
    def log(self) -> str:
        """The whole log: each step's under its name."""
        return "".join(f"##[group]{step.name}\n{step.log}##[endgroup]\n" for step in self.steps if step.log)


@dataclass(frozen=True, slots=True)
class SavedArtifact:
    id: int
    digest: str  # 64 hex digits, sha256 of the zip


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    id: int
    name: str
    digest: str
    data: bytes  # the zip


class Platform(Protocol):
    """The GitHub that the runner runs for. Repositories are `owner/name`, lower or upper case as asked for."""

    @property
    def server_url(self) -> str: ...  # GITHUB_SERVER_URL, no slash at the end

    @property
    def api_url(self) -> str: ...  # GITHUB_API_URL

    @property
    def graphql_url(self) -> str: ...  # GITHUB_GRAPHQL_URL

    def resolve(self, repository: str, ref: str) -> str | None:
        """The commit (40 hex digits) of a branch, tag, full ref or commit; "" means the default branch. None: there is none."""

    def file_at(self, repository: str, sha: str, path: str) -> bytes | None:
        """The file at that commit, read by the runner itself (workflow files, action.yml). None: there is none."""

    def archive(self, repository: str, sha: str) -> bytes:
        """A tar of the whole tree at that commit, without a prefix: what `uses: owner/name@sha` fetches."""

    def git_url(self, repository: str) -> str:
        """Where git clones from, over HTTP with the job's token as password of user x-access-token."""

    def new_job(self, run_id: int, attempt: int, name: str) -> int:
        """The id of a job about to be reported."""

    def job_token(self, job: JobIdentity) -> str:
        """A token with exactly job.permissions (without id-token) for job.repository."""

    def revoke(self, token: str) -> None:
        """The job is over: the token opens nothing any more."""

    def oidc(self, job: JobIdentity) -> tuple[str, str]:
        """(request url, request token) for a job with id-token: write. The url already has a query: `&audience=` follows."""

    def secrets(self, repository: str, environment: str | None) -> Mapping[str, str]:
        """The repository's own secrets, or with an environment that environment's alone."""

    def variables(self, repository: str, environment: str | None) -> Mapping[str, str]:
        """The same for `vars`."""

    def save_artifact(
        self, run_id: int, attempt: int, name: str, data: bytes, *, retention_days: int | None, overwrite: bool
    ) -> SavedArtifact:
        """Keep a zip. BadInput where the run already has one of that name and `overwrite` is false."""

    def load_artifact(self, run_id: int, artifact_id: int) -> StoredArtifact | None:
        """An artifact of this very run, any attempt. None: there is none, or it belongs to another run."""

    def job_changed(self, job: JobRecord) -> None:
        """A job or one of its steps took on a new state. The last record of an attempt has status completed."""

    def run_changed(self, run_id: int, attempt: int, status: Status, conclusion: RunConclusion | None, message: str) -> None:
        """The run took on a new state; `message` says why a run could not start, else it is empty."""

    def process_started(self, token: str, pid: int) -> None:
        """A step's process runs under this job token; its pid leads a process group."""

    def process_ended(self, token: str, pid: int) -> None: ...
