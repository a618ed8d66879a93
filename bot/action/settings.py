"""What an Actions job is given: its part of the work, and numbers and ids to find the rest by."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from bot.config import CONFIG_PATH
from bot.core.errors import PolicyError, SetupError
from bot.core.session import SessionState, read_state
from bot.github.limits import READS
from bot.workspace.variables import VARIABLES

GITHUBS = 15368
"""The id of GitHub's own App, whose token jobs get. GitHub Enterprise Server has another: `OSTLER_JOBS_APP_ID`."""


def _githubs(name: str) -> Any:
    return Field(validation_alias=name)


class ActionSettings(BaseSettings):
    """The environment of a job: `OSTLER_*` is from action.yml, the rest from the runner."""

    model_config = SettingsConfigDict(env_prefix="OSTLER_", extra="ignore", env_ignore_empty=True)

    job: str
    issue: int = 0
    session: str = ""
    comment: int = 0
    max_cost: str | None = None
    config_path: str = CONFIG_PATH
    coordinator: str = ""
    dry_run: bool = False
    one_machine: bool = False
    in_: Annotated[Path | None, Field(validation_alias="OSTLER_IN")] = None
    out: Path
    checkout: Path | None = None
    artifact_id: int = 0
    artifact_digest: str = ""
    journal_head: str = ""
    journal_known: str = ""
    expect_changeset: str = ""
    needs: str = "{}"
    reply: str = ""
    refused: str = ""
    state: str = ""
    github_token: SecretStr = SecretStr("")
    state_key: SecretStr = SecretStr("")
    jobs_app_id: int = GITHUBS
    jobs_login: str = "github-actions[bot]"
    github_pause: float = 1.0
    github_reads_per_minute: Annotated[int, Field(ge=0, le=100_000)] = READS

    api_url: Annotated[str, _githubs("GITHUB_API_URL")] = "https://api.github.com"
    server_url: Annotated[str, _githubs("GITHUB_SERVER_URL")] = "https://github.com"
    repository: Annotated[str, _githubs("GITHUB_REPOSITORY")]
    run_id: Annotated[int, _githubs("GITHUB_RUN_ID")]
    run_attempt: Annotated[int, _githubs("GITHUB_RUN_ATTEMPT")] = 1
    event_name: Annotated[str, _githubs("GITHUB_EVENT_NAME")] = ""
    workflow_ref: Annotated[str, _githubs("GITHUB_WORKFLOW_REF")] = ""
    outputs: Annotated[Path | None, _githubs("GITHUB_OUTPUT")] = None
    summary: Annotated[Path | None, _githubs("GITHUB_STEP_SUMMARY")] = None
    temp: Annotated[Path, _githubs("RUNNER_TEMP")] = Path("/tmp")  # noqa: S108 - what runners set is used; this is for tests
    id_token_url: Annotated[str, _githubs("ACTIONS_ID_TOKEN_REQUEST_URL")] = ""
    id_token: Annotated[SecretStr, _githubs("ACTIONS_ID_TOKEN_REQUEST_TOKEN")] = SecretStr("")

    @property
    def job_url(self) -> str:
        """The page of this workflow run."""
        return f"{self.server_url}/{self.repository}/actions/runs/{self.run_id}"

    @property
    def workflow_file(self) -> str:
        """The caller workflow's file name, from `owner/repo/.github/workflows/NAME@ref`."""
        return self.workflow_ref.partition("@")[0].rpartition("/")[2]

    @property
    def session_state(self) -> SessionState:
        """The state that the gate made of the session.

        Raises:
            SetupError: there is none.
        """
        try:
            return decoded(self.state)
        except (ValueError, PolicyError) as error:
            raise SetupError(
                f"The job {self.job} was given no session: it runs after the job gate, with its output `state`."
            ) from error


def load() -> ActionSettings:
    """The settings of this job.

    Raises:
        SetupError: one is missing or does not fit.
    """
    try:
        return ActionSettings()  # type: ignore[call-arg]  # the environment gives them
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise SetupError(f"{name}: {first['msg']}. Jobs are started by Ostler's action, see action.yml.") from error


KEPT = (*VARIABLES, "LANG", "LC_ALL", "TMPDIR", "RUNNER_TEMP", "UNPLUGGED_TREE")


def scrub() -> None:
    """Leave nothing in the environment that a library could read a credential, an address or a proxy from."""
    for name in list(os.environ):
        if name not in KEPT:
            del os.environ[name]


def decoded(text: str) -> SessionState:
    """A state as a job's output carries it.

    Raises:
        ValueError, PolicyError: it is none.
    """
    return read_state(json.loads(base64.b64decode(text, validate=True)))
