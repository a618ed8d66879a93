"""What follows on an attempt that did not pass, through the front door: who works next, on which files, told what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from bot.core.events import FixersRan, ToolsUsed
from tests.world.test_run import ONE_HAND, Story, is_done, needs_a_person
from tests.world.world import (
    DONE,
    FIX,
    ISSUE,
    PROOF,
    SMALL,
    Json,
    Rule,
    World,
    a_plan,
    approves,
    audits,
    builds,
    drafts,
    edit,
    patch,
    run_checks,
    serve,
)

pytestmark = pytest.mark.sampled

LINTED: Mapping[str, str | bytes] = {
    **SMALL,
    "pyproject.toml": str(SMALL["pyproject.toml"]) + '\n[tool.ruff.lint]\nselect = ["F", "I"]\n',
}
IMPORTS = edit("calc.py", '"""Sums."""\n', '"""Sums."""\n\nimport sys\nimport os\n')


def tell(folder: Path, rules: Sequence[Rule], *args: str, keys: Sequence[str] = ("anthropic", "openai"),
         files: Mapping[str, str | bytes] = SMALL, issue: str = ISSUE) -> Story:  # fmt: skip
    world = World.of(folder, files)
    before = world.untouched()
    with serve(list(rules)) as vendors:
        said = world.run(issue, *args, vendors=vendors, keys=keys)
        return Story(world, said, before, vendors.journal())


def built_by(told: Story) -> list[str]:
    """The models of calls between plan and audit, each run of one told once."""
    models = [entry["model"] for entry in told.journal[2:]]
    return [model for at, model in enumerate(models) if at == 0 or models[at - 1] != model]


def returns(value: str, was: str = "left - right") -> Json:
    return edit("calc.py", f"    return {was}\n", f"    return {value}\n")


def test_a_lint_failure_is_mended_without_a_call(tmp_path: Path) -> None:
    told = tell(tmp_path, [drafts(), approves(), *builds([FIX, PROOF, IMPORTS], DONE), audits()], files=LINTED)
    assert is_done(told), told.said
    assert len(told.journal) == 2 + 2 + 1, "no call but those of plan, build and audit"
    (ran,) = [record.item for record in told.world.records() if isinstance(record.item, FixersRan)]
    assert [(one.fixer, one.before, one.after) for one in ran.reports] == [("lint", 3, 0)]
    assert "import" not in told.world.git("show", f"{told.result['branch']}:calc.py")
    assert "| 1 | first | claude-haiku-5-5 |  | failed: lint (3) |" in told.report
    assert "| 2 | mechanical |  | lint (3) | held | $0.00 |" in told.report


def test_what_tools_cannot_mend_goes_on_to_a_model(tmp_path: Path) -> None:
    """An assigned lambda name that shadows nothing is no fix of ruff's: the next call gets it, with the rule and the place."""
    unsafe = edit("calc.py", "    return left - right\n", "    total = left + right\n    return left + right\n")
    mends = edit("calc.py", "    total = left + right\n", "")
    rules = [
        drafts(),
        approves(),
        *builds([mends], DONE, brief="F841 Local variable `total` is assigned to but never used"),
        *builds([unsafe, PROOF], DONE),
        audits(),
    ]
    told = tell(tmp_path, rules, files=LINTED, keys=ONE_HAND)
    assert is_done(told), told.said
    assert "| 2 | mechanical |  | lint | stopped |" in told.report
    assert "| 3 | reflection | claude-haiku-5-5 | lint | held |" in told.report


def test_the_next_attempt_is_told_kinds_places_and_what_was_tried_and_asked_why(tmp_path: Path) -> None:
    rules = [
        drafts(),
        approves(),
        *builds([returns("left + right", "left // right")], DONE, brief="say in two or three sentences why"),
        *builds([returns("left // right"), PROOF], DONE),
        audits(),
    ]
    world = World.of(tmp_path, SMALL)
    with serve(rules) as vendors:
        said = world.run(ISSUE, vendors=vendors, keys=ONE_HAND)
        asked = [text for body in vendors.bodies() if "Tried so far" in (text := json.dumps(body, ensure_ascii=False))]
    assert (said.code, len(asked)) == (0, 2), said
    for words in (
        "Kinds of errors: value (1), test failure (1), unproven (1). Mend them in this order: value, test failure, unproven.",
        "value: Check what is handed over before it is used",
        "calc.py:6\\n    1 ",
        "attempt 1 (first, claude-haiku-5-5): failed: value, test_failure, unproven",
    ):
        assert words in asked[0], (words, asked[0][asked[0].index("What the harness found") :][:3000])


