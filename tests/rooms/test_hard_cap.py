"""Workers that crash under shared caps, against a vendor that keeps its own books: some of the runs of bench B3."""

from __future__ import annotations

from pathlib import Path
from random import Random

from bench import b3, till
from bench.buyers import Plan, Work
from bot.core.budget import Cap, Ledger

SMALL = (1, 4, 5, 6, 9, 11, 15, 21)
"""Runs of B3 of 1 and 4 workers that come to few calls."""


def test_workers_that_crash_never_pass_a_cap_where_check_then_call_does() -> None:
    scores = b3.scored("threads", SMALL)
    ours = [score for score in scores if score.discipline == "ostler"]
    theirs = [score for score in scores if score.discipline == "check-then-call"]
    assert [score.over for score in ours] == [0.0] * len(SMALL)
    assert max(score.fullest for score in ours) <= 1.0
    assert sum(score.crashes for score in ours) > 0
    assert sum(score.over > 0 for score in theirs) > len(SMALL) // 2
    assert all(score.utilisation is None or score.utilisation > 0.5 for score in ours)


def test_worker_processes_that_are_killed_never_pass_a_cap() -> None:
    scores = [score for score in b3.scored("processes", (1,)) if score.discipline == "ostler"]
    assert [score.over for score in scores] == [0.0]
    assert sum(score.crashes for score in scores) > 0


def test_eight_workers_that_wait_for_room_for_four_are_never_five(tmp_path: Path) -> None:
    """No bill is above its reservation, so what is booked fits as well as what is billed. Each room that comes is run for."""
    work = Work("REVIEW", "claude-haiku-5-5", 12, 8_000, 0, 1, 2_000, 1_500)
    caps = (Cap("session", "session:0", b3.least(work) * 9 // 2), Cap("day", "day", 10**12))
    plans = tuple(Plan("tight", f"w{at}", at, (work,), Ledger(10**12, 10**12), caps) for at in range(8))
    with till.serve() as vendor:
        crashes = b3.live_threads(plans, "ostler", tmp_path, vendor.port, Random(1))
        ending = b3.ended(plans, "ostler", tmp_path, crashes)
    score = b3.score(ending, vendor)
    assert score.calls > 6
    assert score.utilisation is not None
    assert 0.75 < score.utilisation <= score.fullest <= 1.0
    assert score.over == 0.0
