"""Toolchains by a table, on real trees with the tools that are here: make, Cargo, Maven, Go; and what is said where one isn't."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from bot.config.repository import Verify
from bot.core.errors import SetupError
from bot.core.reports import Commands, Ran, TestReport
from bot.workspace.sandbox import Sandbox
from bot.workspace.toolchains import Surroundings, Toolchain, detect
from bot.workspace.toolchains.generic import KINDS
from bot.workspace.toolchains.suite_reports import JUNIT, cargo, forget, go, junit_files
from bot.workspace.variables import VARIABLES
from tests.rooms.trees import names, put

AROUND = Surroundings(env={name: os.environ[name] for name in VARIABLES if name in os.environ})
AT = Path("/work/checkout")


def look(box: Sandbox, root: Path, around: Surroundings = AROUND, **commands: Any) -> Toolchain:
    return detect(root, names(root), AT, box=box, commands=Commands(**commands), around=around)


def suite(
    box: Sandbox, root: Path, files: Mapping[str, str], seconds: float = 60.0, selection: tuple[str, ...] = ()
) -> TestReport:
    put(root, files)
    return look(box, root).run_tests(box, root, seconds=seconds, selection=selection)


def ran(text: str, exit_code: int = 0) -> Ran:
    return Ran(exit_code, None, False, 1.0, text, False)


class TestDetect:
    @pytest.mark.parametrize(
        ("files", "language", "said"),
        [
            ({"go.mod": "module x\n", "a.go": ""}, "go", "go, because there are go.mod and 1 source file"),
            ({"Cargo.toml": "", "src/lib.rs": ""}, "rust", "rust, because there are Cargo.toml"),
            ({"pom.xml": "", "src/A.java": ""}, "java", "maven, because there are pom.xml"),
            ({"build.gradle.kts": "", "src/A.kt": ""}, "java", "gradle, because there are build.gradle.kts"),
            ({"Makefile": "all check: x\n\ttrue\n", "a.c": ""}, "make", "make, because Makefile has the target check"),
            ({"Makefile": "all:\n\ttrue\n"}, "other", "Makefile has no target test or check"),
            ({"Makefile": "TEST := check: test\n"}, "other", "Makefile has no target test or check"),
            ({"README": ""}, "other", "there is no Makefile"),
        ],
    )
    def test_languages(self, box: Sandbox, tmp_path: Path, files: dict[str, str], language: str, said: str) -> None:
        profile = look(box, put(tmp_path, files)).profile
        assert profile.language == language
        assert any(said in reason for reason in profile.why), profile.why

    def test_of_several_languages_the_others_are_named(self, box: Sandbox, tmp_path: Path) -> None:
        put(tmp_path, {"package.json": "{}", "a.js": "", "go.mod": "module x\n", "a.go": "", "b.go": ""})
        reasons = look(box, tmp_path).profile.languages
        assert reasons[0] == "go, because there are go.mod and 2 source files, more than of any other language"
        assert reasons[1].startswith("not node, though there are package.json and 1 source file: `verify.toolchain: node`")

    def test_the_configuration_may_name_another(self, box: Sandbox, tmp_path: Path) -> None:
        put(tmp_path, {"package.json": "{}", "a.js": "", "a.py": "", "b.py": "", "Makefile": "test:\n\ttrue\n"})
        node = look(box, tmp_path, toolchain="node").profile
        assert (node.language, node.languages[0]) == (
            "node",
            "node, because verify.toolchain says so; there are package.json and 1 source file",
        )
        assert node.languages[1] == "not python, though there are .py files and 2 source files"
        make = look(box, tmp_path, toolchain="make")
        assert make.profile.languages[0] == "make, because verify.toolchain says so and Makefile has the target test"
        assert make.run_tests(box, tmp_path).outcome == "pass"
        with pytest.raises(SetupError, match=r"verify\.toolchain is rust, but the root shows python, node, and Makefile has the"):
            look(box, tmp_path, toolchain="rust")

    def test_every_toolchain_can_be_named(self) -> None:
        assert set(get_args(Verify.model_fields["toolchain"].annotation)) == {"", "python", "node", "make", *KINDS}

    @pytest.mark.parametrize("marker", ["go.mod", "Cargo.toml", "pom.xml", "build.gradle"])
    def test_a_missing_tool_verifies_nothing(
        self, box: Sandbox, tmp_path: Path, marker: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bot.workspace.toolchains.generic.TOOLS", "")
        tree = put(tmp_path / "tree", {marker: ""})
        found = look(box, tree, Surroundings(env={"PATH": str(tmp_path)}))
        report = found.run_tests(box, tree)
        assert (report.outcome, found.profile.test_runner) == ("neutral", None)
        assert "is not installed" in report.reason
        checks = found.checks(box, put(tmp_path / "head", {marker: "x"}), tree, [marker])
        assert {check.outcome for check in checks if check.name != "manifests"} == {"neutral"}

    def test_a_command_of_the_configuration_is_the_suite_anywhere(self, box: Sandbox, tmp_path: Path) -> None:
        put(tmp_path, {"README": "", "t.sh": "echo ran; exit 3\n"})
        report = look(box, tmp_path, tests="sh t.sh").run_tests(box, tmp_path)
        assert (report.outcome, report.exit, report.failing[0].id, report.failing[0].message) == ("fail", 3, "sh t.sh", "ran")


class TestCommands:
    CASE = '<testsuite><testcase classname="a" name="{}">{}</testcase></testsuite>'

    @pytest.mark.parametrize(
        ("script", "outcome", "said"),
        [
            ("mkdir out; cat good >out/1.xml", "pass", "1 of 1 tests pass"),
            ("mkdir out; cat good >out/1.xml; cat bad >out/2.xml; exit 1", "fail", "1 of 2 tests fail"),
            ("mkdir out; cat bad >out/2.xml", "error", "the report holds 1 failing tests"),
            ("mkdir out; ln -s ../good out/1.xml", "error", "left no report (out/*.xml)"),
            ("true", "error", "left no report (out/*.xml)"),
            ("mkdir out; cat good >out/1.xml; exec no-such-tool", "error", "cannot run"),
            ("mkdir out; cat good >out/1.xml; kill -9 $$", "error", "signal 9"),
        ],
    )
    def test_a_report_gives_results_by_test(self, box: Sandbox, tmp_path: Path, script: str, outcome: str, said: str) -> None:
        good, bad = self.CASE.format("good", ""), self.CASE.format("bad", '<failure message="no"/>')
        put(tmp_path, {"t.sh": script, "good": good, "bad": bad})
        report = look(box, tmp_path, tests="exec sh t.sh", report="./out/*.xml").run_tests(box, tmp_path)
        assert (report.outcome, said in report.reason) == (outcome, True), report
        stale = put(tmp_path / "stale", {"t.sh": "true", "out/1.xml": good})
        assert look(box, stale, tests="sh t.sh", report="out/*.xml").run_tests(box, stale).outcome == "error"

    def test_findings_in_sarif_are_compared_one_by_one(self, box: Sandbox, tmp_path: Path) -> None:
        def log(*results: str) -> str:
            return (
                'echo warming up >&2; cat <<.\n{\n"version": "2.1.0", "runs": [{"results": ['
                + ",".join(results)
                + "]}]}\n.\nexit 1"
            )

        def row(rule: str, line: int, **more: object) -> str:
            where = {"artifactLocation": {"uri": "a.c"}, "region": {"startLine": line}}
            return json.dumps({"ruleId": rule, "message": {"text": "no"}, "locations": [{"physicalLocation": where}], **more})

        old, note = row("old", 1), row("note", 1, level="note")
        base = put(tmp_path / "base", {"lint.sh": log(old, note)})
        moved = put(tmp_path / "moved", {"lint.sh": log(row("old", 9), note, note, row("x", 1, suppressions=[{}]))})
        worse = put(tmp_path / "worse", {"lint.sh": log(old, row("new", 3))})
        torn = put(tmp_path / "torn", {"lint.sh": 'echo \'{"version": "2.1.0"\'; exit 1'})
        clean = put(tmp_path / "clean", {"lint.sh": "exit 0"})
        found = look(box, base, lint="sh lint.sh")

        def lint(head: Path, before: Path) -> tuple[str, str]:
            (check,) = (check for check in found.checks(box, head, before, ["lint.sh"]) if check.name == "lint")
            return check.outcome, check.detail

        assert lint(worse, base) == ("fail", "a.c:3: new no")
        assert lint(moved, base) == ("pass", "1 known findings, nothing new")
        assert lint(worse, clean) == ("fail", "a.c:1: old no\na.c:3: new no")
        assert lint(torn, base)[0] == "neutral"
        assert lint(torn, clean)[0] == "fail"


class TestMake:
    MAKEFILE = "test:\n\t@sh t.sh\nlint:\n\t@! grep -n bad t.sh\n"

    @pytest.mark.parametrize(
        ("script", "outcome", "said"),
        [
            ("true", "pass", "`make test` passes"),
            ("echo 2 is not 3; exit 1", "fail", "`make test` fails"),
            ("sleep 60", "error", "stopped after"),
            ("yes flood", "error", "writing output without end"),
            ("kill -9 $PPID", "error", "signal 9"),
            ("setsid sleep 61237 & exit 0", "pass", "passes"),
        ],
    )
    def test_only_a_pass_is_a_pass(self, box: Sandbox, tmp_path: Path, script: str, outcome: str, said: str) -> None:
        report = suite(box, tmp_path, {"Makefile": self.MAKEFILE, "t.sh": f"{script}\n"}, 2.0 if script == "sleep 60" else 30.0)
        assert report.outcome == outcome, report
        assert said in report.reason
        commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        assert not any(b"61237" in command for command in commands)

    def test_lint_is_compared_with_the_base_by_its_exit_code(self, box: Sandbox, tmp_path: Path) -> None:
        good = put(tmp_path / "good", {"Makefile": self.MAKEFILE, "t.sh": "true\n"})
        bad = put(tmp_path / "bad", {"Makefile": self.MAKEFILE, "t.sh": "bad\n"})
        found = look(box, good)
        for head, base, outcome in ((good, bad, "pass"), (bad, good, "fail"), (bad, bad, "neutral")):
            assert {check.name: check.outcome for check in found.checks(box, head, base, ["t.sh"])}["lint"] == outcome


RUST = {
    "Cargo.toml": '[package]\nname = "sums"\nversion = "0.1.0"\nedition = "2021"\n',
    "src/lib.rs": "/// ```\n/// assert_eq!(sums::add(0, 0), 0);\n/// ```\npub fn add(a: i32, b: i32) -> i32 { a - b }\n"
    "#[cfg(test)]\nmod tests {\n    #[test]\n    fn adds() { assert_eq!(super::add(2, 3), 5); }\n"
    "    #[test]\n    #[ignore]\n    fn later() {}\n}\n",
    "tests/outer.rs": "#[test]\nfn zero() { assert_eq!(sums::add(2, 0), 2); }\n",
}


def runs(*argv: str) -> bool:
    """Whether a tool is there and works: rustup's `cargo` without a toolchain in this home only says so."""
    return shutil.which(argv[0]) is not None and subprocess.run(argv, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(
    not runs("cargo", "--version"), reason="Cargo is not installed: the Rust toolchain was not tested with the real tool"
)
class TestRust:
    def test_cases_and_checks(self, box: Sandbox, tmp_path: Path) -> None:
        report = suite(box, tmp_path / "a", RUST, 600.0)
        assert (report.outcome, report.exit) == ("fail", 101), report
        assert {case.id: case.outcome for case in report.cases} == {
            "src/lib.rs::tests::adds": "failed",
            "src/lib.rs::tests::later": "skipped",
            "tests/outer.rs::zero": "passed",
            "doc sums::src/lib.rs - add (line 1)": "passed",
        }
        (bad,) = report.failing
        assert bad.message.startswith("assertion `left == right` failed\n(src/lib.rs:8:")
        broken = put(tmp_path / "b", {**RUST, "src/lib.rs": "pub fn add(\n"})
        assert look(box, broken).run_tests(box, broken, seconds=600).outcome == "error"
        good = put(tmp_path / "c", RUST)
        done = {check.name: check for check in look(box, good).checks(box, broken, good, ["src/lib.rs"])}
        assert (done["types"].outcome, "cargo check" in done["types"].detail) == ("fail", True)


GO = {
    "go.mod": "module example.com/sums\n\ngo 1.21\n",
    "sums.go": "package sums\n\nfunc Add(a, b int) int { return a - b }\n",
    "sums_test.go": 'package sums\n\nimport "testing"\n\nfunc TestAdd(t *testing.T) {\n\tif got := Add(2, 3); got != 5 {\n'
    '\t\tt.Errorf("got %d", got)\n\t}\n}\n\nfunc TestLater(t *testing.T) { t.Skip() }\n',
    "deep/zero.go": "package deep\n\nfunc Zero() int { return 0 }\n",
    "deep/zero_test.go": 'package deep\n\nimport "testing"\n\nfunc TestZero(t *testing.T) {\n\tif Zero() != 0 {\n'
    "\t\tt.Fail()\n\t}\n}\n",
}


@pytest.mark.skipif(not runs("go", "version"), reason="Go is not installed: the Go toolchain was not tested with the real tool")
class TestGo:
    def test_cases_and_checks(self, box: Sandbox, tmp_path: Path) -> None:
        report = suite(box, tmp_path / "a", GO, 180.0)
        assert (report.outcome, report.exit) == ("fail", 1), report
        assert [(case.id, case.outcome, case.message) for case in report.cases] == [
            (".::TestAdd", "failed", "sums_test.go:7: got -1"),
            (".::TestLater", "skipped", ""),
            ("deep::TestZero", "passed", ""),
        ]
        narrow = look(box, tmp_path / "a").run_tests(box, tmp_path / "a", selection=("deep/zero_test.go",), seconds=60)
        assert (narrow.outcome, [case.id for case in narrow.cases]) == ("pass", ["deep::TestZero"])
        broken = put(tmp_path / "b", {**GO, "sums.go": "package sums\n\nfunc Add(a, b int) int { return x }\n"})
        found = look(box, broken).run_tests(box, broken, seconds=120)
        assert [(case.id, case.outcome) for case in found.failing] == [(".", "error")]
        good = put(tmp_path / "c", GO)
        done = {check.name: check for check in look(box, good).checks(box, broken, good, ["sums.go"])}
        assert (done["types"].outcome, "undefined: x" in done["types"].detail) == ("fail", True)


class TestReports:
    def test_go(self, tmp_path: Path) -> None:
        """Lines as `go test -json` of Go 1.24 and older writes them."""
        put(tmp_path, {"go.mod": "module example.com/sums\n"})
        text = "\n".join(
            [
                '{"Action":"start","Package":"example.com/sums/calc"}',
                '{"Action":"output","Package":"example.com/sums/calc","Test":"TestAdd","Output":"=== RUN   TestAdd\\n"}',
                '{"Action":"output","Package":"example.com/sums/calc","Test":"TestAdd","Output":"    a_test.go:6: got -1\\n"}',
                '{"Action":"fail","Package":"example.com/sums/calc","Test":"TestAdd","Elapsed":0}',
                '{"Action":"pass","Package":"example.com/sums/calc","Test":"TestZero/sub","Elapsed":0}',
                '{"Action":"skip","Package":"example.com/sums/calc","Test":"TestLater","Elapsed":0}',
                '{"Action":"fail","Package":"example.com/sums/calc","Elapsed":0.1}',
                "# example.com/sums [example.com/sums.test]",
                '{"ImportPath":"example.com/sums [x.test]","Action":"build-output","Output":"./b.go:3:1: undefined: x\\n"}',
                '{"ImportPath":"example.com/sums [x.test]","Action":"build-fail"}',
                '{"Action":"fail","Package":"example.com/sums","Elapsed":0}',
            ]
        )
        cases = go(tmp_path, ran(text, 1), "/at")
        assert not isinstance(cases, str)
        assert [(case.id, case.outcome, case.message) for case in cases] == [
            (".", "error", "./b.go:3:1: undefined: x"),
            ("calc::TestAdd", "failed", "a_test.go:6: got -1"),
            ("calc::TestLater", "skipped", ""),
            ("calc::TestZero/sub", "passed", ""),
        ]

    def test_cargo_without_a_suite_did_not_build(self, tmp_path: Path) -> None:
        assert cargo(tmp_path, ran("error: expected pattern\n", 101), "/at") == "the tests do not build"

    def test_junit_files_of_modules_and_a_committed_one_is_forgotten(self, tmp_path: Path) -> None:
        report = '<testsuite><testcase classname="a.B" name="adds"><failure message="no"/></testcase></testsuite>'
        put(
            tmp_path,
            {"target/surefire-reports/TEST-a.xml": report, "m/build/test-results/test/TEST-b.xml": report, "c.xml": report},
        )
        (tmp_path / "target/surefire-reports/TEST-link.xml").symlink_to("/etc/passwd")
        cases = junit_files(tmp_path, JUNIT)
        assert not isinstance(cases, str)
        assert [(case.id, case.outcome) for case in cases] == [("a.B::adds", "failed")]
        forget(tmp_path, JUNIT)
        assert str(junit_files(tmp_path, JUNIT)).startswith("the tests left no report")
        assert (tmp_path / "c.xml").exists()
