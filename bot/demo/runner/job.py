"""One job on a machine of its own: folders, token, environment, steps, outputs; and its record on the way."""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace

from bot.core.errors import BadInput
from bot.demo.runner import steps
from bot.demo.runner.commands import Console, Masks
from bot.demo.runner.platform import Annotation, Conclusion, JobRecord, Machine, Platform, StepRecord
from bot.demo.runner.process import Processes
from bot.demo.runner.workplace import Assignment, Frame, Outcome, Site, Workplace, now, runner_name

DEFAULT_MINUTES = 360
OUTPUT_BYTES = 1024 * 1024
"""What one output of a job may have, as on GitHub."""


class Worker:
    """Does one job. `work` is called once, by a thread of its own; `cancel` and `kill` by any thread."""

    def __init__(self, assignment: Assignment, record: JobRecord, platform: Platform, machine: Machine) -> None:
        self._assignment, self._platform, self._machine = assignment, platform, machine
        self._record = record
        self._root = machine.folder.resolve() / f"job-{record.id}"
        self._masks = Masks()
        for secret in assignment.secrets.values():
            self._masks.add(secret)
        self._token = ""
        self._lock = threading.Lock()
        self._place: Workplace | None = None
        self._cancelled = False
        mark = f"github_{uuid.uuid4()}"
        self._processes = Processes(
            mark,
            lambda pid: platform.process_started(self._token, pid),
            lambda pid: platform.process_ended(self._token, pid),
        )
        self._setup = Console(self._masks)
        self._consoles = [Console(self._masks) for _ in assignment.job.steps]

    def cancel(self) -> None:
        """Stop the step under way; those with always() still run."""
        with self._lock:
            self._cancelled = True
            if self._place:
                self._place.cancelled = True
        self._processes.cancel()

    def kill(self) -> None:
        """The machine is gone: no further step, the job fails."""
        self._processes.kill()

    def work(self) -> JobRecord:
        """Do the job; its last record, which has been reported."""
        job, identity = self._assignment.job, self._assignment.identity
        names = ["Set up job", *(self._masks.hide(steps.guess(step)) for step in job.steps)]
        records = tuple(StepRecord(number, name) for number, name in enumerate(names, 1))
        self._change(status="in_progress", started_at=now(), runner_name=runner_name(identity), steps=records)
        conclusion: Conclusion = "failure"
        outputs: Mapping[str, str] = {}
        try:
            self._report(-1, "Set up job", None)
            place = self._arrive()
            self._report(-1, "Set up job", "success" if place else "failure")
            if place:
                conclusion, outputs = self._run(place)
        finally:
            self._leave(conclusion, outputs)
        return self._record

    # Before and after

    def _arrive(self) -> Workplace | None:
        """Set the machine up; None where it cannot be, which the log then says."""
        assignment, job = self._assignment, self._assignment.job
        try:
            place = self._make()
            self._describe()
            outer = place.scope(Frame(), {})
            place.env |= {name: one.text(outer) for name, one in assignment.flow.env.items()}
            place.env |= {name: one.text(outer) for name, one in job.env.items()}
            minutes = job.minutes.number(outer, "timeout-minutes") if job.minutes else DEFAULT_MINUTES
            self._check_label(job.runs_on.text(outer) if job.runs_on else "")
        except BadInput as error:
            self._setup.fail(str(error))
            return None
        place.deadline = time.monotonic() + minutes * 60
        with self._lock:
            self._place = place
            place.cancelled = self._cancelled
        return place

    def _make(self) -> Workplace:
        identity = self._assignment.identity
        self._token = self._platform.job_token(identity)
        self._masks.add(self._token)
        oidc = None
        if self._assignment.permissions.get("id-token") == "write":
            oidc = self._platform.oidc(identity)
            self._masks.add(oidc[1])
        site = Site.make(self._root, identity.repository)
        place = Workplace(
            self._assignment, self._platform, self._machine, site, self._processes, self._token, self._masks, 0.0, oidc
        )
        place.write_event()
        return place

    def _check_label(self, label: str) -> None:
        if label not in self._machine.labels:
            raise BadInput(f"{self._assignment.job.file}:{self._assignment.job.line}: no machine has the label '{label}'")

    def _describe(self) -> None:
        granted = "\n".join(f"  {scope}: {access}" for scope, access in sorted(self._assignment.permissions.items()))
        self._setup.say(f"Runner: {runner_name(self._assignment.identity)}\nGITHUB_TOKEN may:\n{granted or '  nothing'}")
        if self._assignment.identity.environment:
            self._setup.say(f"Environment: {self._assignment.identity.environment}")

    def _leave(self, conclusion: Conclusion, outputs: Mapping[str, str]) -> None:
        self._processes.sweep()
        if self._token:
            self._platform.revoke(self._token)
        shutil.rmtree(self._root, ignore_errors=True)
        told: list[Annotation] = [*self._setup.annotations]
        for console in self._consoles:
            told += console.annotations
        if self._processes.lost:
            conclusion = "failure"
            told.append(Annotation("error", "the machine lost its connection: it was shut down or killed"))
        ended = now()
        done = tuple(self._ended(step, ended) for step in self._record.steps)
        summary = "".join(self._place.summary) if self._place else ""
        self._change(
            status="completed",
            conclusion=conclusion,
            completed_at=ended,
            steps=done,
            annotations=tuple(told),
            outputs=dict(outputs),
            summary=summary,
        )

    def _ended(self, step: StepRecord, at: str) -> StepRecord:
        if step.status == "completed":
            return step
        return replace(step, status="completed", conclusion="cancelled" if step.started_at else "skipped", completed_at=at)

    # In between

    def _run(self, place: Workplace) -> tuple[Conclusion, Mapping[str, str]]:
        job, frame = self._assignment.job, Frame(inputs=self._assignment.inputs)
        steps.run_all(place, frame, job.steps, self._consoles, job.defaults, self._report)
        outputs: dict[str, str] = {}
        if not place.processes.lost:
            try:
                outputs = self._outputs(place, frame)
            except BadInput as error:
                self._setup.fail(str(error))
                frame.status = "failure"
        conclusion: Outcome = "cancelled" if place.cancelled else frame.status
        return conclusion, outputs

    def _outputs(self, place: Workplace, frame: Frame) -> dict[str, str]:
        scope, found = place.scope(frame, {}), {}
        for name, one in self._assignment.job.outputs.items():
            value = one.text(scope)
            if len(value.encode()) > OUTPUT_BYTES:
                raise BadInput(f"{one.file}:{one.line}: the output '{name}' has more than {OUTPUT_BYTES} bytes")
            if self._masks.found_in(value):
                self._setup.line(f"::warning::the output '{name}' is left out, since it may contain a secret")
                continue
            found[name] = value
        return found

    # Records

    def _report(self, number: int, name: str, conclusion: Outcome | None) -> None:
        """A step of the job began or ended; -1 is the set-up."""
        place = number + 1
        console = self._setup if number < 0 else self._consoles[number]
        old, at = self._record.steps[place], now()
        if conclusion is None:
            new = replace(old, name=name, status="in_progress", started_at=at)
        else:
            new = replace(
                old,
                name=name,
                status="completed",
                conclusion=conclusion,
                started_at=old.started_at or at,
                completed_at=at,
                log=console.text(),
            )
        shown = list(self._record.steps)
        shown[place] = replace(new, name=self._masks.hide(name))
        self._change(steps=tuple(shown))

    def _change(self, **changes: object) -> None:
        self._record = replace(self._record, **changes)  # type: ignore[arg-type]
        self._platform.job_changed(self._record)
