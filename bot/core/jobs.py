"""Which Actions job does what: each holds only what its part of a run needs, so each stops where the next part begins."""

from __future__ import annotations

from enum import StrEnum

from bot.core.budget import Ledger
from bot.core.effects import AskPerson, Deliver, Effect, PrepareWorkspace, RepeatProof, RunAuditChecks, RunBaseline
from bot.core.phases import FRAMING, Kind
from bot.core.run import Run


class Job(StrEnum):
    """The jobs of the workflow, in their order."""

    GATE = "gate"
    PLAN = "plan"
    POST = "post"
    BUILD = "build"
    PROVE = "prove"
    AUDIT = "audit"
    CONFIRM = "confirm"
    PUBLISH = "publish"
    CONCLUDE = "conclude"


MODEL_JOBS = (Job.PLAN, Job.BUILD, Job.AUDIT)
"""Those that hold model keys and spend money."""

KINDS_OF: dict[Job, tuple[Kind, ...]] = {
    Job.PLAN: FRAMING,
    Job.BUILD: (Kind.IMPLEMENT, Kind.VERIFY),
    Job.AUDIT: (Kind.REVIEW,),
}
"""The kinds of phases that a model job works on."""


def job_of(run: Run, effect: Effect) -> Job:
    """The job that performs `effect`."""
    if isinstance(effect, PrepareWorkspace | RunBaseline):
        return Job.PLAN
    if isinstance(effect, AskPerson):
        return Job.POST
    if isinstance(effect, RepeatProof):
        return Job.PROVE
    if isinstance(effect, RunAuditChecks):
        return Job.CONFIRM
    if isinstance(effect, Deliver):
        return Job.PUBLISH
    kind = run.phase.kind
    return next(job for job, kinds in KINDS_OF.items() if kind in kinds)


def money_of(ledger: Ledger, job: str) -> int:
    """The most that one job of this name can spend, by the caps of the phases it works on, in micro-dollars."""
    kinds = {str(kind) for kind in KINDS_OF.get(Job(job), ())}
    return sum(max(0, cap - ledger.committed_to(kind)) for kind, cap in ledger.phase_caps if kind in kinds)


def next_job(run: Run) -> Job:
    """The job that goes on with `run`; CONCLUDE where nothing is left to do but to say so."""
    if run.pending is not None:
        return job_of(run, run.pending)
    return Job.CONCLUDE


def waits(run: Run) -> bool:
    """Whether a person has to act before any job can go on."""
    return run.waiting is not None and not run.over
