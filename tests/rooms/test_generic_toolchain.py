"""Toolchains by a table, on real trees with the tools that are here: make, Cargo, Maven, Go; and what is said where one isn't."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from bot.core.reports import Commands, Ran, TestReport
from bot.workspace.sandbox import Sandbox
from bot.workspace.toolchains import VARIABLES, Surroundings, Toolchain, detect
from bot.workspace.toolchains.suite_reports import cargo, forget, go, junit_files
from tests.rooms.trees import names, put

AROUND = Surroundings(env={name: os.environ[name] for name in VARIABLES if name in os.environ})
AT = Path("/work/checkout")


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    made = Sandbox(tmp_path_factory.mktemp("box"))
    report = made.probe()
    assert report.full, report.advice
    return made


def look(box: Sandbox, root: Path, around: Surroundings = AROUND, **commands: str) -> Toolchain:
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
        assert any(said in reason for reason in profile.reasons), profile.reasons

    def test_of_several_languages_the_others_are_named(self, box: Sandbox, tmp_path: Path) -> None:
        put(tmp_path, {"package.json": "{}", "a.js": "", "go.mod": "module x\n", "a.go": "", "b.go": ""})
        reasons = look(box, tmp_path).profile.reasons
        assert reasons[0] == "go, because there are go.mod and 2 source files, more than of any other language"
        assert reasons[1].startswith("not node, though there are package.json and 1 source file: verify.tests can name")

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


@pytest.mark.skipif(
    shutil.which("cargo") is None, reason="Cargo is not installed: the Rust toolchain was not tested with the real tool"
)
class TestRust:
    def test_cases_and_checks(self, box: Sandbox, tmp_path: Path) -> None:
        report = suite(box, tmp_path / "a", RUST, 180.0)
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
        assert look(box, broken).run_tests(box, broken, seconds=120).outcome == "error"
        good = put(tmp_path / "c", RUST)
        done = {check.name: check for check in look(box, good).checks(box, broken, good, ["src/lib.rs"])}
        assert (done["types"].outcome, "cargo check" in done["types"].detail) == ("fail", True)


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
        cases = junit_files(tmp_path, ran(""), "/at")
        assert not isinstance(cases, str)
        assert [(case.id, case.outcome) for case in cases] == [("a.B::adds", "failed")]
        forget(tmp_path, ("target/surefire-reports", "build/test-results"))
        assert junit_files(tmp_path, ran(""), "/at") == "the tests left no report"
        assert (tmp_path / "c.xml").exists()
