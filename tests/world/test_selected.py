"""Which tests run while a change is built, and that all of them run before it is delivered."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import pytest

from bot.core.events import ToolsUsed
from tests.world.world import (
    DONE,
    FIX,
    ISSUE,
    PROOF,
    SMALL,
    World,
    a_plan,
    approves,
    audits,
    builds,
    create,
    drafts,
    edit,
    run_checks,
    serve,
)

pytestmark = pytest.mark.sampled

SOURCES: Mapping[str, str] = {
    **SMALL,
    "words.py": 'def shout(text: str) -> str:\n    return text.upper() + "!"\n',
    "settings.py": "LOUD = True\n",
    "tests/test_words.py": "import time\n\nfrom words import shout\n\n\n"
    'def test_shout() -> None:\n    time.sleep(1)  # most of the time of the suite\n    assert shout("a") == "A!"\n',
}
SLOW = "".join(f"def test_{number}() -> None:\n    time.sleep(0.8)\n\n\n" for number in range(40))
MORE = [create(f"part{number}.py", f"PART = {number}\n") for number in range(8)]


def noted(world: World) -> list[str]:
    """What the recorder noted on the base, where it is not what was expected."""
    return [gzip.decompress(path.read_bytes()).decode() for path in world.state.rglob("*.json.gz")]


def test_while_building_only_those_run_that_ran_what_changed(tmp_path: Path) -> None:
    files = ("calc.py", "tests/test_calc.py", "settings.py", "words.py", *(f"part{number}.py" for number in range(8)))
    turns = (
        [FIX],
        [run_checks()],
        [PROOF, run_checks()],
        [edit("settings.py", "LOUD = True", "LOUD = not False"), run_checks()],
        [edit("settings.py", "LOUD = not False", "LOUD = True"), *MORE, run_checks()],
        [edit("words.py", "text.upper()", "text.strip().upper()"), run_checks()],
    )
    world = World.of(tmp_path, SOURCES)
    with serve([drafts(a_plan(*files)), approves(), *builds(*turns, DONE), audits()]) as vendors:
        said = world.run(ISSUE, vendors=vendors)
    assert said.code == 0, said.err + said.out
    used = [record.item for record in world.records(said) if isinstance(record.item, ToolsUsed)]
    leaf, test, core, share, many = (event.results[-1].text for event in used if "tests: " in event.results[-1].text)
    only = "only 1 of 2 tests: they ran add; all tests run before delivery"
    assert only in leaf, noted(world)
    assert "tests: pass: 1 of 1 tests pass" in leaf
    assert only in test
    assert "tests: pass: 2 of 2 tests pass" in test
    assert "all tests ran: settings.py is a core file (settings)" in core
    assert "tests: pass: 3 of 3 tests pass" in core
    assert "all tests ran: 9 of 11 source files changed, more than 15 %" in share
    assert "all tests ran: 11 files changed, more than 10" in many
    report = (world.folder(said) / "report.md").read_text("utf-8")
    assert "3 of 3 tests pass" in report


def test_a_suite_that_takes_too_long_is_sampled_and_the_report_says_so(tmp_path: Path) -> None:
    world = World.of(tmp_path, {**SMALL, "tests/test_slow.py": f"import time\n\n\n{SLOW}"}).configured(
        "verify: {full_seconds: 20}\n"
    )
    with serve([drafts(), approves(), *builds([FIX, PROOF], DONE), audits()]) as vendors:
        said = world.run(ISSUE, vendors=vendors)
    assert said.code == 0, said.err + said.out + str(noted(world))
    assert said.result["checks"]["fail_before_pass_after"] == "pass"
    report = (world.folder(said) / "report.md").read_text("utf-8")
    assert (
        "6 of 6 tests pass, none fails; tests that ran what changed and 4 of 40 others, because the suite takes too long"
        in report
    )
    assert "the suite takes longer than verify.full_seconds" in report
    assert "more were left out after 20 s" in report
