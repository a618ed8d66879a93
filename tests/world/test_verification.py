"""What a repository adds to verification, from its configuration to the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.world.test_ladder import tell
from tests.world.test_run import ONE_HAND, is_done
from tests.world.world import DONE, FIX, ISSUE, PROOF, SMALL, approves, audits, builds, drafts, edit, framing

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
