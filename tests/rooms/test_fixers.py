"""Mechanical fixers on real trees: what they change, what they report, and that it is exactly what the tool itself would do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bot.core.errors import BadInput, SetupError
from bot.core.follow_up import FollowUp, Suggestion
from bot.core.triage_fixers import fixers_for
from bot.workspace.fixers import run_fixer
from bot.workspace.git import Checkout, Worktree
from bot.workspace.sandbox import Sandbox

ENV = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}
WHO = ("-c", "user.name=A", "-c", "user.email=a@example.org")


def git(at: Path, *args: str) -> str:
    return subprocess.run(["git", *WHO, *args], cwd=at, env=ENV, capture_output=True, text=True, check=True).stdout.strip()


def make(tmp_path: Path, files: dict[str, str]) -> tuple[Path, Worktree]:
    root = tmp_path / "user"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root, "add", "-Af")
    git(root, "commit", "-qm", "first")
    return root, Worktree.create(tmp_path / "run", Checkout.open(root), "HEAD")


MESSY = {
    "pyproject.toml": "[tool.ruff]\nextend-exclude = ['vendor']\n[tool.ruff.lint]\nselect = ['E', 'F', 'I']\n",
    "app/__init__.py": "from app.core import run\n",
    "app/core.py": "import sys\nimport os\nfrom typing import (\n    List,\n    Dict,\n)\n"
    "\n\ndef run(x: List[int]) -> str:\n    return os.sep\n",
    "app/odd.py": "import re  # noqa: F401\nimport json as js, csv\nprint(csv)\n",
    "vendor/lib.py": "import sys\n",
    "tests/test_core.py": "import pytest\nfrom app import core\nunused = 1\n",
    "notes/ignored.py": "import sys\n",
    ".gitignore": "notes/\n",
    "broken.py": "import os\ndef f(:\n",
    "README.md": "teh end\n",
}


def test_unused_imports_changes_exactly_what_ruff_changes(tmp_path: Path, box: Sandbox) -> None:
    """The maintainers' must-show."""
    root, work = make(tmp_path, MESSY)
    (call,) = fixers_for("Remove unused imports", "")
    report = run_fixer(call.name, call.args, work, box, at=str(root))
    subprocess.run(
        [sys.executable, "-I", "-m", "ruff", "check", "--select", "F401", "--fix", "--no-cache"],
        cwd=root,
        env=ENV,
        capture_output=True,
        check=False,
    )
    changed = tuple(git(root, "diff", "--name-only", "HEAD").splitlines())
    assert report.files_changed == changed == ("app/core.py", "app/odd.py", "tests/test_core.py")
    git(root, "add", "-A")
    assert git(root, "write-tree") == work.snapshot()
    assert (report.before, report.command) == (report.after + 5, ("ruff", "check", "--select", "F401", "--fix"))
    assert not (work.tree / ".git").exists()


def test_every_other_fixer_does_its_work(tmp_path: Path, box: Sandbox) -> None:
    old = {
        "a.py": "from typing import List\nx: List[int]=[ 1 ]\nprint('%s' % (x,))\nclass A(object): pass\n",
        "README.md": "teh end of wich\n",
        "poetry.lock": "teh\n",
        "pyproject.toml": "",
    }
    _, work = make(tmp_path, old)
    spelled = run_fixer("codespell", (), work, box)
    assert (spelled.before, spelled.after, spelled.files_changed) == (2, 0, ("README.md",))
    assert (work.tree / "README.md").read_text() == "the end of which\n"
    upgraded = run_fixer("pyupgrade", ("3.11",), work, box)
    assert (upgraded.before, upgraded.after, upgraded.files_changed) == (1, 0, ("a.py",))
    assert "class A:" in (work.tree / "a.py").read_text()
    shaped = run_fixer("ruff-format", (), work, box)
    assert (shaped.before, shaped.after, shaped.files_changed) == (1, 0, ("a.py",))
    again = run_fixer("ruff-format", (), work, box)
    assert (again.before, again.after, again.files_changed) == (0, 0, ())


