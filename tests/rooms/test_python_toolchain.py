"""The Python toolchain on real trees: what it detects, what its checks blame, and that only a pass is a pass."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from bot.core.errors import SetupError
from bot.core.reports import Check, TestReport
from bot.workspace.sandbox import Sandbox
from bot.workspace.toolchains import detect
from bot.workspace.toolchains.interpreters import Wanted, choose
from bot.workspace.toolchains.junit import read, signature
from bot.workspace.toolchains.python import PythonToolchain
from tests.rooms.trees import names, put


def look(box: Sandbox, root: Path) -> PythonToolchain:
    found = detect(root, names(root), Path("/work/checkout"), box=box)
    assert isinstance(found, PythonToolchain)
    return found


def suite(
    box: Sandbox, root: Path, files: Mapping[str, str], seconds: float = 60.0, selection: tuple[str, ...] = ()
) -> TestReport:
    put(root, files)
    return look(box, root).run_tests(box, root, seconds=seconds, selection=selection)


class TestDetect:
    def test_src_layout_with_pytest(self, box: Sandbox, tmp_path: Path) -> None:
        put(
            tmp_path / "t",
            {
                "pyproject.toml": "[tool.pytest.ini_options]\ntestpaths = ['checks']\n"
                "[tool.ruff]\n[tool.mypy]\nfiles = ['src']\n",
                "src/pk/__init__.py": "",
                "checks/test_a.py": "def test_a(): pass\n",
            },
        )
        found = look(box, tmp_path / "t")
        profile = found.profile
        assert (profile.language, profile.test_runner, found.test_paths) == ("python", "pytest", ("checks",))
        assert found.source_roots == ("src", ".")
        assert (found.linted, found.typed, found.typed_named, profile.manifests) == (True, "mypy", True, ("pyproject.toml",))
        stages = {stage.name: stage for stage in profile.stages}
        assert "tool.pytest" in stages["tests"].reason
        assert stages["types"].command.endswith("-m mypy")
        assert any("Ostler's own" in reason for reason in profile.reasons)

    def test_unittest_needs_no_pytest(self, box: Sandbox, tmp_path: Path) -> None:
        put(tmp_path / "t", {"test_a.py": "import unittest\nclass A(unittest.TestCase):\n    def test_a(self): pass\n"})
        found = look(box, tmp_path / "t")
        assert (found.profile.test_runner, found.test_paths, found.linted, found.typed) == ("unittest", (".",), False, "")

    def test_no_tests_is_not_verified(self, box: Sandbox, tmp_path: Path) -> None:
        put(tmp_path / "a", {"a.py": ""})
        found = look(box, tmp_path / "a")
        assert found.profile.test_runner is None
        report = found.run_tests(box, tmp_path / "a")
        assert (report.outcome, report.reason) == ("neutral", "not verified: no test runner, because there are no test files")

    def test_a_lone_test_module_is_a_suite(self, box: Sandbox, tmp_path: Path) -> None:
        text = "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): pass\n"
        report = suite(box, tmp_path / "t", {"a.py": "", "test.py": text})
        assert (report.outcome, [case.id for case in report.cases]) == ("pass", ["test.py::T::test_a"])

    def test_broken_configuration_is_survived(self, box: Sandbox, tmp_path: Path) -> None:
        put(tmp_path / "t", {"pyproject.toml": "[tool\n", "setup.cfg": "nonsense", "tox.ini": "[a]\n[a]\n", "a_test.py": ""})
        assert look(box, tmp_path / "t").profile.test_runner == "pytest"

    def test_the_order_of_interpreters(self, box: Sandbox, tmp_path: Path) -> None:
        checkout = tmp_path / "co"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(checkout / ".venv")], check=True)
        plain, said = choose(box, checkout, Wanted((), None), setting="", virtual_env="", path="/usr/bin")
        assert plain.python == checkout / ".venv/bin/python"
        assert "the checkout's .venv" in said[-1]
        own, said = choose(box, checkout, Wanted(("pytest",), None), setting="", virtual_env="", path="")
        assert own.python == Path(sys.executable)
        assert "No module named 'pytest'" in said[0]
        with pytest.raises(SetupError, match=r"needs 3\.99"):
            choose(box, checkout, Wanted((), (3, 99)), setting="", virtual_env="", path="")
        with pytest.raises(SetupError, match="cannot be run"):
            choose(box, checkout, Wanted((), None), setting="nowhere/python", virtual_env="", path="")

    def test_a_planted_environment_shows_no_folder_of_the_machine(self, box: Sandbox, tmp_path: Path) -> None:
        """A repository may carry a .venv whose links point at the user's home."""
        home = put(tmp_path / "home", {"secret": "s", "bin/python": "\x7fELF", "lib/notes": ""})
        (home / "bin/python").chmod(0o755)
        checkout = put(tmp_path / "co", {".venv/pyvenv.cfg": f"home = {home}/bin\n"})
        (checkout / ".venv/bin").mkdir()
        (checkout / ".venv/bin/python").symlink_to(home / "bin/python")
        found, said = choose(box, checkout, Wanted((), None), setting="", virtual_env="", path="")
        assert home not in found.readonly
        assert "is not an installation of Python" in said[0]

    def test_an_editable_install_resolves_to_the_copy(self, box: Sandbox, tmp_path: Path) -> None:
        checkout = put(tmp_path / "co", {"src/pk/__init__.py": "WHERE = 'checkout'\n"})
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(checkout / ".venv")], check=True)
        site = next((checkout / ".venv/lib").glob("python*/site-packages"))
        (site / "pk.pth").write_text(f"{checkout}/src\n")
        copy = put(
            tmp_path / "copy",
            {
                "src/pk/__init__.py": "WHERE = 'copy'\n",
                "test_a.py": "import unittest, pk\nclass A(unittest.TestCase):\n"
                "    def test_a(self): self.assertEqual(pk.WHERE, 'copy')\n",
            },
        )
        found = detect(copy, names(copy), checkout, box=box)
        assert isinstance(found, PythonToolchain)
        assert found.interpreter.python == checkout / ".venv/bin/python"
        report = found.run_tests(box, copy)
        assert (report.outcome, report.collected) == ("pass", 1), report.output


