"""Work that needs no model: without a key, for $0.00, a tool does exactly what it does for anybody, and the suite proves it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.world.world import ISSUE, SMALL, Said, World, git

pytestmark = pytest.mark.sampled

CONFIG = """[project]
name = "calc"
version = "0.1.0"
requires-python = ">=3.11"

[tool.pytest.ini_options]
testpaths = ["tests"]

[tool.ruff]
extend-exclude = ["generated"]

[tool.ruff.lint]
select = ["E"]
per-file-ignores = { "__init__.py" = ["F401"], "compat/*" = ["F401"] }
"""
SUMS = '''"""Sums."""

import os
import sys, json
from typing import *


def add(left, right):
    import re
    return left + right
'''
REPOSITORY: Mapping[str, str | bytes] = {
    "pyproject.toml": CONFIG,
    "calc/__init__.py": "from calc.sums import add\n",
    "calc/sums.py": SUMS,
    "calc/kept.py": "import os  # noqa: F401\nimport json\n\nx = json\n",
    "compat/old.py": "import os\n",
    "generated/made.py": "import os\nimport sys\n",
    "notes.ipynb": "{}\n",
    ".gitignore": "build/\n",
    "tests/test_sums.py": "import os\n\nfrom calc import add\n\n\ndef test_adds():\n    assert add(2, 3) == 5\n",
}


def tool(folder: Path, *args: str) -> None:
    """A tool as a person runs it in their checkout."""
    done = subprocess.run(
        [sys.executable, "-I", "-m", *args],
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.returncode in (0, 1, 2, 65), done.stderr.decode()


def copy_of(world: World, folder: Path) -> Path:
    shutil.copytree(world.repository, folder)
    return folder


def tree_of(folder: Path) -> str:
    """The id of the tree that a commit of everything in `folder` would have."""
    git(folder, "add", "--all")
    return git(folder, "write-tree")


def assert_proven_and_free(world: World, said: Said, *, tests: str = "pass") -> None:
    assert said.code == 0, (said.out, said.err)
    result = said.result
    assert result["run_state"] == "DONE_SUCCESS"
    assert result["cost_usd"] == 0
    assert result["calls"] == 0
    assert set(result["tokens"].values()) == {0}
    assert result["checks"]["tests_before"] == result["checks"]["tests_after"] == tests
    assert world.git("rev-parse", f"{result['branch']}~1") == result["base_sha"] == world.git("rev-parse", "main")
    assert world.branches() == ["main", result["branch"]]


def test_unused_imports_go_as_ruff_takes_them_out(tmp_path: Path) -> None:
    """The repository's own configuration decides: per-file ignores, excludes, noqa; and the patch is the branch."""
    world = World.of(tmp_path, REPOSITORY)
    before = world.untouched()
    by_hand = copy_of(world, tmp_path / "by-hand")
    tool(by_hand, "ruff", "check", "--select", "F401", "--fix", "--no-cache")
    said = world.run("Remove unused imports")
    assert_proven_and_free(world, said)
    assert world.git("rev-parse", f"{said.result['branch']}^{{tree}}") == tree_of(by_hand)
    changed = world.git("diff", "--name-only", "main", str(said.result["branch"])).split()
    assert changed == ["calc/sums.py", "tests/test_sums.py"]
    assert world.untouched() == before
    folder = world.folder(said)
    fresh = tmp_path / "fresh"
    git(tmp_path, "clone", "--quiet", str(world.repository), str(fresh))
    git(fresh, "apply", "--index", str(folder / "changes.patch"))
    assert git(fresh, "write-tree") == tree_of(by_hand)
    report = (folder / "report.md").read_text("utf-8")
    assert "No model was asked: $0.00." in report
    assert "| ruff | 6 | 1 | 2 |" in report


LONG = "x = {  'a':1 }\n"
TOOLS: Mapping[str, tuple[str, Mapping[str, str | bytes], Sequence[Sequence[str]]]] = {
    "sort imports": (
        "Sort imports",
        {"a.py": "import sys\nimport os\nfrom b import c\nprint(os, sys, c)\n", "b.py": "c = 1\n"},
        [("ruff", "check", "--select", "I", "--fix", "--no-cache")],
    ),
    "format": ("Format the code with ruff format", {"a.py": LONG, "broken.py": "def (\n"}, [("ruff", "format", "--no-cache")]),
    "typos": (
        "Fix typos",
        {"README.md": "Teh adress of teh recieve function\n", "lib.py": '"""An exmaple."""\n'},
        [("codespell_lib", "--write-changes", "--", "README.md", "lib.py")],
    ),
    "old syntax": (
        "Upgrade syntax to Python 3.11",
        {"a.py": "from typing import List\n\n\nclass A(object):\n    x: List[int] = list()\n    y = '%s' % (1,)\n"},
        [("pyupgrade", "--py311-plus", "a.py")] * 2,
    ),
    "two wishes": (
        "chore: remove unused imports and sort imports",
        {"a.py": "import sys\nimport re\nimport os\nprint(os, sys)\n"},
        [("ruff", "check", "--select", "F401", "--fix", "--no-cache"), ("ruff", "check", "--select", "I", "--fix", "--no-cache")],
    ),
}


