"""The quality gate: the three columns, and that nothing measured is nothing judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from bot.core.coverage import Coverage
from bot.core.findings import Finding, Severity
from bot.core.machines import RunState
from bot.core.quality import allowance, quality
from bot.core.run import Run
from bot.core.session import SessionState
from bot.core.settling import view
from bot.core.step import step
from bot.core.strategy import Settings
from bot.core.validation import Proof
from tests.core.play import MODELS, TICKETS, checks, ready, request, suite

SECURITY = TICKETS[2]
STATE = SessionState(9, 42, "issue-42-3f9a1c2b_20261121_113431", 5, "ada", "ostler/issue-42-x-3f9a1c2b")


def run_with(strictness: Literal["lenient", "normal", "strict"], text: str, majors: int, minors: int) -> Run:
    settings = Settings(2_000_000, 2_000_000, MODELS, strictness=strictness)
    run, _ = step(None, request(text, settings))
    run, _ = step(run, ready())

    def found(severity: Severity, number: int) -> Finding:
        return Finding("auditor", severity, f"style:{severity}", f"{number}.py", "a claim")

    findings = (*(found("major", n) for n in range(majors)), *(found("minor", n) for n in range(minors)))
    return replace(run, findings=findings)


@pytest.mark.parametrize(
    ("strictness", "text", "major", "excess"),
    [
        ("lenient", TICKETS[0], "needs review", "ok"),
        ("normal", TICKETS[0], "blocked", "needs review"),
        ("strict", TICKETS[0], "blocked", "blocked"),
        ("lenient", SECURITY, "blocked", "blocked"),
    ],
)
def test_what_is_left_is_judged_by_strictness_and_high_risk_always_strictly(
    strictness: Literal["lenient", "normal", "strict"], text: str, major: str, excess: str
) -> None:
    allowed = allowance(run_with(strictness, text, 0, 0))
    assert quality(run_with(strictness, text, 0, allowed)) == ("ok", "")
    assert quality(run_with(strictness, text, 0, allowed + 1))[0] == excess
    assert quality(run_with(strictness, text, 1, 0))[0] == major


def test_security_work_is_allowed_half_as_much() -> None:
    usual, security = (run_with("normal", text, 0, 0) for text in (TICKETS[0], SECURITY))
    assert allowance(usual) == 8
    assert allowance(security) <= allowance(usual) // 2


@pytest.mark.parametrize(("strictness", "level"), [("lenient", "ok"), ("normal", "ok"), ("strict", "needs review")])
def test_coverage_that_falls_by_more_than_two_points_asks_for_review_where_that_is_strict(
    strictness: Literal["lenient", "normal", "strict"], level: str
) -> None:
    def measured(coverage: Coverage, majors: int = 0) -> str:
        proof = Proof(checks(suite({})), None, None, coverage=coverage)
        return quality(replace(run_with(strictness, TICKETS[0], majors, 0), proof=proof))[0]

    assert measured(Coverage((90, 100), (879, 1000))) == level
    assert measured(Coverage((90, 100), (88, 100))) == "ok"
    assert measured(Coverage((90, 100), (95, 100))) == "ok"
    assert measured(Coverage(why="nobody looked")) == "ok"
    assert measured(Coverage((90, 100), (1, 100)), 1) == ("needs review" if strictness == "lenient" else "blocked")


def test_the_same_finding_twice_counts_once() -> None:
    run = run_with("normal", TICKETS[0], 0, allowance(run_with("normal", TICKETS[0], 0, 0)))
    assert quality(replace(run, findings=run.findings * 2)) == ("ok", "")


@pytest.mark.parametrize(
    ("outcome", "conclusion"),
    [
        ("done", "success"),
        ("done, but not verified by tests", "neutral"),
        ("done, but needs review: 9 minor findings where 8 are allowed", "action_required"),
        ("done, but not verified by tests; blocked: 1 major finding left", "failure"),
    ],
)
def test_the_check_run_concludes_as_the_gate_says(outcome: str, conclusion: str) -> None:
    delivered = replace(STATE, standing="over", run_state=str(RunState.DONE_SUCCESS), pull=7, outcome=outcome)
    assert view(delivered).conclusion == conclusion
    assert view(replace(delivered, pull=0)).conclusion == "neutral"
