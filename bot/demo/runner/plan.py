"""A run before it starts: all its workflow files read and checked, and which jobs a re-run has to do again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bot.core.errors import BadInput
from bot.demo.runner import values, workflow
from bot.demo.runner.contexts import Origin
from bot.demo.runner.fields import Field
from bot.demo.runner.platform import JobRecord, Platform, Run
from bot.demo.runner.workflow import Call, Job, Permissions, Workflow

MAX_DEPTH = 4
"""Workflows that call each other, the first included."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A workflow, what each of its jobs may do, and the workflows that its jobs call."""

    flow: Workflow
    origin: Origin
    granted: Mapping[str, Permissions]
    called: Mapping[str, Plan]


def make(platform: Platform, run: Run) -> Plan:
    """Read the run's workflow and all that it calls. BadInput, with file and line, where the run cannot start."""
    return _plan(platform, Origin(run.repository, run.workflow_path, run.ref, run.sha), None, 1)


def _plan(platform: Platform, origin: Origin, most: Permissions | None, depth: int) -> Plan:
    data = platform.file_at(origin.repository, origin.sha, origin.path)
    if data is None:
        raise BadInput(f"{origin.repository} has no {origin.path} at {origin.sha}")
    flow = workflow.read(data, origin.path)
    granted = {job.id: flow.granted(job, most) for job in flow.jobs.values()}
    called = {}
    for job in flow.jobs.values():
        if job.call:
            if depth == MAX_DEPTH:
                raise BadInput(f"{job.file}:{job.line}: workflows call each other more than {MAX_DEPTH} deep")
            there = _origin(platform, origin, job, job.call)
            called[job.id] = _plan(platform, there, granted[job.id], depth + 1)
            _check_call(job, job.call, called[job.id].flow)
    return Plan(flow, origin, granted, called)


def _origin(platform: Platform, origin: Origin, job: Job, call: Call) -> Origin:
    target = call.target
    if target.repository is None or target.sha is None:
        return Origin(origin.repository, target.path, origin.ref, origin.sha)
    if platform.resolve(target.repository, target.sha) != target.sha:
        raise BadInput(f"{job.file}:{job.line}: there is no commit {target.sha} in {target.repository}")
    return Origin(target.repository, target.path, target.sha, target.sha)


def _check_call(job: Job, call: Call, flow: Workflow) -> None:
    """What a caller hands over must be what the called workflow declares."""
    where, trigger = f"{job.file}:{job.line}: ", flow.on.get("workflow_call")
    if trigger is None:
        raise BadInput(f"{where}{flow.file} cannot be called: it has no workflow_call trigger")
    inputs = dict(trigger.inputs)
    _check_names(where, "input", call.with_, inputs, {name for name, one in inputs.items() if one.required and not one.default})
    if call.secrets != "inherit":
        wanted = {name for name, required in trigger.secrets.items() if required}
        _check_names(where, "secret", call.secrets, trigger.secrets, wanted)


def _check_names(where: str, what: str, given: Mapping[str, Field], known: Mapping[str, object], wanted: set[str]) -> None:
    for name in given:
        if not values.member(dict(known), name)[0]:
            raise BadInput(f"{where}the called workflow has no {what} '{name}'")
    for name in wanted:
        if not values.member(dict(given), name)[0]:
            raise BadInput(f"{where}the called workflow requires the {what} '{name}'")


def again(plan: Plan, kept: Mapping[str, JobRecord]) -> set[str]:
    """Keys of the jobs to do: those that failed or were cancelled or never ran, and all that need one of them."""
    return set(_again(plan, "", kept, False))


def _again(plan: Plan, prefix: str, kept: Mapping[str, JobRecord], forced: bool) -> Iterator[str]:
    doing: set[str] = set()
    left = list(plan.flow.jobs.values())
    settled: set[str] = set()
    while left:
        job = next(one for one in left if settled.issuperset(one.needs))
        left.remove(job)
        settled.add(job.id)
        key, own = f"{prefix}{job.id}", forced or not doing.isdisjoint(job.needs)
        record = kept.get(key)
        if record is not None:
            own = own or record.conclusion not in ("success", "skipped")
        elif job.id in plan.called:
            inner = set(_again(plan.called[job.id], f"{key}/", kept, own))
            yield from inner
            own = own or bool(inner)
        else:
            own = True
        if own:
            doing.add(job.id)
            yield key
