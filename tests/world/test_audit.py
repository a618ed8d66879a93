"""The audit through the front door: what a claim's own check shows decides, and high risk is looked at twice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bot.core.effects import RunAuditChecks
from bot.core.events import AuditChecksRan, ChangesetTaken
from tests.world.world import (
    DONE,
    FIX,
    ISSUE,
    PROOF,
    SMALL,
    Rule,
    Said,
    World,
    a_finding,
    a_plan,
    approves,
    audits,
    builds,
    create,
    drafts,
    edit,
    framing,
    happy,
    rule,
    serve,
)

pytestmark = pytest.mark.sampled

RISKY = f"{ISSUE}\n\nThe security of our tokens depends on it."
SAYS = edit("calc.py", '    """The sum."""\n', '    """The sum, in either order."""\n')
NO_ORDER = "from calc import add\n\n\ndef test_order_is_said() -> None:\n    assert 'either order' in add.__doc__\n"


def told(folder: Path, rules: list[Rule], *args: str, issue: str = ISSUE, keys: tuple[str, ...] = ("anthropic", "openai"),
         files: dict[str, str] | None = None) -> tuple[World, Said, list[dict[str, Any]]]:  # fmt: skip
    """A run in a new world, and the requests that the vendors got."""
    world = World.of(folder, {**SMALL, **(files or {})})
    with serve(rules) as vendors:
        said = world.run(issue, *args, vendors=vendors, keys=keys)
        assert said.code == 0, said
        return world, said, vendors.journal()


def builds_made(world: World, said: Said) -> int:
    return sum(isinstance(record.item, ChangesetTaken) for record in world.records(said))


def test_a_major_finding_whose_check_fails_sends_the_work_back(tmp_path: Path) -> None:
    """It is executed, on the base and on the result, and the next attempt is told what it showed."""
    claim = a_finding("the order is not said", test=NO_ORDER)
    rules = [
        drafts(),
        approves(),
        *builds([SAYS], DONE, brief="calc.py:6: the order is not said (confirmed: its check fails on the result and on the base"),
        *builds([FIX, PROOF], DONE),
        audits(contains="in either order"),
        audits(findings=[claim]),
    ]
    world, said, _ = told(tmp_path, rules, keys=("anthropic",))
    assert builds_made(world, said) == 2
    assert "in either order" in world.git("show", f"{said.result['branch']}:calc.py")
    (asked,) = [record.item for record in world.records(said) if isinstance(record.item, RunAuditChecks)]
    (ran,) = [record.item for record in world.records(said) if isinstance(record.item, AuditChecksRan)]
    assert [check.body for check in asked.checks] == [NO_ORDER]
    assert [(trial.base.outcome, trial.head.outcome) for trial in ran.trials] == [("fail", "fail")]
    assert said.result["findings"] == []


@pytest.mark.parametrize(
    ("claim", "note"),
    [
        (
            a_finding("sums are wrong", command="python3 -c 'from calc import add; assert add(2, 3) == 5'"),
            "refuted: its check passes",
        ),
        (a_finding("it broke", category="regression", test=NO_ORDER), "refuted: its check fails on the base too"),
        (a_finding("it is slow"), "not verifiable: it names no check"),
        (a_finding("it is slow", command="no-such-profiler"), "not verifiable: the command cannot run"),
        (a_finding("a hole", category="security", confidence="low"), "not verifiable: it names no check"),
    ],
    ids=["refuted", "no-regression", "no-check", "no-program", "unsure"],
)
def test_a_major_finding_that_nothing_shows_buys_no_loop(tmp_path: Path, claim: dict[str, Any], note: str) -> None:
    world, said, asked = told(tmp_path, [*happy()[:-1], audits(findings=[claim])])
    assert builds_made(world, said) == 1
    assert len(asked) == 5
    (found,) = said.result["findings"]
    assert (found["claim"], found["severity"]) == (claim["claim"], "minor")
    assert found["note"].startswith(note)
    assert found["note"][:40] in (world.folder(said) / "report.md").read_text("utf-8")


def test_a_hole_that_cannot_be_tried_blocks_all_the_same(tmp_path: Path) -> None:
    rules = [
        drafts(),
        approves(),
        *builds([SAYS], DONE, brief="calc.py:6: a hole (not executed (it names no check), but of a kind that blocks"),
        *builds([FIX, PROOF], DONE),
        audits(contains="in either order"),
        audits(findings=[a_finding("a hole", category="security")]),
    ]
    world, said, _ = told(tmp_path, rules, keys=("anthropic",))
    assert builds_made(world, said) == 2


def by(vendor: str, *findings: dict[str, Any]) -> Rule:
    """The audit of `vendor`'s model."""
    made = audits(findings=findings)
    return {**made, "when": {**made["when"], "vendor": vendor}}