@pytest.mark.parametrize("name", TOOLS)
def test_each_tool_does_what_it_does_by_hand(tmp_path: Path, name: str) -> None:
    issue, files, commands = TOOLS[name]
    world = World.of(tmp_path, {**SMALL, **files})
    by_hand = copy_of(world, tmp_path / "by-hand")
    for command in commands:
        tool(by_hand, *command)
    said = world.run(issue)
    assert_proven_and_free(world, said)
    assert world.git("rev-parse", f"{said.result['branch']}^{{tree}}") == tree_of(by_hand)
    assert world.git("diff", "--name-only", "main", str(said.result["branch"]))


def test_a_commit_is_taken_back(tmp_path: Path) -> None:
    """As `git revert` would, also where other commits came after it; where they touch the same lines a person is needed."""
    world = World.of(tmp_path)
    before = world.git("rev-parse", "HEAD^{tree}")
    swapped = str(SMALL["calc.py"]).replace("left - right", "right - left")
    more_test = "def test_more() -> None:\n    assert True\n"  # a revert takes the tests of what it reverts along
    bad = world.commit({"calc.py": swapped, "more.py": "x = 1\n", "tests/test_more.py": more_test})
    later = world.commit({"later.py": "x = 1\n"})
    said = world.run(f'Revert "More"\n\nThis reverts commit {bad}.')
    assert said.code == 0, (said.out, said.err)
    by_hand = copy_of(world, tmp_path / "by-hand")
    git(by_hand, "checkout", "--quiet", later)
    git(by_hand, "revert", "--no-edit", bad)
    assert world.git("rev-parse", f"{said.result['branch']}^{{tree}}") == git(by_hand, "rev-parse", "HEAD^{tree}") != before


def test_a_commit_that_does_not_come_out_needs_a_person(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    bad = world.commit({"calc.py": str(SMALL["calc.py"]).replace("left - right", "left * right")})
    world.commit({"calc.py": str(SMALL["calc.py"]).replace("left - right", "left / right")})
    said = world.run(f"revert {bad}")
    assert said.code == 2, (said.out, said.err)
    assert "later changes touch the same lines" in said.out
    assert world.branches() == ["main"]


def test_a_commit_that_is_not_there(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    said = world.run(f"Revert commit {'0123456789' * 4}")
    assert said.code == 5, (said.out, said.err)
    assert "is not in this checkout" in said.result["outcome"]
    assert world.branches() == ["main"]


@pytest.mark.parametrize("issue", ["Remove unused imports", "Fix typos"])
def test_nothing_to_fix_is_a_good_end_without_a_branch(tmp_path: Path, issue: str) -> None:
    world = World.of(tmp_path)
    before = world.untouched()
    said = world.run(issue)
    assert said.code == 0, (said.out, said.err)
    assert (said.result["outcome"], said.result["branch"], said.result["changeset_digest"]) == ("nothing to change", None, None)
    assert world.branches() == ["main"]
    assert world.untouched() == before


def test_a_fix_that_breaks_the_suite_is_refused(tmp_path: Path) -> None:
    """The import looks unused, another module lives on it: the tool is sure, the suite is right."""
    files = {
        "pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = ["tests"]\n',
        "shop/sums.py": "def add(left, right):\n    return left + right\n",
        "shop/api.py": "from shop.sums import add\n",
        "tests/test_api.py": "from shop import api\n\n\ndef test_adds():\n    assert api.add(2, 3) == 5\n",
    }
    world = World.of(tmp_path, files)
    before = world.untouched()
    said = world.run("Remove unused imports")
    assert said.code == 2, (said.out, said.err)
    assert said.result["checks"]["verdict"] == "fail"
    assert "tests/test_api.py::test_adds" in said.result["outcome"]
    assert said.result["branch"] is None
    assert world.branches() == ["main"]
    assert world.untouched() == before


@pytest.mark.parametrize(
    "issue",
    [ISSUE, "Remove unused imports and fix add()", "Remove unused imports in calc.py", "Sort imports\n\nAlso rename add."],
)
def test_whatever_is_more_than_a_fixers_work_needs_a_model(tmp_path: Path, issue: str) -> None:
    world = World.of(tmp_path)
    said = world.run(issue)
    assert said.code == 5
    assert said.result["error"].startswith("This issue needs a model and no key is set: set ANTHROPIC_API_KEY or OPENAI_API_KEY")
    assert world.folders() == []
