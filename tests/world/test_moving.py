"""The branch that a run began from moves on while it waits: what becomes of the change, through the front door."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.core.events import BaselineRan, ProofRan
from tests.world.world import (
    CODE,
    DONE,
    FIX,
    ISSUE,
    PROOF,
    SMALL,
    TESTS,
    Json,
    Rule,
    Said,
    World,
    a_finding,
    a_plan,
    approves,
    audits,
    bash,
    builds,
    drafts,
    edit,
    happy,
    serve,
)

pytestmark = pytest.mark.sampled

ASKS: Mapping[str, str | bytes] = {**SMALL, ".github/ostler.yml": "approval: always\n"}
MENDED = CODE.replace("left - right", "left + right")
CLASH = CODE.replace("left - right", "left - right + 0")
"""The line that the change is about, as somebody else wrote it."""
CLASHED = "changed the same lines. The files are those"
"""What only the prompt of a model that resolves conflicts says."""
UNDO = (
    "sed -i '/^def test_adds/,$d' tests/test_calc.py; sed -i '${/^$/d}' tests/test_calc.py; sed -i '${/^$/d}' tests/test_calc.py"
)
OURS = "sed -i '/^<<<<<<< /d;/^=======$/,/^>>>>>>> /d' calc.py"
THEIRS = "sed -i '/^<<<<<<< /,/^=======$/d;/^>>>>>>> /d' calc.py"
BACK = {
    "back.py": "from calc import add\n\n\ndef back(left: int, right: int) -> int:\n    return add(left, right)\n",
    "tests/test_back.py": "from back import back\n\n\ndef test_back() -> None:\n    assert back(3, 2) == 1\n",
}
"""What somebody else built meanwhile on the bug that the run mends."""


@dataclass(frozen=True, slots=True)
class Told:
    """A run that waited for approval while `main` went from `old` to `new`; `bodies` are what the vendors were asked."""

    world: World
    said: Said
    old: str
    new: str
    bodies: tuple[str, ...]

    @property
    def result(self) -> Json:
        return self.said.result

    @property
    def report(self) -> str:
        return (self.world.folder(self.said) / "report.md").read_text("utf-8")

    @property
    def kept(self) -> str:
        return (self.world.folder(self.said) / "changes.patch").read_text("utf-8")

    def delivered(self, path: str) -> str:
        return self.world.git("show", f"{self.said.result['branch']}:{path}")


def tell(folder: Path, rules: Sequence[Rule], meanwhile: Mapping[str, str | bytes], *, issue: str = ISSUE,
         keys: Sequence[str] = ("anthropic", "openai"), files: Mapping[str, str | bytes] = ASKS) -> Told:  # fmt: skip
    world = World.of(folder, files)
    old = world.git("rev-parse", "HEAD")
    with serve(list(rules)) as vendors:
        said = world.run(issue, vendors=vendors, keys=keys)
        assert said.code == 2, said
        new = world.commit(meanwhile, "Meanwhile")
        said = world.resume(said.result["session"], "--approve", said.result["plan_digest"], vendors=vendors, keys=keys)
        bodies = tuple(json.dumps(body, ensure_ascii=False) for body in vendors.bodies())
    assert (world.git("rev-parse", "main"), world.git("status", "--porcelain")) == (new, ""), "the checkout is touched"
    return Told(world, said, old, new, bodies)


def is_on_the_new_base(told: Told) -> bool:
    """One commit, on what `main` is now."""
    commits = told.world.git("log", "--format=%H", f"main..{told.result['branch']}").splitlines()
    return told.said.code == 0 and told.result["base_sha"] == told.new and len(commits) == 1


def is_a_persons(told: Told) -> bool:
    """Nothing is delivered, and the change is kept as it was proved on the base that it was made for."""
    change = "-    return left - right\n+    return left + right\n"
    left = told.world.branches() == ["main"] and told.result["base_sha"] == told.old
    return (
        told.said.code == 2 and told.result["run_state"] == "DONE_FAILED_REQUIRES_HUMAN_REVIEW" and left and change in told.kept
    )


def test_a_change_that_touches_nothing_in_common_is_delivered_on_the_new_base(tmp_path: Path) -> None:
    seen = a_finding("the name is short", severity="minor")
    rules = [*happy()[:-1], audits(findings=[seen])]
    told = tell(
        tmp_path, rules, {"other.py": "OTHER = 1\n", "tests/test_other.py": "def test_other() -> None:\n    assert True\n"}
    )
    assert is_on_the_new_base(told), told.said
    assert told.delivered("other.py") == "OTHER = 1"
    assert "left + right" in told.delivered("calc.py")
    assert len(told.bodies) == len(happy()), "git alone put it there: no call was paid for"
    assert [finding["claim"] for finding in told.result["findings"]] == ["the name is short"]
    assert f"approved for `{told.old[:12]}`" in told.report
    assert "no file was changed by both" in told.report
    records = [record.item for record in told.world.records(told.said)]
    assert [one.checks.tests.collected for one in records if isinstance(one, BaselineRan)] == [1, 2]
    assert [one.proof.head.tests.collected for one in records if isinstance(one, ProofRan)] == [2, 3]


def test_changes_of_one_file_in_other_places_are_merged_and_a_replay_follows(tmp_path: Path) -> None:
    told = tell(tmp_path, happy(), {"calc.py": CODE.replace("Sums.", "Sums of two.")})
    assert is_on_the_new_base(told), told.said
    assert told.delivered("calc.py") == CODE.replace("Sums.", "Sums of two.").replace("left - right", "left + right").rstrip()
    assert "both changed calc.py, in other places" in told.report
    told.world.commit({"more.py": "MORE = 1\n"}, "Later")
    again = told.world.ostler("replay", told.result["session"], "--execute", "--json")
    assert (again.code, again.result["same_tree"]) == (0, True), again
    rolled = told.world.ostler("rollback", told.result["session"], "--list")
    assert told.new[:12] in rolled.out, rolled


def test_a_change_that_is_there_already_is_not_delivered_twice(tmp_path: Path) -> None:
    both = {"calc.py": MENDED, "tests/test_calc.py": TESTS + "\n\ndef test_adds() -> None:\n    assert add(2, 3) == 5\n"}
    told = tell(tmp_path, happy(), both)
    assert (told.said.code, told.result["outcome"], told.world.branches()) == (0, "nothing to change", ["main"]), told.said


def test_where_both_changed_the_same_lines_a_model_has_all_three_versions_and_its_work_is_looked_at(tmp_path: Path) -> None:
    rules = [drafts(), approves(), *builds([bash(OURS)], DONE, brief=CLASHED), *builds([FIX, PROOF], DONE), audits(), audits()]
    told = tell(tmp_path, rules, {"calc.py": CLASH})
    assert is_on_the_new_base(told), told.said
    assert told.delivered("calc.py") == MENDED.rstrip()
    asked = next(body for body in told.bodies if CLASHED in body)
    for name, version in (("file", "calc.py"), ("base", CODE), ("ours", MENDED), ("theirs", CLASH)):
        shown = json.dumps(f" {name}>\n{version}\n</data", ensure_ascii=False)[1:-1]
        assert shown in asked, (name, asked)
    assert sum("# Phase REVIEW: audit" in body for body in told.bodies) == 2
    assert "| 2 | conflict | claude-haiku-5-5 |  | held |" in told.report


@pytest.mark.parametrize(
    ("turns", "why"),
    [(["I would rather not."], "left conflicts in calc.py"), ([[bash(f"{THEIRS}; {UNDO}")], "Gone."], "took the change back")],
    ids=["markers", "undone"],
)
def test_what_the_model_leaves_in_conflict_is_a_persons(tmp_path: Path, turns: list[str | list[Json]], why: str) -> None:
    rules = [drafts(), approves(), *builds(*turns, brief=CLASHED), *builds([FIX, PROOF], DONE), audits()]
    told = tell(tmp_path, rules, {"calc.py": CLASH})
    assert is_a_persons(told), told.said
    assert f"the model {why}; the change, proved on {told.old[:12]}, is kept" in told.result["outcome"]
    assert sum(CLASHED in body for body in told.bodies) == len(turns), "one attempt"


def test_a_merge_that_breaks_tests_is_not_delivered(tmp_path: Path) -> None:
    rules = [drafts(), approves(), *builds(DONE, brief="test_back"), *builds([FIX, PROOF], DONE), audits()]
    told = tell(tmp_path, rules, BACK)
    assert (told.said.code, told.result["run_state"]) == (2, "DONE_FAILED_REQUIRES_HUMAN_REVIEW"), told.said
    assert "test_back" in told.result["outcome"]
    assert (told.result["branch"], told.world.branches()) == (None, ["main"])


def test_what_a_model_mends_after_a_merge_is_audited_like_any_work(tmp_path: Path) -> None:
    mends = edit("back.py", "add(left, right)", "left - right")
    plan = drafts(a_plan("calc.py", "tests/test_calc.py", "back.py"))
    rules = [plan, approves(), *builds([mends], DONE, brief="test_back"), *builds([FIX, PROOF], DONE), audits(), audits()]
    told = tell(tmp_path, rules, BACK)
    assert is_on_the_new_base(told), told.said
    assert "return left - right" in told.delivered("back.py")
    assert sum("# Phase REVIEW: audit" in body for body in told.bodies) == 2


def test_other_rules_are_not_followed_the_change_is_delivered_where_it_was_approved(tmp_path: Path) -> None:
    told = tell(tmp_path, happy(), {".github/ostler.yml": "approval: always\naudit: {planted: 1}\n", "other.py": "A = 1\n"})
    assert told.said.code == 0, told.said
    assert told.world.git("rev-parse", f"{told.result['branch']}^") == told.old


def test_fixers_run_again_on_the_new_base(tmp_path: Path) -> None:
    unused = {**ASKS, "calc.py": f"import os\n\n{CODE}"}
    told = tell(tmp_path, [], {"calc.py": f"import os\nimport sys\n\n{CODE}"}, issue="Remove unused imports", files=unused)
    assert is_on_the_new_base(told), told.said
    assert "import" not in told.delivered("calc.py")