GOOD = {
    "pyproject.toml": "[tool.ruff.lint]\nselect = ['F']\n",
    "pk/__init__.py": "import os\nX = 1\n",
    "tests/helpers.py": "H = 1\n",
    "tests/test_a.py": "import helpers\nimport pk\ndef test_a(): assert pk.X == helpers.H\n",
}


class TestChecks:
    def run(self, box: Sandbox, tmp_path: Path, head: Mapping[str, str], base: Mapping[str, str] = GOOD) -> dict[str, Check]:
        before = put(tmp_path / "base", base)
        after = put(tmp_path / "head", {**base, **head})
        return {check.name: check for check in look(box, before).checks(box, after, before, tuple(head))}

    def test_a_good_change_passes_and_old_sins_are_not_blamed(self, box: Sandbox, tmp_path: Path) -> None:
        found = self.run(box, tmp_path, {"pk/__init__.py": "import os\nX = 1\nY = 2\n"})
        assert {name: check.outcome for name, check in found.items()} == {
            "manifests": "pass",
            "syntax": "pass",
            "lint": "pass",
            "types": "neutral",
            "imports": "pass",
        }
        assert "1 known" in found["lint"].detail
        assert "configures neither mypy" in found["types"].detail

    def test_each_defect_fails_its_own_check(self, box: Sandbox, tmp_path: Path) -> None:
        found = self.run(
            box,
            tmp_path,
            {
                "pk/__init__.py": "import os\nimport sys\nX = 1\n",
                "pk/bad.py": "def f(:\n",
                "pk/imports.py": "import nope.deeper\nfrom . import gone\nfrom .absent import x\nfrom pk.lost import y\n"
                "import pk, os, json, pytest\n"
                "try:\n    import ujson\nexcept ImportError:\n    ujson = None\nprint(nope, gone, x, y, pk, os, json, pytest)\n",
                "data.json": "{",
                "conf.yaml": "a: [\n",
                "pyproject.toml": "[tool.ruff\n",
            },
        )
        assert found["syntax"].outcome == "fail"
        assert found["syntax"].detail.startswith("pk/bad.py: line 1")
        assert found["imports"].detail.splitlines() == [
            "pk/imports.py: .absent",
            "pk/imports.py: nope.deeper",
            "pk/imports.py: pk.lost",
        ]
        assert [line.partition(":")[0] for line in found["manifests"].detail.splitlines()] == [
            "conf.yaml",
            "data.json",
            "pyproject.toml",
        ]
        assert found["lint"].outcome == "fail"
        assert "ruff cannot run" in found["lint"].detail

    def test_new_lint_is_named_with_its_place(self, box: Sandbox, tmp_path: Path) -> None:
        found = self.run(box, tmp_path, {"pk/__init__.py": "import os\nimport sys\nX = 1\n"})
        assert (found["lint"].outcome, found["lint"].detail) == ("fail", "pk/__init__.py:2: F401 `sys` imported but unused")

    def test_without_configuration_only_certain_errors_count(self, box: Sandbox, tmp_path: Path) -> None:
        base = {"a.py": "X = 1\n"}
        assert self.run(box, tmp_path / "1", {"a.py": "import os, sys\nX=1\n"}, base)["lint"].outcome == "pass"
        found = self.run(box, tmp_path / "2", {"a.py": "print(undefined_name)\n"}, base)
        assert (found["lint"].outcome, "F821" in found["lint"].detail) == ("fail", True)

    def test_types_only_new_errors(self, box: Sandbox, tmp_path: Path) -> None:
        base = {"mypy.ini": "[mypy]\n", "a.py": "X: int = 'a'\n", "b.py": "Y: int = 1\n"}
        same = self.run(box, tmp_path / "1", {"a.py": "\n\nX: int = 'a'\n"}, base)["types"]
        assert (same.outcome, "1 known" in same.detail) == ("pass", True)
        worse = self.run(box, tmp_path / "2", {"b.py": "Y: int = 'b'\n"}, base)["types"]
        assert worse.outcome == "fail"
        assert worse.detail.startswith("b.py:1: Incompatible types in assignment")

    def test_nothing_of_the_change_is_executed_by_inspection(self, box: Sandbox, tmp_path: Path) -> None:
        found = self.run(box, tmp_path, {"pk/__init__.py": "open('executed', 'w')\n", "json.py": "open('executed', 'w')\n"})
        assert [found[name].outcome for name in ("syntax", "lint", "imports")] == ["pass"] * 3
        assert not (tmp_path / "head/executed").exists()

    def test_links_are_not_read(self, box: Sandbox, tmp_path: Path) -> None:
        before = put(tmp_path / "base", {"a.py": ""})
        after = put(tmp_path / "head", {"a.py": ""})
        (after / "b.json").symlink_to("/etc/passwd")
        found = look(box, before).checks(box, after, before, ["b.json", "gone.py"])
        assert [check.outcome for check in found] == ["neutral"] * 5


