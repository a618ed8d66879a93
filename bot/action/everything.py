"""`job: all`: the whole workflow in one job, each part in a process of its own that gets only what it needs.

The parts are apart as processes, not as machines: whoever breaks out of the sandbox is on the machine that holds the token.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bot.action.settings import KEPT, ActionSettings
from bot.config import VENDORS, Settings
from bot.core.errors import SetupError
from bot.core.jobs import MODEL_JOBS, Job

WITH_TOKEN = (Job.GATE, Job.POST, Job.PUBLISH, Job.CONCLUDE)
WITH_STATE_KEY = (Job.GATE, Job.CONCLUDE)
WITH_CHECKOUT = (Job.PLAN, Job.BUILD, Job.PROVE, Job.CONFIRM)


def everything(given: ActionSettings, environment: Settings) -> dict[str, str]:
    """Do all jobs in their order, as far as each is what comes next.

    Raises:
        SetupError: a part failed; the last one has said so on the issue.
    """
    parts = _Parts(given, environment)
    gate = parts.run(Job.GATE)
    if gate.get("go") != "true":
        if gate.get("session_id"):
            parts.run(Job.CONCLUDE)
        return dict(parts.outputs)
    following = gate["next"]
    if following == Job.PLAN:
        following = parts.run(Job.PLAN).get("next", "")
    parts.run(Job.POST)
    for job in (Job.BUILD, Job.PROVE, Job.AUDIT, Job.CONFIRM, Job.PUBLISH):
        if following == job or (job is Job.AUDIT and following == Job.PUBLISH and parts.did(Job.PROVE)):
            following = parts.run(job).get("next", "")
    if gate.get("session_id"):
        parts.run(Job.CONCLUDE)
    if parts.failed:
        raise SetupError(f"The job {', '.join(parts.failed)} failed: its log stands above.")
    return parts.outputs


class _Parts:
    """The jobs that ran, and what they told."""

    def __init__(self, given: ActionSettings, environment: Settings) -> None:
        self._given, self._environment = given, environment
        self._results: dict[str, str] = {}
        self._place = given.temp / "ostler-all"
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir(parents=True)
        self._last: Path | None = None
        self.outputs: dict[str, str] = {}
        self.failed: list[str] = []

    def did(self, job: Job) -> bool:
        return job in self._results

    def run(self, job: Job) -> Mapping[str, str]:
        """Run one job; its outputs, which are empty for what a failed one did not tell."""
        print(f"--- {job}", flush=True)
        place = self._place / job
        place.mkdir()
        out, told = place / "out", place / "outputs"
        told.touch()
        done = subprocess.run(
            [sys.executable, "-I", "-m", "bot", "action"], env=self._environ(job, place, out, told), cwd=place, check=False
        )
        outputs = dict(line.partition("=")[::2] for line in told.read_text("utf-8").splitlines())
        self._results[job] = "failure" if done.returncode else "success"
        if done.returncode:
            self.failed.append(job)
        self.outputs |= {name: value for name, value in outputs.items() if value}
        if (out / "journal.jsonl").is_file():
            self._last = out
            if self._given.out.exists():
                shutil.rmtree(self._given.out)
            shutil.copytree(out, self._given.out)
        return outputs

    def _environ(self, job: Job, place: Path, out: Path, told: Path) -> dict[str, str]:
        given, seen = self._given, self.outputs
        made = {name: os.environ[name] for name in KEPT if name in os.environ}
        made |= {
            "OSTLER_JOB": job, "OSTLER_ISSUE": str(given.issue), "OSTLER_SESSION": given.session,
            "OSTLER_COMMENT": str(given.comment), "OSTLER_MAX_COST": given.max_cost or "",
            "OSTLER_CONFIG_PATH": given.config_path, "OSTLER_OUT": str(out), "OSTLER_IN": str(self._last or ""),
            "OSTLER_JOURNAL_HEAD": seen.get("journal_head", ""), "OSTLER_STATE": seen.get("state", ""),
            "OSTLER_EXPECT_CHANGESET": seen.get("changeset_digest", ""), "OSTLER_REPLY": seen.get("reply", ""),
            "OSTLER_REFUSED": seen.get("refused", ""), "OSTLER_NEEDS": json.dumps(self._results),
            "OSTLER_JOBS_APP_ID": str(given.jobs_app_id), "OSTLER_JOBS_LOGIN": given.jobs_login,
            "OSTLER_GITHUB_PAUSE": str(given.github_pause),
            "OSTLER_GITHUB_READS_PER_MINUTE": str(given.github_reads_per_minute), "OSTLER_ONE_MACHINE": "true",
            "GITHUB_API_URL": given.api_url, "GITHUB_SERVER_URL": given.server_url, "GITHUB_REPOSITORY": given.repository,
            "GITHUB_RUN_ID": str(given.run_id), "GITHUB_RUN_ATTEMPT": str(given.run_attempt),
            "GITHUB_EVENT_NAME": given.event_name, "GITHUB_WORKFLOW_REF": given.workflow_ref,
            "GITHUB_OUTPUT": str(told), "RUNNER_TEMP": str(place),
        }  # fmt: skip
        if given.summary:
            made["GITHUB_STEP_SUMMARY"] = str(given.summary)
        if job in WITH_TOKEN:
            made["OSTLER_GITHUB_TOKEN"] = given.github_token.get_secret_value()
        if job in WITH_STATE_KEY:
            made["OSTLER_STATE_KEY"] = given.state_key.get_secret_value()
        if job in WITH_CHECKOUT and given.checkout:
            made["OSTLER_CHECKOUT"] = str(given.checkout)
        return made | self._models(job)

    def _models(self, job: Job) -> dict[str, str]:
        """Addresses for all, so that each knows whether real vendors answer; keys only where models are asked."""
        made = {}
        for vendor in VENDORS:
            if url := getattr(self._environment, f"{vendor}_base_url"):
                made[f"OSTLER_{vendor.upper()}_BASE_URL"] = url
            if job in MODEL_JOBS and (key := self._environment.key(vendor)):
                made[f"OSTLER_{vendor.upper()}_API_KEY"] = key
        return made
