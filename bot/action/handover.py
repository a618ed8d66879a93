"""What goes from job to job: the session's folder, checked when it arrives."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bot.action.settings import ActionSettings
from bot.config import RepoConfig, parse_config
from bot.core.errors import PolicyError, SetupError
from bot.core.run import Run
from bot.core.session import SessionState
from bot.github import artifacts
from bot.loop.driver import fold
from bot.rooms import utc_now
from bot.store.journal import Journal
from bot.store.session import SessionFolder

CONFIG, JOBS, COVERAGE = "config.yml", "jobs.json", "coverage"
ALLOWED = (
    r"journal\.jsonl",
    r"metadata\.json",
    r"jobs\.json",
    r"config\.yml",
    r"trees/[0-9a-f]{40}\.json",
    r"coverage/[0-9a-f]{40}\.json\.gz",
)
MAX_BYTES = 200_000_000
"""The journal holds every tool result of a run; a long one has some ten megabytes."""


NOT_BELIEVED = "What was handed over is not believed: "
"""Begins every refusal of a job that was given something else than the job before made, so that the last job hears it."""


def disbelieved(why: str) -> PolicyError:
    return PolicyError(f"{NOT_BELIEVED}{why}")


def receive(given: ActionSettings, *, exact: bool = True) -> SessionFolder:
    """The session's folder as the job before left it, now this job's to go on with.

    `exact` wants the journal to end with the record that the job before named; else it has to hold it: a job that died may
    have written more. In either case it has to hold what the jobs before a build had written: that machine may be anybody's.

    Raises:
        PolicyError: it holds what no session has, or its journal is not the one that was handed over.
        SetupError: there is none.
    """
    if given.in_ is None or not given.in_.is_dir():
        raise SetupError(f"The job {given.job} was given no session: the job before it has to leave its artifact.")
    return unpack(given, artifacts.from_folder(given.in_, ALLOWED, MAX_BYTES), given.journal_head, exact=exact)


def unpack(given: ActionSettings, files: Mapping[str, bytes], head: str, *, exact: bool) -> SessionFolder:
    """Write the files of a session and check that its journal is the one with `head`."""
    shutil.rmtree(given.out, ignore_errors=True)
    for name, content in files.items():
        path = given.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    folder = SessionFolder(given.out)
    if not folder.journal_path.is_file():
        raise disbelieved("the session's artifact holds no journal.")
    try:
        journal = Journal(folder.journal_path, utc_now)
    except SetupError as error:
        raise disbelieved(f"the session's journal, {str(error).rpartition('journal.jsonl, ')[2]}") from error
    hashes = [record.hash for record in journal.records]
    journal.close()
    if not head or head not in (hashes[-1:] if exact else hashes) or not set(given.journal_known.split()) <= set(hashes):
        raise disbelieved("the session's journal is another, by its digest.")
    mark(given)
    return folder


def mark(given: ActionSettings) -> None:
    """Add this job to those that had the folder, so that the last job knows whether a dead one left its journal."""
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / JOBS).write_text(json.dumps([*_marks(given.out), [given.run_id, given.job]]) + "\n")


def had_by(folder: SessionFolder, workflow_run: int) -> frozenset[str]:
    """The jobs of this workflow run that had `folder`, as it says itself."""
    return frozenset(str(job) for run, job in _marks(folder.path) if run == workflow_run)


def _marks(folder: Path) -> list[list[Any]]:
    try:
        value = json.loads((folder / JOBS).read_text("utf-8"))
    except (OSError, ValueError):
        return []
    return [item for item in value if isinstance(item, list) and len(item) == 2] if isinstance(value, list) else []


def run_of(folder: SessionFolder) -> tuple[Run, str]:
    """The run in `folder`, and the hash of its journal's last record."""
    journal = Journal(folder.journal_path, utc_now)
    try:
        run, _, _ = fold(journal.records)
        if run is None:
            raise PolicyError("The session's journal is empty.")
        return run, journal.records[-1].hash
    finally:
        journal.close()


def encoded(state: SessionState) -> str:
    """A state as a job's output carries it."""
    return base64.b64encode(json.dumps(asdict(state)).encode()).decode()


def kept_config(given: ActionSettings, run: Run) -> RepoConfig:
    """The configuration that the gate froze.

    Raises:
        PolicyError: it is another by now: some machine before this one changed it.
    """
    path, digest = given.out / CONFIG, run.request.settings.configuration
    raw = path.read_bytes() if path.is_file() else None
    if digest and hashlib.sha256(raw or b"").hexdigest() != digest:
        raise disbelieved("the session's configuration is another, by its digest.")
    return parse_config(raw)


def work_folder(given: ActionSettings) -> Path:
    """Where this job's worktree lives: beside what is uploaded, never in it."""
    place = given.temp / "ostler-work"
    place.mkdir(parents=True, exist_ok=True)
    return place