SUITE = """
import pytest

def test_ok(): pass

@pytest.mark.parametrize("n", [1, 2])
def test_p(n): assert n == 1

class TestC:
    def test_m(self): raise ValueError(f"at {id(self):#x} line 12")

@pytest.fixture
def bad(): raise RuntimeError("no")

def test_e(bad): pass

@pytest.mark.skip(reason="later")
def test_s(): pass

@pytest.mark.xfail
def test_x(): assert False
"""


class TestPytest:
    def test_cases_have_stable_ids_and_signatures(self, box: Sandbox, tmp_path: Path) -> None:
        report = suite(box, tmp_path / "t", {"tests/test_a.py": SUITE})
        assert (report.outcome, report.collected, report.exit) == ("fail", 7, 1)
        assert {case.id.partition("::")[2]: case.outcome for case in report.cases} == {
            "test_ok": "passed",
            "test_p[1]": "passed",
            "test_p[2]": "failed",
            "TestC::test_m": "failed",
            "test_e": "error",
            "test_s": "skipped",
            "test_x": "skipped",
        }
        again = look(box, tmp_path / "t").run_tests(box, tmp_path / "t")
        assert [(case.id, case.signature) for case in again.cases] == [(case.id, case.signature) for case in report.cases]
        assert {case.signature for case in report.failing} >= {"ValueError: at NxN line N", "assert N == N"}

    def test_an_id_selects_its_test(self, box: Sandbox, tmp_path: Path) -> None:
        report = suite(
            box, tmp_path / "t", {"tests/test_a.py": SUITE}, selection=("tests/test_a.py::test_p[1]", "tests/test_a.py::test_ok")
        )
        assert (report.outcome, report.collected) == ("pass", 2)

    @pytest.mark.parametrize(
        ("body", "outcome", "said"),
        [
            ("def test_a(): pass", "pass", "1 of 1"),
            ("x = 1", "neutral", "no tests"),
            ("import pytest\n@pytest.mark.skip\ndef test_a(): pass", "neutral", "skipped"),
            ("import nope\ndef test_a(): pass", "error", "collecting"),
            ("def test_a(:", "error", "collecting"),
            ("import os\ndef test_a(): os._exit(0)", "error", "no report"),
            ("import os\ndef test_a(): os._exit(1)", "error", "no report"),
            ("import os\ndef test_a(): os.kill(os.getpid(), 11)", "error", "signal 11"),
            ("import sys\ndef test_a(): sys.exit(0)", "fail", "1 of 1"),
            ("import time\ndef test_a(): time.sleep(60)", "error", "stopped after"),
            ("import os\ndef test_a():\n while True: os.write(2, b'x' * 65536)", "error", "writing output without end"),
            ("import atexit, os\natexit.register(lambda: os._exit(0))\ndef test_a(): assert 0", "error", "failing"),
            (
                "import atexit\natexit.register(lambda: open('/out/junit.xml','w').write('<x>'))\ndef test_a(): pass",
                "error",
                "cannot be read",
            ),
            (
                "import atexit, os\nr = '/out/junit.xml'\n"
                "atexit.register(lambda: (os.unlink(r), os.symlink('/etc/passwd', r)))\n"
                "def test_a(): pass",
                "error",
                "no report",
            ),
        ],
    )
    def test_only_a_pass_is_a_pass(self, box: Sandbox, tmp_path: Path, body: str, outcome: str, said: str) -> None:
        slow = "sleep" in body
        files = {"pytest.ini": "[pytest]\naddopts = -s\n", "test_a.py": body + "\n"}
        report = suite(box, tmp_path / "t", files, seconds=3.0 if slow else 60.0)
        assert (report.outcome, report.timed_out) == (outcome, slow), report
        assert said in report.reason

    def test_broken_options_are_an_error(self, box: Sandbox, tmp_path: Path) -> None:
        report = suite(box, tmp_path / "t", {"pytest.ini": "[pytest]\naddopts = --nope\n", "test_a.py": "def test_a(): pass\n"})
        assert (report.outcome, report.exit) == ("error", 4)

    def test_options_do_not_pass_as_a_selection(self, box: Sandbox, tmp_path: Path) -> None:
        report = suite(box, tmp_path / "t", {"test_a.py": "def test_a(): pass\n"}, selection=("--collect-only", "test_a.py"))
        assert (report.outcome, report.collected) == ("pass", 1)