def test_revert_and_its_conflict(tmp_path: Path, box: Sandbox) -> None:
    root, _ = make(tmp_path, {"a.txt": "one\n"})
    (root / "a.txt").write_text("two\n")
    git(root, "commit", "-qam", "second")
    sha = git(root, "rev-parse", "HEAD")
    work = Worktree.create(tmp_path / "run2", Checkout.open(root), "HEAD")
    report = run_fixer("revert", (sha,), work, box)
    assert (report.before, report.after, report.files_changed) == (1, 0, ("a.txt",))
    assert (work.tree / "a.txt").read_text() == "one\n"
    again = run_fixer("revert", (sha,), work, box)
    assert (again.after, again.files_changed) == (0, ())
    (work.tree / "a.txt").write_text("three\n")
    conflict = run_fixer("revert", (sha,), work, box)
    assert (conflict.after, conflict.files_changed) == (1, ())
    assert "cleanly" in conflict.detail


def test_links_out_of_the_tree_are_not_written_through(tmp_path: Path, box: Sandbox) -> None:
    outside = tmp_path / "outside.py"
    outside.write_text("import os\n# teh\n")
    root, work = make(tmp_path, {"a.py": "import os\n"})
    (work.tree / "link.py").symlink_to(outside)
    for name, args in (("ruff", ("F401",)), ("ruff-format", ()), ("pyupgrade", ("3.11",)), ("codespell", ())):
        run_fixer(name, args, work, box, at=str(root))
    assert outside.read_text() == "import os\n# teh\n"
    assert (work.tree / "a.py").read_text() == ""


def test_a_configuration_cannot_read_files_outside(tmp_path: Path, box: Sandbox) -> None:
    secret = tmp_path / "secret.toml"
    secret.write_text("password = hunter2\n")
    _, work = make(tmp_path, {"a.py": "import os\n", "ruff.toml": f"extend = '{secret}'\n"})
    with pytest.raises(SetupError, match="ruff cannot run") as caught:
        run_fixer("ruff", ("F401",), work, box)
    assert "hunter2" not in str(caught.value)


def test_bad_words_are_refused(tmp_path: Path, box: Sandbox) -> None:
    _, work = make(tmp_path, {"a.py": ""})
    for name, args in (
        ("nope", ()),
        ("ruff", ("--unsafe-fixes",)),
        ("ruff", ("ALL",)),
        ("pyupgrade", ("x",)),
        ("codespell", ("-h",)),
        ("ruff-format", ("x",)),
        ("revert", ()),
    ):
        with pytest.raises(BadInput):
            run_fixer(name, args, work, box)


def test_suggestions_are_written_word_by_word_where_their_lines_are(tmp_path: Path, box: Sandbox) -> None:
    root, work = make(tmp_path, {"a.txt": "1\n2\n3\n4\n", "b.txt": "1\r\n2"})
    suggestions = (
        Suggestion(1, "a.txt", 1, 1, "one\nand a half\n"),
        Suggestion(2, "a.txt", 3, 4, ""),
        Suggestion(3, "b.txt", 2, 2, "two\n"),
        Suggestion(4, "b.txt", 3, 3, "three\n"),
        Suggestion(5, "c.txt", 1, 1, "none\n"),
    )
    calls = FollowUp("2026-11-29T05:00:00Z review-1", "ada", 57, suggestions).calls
    reports = [run_fixer(call.name, call.args, work, box, at=str(root)) for call in calls]
    assert [(report.command[1:], report.after, report.files_changed) for report in reports] == [
        (("a.txt", "3-4"), 0, ("a.txt",)),
        (("a.txt", "1"), 0, ("a.txt",)),
        (("b.txt", "3"), 1, ()),
        (("b.txt", "2"), 0, ("b.txt",)),
        (("c.txt", "1"), 1, ()),
    ]
    assert (work.tree / "a.txt").read_bytes() == b"one\nand a half\n2\n"
    assert (work.tree / "b.txt").read_bytes() == b"1\r\ntwo"
    assert not (work.tree / "c.txt").exists()
