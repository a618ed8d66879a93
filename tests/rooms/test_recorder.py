"""What the recorder notes of a real suite, run by a real pytest in the sandbox, and what is chosen by it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bot.core.affected import Affected, affected
from bot.core.coverage_map import CoverageMap, read_map
from bot.core.reports import NO_BLOB, FileChange, TestReport
from bot.workspace.maps import Maps
from bot.workspace.sandbox import Sandbox
from bot.workspace.toolchains import recorder
from tests.rooms.test_python_toolchain import look
from tests.rooms.trees import put

TREE = "a" * 40
FILES: Mapping[str, str] = {
    "pk/__init__.py": "",
    "pk/core.py": """import functools
import threading

RATE = 3
_seen = {}


def plain(x):
    return x + 1


def deep(x):
    return x * 2


@functools.lru_cache(maxsize=None)
def kept(x):
    return deep(x)


def looked_up(x):
    if x not in _seen:
        _seen[x] = inner(x)
    return _seen[x]


def inner(x):
    return -x


def in_thread(out):
    worker = threading.Thread(target=threaded, args=(out,))
    worker.start()
    worker.join()


def threaded(out):
    out.append(1)


def rated(x):
    return x * RATE


def registers(function):
    return function


@registers
def registered():
    return 1


def never():
    return 0
""",
    "pk/shape.py": """class Shape:
    sides = 0

    def count(self):
        return self.sides

    def name(self):
        return "shape"


class Square(Shape):
    sides = 4
""",
    "pk/made.py": """def session():
    return 1


def module():
    return 2


def one():
    return 3


def undo():
    return 4
""",
    "data/table.txt": "1\n",
    "notes.md": "nobody opens this\n",
    "tests/conftest.py": """import pytest
from pk import made


@pytest.fixture(scope="session")
def whole():
    return made.session()
""",
    "tests/test_plain.py": """import pytest
from pk import core


def test_plain():
    assert core.plain(1) == 2


@pytest.mark.parametrize("x", [1, 2])
def test_kept(x):
    assert core.kept(5) == 10


def test_kept_again():
    assert core.kept(5) == 10


def test_looked_up():
    assert core.looked_up(5) == -5


def test_looked_up_again():
    assert core.looked_up(5) == -5


def test_thread():
    out = []
    core.in_thread(out)
    assert out


def test_rated():
    assert core.rated(2) == 6


def test_registered():
    assert core.registered() == 1
""",
    "tests/test_fixtures.py": """import pytest
from pk import made


@pytest.fixture(scope="module")
def some():
    yield made.module()
    made.undo()


@pytest.fixture
def one():
    return made.one()


def test_first(some):
    assert some == 2


def test_second(some):
    assert some == 2


def test_own(one):
    assert one == 3


def test_session(whole):
    assert whole == 1
""",
    "tests/test_shape.py": """from pk.shape import Shape, Square


class TestShape:
    def test_count(self):
        assert Square().count() == 4

    def test_name(self):
        assert Shape().name() == "shape"
""",
    "tests/test_outside.py": """import contextlib
import pathlib
import subprocess
import sys


def test_child():
    assert subprocess.run([sys.executable, "-c", "from pk.core import plain; plain(1)"]).returncode == 0


def test_apart():
    assert subprocess.run([sys.executable, "-I", "-c", ""]).returncode == 0


def test_tools():
    assert subprocess.run(["true"]).returncode == 0
    for tool in ("git", "hg", "file"):  # what plugins of pytest and `platform` ask about the machine and the checkout
        with contextlib.suppress(FileNotFoundError):
            subprocess.run([tool, "--version"])
    assert subprocess.run("echo '$(x);' \\"a b\\"", shell=True).returncode == 0


def test_shell():
    assert subprocess.run("echo $(echo)", shell=True).returncode == 0


def test_data():
    assert pathlib.Path("data/table.txt").read_text() == "1\\n"