UNIT = """
import unittest

class A(unittest.TestCase):
    def test_ok(self): pass
    def test_bad(self): self.assertEqual(1, 2)
    def test_err(self): raise KeyError("x")
    @unittest.skip("later")
    def test_skip(self): pass
    @unittest.expectedFailure
    def test_known(self): self.fail()
    def test_sub(self):
        for i in range(3):
            with self.subTest(i=i): self.assertNotEqual(i, 1)
"""


class TestUnittest:
    def test_cases(self, box: Sandbox, tmp_path: Path) -> None:
        report = suite(box, tmp_path / "t", {"tests/__init__.py": "", "tests/test_a.py": UNIT})
        assert (report.outcome, report.exit) == ("fail", 1)
        assert {case.id: case.outcome for case in report.cases} == {
            f"tests/test_a.py::A::test_{name}": outcome
            for name, outcome in {
                "ok": "passed",
                "bad": "failed",
                "err": "error",
                "skip": "skipped",
                "known": "passed",
                "sub": "failed",
            }.items()
        }
        one = look(box, tmp_path / "t").run_tests(box, tmp_path / "t", selection=("tests/test_a.py::A::test_ok",))
        assert (one.outcome, one.collected) == ("pass", 1)

    @pytest.mark.parametrize(
        ("body", "outcome", "said"),
        [
            ("import unittest\nclass A(unittest.TestCase):\n def test_a(self): pass", "pass", "1 of 1"),
            ("import unittest", "neutral", "no tests"),
            ("import unittest, nope", "error", "cannot be imported"),
            ("import unittest, os\nclass A(unittest.TestCase):\n def test_a(self): os._exit(0)", "error", "no report"),
            ("import unittest, sys\nsys.exit(0)", "error", "cannot be imported"),
            (
                "import unittest\nclass A(unittest.TestCase):\n @classmethod\n def setUpClass(cls): 1/0\n def test_a(self): pass",
                "fail",
                "1 of 1",
            ),
        ],
    )
    def test_only_a_pass_is_a_pass(self, box: Sandbox, tmp_path: Path, body: str, outcome: str, said: str) -> None:
        report = suite(box, tmp_path / "t", {"test_a.py": body + "\n"})
        assert report.outcome == outcome, report
        assert said in report.reason


