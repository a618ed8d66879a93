"""Minutes of Actions jobs in the ledger: whatever jobs do, what GitHub bills for them is booked, and nothing is booked twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.budget import RUNNER_MINUTES
from bot.core.events import BaselineRan, JobBegan, JobEnded, JobLost
from bot.core.jobs import MODEL_JOBS, Job
from bot.core.minutes import AROUND, MINUTES, SET_UP
from bot.core.run import Run
from bot.core.step import step
from bot.core.strategy import Settings
from tests.core.play import MODELS, checks, ready, request, suite

RATE = 6_000
SETTINGS = Settings(20_000_000, 20_000_000, MODELS, ci_minute=RATE)


def begun(first: JobBegan | None = None, settings: Settings = SETTINGS) -> Run:
    """A run whose plan job began, and that has a ledger."""
    run, _ = step(None, request(settings=settings))
    for event in (first or JobBegan("plan", 1), ready(), BaselineRan(checks(suite({"t": "passed"})))):
        run, _ = step(run, event)
    return run


def billed(run: Run) -> int:
    return run.ledger.spent_on(RUNNER_MINUTES)


def test_a_job_is_held_at_its_worst_and_settled_at_what_it_took() -> None:
    run = begun()
    assert billed(run) == RATE * len(AROUND)
    assert run.ledger.committed_to(RUNNER_MINUTES) == RATE * (len(AROUND) + sum(MINUTES.values()))
    pending = run.pending
    run, effects = step(run, JobEnded("plan", 1, 61.0))
    assert billed(run) == RATE * (len(AROUND) + 2 + SET_UP)
    assert effects == (pending,), "what was to be done is still to be done"


@given(st.lists(st.tuples(st.sampled_from(tuple(MINUTES)), st.sampled_from((None, 0.0, 30.0, 900.0))), min_size=1, max_size=9))
def test_each_workflow_run_is_booked_at_what_it_took(jobs: list[tuple[Job, float | None]]) -> None:
    """Each job has a workflow run of its own. It ends, or it is killed and tells nothing: then all of its minutes are gone."""
    run, _ = step(begun(), JobEnded("plan", 1, 10.0))
    expected = RATE * (len(AROUND) + 1 + SET_UP)
    for number, (job, seconds) in enumerate(jobs, 2):
        run, _ = step(run, JobBegan(job, number))
        expected += RATE * len(AROUND)
        if seconds is None:
            expected += RATE * MINUTES[job]
            continue
        for _ in range(2):  # told twice it is booked once
            run, _ = step(run, JobEnded(job, number, seconds))
        expected += RATE * (int(-(-seconds // 60)) + SET_UP)
    run, _ = step(run, JobBegan("audit", 99))
    assert billed(run) == expected + RATE * len(AROUND)
    assert [held.call for held in run.ledger.reservations] == ["ci/99/audit", "ci/99/confirm"]


@pytest.mark.parametrize("job", MODEL_JOBS)
def test_a_job_whose_journal_is_gone_took_all_its_minutes(job: Job) -> None:
    held = begun()
    lost, _ = step(held, JobLost(job, 1))
    assert billed(lost) == billed(held) + RATE * MINUTES[job]
    assert lost.ledger.committed > held.ledger.committed


def test_where_minutes_cost_nothing_nothing_is_booked() -> None:
    run = begun(settings=replace(SETTINGS, ci_minute=0))
    assert (billed(run), run.ledger.reservations) == (0, ())


def test_minutes_that_leave_no_room_stop_the_next_call() -> None:
    run = begun(settings=replace(SETTINGS, max_cost=500_000, call_cap=500_000))
    kind = str(run.phase.kind)
    assert run.ledger.room(kind, finishing=False)[1] < 0