""",
}
APART = {f"tests/test_outside.py::test_{name}" for name in ("apart", "shell")}


def recorded(box: Sandbox, root: Path) -> tuple[TestReport, bytes | None]:
    made = look(box, root).record(box, root, seconds=60)
    assert made is not None
    return made


@pytest.fixture(scope="module")
def known(box: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> CoverageMap:
    root = put(tmp_path_factory.mktemp("tree") / "t", FILES)
    report, notes = recorded(box, root)
    assert (report.outcome, report.collected) == ("pass", 20), report.output
    assert notes is not None
    made = read_map(json.loads(notes))
    return replace(made, seconds=(1.0,) * len(made.tests))  # so that no test is most of the suite


def after(known: CoverageMap, path: str, old: str, new: str) -> Affected:
    """What is chosen after `old` became `new`; a file that is not there yet begins empty."""
    before = FILES.get(path)
    text = new if before is None else before.replace(old, new, 1)
    assert text != before
    change = FileChange(
        path,
        "add" if before is None else "modify",
        "000000" if before is None else "100644",
        "100644",
        NO_BLOB,
        "1" * 40,
        before.encode() if before is not None else None,
        text.encode(),
    )
    sources = {name: body for name, body in {**FILES, path: text}.items() if name.endswith(".py")}
    return affected(known, [change], sources)


def names(found: Affected) -> set[str]:
    """The tests chosen, without their file, and without those that run a process which cannot be followed: they always count."""
    assert not found.everything, found.why
    assert {*found.items} >= APART
    return {item.rpartition("/")[2].replace("test_", "").replace(".py", "") for item in found.items if item not in APART}


def test_a_function_concerns_the_tests_that_ran_it(known: CoverageMap) -> None:
    assert names(after(known, "pk/core.py", "return x + 1", "return x + 2")) == {"plain::plain", "outside::child"}
    assert names(after(known, "pk/core.py", "out.append(1)", "out.append(2)")) == {"plain::thread"}
    assert names(after(known, "pk/core.py", "return 0", "return 9")) == set()


def test_what_is_kept_for_later_concerns_the_later_ones_too(known: CoverageMap) -> None:
    kept = {"plain::kept[1]", "plain::kept[2]", "plain::kept_again"}
    assert names(after(known, "pk/core.py", "return x * 2", "return x * 4")) == kept
    assert names(after(known, "pk/core.py", "return -x", "return x")) == {"plain::looked_up", "plain::looked_up_again"}


def test_fixtures_concern_what_they_are_for(known: CoverageMap) -> None:
    assert after(known, "pk/made.py", "return 1", "return 5").everything
    for part in ("return 2", "return 4"):
        assert names(after(known, "pk/made.py", part, "return 5")) == {"fixtures"}
    assert names(after(known, "pk/made.py", "return 3", "return 5")) == {"fixtures::own"}


def test_statements_concern_whoever_mentions_what_they_bind(known: CoverageMap) -> None:
    assert {"plain::rated", "outside::child"} <= names(after(known, "pk/core.py", "RATE = 3", "RATE = 4"))
    assert names(after(known, "pk/shape.py", "sides = 4", "sides = 5")) == {"shape"}
    assert names(after(known, "pk/core.py", "    return function\n", "    return None\n")) == {"plain", "outside::child"}


def test_what_is_new_concerns_nobody_who_does_not_mention_it(known: CoverageMap) -> None:
    assert names(after(known, "pk/core.py", "RATE = 3\n", "RATE = 3\n\n\ndef unheard_of():\n    return 1\n")) == {
        "outside::child"
    }
    assert names(after(known, "pk/other.py", "", "def unheard_of():\n    return 1\n")) == set()
    assert names(after(known, "tests/test_new.py", "", "def test_it():\n    pass\n")) == {"new"}


def test_a_method_that_hides_an_inherited_one_concerns_who_ran_that(known: CoverageMap) -> None:
    hides = after(known, "pk/shape.py", "    sides = 4\n", "    sides = 4\n\n    def count(self):\n        return 1\n")
    assert names(hides) == {"shape::TestShape::count"}


def test_files_are_data_of_the_tests_that_open_them(known: CoverageMap) -> None:
    assert names(after(known, "data/table.txt", "1", "2")) == {"outside::data"}
    assert names(after(known, "notes.md", "nobody", "someone")) == set()
    assert after(known, "data/unknown.bin", "", "x").everything


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("tests/conftest.py", "session()", "session() + 0"),
        ("pk/__init__.py", "", "from pk.core import plain\n"),
        ("pyproject.toml", "", "[tool.pytest]\n"),
        ("pk/core.py", "RATE = 3", "RATE = 3\nregisters(1)"),
        ("pk/core.py", "RATE = 3", "RATE ="),
    ],
)
def test_what_cannot_be_followed_runs_everything(known: CoverageMap, path: str, old: str, new: str) -> None:
    found = after(known, path, old, new)
    assert found.everything
    assert found.why


def test_only_what_is_chosen_is_run(box: Sandbox, tmp_path: Path, known: CoverageMap) -> None:
    root = put(tmp_path / "t", FILES)
    broken = put(root, {"pk/core.py": FILES["pk/core.py"].replace("x * 2", "x * 4")})
    found = after(known, "pk/core.py", "x * 2", "x * 4")
    report = look(box, broken).run_tests(box, broken, selection=found.items, coverage=True, seconds=60)
    assert {case.id for case in report.failing} == {
        f"tests/test_plain.py::test_{name}" for name in ("kept[1]", "kept[2]", "kept_again")
    }
    assert {case.id for case in report.cases} == {*found.items}
    assert all("assert 20 == 10" in case.message for case in report.failing)
    assert all("\n(tests/test_plain.py:" in case.message for case in report.failing)


def test_tests_for_which_there_is_no_time_are_named(tmp_path: Path) -> None:
    text = "def test_a(): pass\ndef test_b(): pass\ndef test_c(): pass\n"
    root, out = put(tmp_path / "t", {"test_a.py": text, "pytest.ini": "[pytest]\n"}), put(tmp_path / "out", {})
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", *recorder.recording(out, str(out), 0.001)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = str(out)
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert "no tests ran" in done.stdout, done.stdout + done.stderr
    made = read_map(json.loads((out / recorder.NOTES).read_text()))
    assert (made.tests, made.left) == ((), ("test_a.py::test_a", "test_a.py::test_b", "test_a.py::test_c"))


def test_a_repository_behind_a_link_is_seen(tmp_path: Path) -> None:
    put(tmp_path / "real", {"calc.py": "def add(): return 1\n", "test_a.py": "import calc\ndef test_a(): calc.add()\n"})
    out, link = put(tmp_path / "out", {"pytest.ini": ""}), tmp_path / "link"
    put(tmp_path / "real", {"pytest.ini": "[pytest]\n"})
    link.symlink_to(tmp_path / "real")
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", *recorder.recording(out, str(out))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = f"{link}:{out}"
    done = subprocess.run(command, cwd=link, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    made = read_map(json.loads((out / recorder.NOTES).read_text()))
    assert made.ran["calc.py", "add"] == made.all == 1


def test_maps_are_kept_by_tree_and_interpreter(box: Sandbox, tmp_path: Path, known: CoverageMap) -> None:
    root, maps = put(tmp_path / "t", {"test_a.py": "def test_a(): pass\n"}), Maps(tmp_path / "maps")
    _, notes = recorded(box, root)
    assert notes is not None
    assert maps.load(TREE, "python") is None
    made = maps.keep(TREE, "python", notes)
    assert made is not None
    assert made.tests == ("test_a.py::test_a",)
    assert maps.load(TREE, "python") == made
    assert maps.load(TREE, "another") is None
    assert maps.keep("b" * 40, "python", b'{"tests": 1}') is None
    (tmp_path / "maps" / f"{TREE}.json.gz").write_bytes(b"no map")
    assert maps.load(TREE, "python") is None
