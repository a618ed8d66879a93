"""Runs: their jobs as a graph, each started when what it needs is over; called workflows as graphs within the graph."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bot.core.errors import BadInput
from bot.demo.runner import contexts, plan, triggers
from bot.demo.runner.contexts import Group
from bot.demo.runner.expressions import Scope
from bot.demo.runner.groups import Groups
from bot.demo.runner.job import Worker
from bot.demo.runner.plan import Plan
from bot.demo.runner.platform import Annotation, JobIdentity, JobRecord, Machine, Platform, Run, RunConclusion
from bot.demo.runner.values import Value
from bot.demo.runner.workflow import Call, Job
from bot.demo.runner.workplace import Assignment, Outcome, now


class Runner:
    """Executes runs for a platform. All methods may be called by any thread; `start` returns at once."""

    def __init__(self, platform: Platform, machine: Machine) -> None:
        self.platform, self.machine = platform, machine
        self.groups = Groups()
        self.seats = threading.Semaphore(machine.parallel)
        self._changed = threading.Condition()
        self._runs: dict[int, Execution] = {}
        self._busy = 0  # runs whose end has not been told yet

    def start(self, run: Run, kept: Sequence[JobRecord] = ()) -> None:
        """Execute a run; `kept` are the jobs of the attempt before, of which only failed ones and what needs them are done."""
        execution = Execution(self, run, {record.key: record for record in kept})
        with self._changed:
            if run.id in self._runs:
                raise BadInput(f"run {run.id} is under way")
            self._runs[run.id] = execution
            self._busy += 1
        threading.Thread(target=self._work, args=(execution,), name=f"run {run.id}", daemon=True).start()

    def _work(self, execution: Execution) -> None:
        try:
            try:
                execution.work()
            finally:
                with self._changed:
                    del self._runs[execution.run.id]  # first, so that whoever hears of the end may start it again
                execution.tell_end()
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _of(self, run_id: int) -> Execution | None:
        with self._changed:
            return self._runs.get(run_id)

    def cancel(self, run_id: int) -> bool:
        """Cancel a run: steps under way are stopped, only always() steps and jobs still run. False: it isn't under way."""
        execution = self._of(run_id)
        if execution:
            execution.cancel()
        return execution is not None

    def kill_job(self, run_id: int, name: str) -> bool:
        """Take a job's machine away, by its name or key. False: it isn't under way."""
        execution = self._of(run_id)
        return execution is not None and execution.kill(name)

    def wait_idle(self, timeout: float) -> bool:
        """Wait until no run is under way; False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy, timeout)

    def close(self) -> None:
        """Kill what is left, and wait for it a moment."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with self._changed:
                left = list(self._runs.values())
            for execution in left:
                execution.close()
            if self.wait_idle(0.2):
                return


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a job, called workflows included."""

    result: Outcome
    outputs: Mapping[str, str] = field(default_factory=dict)

    def context(self) -> dict[str, Value]:
        return {"result": self.result, "outputs": dict(self.outputs)}


class Execution:
    """One attempt of a run."""

    def __init__(self, runner: Runner, run: Run, kept: Mapping[str, JobRecord]) -> None:
        self.runner, self.platform, self.run = runner, runner.platform, run
        self.kept = kept
        self.again: set[str] = set()
        self.cancelled = False
        self.closed = False
        self.variables: Mapping[str, str] = {}
        self._lock = threading.Lock()
        self._workers: dict[str, tuple[str, Worker]] = {}
        self._end: tuple[RunConclusion, str] = ("failure", "")

    def work(self) -> None:
        """Execute the whole run. What cannot start ends as startup_failure."""
        try:
            whole = plan.make(self.platform, self.run)
            self.again = plan.again(whole, self.kept)
            self.variables = self.platform.variables(self.run.repository, None)
            github = contexts.github(self.run, whole.flow.name, self.platform)
            inputs = contexts.inputs(whole.flow, self.run, self.variables)
            own = contexts.group(whole.flow, self.run, self.variables, self.platform)
        except BadInput as error:
            self._end = ("startup_failure", str(error))
            return
        self.platform.run_changed(self.run.id, self.run.attempt, "in_progress", None, "")
        secrets = self.platform.secrets(self.run.repository, None)
        level = Level(self, whole, "", "", github, inputs, secrets, frozenset({own.name.lower()} if own else ()))
        self._end = (conclude(level.work(), self.cancelled), "")

    def tell_end(self) -> None:
        """The last word about the run, when it no longer counts as under way."""
        self.platform.run_changed(self.run.id, self.run.attempt, "completed", *self._end)

    def cancel(self) -> None:
        with self._lock:
            self.cancelled = True
            workers = [worker for _, worker in self._workers.values()]
        threads = [threading.Thread(target=worker.cancel, daemon=True) for worker in workers]  # each may take seconds
        for thread in threads:
            thread.start()
        self.runner.groups.look_again()

    def close(self) -> None:
        with self._lock:
            self.cancelled = self.closed = True
            workers = [worker for _, worker in self._workers.values()]
        for worker in workers:
            worker.kill()
        self.runner.groups.look_again()

    def kill(self, name: str) -> bool:
        with self._lock:
            found = [worker for key, (shown, worker) in self._workers.items() if name in (key, shown)]
        for worker in found:
            worker.kill()
        return bool(found)

    @contextmanager
    def working(self, record: JobRecord, worker: Worker, known: bool) -> Iterator[None]:
        """Let others cancel and kill the job meanwhile. `known`: that the run was cancelled was known when it was let in."""
        with self._lock:
            self._workers[record.key] = (record.name, worker)
            late, closed = self.cancelled and not known, self.closed
        if late:
            worker.cancel()
        if closed:
            worker.kill()
        try:
            yield
        finally:
            with self._lock:
                del self._workers[record.key]


@dataclass(slots=True)
class Level:
    """The jobs of one workflow file: those of the run itself, or of a workflow that a job calls."""

    execution: Execution
    plan: Plan
    prefix: str  # of keys: "" or "improve/"
    title: str  # of names: "" or "improve / "
    github: Mapping[str, Value]
    inputs: Mapping[str, Value]
    secrets: Mapping[str, str]
    held: frozenset[str]  # concurrency groups held around it
    results: dict[str, Result] = field(default_factory=dict)
    _over: dict[str, threading.Event] = field(default_factory=dict)

    def work(self) -> dict[str, Result]:
        """Do all jobs, each in a thread that waits for what it needs."""
        jobs = self.plan.flow.jobs.values()
        self._over = {job.id: threading.Event() for job in jobs}
        threads = [threading.Thread(target=self._thread, args=(job,), name=f"{self.prefix}{job.id}", daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self.results

    def _thread(self, job: Job) -> None:
        try:
            for need in job.needs:
                self._over[need].wait()
            self.results[job.id] = self._do(job)
        finally:
            self.results.setdefault(job.id, Result("failure"))
            self._over[job.id].set()

    def _do(self, job: Job) -> Result:
        key, name = f"{self.prefix}{job.id}", f"{self.title}{job.id}"
        kept = self.execution.kept.get(key)
        if kept and key not in self.execution.again:
            return Result(kept.conclusion or "failure", kept.outputs)
        scope = self._scope(job)
        try:
            wanted = key not in self.execution.again or job.condition.holds(scope)  # a call whose jobs are all kept
            name = f"{self.title}{job.name.text(scope)}" if job.name else name
            if not wanted or self.execution.closed:
                return self._without_machine(key, name, "cancelled" if wanted else "skipped")
            return self._wanted(job, scope, key, name)
        except BadInput as error:
            return self._without_machine(key, name, "failure", str(error))

    def _wanted(self, job: Job, scope: Scope, key: str, name: str) -> Result:
        group = contexts.grouped(job.concurrency, scope)
        with self._grouped(job, group, self.held) as entered:
            if not entered:
                return self._without_machine(key, name, "cancelled")
            if job.call is None:
                return self._machine(job, scope, key, name)
            held = self.held | ({group.name.lower()} if group else set())
            return self._call(job, job.call, scope, key, name, held)

    def _scope(self, job: Job) -> Scope:
        """What a job's own keys may look at. The status functions ask all jobs before it, not only those it names."""
        before = [self.results[name].result for name in self._ancestors(job)]
        execution = self.execution
        status = {
            "always": lambda: True,
            "success": lambda: not execution.cancelled and all(one == "success" for one in before),
            "failure": lambda: not execution.cancelled and "failure" in before,
            "cancelled": lambda: execution.cancelled,
        }
        found = {
            "github": dict(self.github),
            "needs": {name: self.results[name].context() for name in job.needs},
            "vars": dict(execution.variables),
            "inputs": dict(self.inputs),
            "secrets": dict(self.secrets),
        }
        return Scope(found, status)

    def _ancestors(self, job: Job) -> set[str]:
        found = set(job.needs)
        for need in job.needs:
            found |= self._ancestors(self.plan.flow.jobs[need])
        return found

    @contextmanager
    def _grouped(self, job: Job, group: Group | None, held: frozenset[str]) -> Iterator[bool]:
        """Hold the job's concurrency group; False where it was pushed out of it."""
        if group is None:
            yield True
            return
        if group.name.lower() in held:
            raise BadInput(f"{job.file}:{job.line}: the concurrency group '{group.name}' is held by what this job is part of")
        execution, groups = self.execution, self.execution.runner.groups
        ticket = groups.enter(execution.run.repository, group, execution.cancel, lambda: execution.cancelled)
        try:
            yield ticket is not None
        finally:
            if ticket:
                groups.leave(ticket)

    def _without_machine(self, key: str, name: str, result: Outcome, why: str = "") -> Result:
        """A job that no machine does: skipped, cancelled while it waited, or impossible to start."""
        run, at = self.execution.run, now()
        told = (Annotation("error", why),) if why else ()
        number = self.execution.platform.new_job(run.id, run.attempt, name)
        record = JobRecord(run.id, run.attempt, number, key, name, "completed", result, at, at, annotations=told)
        self.execution.platform.job_changed(record)
        return Result(result)

    # A job of its own

    def _machine(self, job: Job, scope: Scope, key: str, name: str) -> Result:
        run, platform = self.execution.run, self.execution.platform
        environment = job.environment.text(scope) or None if job.environment else None
        permissions = self.plan.granted[job.id]
        identity = JobIdentity(
            run_id=run.id,
            attempt=run.attempt,
            job_id=platform.new_job(run.id, run.attempt, name),
            name=name,
            repository=run.repository,
            permissions=permissions,
            environment=environment,
            workflow_ref=str(self.github["workflow_ref"]),
            workflow_sha=run.sha,
            job_workflow_ref=self.plan.origin.name,
            job_workflow_sha=self.plan.origin.sha,
        )
        label = job.runs_on.text(scope) if job.runs_on else ""
        record = JobRecord(
            run.id, run.attempt, identity.job_id, key, name, labels=(label,), environment=environment, permissions=permissions
        )
        platform.job_changed(record)
        with self.execution.runner.seats:
            known = self.execution.cancelled
            if self.execution.closed or (known and not job.condition.holds(scope)):
                platform.job_changed(_cancelled(record))
                return Result("cancelled")
            worker = Worker(self._assignment(job, key, identity, scope), record, platform, self.execution.runner.machine)
            with self.execution.working(record, worker, known):
                done = worker.work()
        return Result(done.conclusion or "failure", done.outputs)

    def _assignment(self, job: Job, key: str, identity: JobIdentity, scope: Scope) -> Assignment:
        secrets, variables = dict(self.secrets), dict(self.execution.variables)
        if identity.environment:
            secrets |= self.execution.platform.secrets(identity.repository, identity.environment)
            variables |= self.execution.platform.variables(identity.repository, identity.environment)
        return Assignment(
            run=self.execution.run,
            flow=self.plan.flow,
            origin=self.plan.origin,
            job=job,
            key=key,
            identity=identity,
            permissions=identity.permissions,
            github=self.github,
            inputs=self.inputs,
            needs=scope.contexts["needs"],
            secrets=secrets,
            variables=variables,
        )

    # A called workflow

    def _call(self, job: Job, call: Call, scope: Scope, key: str, name: str, held: frozenset[str]) -> Result:
        called = self.plan.called[job.id]
        trigger = called.flow.on["workflow_call"]
        given = {one: value.evaluate(scope) for one, value in call.with_.items()}
        inputs = triggers.take(trigger.inputs, given, scope, f"{job.file}:{job.line}: ", strings=False)
        inside = Scope({"github": dict(self.github), "inputs": inputs, "vars": dict(self.execution.variables)})
        group = contexts.grouped(called.flow.concurrency, inside)
        inner = held | ({group.name.lower()} if group else set())
        level = Level(self.execution, called, f"{key}/", f"{name} / ", self.github, inputs, self._handed(call, scope), inner)
        with self._grouped(job, group, held) as entered:
            if not entered:
                return self._without_machine(key, name, "cancelled")
            results = level.work()
        result = conclude(results, self.execution.cancelled)
        done = Scope({**inside.contexts, "jobs": {one: value.context() for one, value in results.items()}})
        outputs = {one: value.text(done) for one, value in trigger.outputs.items()}
        return Result("failure" if result == "startup_failure" else result, outputs)

    def _handed(self, call: Call, scope: Scope) -> Mapping[str, str]:
        """The secrets that the called workflow gets."""
        if call.secrets == "inherit":
            return self.secrets
        found = {name: one.text(scope) for name, one in call.secrets.items()}
        return {name: value for name, value in found.items() if value}


def _cancelled(record: JobRecord) -> JobRecord:
    at = now()
    return JobRecord(
        record.run_id, record.attempt, record.id, record.key, record.name, "completed", "cancelled", at, at, record.labels
    )


def conclude(results: Mapping[str, Result], cancelled: bool) -> RunConclusion:
    """What became of a graph of jobs."""
    found = {one.result for one in results.values()}
    if cancelled and found != {"success"}:
        return "cancelled"
    for result in ("failure", "cancelled", "success"):
        if result in found:
            return result
    return "skipped"
