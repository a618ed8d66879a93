"""Findings that age: by distinct runs, until the file is audited again and nobody names them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bot.core.ageing import RUNS, RUNS_CRITICAL, backlog, to_clean
from bot.core.experience import Audited, File, Sighting

KEYS = ("style@a.py", "style@b.py", "correctness@a.py")
sightings = st.builds(Sighting, st.sampled_from(KEYS), st.just("minor"), st.just("a.py:1"), st.sampled_from(("one", "two")))
files = st.builds(File, st.sampled_from(("a.py", "b.py")))
audits = st.builds(
    Audited,
    safety_critical=st.booleans(),
    disagreed=st.just(0),
    points=st.just(0),
    files=st.lists(files, max_size=2).map(tuple),
    left=st.lists(sightings, max_size=4).map(tuple),
    day=st.just("2026-01-01"),
)


@given(st.lists(audits, max_size=6))
def test_age_is_the_number_of_distinct_runs(runs: list[Audited]) -> None:
    found = {debt.key: debt for debt in backlog(runs)}
    assert set(found) == {sighting.key for run in runs for sighting in run.left}
    for key, debt in found.items():
        seen = [number for number, run in enumerate(runs) if key in {sighting.key for sighting in run.left}]
        assert debt.runs == len(seen)
        later = {file.path for run in runs[seen[-1] + 1 :] for file in run.files}
        critical = any(runs[number].safety_critical for number in seen)
        old = len(seen) >= (RUNS_CRITICAL if critical else RUNS)
        assert debt.standing == ("resolved" if debt.path in later else "needs_cleanup" if old else "open")
        assert (debt.effective_severity == "major") == (debt.standing == "needs_cleanup")


@given(st.lists(audits, max_size=6))
def test_several_sightings_in_one_run_are_one(runs: list[Audited]) -> None:
    twice = [replace(run, left=(*run.left, *run.left)) for run in runs]
    assert [(debt.key, debt.runs, debt.standing) for debt in backlog(twice)] == [
        (debt.key, debt.runs, debt.standing) for debt in backlog(runs)
    ]


@given(st.lists(audits, max_size=6))
def test_an_audit_that_names_nothing_resolves_what_it_looked_at(runs: list[Audited]) -> None:
    clean = Audited(False, 0, 0, (File("a.py"), File("b.py")), (), "2026-01-02")
    assert {debt.standing for debt in backlog([*runs, clean])} <= {"resolved"}
    assert to_clean([*runs, clean]) == ()