def test_another_family_then_a_stronger_class_then_the_smallest_change_then_a_person(tmp_path: Path) -> None:
    """Each rung fails in a way of its own; the last begins with the files of the base."""
    head = ' def add(left: int, right: int) -> int:\n     """The sum."""\n'
    text = patch("calc.py", f"{head}-    return left // right\n+    return str(left)\n")
    index = patch("calc.py", f"{head}-    return left - right\n+    return [][left]\n")
    rules = [
        drafts(),
        approves(),
        *builds([index], DONE, brief="ONE small, safe change"),
        *builds([returns("{}[left]", "str(left)")], DONE, brief="'2'"),
        *builds([text], DONE, brief="ZeroDivisionError"),
        *builds([returns("left // right"), PROOF], DONE),
    ]
    told = tell(tmp_path, rules)
    assert needs_a_person(told), told.said
    assert built_by(told) == ["claude-haiku-5-5", "gpt-6-luna", "claude-sonnet-5-5", "gpt-6.1-terra"]
    incident = next(told.folder.rglob("incident.md")).read_text("utf-8")
    rungs = [line.split(" | ")[1] for line in incident.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert rungs == ["first", "other family", "stronger class", "simplify"]
    assert told.result["outcome"].startswith("4 of 4 attempts used: ")
    assert "test_adds" not in (told.folder / "changes.patch").read_text("utf-8"), "the last attempt began with the base"


def test_an_attempt_that_breaks_more_is_undone_before_the_next(tmp_path: Path) -> None:
    more = "def test_more() -> None:\n    assert add(1, 1) == 2\n\n\ndef test_adds"
    breaks = [returns("undefined_name", "left // right"), edit("tests/test_calc.py", "def test_adds", more)]
    rules = [
        drafts(),
        approves(),
        *builds([returns("left + right", "left // right")], DONE, brief="the files are back as an earlier attempt left them"),
        *builds(breaks, DONE, brief="ZeroDivisionError"),
        *builds([returns("left // right"), PROOF], DONE),
        audits(),
    ]
    told = tell(tmp_path, rules, keys=ONE_HAND)
    assert is_done(told), told.said
    assert "test_more" not in told.world.git("show", f"{told.result['branch']}:tests/test_calc.py")


def test_a_package_that_is_not_there_is_a_question_to_a_person(tmp_path: Path) -> None:
    needs = edit("calc.py", '"""Sums."""\n', '"""Sums."""\n\nPACKAGE = "Cannot find package \'left-pad\'"\n')
    raises = edit("calc.py", "    return left - right\n", "    raise RuntimeError(PACKAGE)\n")
    told = tell(tmp_path, [drafts(), approves(), *builds([needs, raises, PROOF], DONE)])
    assert needs_a_person(told), told.said
    assert "only a person adds one: may it be added?" in told.result["outcome"]
    assert len(told.journal) == 4, "no second attempt was paid for"


def test_a_tool_that_is_gone_ends_the_run_without_another_attempt(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"check.sh": "exit 0\n", ".github/ostler.yml": "verify: {tests: sh check.sh}\n"}
    gone = edit("check.sh", "exit 0", "no-such-checker")
    rules = [drafts(a_plan("check.sh", bug=False)), approves(), *builds([gone], DONE)]
    told = tell(tmp_path, rules, files=files, issue="Check the sums more strictly")
    assert (told.said.code, told.result["run_state"]) == (5, "DONE_FAILED_ENVIRONMENT"), told.said
    assert "no change to the code mends" in told.result["outcome"]
    assert len(told.journal) == 4, "no second attempt was paid for"


def test_guidance_comes_with_the_second_lint_error_and_goes_with_two_successes(tmp_path: Path) -> None:
    """What the answers of run_checks say beside their findings."""
    one, other = edit("calc.py", '"""Sums."""\n', '"""Sums."""\n\nimport os\n'), edit("calc.py", "import os\n", "import sys\n")
    gone = edit("calc.py", "\nimport sys\n", "")
    turns = ([one, run_checks()], [other, run_checks()], [gone, FIX, run_checks()], [PROOF, run_checks()])
    world = World.of(tmp_path, LINTED)
    with serve([drafts(), approves(), *builds(*turns, DONE), audits()]) as vendors:
        said = world.run(ISSUE, vendors=vendors, keys=ONE_HAND)
    assert said.code == 0, said
    used = [record.item for record in world.records() if isinstance(record.item, ToolsUsed)]
    assert ["guidance, lint: " in each.results[-1].text for each in used] == [False, True, True, False]
