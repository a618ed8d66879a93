"""kill -9 of the App, of any job and of its machine, and GitHub in every kind of trouble: in the end everything is there once.

By default every kind of request meets trouble. With MATRIX=1 each request of each job is the last one of its process once, before
and after it took effect, and each request of each job meets each kind of trouble once, in both set-ups.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bot.demo.hub.faults import Fault
from tests.sampling import whole
from tests.world.town import BODY, FIXER_BODY, FIXER_TITLE, TITLE, Setup, Town, town
from tests.world.trouble import (
    KINDS,
    Call,
    Dealer,
    Death,
    Nurse,
    billed,
    calls_of,
    in_sandbox,
    one_of_each,
    state_of,
    tended,
)  # fmt: skip
from tests.world.world import SMALL, happy

pytestmark = pytest.mark.sampled

SETUPS: tuple[Setup, Setup] = ("alone", "app")
PLAIN = {"calc.py": "import os\n\n\nX = 1\n", "pyproject.toml": '[project]\nname = "calc"\nversion = "0.1.0"\n'}
"""Without tests a change is proved quickly: by nothing."""
COSTS = "budget:\n  money: 40\n"


@contextmanager
def a_town(folder: Path, setup: Setup) -> Iterator[tuple[Town, Nurse]]:
    with town(folder, setup, PLAIN) as there, tended(there) as nurse:
        yield there, nurse


def fixed(there: Town, nurse: Nurse) -> list[str]:
    """A whole session that no model is asked in; how people had to help."""
    number = there.ask(FIXER_TITLE, FIXER_BODY)
    helped = nurse.finish(number)
    one_of_each(there, number)
    return helped


def changes(there: Town, *jobs: str) -> list[Call]:
    """What the jobs, or the App, change on GitHub in a session, by what was asked so far."""
    names = {f"improve\\ /\\ {job}" for job in jobs} | {"ostler"} & set(jobs)
    return [call for call in calls_of(there.hub.log, by_who=True) if call.changes and call.who in names]


# --- GitHub in trouble ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setup", SETUPS)
def test_every_request_meets_trouble_once(tmp_path: Path, setup: Setup) -> None:
    """Nobody has to help, and nobody sees anything of it."""
    with a_town(tmp_path, setup) as (there, nurse):
        dealer = Dealer(KINDS, quick=True)
        there.hub.faults += dealer.hand
        assert fixed(there, nurse) == []
        assert len(there.runs()) == 1
        assert nurse.starts == 0
    assert len(dealer.dealt) >= (25 if setup == "alone" else 40)
    assert set(dealer.dealt.values()) >= {"429", "drop-after", "stale"}, dealer.dealt


@whole
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setup", SETUPS)
def test_every_request_of_every_job_meets_each_kind_of_trouble(tmp_path: Path, setup: Setup, kind: str) -> None:
    with a_town(tmp_path, setup) as (there, nurse):
        dealer = Dealer((kind,), by_who=True)
        there.hub.faults += dealer.hand
        assert fixed(there, nurse) == []
        print(f"{setup} {kind}: {sum(bool(dealt) for dealt in dealer.dealt.values())} requests")


# --- processes that die -----------------------------------------------------------------------------------------------


def test_the_app_dies_at_every_change_it_makes(tmp_path: Path) -> None:
    """Each time it is started again it goes on where it was; its jobs wait for it."""
    with a_town(tmp_path, "app") as (there, nurse):
        dealer = Dealer(("kill-after", "kill-before"), only="ostler", changes=True)
        there.hub.faults += dealer.hand
        assert fixed(there, nurse) == []
    assert nurse.starts == len(dealer.dealt) >= 8


@whole
@pytest.mark.parametrize("kind", ["kill-before", "kill-after"])
def test_the_app_dies_at_every_request_it_makes(tmp_path: Path, kind: str) -> None:
    with a_town(tmp_path, "app") as (there, nurse):
        dealer = Dealer((kind,), only="ostler")
        there.hub.faults += dealer.hand
        assert fixed(there, nurse) == []
    assert nurse.starts == len(dealer.dealt) >= 20


COMMENT = r"/issues/\d+/comments$"


def sample(setup: Setup) -> list[Fault]:
    """Deaths at what people would see twice; a job dies once in a workflow run, for what was done before is found."""
    both = [
        Fault("POST", COMMENT, "kill-after", "improve / post"),
        Fault("PATCH", "/git/refs/", "kill-after", "improve / publish"),
        Fault("POST", "/pulls$", "kill-after", "improve / publish"),
        Fault("POST", COMMENT, "kill-after", "improve / publish"),
    ]
    if setup == "app":
        return [*both, Fault("POST", COMMENT, "kill-before", "improve / conclude")]
    return [
        Fault("POST", "/git/refs$", "kill-after", "improve / post"),
        *both[1:],
        Fault("POST", "/check-runs$", "kill-after", "improve / conclude"),
        Fault("POST", "/dispatches$", "kill-before", "improve / conclude"),
    ]


@pytest.mark.parametrize("setup", ["alone", pytest.param("app", marks=whole)])
def test_jobs_die_at_what_they_make(tmp_path: Path, setup: Setup) -> None:
    with a_town(tmp_path, setup) as (there, nurse):
        faults = sample(setup)
        there.hub.faults += faults
        helped = fixed(there, nurse)
        assert [fault for fault in faults if not fault.met] == []
        assert set(helped) <= ({"rerun", "retry"} if setup == "alone" else {"retry"})
        if setup == "alone":
            nothing_is_told_twice(there)


def nothing_is_told_twice(there: Town) -> None:
    """The first workflow run, in which a job died, is run again long after the session went on without it."""
    (number,) = [item["number"] for item in there.ada.get(f"/repos/{there.name}/issues?state=all") if "pull_request" not in item]
    before = state_of(there, number)
    first = there.runs()[-1]
    assert first["conclusion"] == "failure"
    there.ada.rerun_failed(there.name, first["id"])
    there.settle()
    assert there.jobs(first["id"])["conclude"] == "failure"
    assert state_of(there, number) == before
    one_of_each(there, number)


@whole
@pytest.mark.parametrize("kind", ["kill-before", "kill-after"])
@pytest.mark.parametrize("job", ["post", "publish", "conclude", "ostler"])
@pytest.mark.parametrize("setup", SETUPS)
def test_every_change_is_once_the_last_of_its_process(tmp_path: Path, setup: Setup, job: str, kind: str) -> None:
    if setup == "alone" and job == "ostler":
        pytest.skip("there is no App")
    with a_town(tmp_path, setup) as (there, nurse):
        fixed(there, nurse)
        failed, calls = [], changes(there, job)
        for call in calls:
            there.hub.faults[:] = [fault := call.fault(kind)]
            try:
                helped = fixed(there, nurse)
            except AssertionError as error:
                failed.append(f"{call}: {error}")
            else:
                print(f"{setup} {kind} {call}: {helped if fault.met else 'was not asked for'}")
        assert failed == []
        print(f"{setup} {kind} {job}: {len(calls)} cases")


# --- machines that are lost, and the money ----------------------------------------------------------------------------


def costly(there: Town, nurse: Nurse, *deaths: Death) -> None:
    """A session with models, in which all of these happen: nothing that was paid is forgotten, and no cap is passed."""
    nurse.deaths += deaths
    number = there.ask(TITLE, BODY)
    nurse.finish(number)
    assert nurse.deaths == []
    there.expect_one(number)
    state = state_of(there, number)
    assert billed(there.scene.vendors) <= state.spent <= state.cap


def forever() -> list[dict[str, object]]:
    return [{**rule, "repeat": True} for rule in happy()]


@whole
def test_machines_are_lost_and_nothing_is_paid_unseen(tmp_path: Path) -> None:
    """A lost machine may have spent all that its job could; a process that died only what it had asked for."""
    with town(tmp_path, "app", SMALL, forever(), config=COSTS) as there, tended(there) as nurse:
        asked = there.scene.vendors.journal
        dying = [
            Death("gate"),
            Death("plan", machine=False, when=lambda: len(asked()) == 1),
            Death("build"),
            Death("prove", machine=False, when=lambda: bool(in_sandbox(there))),
            Death("conclude"),
        ]
        costly(there, nurse, *dying)


@whole
@pytest.mark.parametrize("machine", [True, False])
@pytest.mark.parametrize("job", ["gate", "plan", "post", "build", "prove", "audit", "publish", "conclude"])
@pytest.mark.parametrize("setup", SETUPS)
def test_every_job_is_lost(tmp_path: Path, setup: Setup, job: str, machine: bool) -> None:
    with town(tmp_path, setup, SMALL, forever(), config=COSTS) as there, tended(there) as nurse:
        costly(there, nurse, Death(job, machine))
