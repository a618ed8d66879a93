"""What sessions cost: every part adds up to the whole, everything counts once and on its day."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bot.core.budget_report import Spending
from bot.core.costs import Settled, analysis, costs, spent_since
from tests.core.test_raising import report

DAYS = ("2026-11-20", "2026-11-21", "2026-11-22")
LINES = st.tuples(st.sampled_from(("m1", "m2")), st.sampled_from(("planner", "builder")), st.sampled_from(("PLAN", "IMPLEMENT")))


@st.composite
def histories(draw: st.DrawFn) -> list[Settled]:
    """Reports of two sessions of two runs each, whose spending only grows, in the order of their days."""
    found = []
    known: dict[tuple[str, int], dict[tuple[str, str, str], Spending]] = {}
    for day in DAYS:
        for _ in range(draw(st.integers(0, 4))):
            session, run = draw(st.sampled_from(("s1", "s2"))), draw(st.integers(1, 2))
            lines = known.setdefault((session, run), {})
            for key in draw(st.lists(LINES, max_size=3)):
                old = lines.get(key, Spending(*key, 0, 0, 0, 0, 0, 0))
                amount = draw(st.integers(0, 1000))
                lines[key] = replace(old, calls=old.calls + 1, input=old.input + 2 * amount, amount=old.amount + amount)
            spent = sum(line.amount for line in lines.values())
            told = report(session=session, runs=run, spent=spent, cap=5_000, spending=tuple(lines.values()))
            found.append(Settled(day, f"o/{session}", told))
    return found


@given(histories())
def test_every_part_adds_up_to_the_whole(settled: list[Settled]) -> None:
    for since in (*DAYS, "2026-11-23"):
        said = costs(spent_since(settled, since))
        for name, rows in said.items():
            if name != "total":
                assert dict(sum((Counter(counts(row)) for row in rows), Counter())) == counts(said["total"])
                assert not rows or len({row[name.removeprefix("by_")] for row in rows}) == len(rows)
        assert all(row["day"] >= since for row in said["by_day"])


@given(histories())
def test_the_whole_is_what_the_runs_say_last(settled: list[Settled]) -> None:
    """However often a run was settled, and however its spending was spread over the days."""
    said = analysis(settled, DAYS[0], 100)
    assert costs(spent_since(settled, DAYS[0]))["total"]["amount"] == said["spent"] == sum(run["spent"] for run in said["runs"])
    assert len(said["runs"]) == said["runs_in_all"] == len({(run["session"], run["run"]) for run in said["runs"]})
    assert all(run["left"] == max(0, run["limit"] - run["spent"]) for run in said["runs"])
    assert analysis(settled, DAYS[0], 1)["runs"] == said["runs"][:1]


def counts(row: dict[str, Any]) -> dict[str, int]:
    return {name: value for name, value in row.items() if isinstance(value, int) and value}