class TestReports:
    def test_entities_are_not_expanded(self, tmp_path: Path) -> None:
        bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuites><testcase name="&b;"/></testsuites>'
        (tmp_path / "junit.xml").write_text(bomb)
        assert read(tmp_path) == "the test report cannot be read (DTDForbidden)"

    def test_a_file_that_cannot_be_collected_goes_by_its_path(self, tmp_path: Path) -> None:
        """So that `judge` sees a test of something new fail by its import."""
        row = '<testcase classname="" name="tests.test_a" file="tests/test_a.py"><error message="collection failure"/></testcase>'
        (tmp_path / "junit.xml").write_text(f"<testsuites>{row}</testsuites>")
        cases = read(tmp_path)
        assert not isinstance(cases, str)
        assert [(case.id, case.outcome) for case in cases] == [("tests/test_a.py", "error")]

    def test_only_plain_small_files_are_read(self, tmp_path: Path) -> None:
        assert read(tmp_path) == "the tests left no report"
        os.mkfifo(tmp_path / "junit.xml")
        assert read(tmp_path) == "the tests left no report"
        (tmp_path / "junit.xml").unlink()
        with (tmp_path / "junit.xml").open("wb") as file:
            file.truncate(1 << 30)
        assert read(tmp_path) == "the tests left no report"

    def test_the_worst_of_one_id_counts(self, tmp_path: Path) -> None:
        case = '<testcase file="a.py" classname="a" name="t">'
        rows = f'{case}</testcase>{case}<error message="e"/></testcase>'
        (tmp_path / "junit.xml").write_text(f"<testsuites>{rows}</testsuites>")
        found = read(tmp_path)
        assert isinstance(found, tuple)
        assert [(case.id, case.outcome) for case in found] == [("a.py::t", "error")]

    def test_signature(self) -> None:
        assert signature("\nKeyError: 0x7f12ab in /tmp/x-17/run.py after 3.5 s\nmore") == "KeyError: NxN in run.py after N.N s"
