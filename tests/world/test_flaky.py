"""Tests that come and go, and tests that were red already: whom the harness blames, told by whole runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.world.test_run import ONE_HAND, Story, is_done
from tests.world.world import (
    DONE,
    FIX,
    ISSUE,
    PROOF,
    SMALL,
    Rule,
    World,
    approves,
    audits,
    builds,
    drafts,
    edit,
    run_checks,
    serve,
)

pytestmark = pytest.mark.sampled

NEWER = """import pathlib

import calc


def test_the_sources_are_no_newer_than_their_tests() -> None:
    assert pathlib.Path(calc.__file__).stat().st_mtime_ns <= pathlib.Path(__file__).stat().st_mtime_ns
"""
MANY = {f"zz/{number:04}.txt": f"{number}\n" for number in range(1500)}
"""Written after the tests, these take so long that the copy's index is younger than them beyond doubt, on a fast machine too:
files of nearly the index's own age are touched again with every use of a copy."""
RED = """from calc import add


def test_of_long_ago() -> None:
    assert add(1, 1) == 3
"""
NAMES = """import calc


def test_names() -> None:
    assert sorted(name for name in vars(calc) if not name.startswith("_")) == ["add"]
"""
MORE = edit("calc.py", "    return left - right\n", "    return left + right\n\n\nlimit = 3\n")


def tell(folder: Path, rules: list[Rule], files: Mapping[str, str]) -> Story:
    world = World.of(folder, files)
    before = world.untouched()
    with serve(rules) as vendors:
        return Story(world, world.run(ISSUE, vendors=vendors, keys=ONE_HAND), before, vendors.journal())


def test_a_test_that_comes_and_goes_is_named_and_not_blamed(tmp_path: Path) -> None:
    """Copies that are brought up to date rather than made anew give the sources a later date than the tests have."""
    rules = [drafts(), approves(), *builds([PROOF], [run_checks()], [FIX], DONE), audits()]
    told = tell(tmp_path, rules, {**SMALL, "tests/test_dates.py": NEWER, **MANY})
    assert is_done(told), told.said.out
    assert (
        "Flaky, they came and went and count for nothing here: "
        "tests/test_dates.py::test_the_sources_are_no_newer_than_their_tests" in told.report
    )


def test_what_was_red_before_is_nobodys_fault_as_long_as_it_stays_the_same(tmp_path: Path) -> None:
    rules = [
        drafts(),
        approves(),
        *builds(
            [edit("calc.py", '    return f"{left + right}"\n', "    return left + right\n"), PROOF],
            DONE,
            brief="failed before and fail in another way now: tests/test_old.py::test_of_long_ago",
        ),
        *builds([edit("calc.py", "    return left - right\n", '    return f"{left + right}"\n')], DONE),
        audits(),
    ]
    told = tell(tmp_path, rules, {**SMALL, "tests/test_old.py": RED, "tests/test_calc.py": "import calc\n"})
    assert is_done(told), told.result
    assert "Failing before and after, not touched: tests/test_old.py::test_of_long_ago" in told.report


def test_the_quarantine_of_the_repository_keeps_a_test_from_counting(tmp_path: Path) -> None:
    kept = {".github/ostler.yml": 'version: 1\nverify:\n  quarantine: ["tests/test_names.py::*"]\n'}
    rules = [drafts(), approves(), *builds([MORE, PROOF], DONE), audits()]
    told = tell(tmp_path, rules, {**SMALL, "tests/test_names.py": NAMES, **kept})
    assert is_done(told), told.said.out
    assert "tests/test_names.py::test_names" in told.report
