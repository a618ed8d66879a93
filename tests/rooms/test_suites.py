"""Suites run with a recorder that they do not bear, and reports of earlier runs: real pytest in the sandbox, on real copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bot.core.strategy import Settings
from bot.workspace.maps import Maps
from bot.workspace.sandbox import Sandbox
from bot.workspace.suites import Chosen, Suites
from tests.rooms.test_python_toolchain import look
from tests.rooms.trees import put

TREE = "a" * 40
SETTINGS = Settings(1, 1)
NOTED = """import pathlib


def note(name):
    with pathlib.Path("ran.txt").open("a") as file:
        print(name, file=file)
"""
GOOD = "from noted import note\n\n\ndef test_good():\n    note('good')\n"
RECORDED = "hasattr(builtins, '__ostler_ran__')"


def bad(wrong: str) -> str:
    """A test that fails where `wrong`."""
    head = "import builtins\nfrom noted import note\n\n\n"
    return f"{head}def test_bad():\n    note('bad')\n    assert not ({wrong})\n"


@dataclass
class Place:
    """Suites of one tree of `files`; `ran` are the tests that ran in each copy that was made of it."""

    box: Sandbox
    folder: Path
    files: Mapping[str, str]
    copies: list[Path] = field(default_factory=list)

    def suites(self, *, earlier: bool = False) -> Suites:
        toolchain = look(self.box, self.copy(TREE, "looked at"))
        self.copies.clear()
        return Suites(self.box, toolchain, self.copy, Maps(self.folder / "maps"), earlier=earlier, also="")

    def copy(self, tree: str, name: str) -> Path:
        self.copies.append(put(self.folder / f"{len(list(self.folder.iterdir()))} {name}", {"noted.py": NOTED, **self.files}))
        return self.copies[-1]

    @property
    def ran(self) -> list[list[str]]:
        return [copy.joinpath("ran.txt").read_text().split() if (copy / "ran.txt").exists() else [] for copy in self.copies]


@pytest.mark.parametrize(
    ("tests", "ran", "failing"),
    [
        (bad("True"), [["good", "bad"], ["bad"]], ["test_z.py::test_bad"]),
        (bad("'good' in open('ran.txt').read()"), [["good", "bad"], ["bad"], ["good", "bad"]], ["test_z.py::test_bad"]),
        (bad(RECORDED), [["good", "bad"], ["bad"], ["good", "bad"]], []),
        (f"import builtins, os\nif {RECORDED}:\n    os._exit(9)\n{bad('False')}", [[], ["good", "bad"]], []),
    ],
    ids=["fails by itself too", "fails among others only", "fails when recorded", "breaks when recorded"],
)
def test_a_suite_is_not_blamed_for_the_recorder_and_runs_twice_only_where_that_may_be(
    box: Sandbox, tmp_path: Path, tests: str, ran: list[list[str]], failing: list[str]
) -> None:
    place = Place(box, tmp_path, {"test_good.py": GOOD, "test_z.py": tests})
    report = place.suites().base(TREE, SETTINGS).report
    assert [case.id for case in report.failing] == failing, report.output
    assert place.ran == ran
    assert report.outcome == ("fail" if failing else "pass")


def test_the_report_of_an_earlier_run_holds_where_nothing_changed_and_its_tests_do_not_come_and_go(
    box: Sandbox, tmp_path: Path
) -> None:
    place = Place(box, tmp_path, {"test_good.py": GOOD, "test_bad.py": bad("True")})
    first = place.suites(earlier=True).base(TREE, SETTINGS)
    again = place.suites(earlier=True)
    assert again.base(TREE, SETTINGS) == replace(first, taken=again.base(TREE, SETTINGS).taken)
    assert (first.taken, place.ran) == ("", [])
    assert again.base(TREE, SETTINGS).taken
    assert place.suites().base(TREE, SETTINGS).taken == ""
    assert place.suites(earlier=True).base(TREE, replace(SETTINGS, full_seconds=100)).taken == ""
    again.distrust(TREE)
    assert place.suites(earlier=True).base(TREE, SETTINGS).taken == ""


def test_a_suite_that_broke_is_run_again(box: Sandbox, tmp_path: Path) -> None:
    place = Place(box, tmp_path, {"test_good.py": GOOD, "test_bad.py": "import nothing_of_this_name\n"})
    reports = [place.suites(earlier=True).base(TREE, SETTINGS) for _ in range(2)]
    assert [(suite.report.outcome, suite.taken) for suite in reports] == [("error", "")] * 2


def test_what_the_recorder_makes_too_slow_is_no_pass_of_a_part(box: Sandbox, tmp_path: Path) -> None:
    slow = "import time\n\n\ndef test_a():\n    time.sleep(5)\n\n\ndef test_b():\n    pass\n"
    suites = Place(box, tmp_path, {"test_slow.py": slow}).suites()
    report = suites.run(TREE, "head", replace(SETTINGS, full_seconds=4), Chosen(recorded=True))
    assert (report.outcome, report.timed_out, suites.known(TREE)) == ("error", True, None)