def test_high_risk_is_audited_by_two_vendors_and_their_findings_are_put_together(tmp_path: Path) -> None:
    """Each calls something in the same file major: it is one major finding, with both checks, and neither holds."""
    rules = [
        *framing(),
        *happy()[:-1],
        by("anthropic", a_finding("one way in", category="security", command="true")),
        by(
            "openai",
            a_finding("another way in", category="security", command="test -f calc.py"),
            a_finding("slow", severity="minor"),
        ),
    ]
    world, said, asked = told(tmp_path, rules, "--max-cost", "3", "--approve", issue=RISKY)
    assert [one["vendor"] for one in asked[-2:]] == ["openai", "anthropic"]
    (merged, other) = said.result["findings"]
    assert merged["claim"] == "another way in; one way in"
    assert merged["note"] == "refuted: its check passes on the result"
    assert other["claim"] == "slow"
    (ran,) = [record.item for record in world.records(said) if isinstance(record.item, AuditChecksRan)]
    assert len(ran.trials) == 2
    models = [one["model"] for one in asked[-2:]]
    assert said.result["audit"] | {"auditors": models, "disagreed": 0, "major_points": 1, "refuted": 1} == said.result["audit"]
    assert "Two auditors, who disagree on 0 of 1 major points" in (world.folder(said) / "report.md").read_text("utf-8")


def test_a_change_that_touches_what_is_risky_is_audited_twice_whatever_the_ticket_says(tmp_path: Path) -> None:
    """The words of the ticket are of no risk; a hundred lines of authentication and a migration are."""
    code = "".join(f"A{number} = {number}\n" for number in range(120)) + "# TODO: expiry\n# TODO: roles\n"
    steps = [
        FIX,
        PROOF,
        create("auth/roles.py", code),
        create("db/migrations/1.sql", "select 1;\n"),
        create("auth/keys.py", code),
    ]
    rules = [drafts(a_plan("calc.py", "auth", "db")), *happy(steps, DONE)[1:-1], by("openai"), by("anthropic")]
    world, said, asked = told(tmp_path, rules, "--max-cost", "3")
    assert [one["vendor"] for one in asked[-2:]] == ["openai", "anthropic"]
    report = (world.folder(said) / "report.md").read_text("utf-8")
    assert "its risk 55 of 100, high: " in report
    assert "touches auth/keys.py, auth/roles.py, db/migrations/1.sql (30)" in report


def test_auditors_who_disagree_are_counted(tmp_path: Path) -> None:
    rules = [*framing(), *happy()[:-1], by("openai", a_finding("a way in", command="true")), by("anthropic")]
    _, said, asked = told(tmp_path, rules, "--max-cost", "3", "--approve", issue=RISKY)
    assert (said.result["audit"]["disagreed"], said.result["audit"]["major_points"]) == (1, 1)
    audited = [one for one in asked if one["vendor"] == "openai"][-1:] + asked[-1:]
    assert [one["model"] for one in audited] == said.result["audit"]["auditors"]


@pytest.mark.parametrize(
    ("words", "says"),
    [("The security of our tokens depends on it.", "what an attacker controls"), ("", "what was asked for and nothing else")],
)
def test_the_auditor_is_told_what_work_of_this_category_gets_wrong(tmp_path: Path, words: str, says: str) -> None:
    """The audit is only answered where its prompt holds the words."""
    steps = framing() if words else []
    audit = audits(contains=says)
    told(tmp_path, [*steps, *happy()[:-1], audit], "--max-cost", "3", "--approve", issue=f"{ISSUE}\n\n{words}")


def test_with_one_model_only_the_report_says_that_it_audited_alone(tmp_path: Path) -> None:
    one = ", ".join(f"{name}: claude-opus-5-5" for name in ("fast", "balanced", "advanced"))
    config = {".github/ostler.yml": f"models: {{anthropic: {{{one}}}}}\n"}
    world, said, _ = told(
        tmp_path, [*framing(), *happy()], "--max-cost", "5", "--approve", issue=RISKY, keys=("anthropic",), files=config
    )
    assert said.result["audit"]["auditors"] == ["claude-opus-5-5"]
    report = (world.folder(said) / "report.md").read_text("utf-8")
    assert "High risk asks for a second auditor, and no other model is configured: one audited alone" in report


