"""What the repository's own tools mend, on real trees: the files named and no others, in rounds, and never for the worse."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bot.core.reports import Commands, FixerCall
from bot.workspace.mending import mend
from bot.workspace.sandbox import Sandbox
from bot.workspace.toolchains import Surroundings, detect
from bot.workspace.toolchains.checks import Finding, Mender
from bot.workspace.toolchains.toolchain import Toolchain
from tests.node_packages.there import FOLDER, needs_packages
from tests.rooms.test_fixers import make
from tests.rooms.test_node_toolchain import package

AROUND = Surroundings(env={"PATH": os.environ.get("PATH", "")})
PYTHON = {
    "pyproject.toml": '[tool.ruff.lint]\nselect = ["F", "I"]\n',
    "a.py": "import sys\nimport os\n\nprint(os.sep)\n",
    "b.py": "import sys\n",
}


def look(root: Path, files: dict[str, str], box: Sandbox, checkout: Path | None = None) -> Toolchain:
    return detect(root, tuple(files), checkout or root, box=box, around=AROUND)


def test_ruff_mends_the_files_named_and_no_others(tmp_path: Path, box: Sandbox) -> None:
    root, work = make(tmp_path, PYTHON)
    found = look(root, PYTHON, box)
    assert found.profile.mends == ("lint",)
    (report,) = mend(found, work, box, [FixerCall("lint", ("a.py",), "")])
    assert (report.before, report.after, report.files_changed) == (2, 0, ("a.py",))
    assert (work.tree / "a.py").read_text() == "import os\n\nprint(os.sep)\n"


def test_what_ruff_finds_and_does_not_mend_is_left(tmp_path: Path, box: Sandbox) -> None:
    files = {**PYTHON, "a.py": "def f() -> None:\n    unused = 1\n"}
    root, work = make(tmp_path, files)
    before = work.snapshot()
    (report,) = mend(look(root, files, box), work, box, [FixerCall("lint", ("a.py",), "")])
    assert (report.before, report.after, report.files_changed) == (1, 1, ())
    assert work.snapshot() == before


def test_a_configured_command_is_nothing_that_mends(tmp_path: Path, box: Sandbox) -> None:
    files = {**PYTHON, "Makefile": "test:\n\ttrue\n"}
    root, _ = make(tmp_path, files)
    found = detect(root, tuple(files), root, box=box, commands=Commands(lint="ruff check"), around=AROUND)
    assert found.profile.mends == ()


COUNTS = (sys.executable, "-I", "-c", "import sys; print(open(sys.argv[1]).read().count('bad'))")


def words(tmp_path: Path, box: Sandbox, monkeypatch: pytest.MonkeyPatch, script: str, text: str) -> tuple[int, int, str]:
    """Mend a file with a tool that finds the word `bad` and changes the text `t` of the file `p` as `script` says."""
    files = {**PYTHON, "a.py": text}
    root, work = make(tmp_path, files)
    found = look(root, files, box)
    changes = (sys.executable, "-I", "-c", f"import sys; p = sys.argv[1]; t = open(p).read(); {script}")
    tool = Mender(COUNTS, changes, lambda ran: [Finding("a.py", "bad", "bad")] * int(ran.text))
    monkeypatch.setattr(type(found), "menders", lambda _: {"lint": tool})
    (report,) = mend(found, work, box, [FixerCall("lint", ("a.py",), "")])
    return report.before, report.after, (work.tree / "a.py").read_text()


def test_a_round_that_leaves_more_amiss_is_undone(tmp_path: Path, box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert words(tmp_path, box, monkeypatch, "open(p, 'w').write(t + '# bad')", "# bad\n") == (1, 1, "# bad\n")


def test_rounds_go_on_while_they_mend_and_five_at_most(tmp_path: Path, box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "open(p, 'w').write(t.replace('bad', 'good', 1))"
    assert words(tmp_path, box, monkeypatch, script, "# bad bad bad bad bad bad bad\n") == (7, 2, f"# {'good ' * 5}bad bad\n")


@needs_packages
def test_eslint_and_prettier_mend_in_turn(tmp_path: Path, box: Sandbox) -> None:
    files = {
        "package.json": package(),
        "eslint.config.js": 'export default [{ rules: { "prefer-const": "error" } }];\n',
        ".prettierrc": "{}",
        "a.js": "let a   =  1\nexport default a\n",
        "b.js": "let b   =  1\nexport default b\n",
    }
    root, work = make(tmp_path, files)
    found = look(root, files, box, FOLDER)
    assert found.profile.mends == ("lint", "format")
    calls = [FixerCall(name, ("a.js",), "") for name in found.profile.mends]
    reports = mend(found, work, box, calls)
    assert [(report.fixer, report.before, report.after) for report in reports] == [("lint", 1, 0), ("format", 1, 0)]
    assert (work.tree / "a.js").read_text() == "const a = 1;\nexport default a;\n"
    assert (work.tree / "b.js").read_text() == files["b.js"]
