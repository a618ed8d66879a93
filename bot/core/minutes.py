"""GitHub's minutes in the ledger: held at their worst before a job begins, settled at what it took, rounded up as GitHub bills.

https://docs.github.com/en/billing/concepts/product-billing/github-actions: each job is rounded up to whole minutes.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from bot.core.budget import RUNNER, RUNNER_MINUTES, Charge, Ledger
from bot.core.events import JobBegan, JobEnded, JobLost
from bot.core.jobs import Job, money_of
from bot.core.run import Run, Step, as_before

MINUTES = {Job.PLAN: 30, Job.BUILD: 60, Job.PROVE: 30, Job.AUDIT: 15, Job.CONFIRM: 15}
"""When GitHub ends each of the jobs that work on a run: `timeout-minutes` of the workflow."""
AROUND = (Job.GATE, Job.POST, Job.PUBLISH, Job.CONCLUDE)
"""The jobs that keep no journal. Each is counted as one minute of every workflow run."""
SET_UP = 2
"""Minutes of a job that its process does not see: installation before it, upload after it."""


def job_began(run: Run, event: JobBegan) -> Step:
    """Hold what this job, and those that may follow it in its workflow run, can take, as soon as there is a ledger."""
    run = replace(run, jobs=(*run.jobs, event))
    if run.strategy is not None:
        run = held(run, event)
    return as_before(run)


def held(run: Run, event: JobBegan) -> Run:
    """The run with the minutes of the workflow run of `event` held; those of earlier workflow runs are closed."""
    rate = run.request.settings.ci_minute
    if not rate:
        return run
    ledger = _closed(run, event.workflow_run)
    first = _key(event.workflow_run, "around")
    if not any(charge.call == first for charge in ledger.charges):
        around = Charge(first, RUNNER_MINUTES, "", ", ".join(AROUND), RUNNER, rate * len(AROUND))
        ledger = replace(ledger, charges=(*ledger.charges, around))
        coming = list(MINUTES)[list(MINUTES).index(Job(event.job)) :]
        for job in coming:
            ledger = ledger.hold(_key(event.workflow_run, job), RUNNER_MINUTES, rate * MINUTES[job])
    return replace(run, ledger=ledger)


def coming(run: Run) -> int:
    """The most that another workflow run of `run` may cost beside what is held now, in micro-dollars."""
    return run.request.settings.ci_minute * (len(AROUND) + max(MINUTES.values()))


def _closed(run: Run, workflow_run: int) -> Ledger:
    """What earlier workflow runs held: a job that began and never told its end took all of it, one that never began nothing."""
    ledger, begun = run.ledger, {_key(job.workflow_run, job.job): job.job for job in run.jobs}
    for reservation in run.ledger.reservations:
        if reservation.kind != RUNNER_MINUTES or reservation.call.startswith(_key(workflow_run, "")):
            continue
        job = begun.get(reservation.call)
        ledger = ledger.lose(reservation.call, role=job, model=RUNNER) if job else ledger.release(reservation.call)
    return ledger


def job_ended(run: Run, event: JobEnded) -> Step:
    """The job's minutes take the place of what was held for it."""
    key, rate = _key(event.workflow_run, event.job), run.request.settings.ci_minute
    if run.ledger.holds(key):
        minutes = SET_UP + ceil(max(event.seconds, 0.0) / 60)
        run = replace(run, ledger=run.ledger.bill(key, role=event.job, model=RUNNER, amount=rate * minutes))
    return as_before(run)


def job_lost(run: Run, event: JobLost) -> Step:
    """A whole job's money is spent; what it was to do is still to be done."""
    run = replace(run, lost=(*run.lost, event))
    if run.strategy is not None:  # else there is no account yet: it is charged as soon as there is one
        run = charged(run, event, len(run.lost))
    return as_before(run)


def charged(run: Run, event: JobLost, number: int) -> Run:
    """The run after the `number`th lost job: what its phases could spend is spent, and so are all of its minutes."""
    key, ledger = _key(event.workflow_run, event.job), run.ledger
    amount = money_of(ledger, event.job)
    if ledger.holds(key):
        ledger = ledger.lose(key, role=event.job, model=RUNNER)
    else:
        amount += run.request.settings.ci_minute * MINUTES[Job(event.job)]
    return replace(run, ledger=ledger.lose_job(f"lost-{number}", event.job, amount))


def _key(workflow_run: int, job: str) -> str:
    return f"ci/{workflow_run}/{job}"
