"""What a repository adds to verification, from its configuration to the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.core.events import BaselineRan
from tests.world.test_ladder import tell
from tests.world.test_run import ONE_HAND, is_done
from tests.world.world import DONE, FIX, ISSUE, PROOF, SMALL, World, approves, audits, builds, drafts, edit, framing, happy, serve

pytestmark = pytest.mark.sampled

OWN = """
approval: never
verify:
  commands:
    normal: {title: "grep -q Sums calc.py", broken: "echo never right; exit 3", gone: "no-such-tool --check"}
    strict: {short: "test $(wc -l < calc.py) -lt 8"}
"""
LONG = edit("calc.py", '"""Sums."""\n', '"""Sums."""\n\n# One line.\n# Another.\n')
SHORT = edit("calc.py", "\n# One line.\n# Another.\n", "")
CRITICAL = f"{ISSUE}\n\nIt is in a financial report."


@pytest.mark.parametrize(
    ("issue", "profile"),
    [(CRITICAL, "strict: work of critical importance"), (ISSUE, "normal")],
    ids=["strict", "normal"],
)
def test_commands_of_the_repository_run_those_of_the_strict_profile_for_important_work_only(
    tmp_path: Path, issue: str, profile: str
) -> None:
    rules = [drafts(), approves(), *builds([SHORT], DONE, brief="short: `test"), *builds([FIX, PROOF, LONG], DONE), audits()]
    told = tell(tmp_path, [*framing(), *rules], keys=ONE_HAND, issue=issue, files={**SMALL, ".github/ostler.yml": OWN})
    assert is_done(told), told.said
    own = {name: told.result["checks"].get(name) for name in ("title", "broken", "gone", "short")}
    strict = profile != "normal"
    assert own == {"title": "pass", "broken": "neutral", "gone": "neutral", "short": "pass" if strict else None}
    assert f"| CI profile | {profile} |" in told.report
    assert f"CI profile {profile}" in told.report
    assert "not blamed on the change, because the base ends with exit 127 too" in told.report
    changed = told.world.git("show", f"{told.result['head_sha']}:calc.py")
    assert ("# Another." in changed) is not strict


LEDGER = """
verify:
  commands:
    normal: {ledger: "grep -q '# One line' calc.py || exit 0; echo 'LEDGER-7: not in balance'; seq 400; exit 1"}
  errors:
    - {pattern: 'LEDGER-\\d+', class: value, hint: Balance the books.}
    - {pattern: balance, class: type}
"""


def test_what_the_repository_says_of_an_error_reaches_the_brief_and_the_report(tmp_path: Path) -> None:
    hint = "- value: Balance the books."
    rules = [drafts(), approves(), *builds([SHORT], DONE, brief=hint), *builds([FIX, PROOF, LONG], DONE), audits()]
    told = tell(tmp_path, rules, keys=ONE_HAND, files={**SMALL, ".github/ostler.yml": LEDGER})
    assert is_done(told), told.said
    assert "| 1 | first | claude-haiku-5-5 |  | failed: value |" in told.report


UNTESTED = edit(
    "calc.py",
    "    return left - right\n",
    "    return left + right\n\n\ndef half(value: int) -> int:\n    if value % 2:\n        return -1\n    return value // 2\n",
)
FELL = "| coverage | tests run 33.3 % of the functions (1 of 3), before 50.0 % (1 of 2): 16.7 points less |"


@pytest.mark.parametrize(
    ("quality", "row", "outcome"),
    [
        ("lenient", "", "done"),
        ("normal", FELL, "done"),
        ("strict", FELL, "done, but needs review: coverage fell by 16.7 points"),
    ],
    ids=["lenient", "normal", "strict"],
)
def test_what_tests_no_longer_run_is_told_and_asks_for_review_where_the_gate_is_strict(
    tmp_path: Path, quality: str, row: str, outcome: str
) -> None:
    files = {**SMALL, "never.py": "def imported() -> None:\n    pass\n", ".github/ostler.yml": f"quality: {quality}\n"}
    told = tell(tmp_path, [drafts(), approves(), *builds([UNTESTED, PROOF], DONE), audits()], files=files)
    assert is_done(told), told.said
    assert told.result["outcome"] == outcome
    assert (row in told.report) if row else ("| coverage |" not in told.report)


def test_the_suite_of_a_base_that_is_known_does_not_run_again(tmp_path: Path) -> None:
    world = World.of(tmp_path, SMALL)
    with serve([*happy(), *happy()]) as vendors:
        runs = [world.run(ISSUE, vendors=vendors) for _ in range(2)]
    first, second = (
        next(record.item.checks for record in world.records(said) if isinstance(record.item, BaselineRan)) for said in runs
    )
    assert [said.code for said in runs] == [0, 0]
    assert (first.taken, second.tests) == ("", first.tests)
    report = (world.folder(runs[1]) / "report.md").read_text("utf-8")
    assert second.taken
    assert f"base: taken from the run of {second.taken}" in report
