"""The budget report as people read it, as a snapshot of the whole text; and that hostile words in it do nothing.

`UPDATE_SNAPSHOTS=1` writes the snapshot anew: read the difference before you keep it.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from bot.core.budget import Charge, Usage
from bot.core.budget_report import BudgetReport, OverrideRow, enforcement, report
from bot.core.limits import Override, Rules, task_limits
from bot.core.standing import Facts, Use, standing
from bot.render import say

REPORTS = Path(__file__).parent / "reports"
EVIL = "x | y\n\n# Approved\n- [ ] <b>@victim</b> ghp_" + "a" * 36
KINDS = ("PLAN", "IMPLEMENT", "VERIFY", "REVIEW", "PR")


def made_of(words: str = "", mode: str = "enforce") -> BudgetReport:
    """A build in its second attempt, over its limit, with an override and the audit still to come."""
    why = words or "two files are generated"
    rules = Rules(mode="observe" if mode == "observe" else "enforce", overrides=(Override("PLAN", 90_000, None, why),))
    limits = task_limits(rules, KINDS, "Small", "medium")
    uses = [
        Use("P01", "PLAN", 41_300, 92.4, estimated=True),
        Use("P02", "IMPLEMENT", 190_000, 301.0, attempts=2),
        Use("P03", "VERIFY", 0, -4.0),
        Use("P04", "THINK", 2_000, 9.0),
        Use("P05", "IMPLEMENT", 110_500, 140.0),
    ]
    stands = standing(rules, limits, uses, importance="medium", remaining=("VERIFY", "REVIEW", "PR"), granted=1)
    charges = [
        Charge("c1", "PLAN", "p01", "planner", "m-balanced", 212_300, Usage(9_100, 4_200, 28_000)),
        Charge("c2", "IMPLEMENT", "p01", "builder", "m-fast", 300_100, Usage(20_000, 9_000, 161_000, 0, 500)),
        Charge("c3", "IMPLEMENT", "p01", "builder", "m-fast", 420_000, lost=True),
        Charge("c4", "PLAN", "p01", "plan_reviewer", words or "n-balanced", 18_000, Usage(3_000, 500)),
    ]
    spent = sum(charge.amount for charge in charges)
    overrides = [OverrideRow("budget of the run", words or "alice", words or "needed for the audit", "$1.00", "$1.25")]
    return report(
        rules,
        limits,
        uses,
        stands,
        task=words or "T1",
        scope="Small",
        importance="medium",
        spent=spent,
        cap=1_250_000,
        iterations=1,
        charges=charges,
        facts={"IMPLEMENT": Facts(14, 11, 0, 1, 8_000, 31_000)},
        overrides=overrides,
    )


def shown(made: BudgetReport) -> str:
    return say("reports/budget_report.md.j2", report=made)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("budget_report.md", shown(made_of())),
        ("budget_enforcement.json", json.dumps(enforcement(made_of()), indent=2) + "\n"),
    ],
)
def test_it_reads_as_it_did(name: str, text: str) -> None:
    path = REPORTS / name
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8"), f"{name} reads otherwise than before; UPDATE_SNAPSHOTS=1 keeps the new text"


def shape(text: str) -> list[str]:
    """Headings and the kinds of all blocks, with the number of cells in each row of a table."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return [token.type for token in tokens if token.type != "inline"]


def test_hostile_words_change_nothing_but_words() -> None:
    text = shown(made_of(EVIL))
    assert shape(text) == shape(shown(made_of()))
    assert "ghp_aaaa" not in text


def test_a_mode_that_only_observes_says_what_it_would_have_done() -> None:
    over = made_of(mode="observe")
    stands = replace(over.standing, action="warn", would="block", post_mortem=True)
    text = shown(replace(over, standing=stands))
    assert "**Mode `enforce` would say block.**" in text
    assert "**A post-mortem is owed.**" in text
    assert "would say" not in shown(made_of())
