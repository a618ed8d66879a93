"""Every job of the workflow matters: without any one of them no issue becomes an audited draft pull request that is settled."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from bot.core.jobs import Job
from tests.world.hostile import NOTES, NOTES_BODY, NOTES_RULES, NOTES_TITLE, without
from tests.world.town import Story, Town, town

pytestmark = pytest.mark.sampled

SECONDS = 120
TO_THE_END = (Job.GATE, Job.POST, Job.AUDIT, Job.CONCLUDE)
"""Where the workflow runs that go on by themselves are waited for too. The others' do the same: they lack the same job."""
MISSES = {
    Job.GATE: {"plan", "branch", "change", "pull request", "audit", "settled"},
    Job.PLAN: {"plan", "change", "pull request", "audit", "settled"},
    Job.POST: {"plan", "branch", "change", "pull request", "audit", "settled"},
    Job.BUILD: {"change", "pull request", "audit", "settled"},
    Job.PROVE: {"change", "pull request", "audit", "settled"},
    Job.AUDIT: {"change", "pull request", "audit", "settled"},
    Job.PUBLISH: {"change", "pull request", "audit", "settled"},
    Job.CONCLUDE: {"settled"},
}
"""What is not there in the end. `confirm` has nothing to do where an audit finds nothing major: `test_jobs_apart.py` has one
that does."""


def missing(told: Story) -> set[str]:
    """What an issue lacks that would be there had it gone well."""
    done = {
        "plan": len(told.plan) == 1,
        "branch": len(told.branches) == 1,
        "change": any(len(told.checks) > 1 or pull["head"]["sha"] not in told.checks for pull in told.pulls),
        "pull request": [pull["draft"] for pull in told.pulls] == [True],
        "audit": len(told.audit) == 1,
        "settled": told.state_labels == ["ostler:in-review"] and any("Finished" in one["body"] for one in told.status),
    }
    return {name for name, there in done.items() if not there}


def first_run_over(there: Town) -> None:
    deadline = time.monotonic() + SECONDS
    while not (found := there.runs()) or found[-1]["status"] != "completed":
        assert time.monotonic() < deadline
        threading.Event().wait(0.1)


@pytest.mark.parametrize("job", list(MISSES))
def test_without_this_job_there_is_no_settled_result(tmp_path: Path, job: Job) -> None:
    with town(tmp_path, "alone", NOTES, NOTES_RULES, workflows=without(job)) as there:
        number = there.ask(NOTES_TITLE, NOTES_BODY)
        if job in TO_THE_END:
            there.settle(SECONDS)
        else:
            first_run_over(there)
        told = there.story(number)
        assert missing(told) == MISSES[job]
        ran = there.jobs(there.runs()[-1]["id"])
        assert ran[job] == "skipped"
        if job is Job.AUDIT:
            assert told.check["conclusion"] == "action_required"
            assert told.state_labels == ["ostler:needs-human"]