def test_what_three_runs_left_is_debt_that_the_fourth_cleans_up_and_the_fifth_does_not_know(tmp_path: Path) -> None:
    """Three runs, not three sightings. Then it has a task in the plan, counts as major once, and is resolved when it is gone."""
    world = World.of(tmp_path)
    left = [a_finding("no order is said", severity="minor"), a_finding("nor a type", severity="minor")]
    leaving = [*happy()[:-1], audits(findings=[{**one, "category": "style"} for one in left])]
    with serve(leaving) as vendors:
        for _ in range(3):
            said = world.run(ISSUE, vendors=vendors)
            assert said.result["run_state"] == "DONE_SUCCESS", said
            assert {finding["severity"] for finding in said.result["findings"]} == {"minor"}
            assert "debt-1" not in (world.folder(said) / "report.md").read_text("utf-8")
    cleaning = [
        drafts(),
        approves(),
        *builds([SAYS], DONE, brief="calc.py:6: no order is said (aged: 3 runs before left it too)"),
        rule("# Phase IMPLEMENT", "debt-1", turn=0, tools=[FIX, PROOF]),
        rule("# Phase IMPLEMENT", "debt-1", turn=1, text=DONE),
        audits(contains="in either order"),
        *leaving[-1:],
    ]
    with serve(cleaning) as vendors:
        said = world.run(ISSUE, vendors=vendors, keys=("anthropic",))
        assert said.result["run_state"] == "DONE_SUCCESS", said
    assert builds_made(world, said) == 2
    report = (world.folder(said) / "report.md").read_text("utf-8")
    assert re.search(r"\*\*debt-1\*\* clean up calc.py:6: (no order is said|nor a type) — `calc.py`", report)
    assert "| major | calc.py:6 | 3 | needs cleanup |" in report
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
    report = (world.folder(said) / "report.md").read_text("utf-8")
    assert "debt-1" not in report
    assert "| minor | calc.py:6 | 3 | resolved |" in report


SWAPPED = edit("calc.py", "    return left - right\n", "    return right + left\n")
PLANTED = {".github/ostler.yml": "audit: {planted: 1}\n"}


@pytest.mark.parametrize("seen", [True, False])
def test_an_auditor_is_tried_with_a_known_defect_and_it_changes_nothing(tmp_path: Path, seen: bool) -> None:
    """The same change with its operator turned round: whoever calls that right approves what is wrong. Only the rate is told."""
    found = [a_finding("the sign is wrong", command="false")] if seen else []
    trial = [audits(contains="+    return right - left", findings=found)]
    world, said, asked = told(
        tmp_path, [*framing(), *trial, *happy([SWAPPED, PROOF], DONE)], "--max-cost", "3", "--approve", issue=RISKY, files=PLANTED
    )
    assert builds_made(world, said) == 1
    assert said.result["findings"] == []
    assert said.result["audit"]["planted"] == ("caught" if seen else "approved")
    assert [one["vendor"] for one in asked[-3:]] == ["openai", "anthropic", "openai"]
    report = (world.folder(said) / "report.md").read_text("utf-8")
    rate = "found it; 0 of 1" if seen else "let it pass; 1 of 1"
    assert f"{rate} such defects of this repository's runs passed an audit" in report


def test_a_trial_of_the_auditor_is_left_out_where_it_is_refused(tmp_path: Path) -> None:
    trial = [audits(contains="+    return right - left")]
    trial[0]["reply"] = {"text": "No.", "stop": "refusal"}
    _, said, _ = told(
        tmp_path, [*framing(), *trial, *happy([SWAPPED, PROOF], DONE)], "--max-cost", "3", "--approve", issue=RISKY, files=PLANTED
    )
    assert said.result["audit"]["planted"] == ""


def test_more_small_findings_than_are_allowed_are_said_where_the_run_ends(tmp_path: Path) -> None:
    many = [a_finding(f"name {number}", severity="minor") for number in range(9)]
    _, said, _ = told(tmp_path, [*happy()[:-1], audits(findings=many)])
    assert said.result["outcome"] == "done, but needs review: 9 minor findings where 8 are allowed"
