"""The Node toolchain on real trees with the real tools: what it detects, what its checks blame, and what counts as a pass."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bot.core.reports import Check, Commands, Stage, TestReport
from bot.workspace.sandbox import Sandbox
from bot.workspace.toolchains import Surroundings, detect
from bot.workspace.toolchains.jestjson import read
from bot.workspace.toolchains.node import NodeToolchain
from tests.node_packages.there import FOLDER, installed_in, needs_packages
from tests.rooms.trees import names, put

OURS = tuple(
    f"bot/workspace/toolchains/{name}.py"
    for name in ("node", "node_checks", "node_profile", "node_runtime", "inside_node", "jestjson")
)
pytestmark = [needs_packages, pytest.mark.sampled(*OURS, of=4)]
NOWHERE = Path("/work/checkout")
AROUND = Surroundings(env={"PATH": os.environ.get("PATH", "")})


def package(**fields: Any) -> str:
    return json.dumps({"name": "pk", "version": "1.0.0", "type": "module", **fields})


def script(text: str, *depends: str) -> dict[str, str]:
    return {"package.json": package(scripts={"test": text}, devDependencies=dict.fromkeys(depends, "*"))}


def look(box: Sandbox, root: Path, checkout: Path = FOLDER, **commands: Any) -> NodeToolchain:
    found = detect(root, names(root), checkout, box=box, commands=Commands(**commands), around=AROUND)
    assert isinstance(found, NodeToolchain)
    return found


def suite(
    box: Sandbox,
    root: Path,
    files: Mapping[str, str],
    *,
    seconds: float = 60.0,
    selection: tuple[str, ...] = (),
    related: tuple[str, ...] = (),
) -> TestReport:
    put(root, files)
    return look(box, root).run_tests(box, root, seconds=seconds, selection=selection, related=related)


RUNNERS = {"vitest": ("vitest run", "vitest"), "jest": ("jest", "jest"), "node": ("node --test", "node")}
HEADS = {
    "vitest": 'import { describe, expect, test } from "vitest";\n',
    "jest": "",
    "node": 'import { describe, test } from "node:test";\nimport assert from "node:assert/strict";\n'
    "const expect = (got) => ({ toBe: (wanted) => assert.equal(got, wanted) });\n",
}


def written(runner: str, body: str, **files: str) -> dict[str, str]:
    """A tree whose one test file holds `body`; jest takes CommonJS."""
    text, depends = RUNNERS[runner]
    made = script(text, depends)
    if runner == "jest":
        made["package.json"] = made["package.json"].replace('"module"', '"commonjs"')
        body = body.replace("import { add } from", "const { add } = require(").replace('add.js";', 'add.js");')
    return {**made, "a.test.js": HEADS[runner] + body, **files}


class TestDetect:
    def test_the_script_names_the_runner_and_the_stages_say_what_runs(self, box: Sandbox, tmp_path: Path) -> None:
        put(
            tmp_path,
            {
                **script("tsc -p . && vitest run --coverage --config vitest.unit.ts", "vitest"),
                "package-lock.json": "{}",
                "tsconfig.json": "{}",
                ".prettierrc": "{}",
                "src/a.ts": "export const a = 1;\n",
            },
        )
        profile = look(box, tmp_path).profile
        assert (profile.language, profile.test_runner) == ("node", "vitest")
        stages = {stage.name: stage for stage in profile.stages}
        assert stages["tests"].command.startswith("tsc -p . && ")
        assert "vitest.mjs run --config vitest.unit.ts --passWithNoTests" in stages["tests"].command
        assert "--coverage" not in stages["tests"].command
        assert "because the script test in package.json is" in stages["tests"].reason
        assert "tsc as tsconfig.json configures it" in stages["types"].reason
        assert stages["lint"] == Stage("lint", "", "the repository does not configure eslint")
        assert stages["format"].command.endswith("--no-color --list-different --ignore-unknown --")
        assert profile.languages[0] == "node, because there are package.json and 1 source file"
        assert any(reason.startswith("npm, because there is package-lock.json") for reason in profile.reasons)

    @pytest.mark.parametrize(
        ("text", "depends", "runner", "said"),
        [
            ("npm run test:unit", "jest", "jest", "the script test:unit"),
            ("cross-env A=1 jest --watchAll", "jest", "jest", "jest"),
            ("node --experimental-vm-modules node_modules/jest/bin/jest.js", "jest", "jest", "--experimental-vm-modules"),
            ("node --import ./setup.js --test 'test/*.js'", "x", "node", "--import ./setup.js 'test/*.js'"),
            ("mocha", "mocha", "command", "no results by test"),
            ("vitest run | tee log", "vitest", "command", "no results by test"),
            ('echo "Error: no test specified" && exit 1', "vitest", "vitest", "depends on it"),
            ('echo "Error: no test specified" && exit 1', "x", None, "neither vitest nor jest"),
        ],
    )
    def test_scripts(self, box: Sandbox, tmp_path: Path, text: str, depends: str, runner: str | None, said: str) -> None:
        scripts = {"test": text, "test:unit": "jest --verbose"}
        put(tmp_path, {"package.json": package(scripts=scripts, devDependencies={depends: "*"}), "a.js": ""})
        profile = look(box, tmp_path).profile
        stage = profile.stage("tests")
        assert stage is not None
        assert (profile.test_runner, said in f"{stage.command} {stage.reason}") == (runner, True), stage

    def test_without_packages_nothing_is_verified_and_the_command_is_named(self, box: Sandbox, tmp_path: Path) -> None:
        put(tmp_path, {**script("vitest run", "vitest"), "pnpm-lock.yaml": "lockfileVersion: '9.0'\n", "a.js": ""})
        found = look(box, tmp_path, NOWHERE)
        report = found.run_tests(box, tmp_path)
        assert report.outcome == "neutral"
        assert "vitest is not installed" in report.reason
        assert any("`pnpm install --frozen-lockfile` would install" in reason for reason in found.profile.reasons)
        told = look(box, tmp_path, NOWHERE, install="just deps")
        assert any("`just deps` would install" in reason for reason in told.profile.reasons)

    def test_without_node_nothing_is_verified(self, box: Sandbox, tmp_path: Path) -> None:
        put(tmp_path, {**script("node --test", "x"), "a.test.js": ""})
        found = detect(tmp_path, names(tmp_path), FOLDER, box=box, around=Surroundings(env={"PATH": str(tmp_path)}))
        assert found.run_tests(box, tmp_path).outcome == "neutral"
        done = found.checks(box, tmp_path, tmp_path, ["a.test.js", "package.json"])
        assert {check.outcome for check in done if check.name != "manifests"} == {"neutral"}
        assert "no node on PATH" in done[1].detail

    def test_a_planted_node_is_not_shown(self, box: Sandbox, tmp_path: Path) -> None:
        fake = tmp_path / "home/bin/node"
        fake.parent.mkdir(parents=True)
        fake.write_bytes(b"\x7fELF")
        fake.chmod(0o755)
        tree = put(tmp_path / "tree", script("node --test"))
        around = Surroundings(env={"PATH": str(fake.parent)})
        found = detect(tree, names(tree), FOLDER, box=box, around=around)
        assert found.place.readonly == ()
        assert any("is not an installation of Node" in reason for reason in found.profile.reasons)

    def test_linked_packages_are_not_followed(self, box: Sandbox, tmp_path: Path) -> None:
        tree = put(tmp_path / "tree", script("vitest run", "vitest"))
        checkout = put(tmp_path / "checkout", {})
        (checkout / "node_modules").symlink_to(FOLDER / "node_modules")
        found = look(box, tree, checkout)
        assert (found.profile.test_runner, found.place.overlay) == (None, ())
        assert any("node_modules is a link" in reason for reason in found.profile.reasons)

    def test_a_configured_command_stands_instead(self, box: Sandbox, tmp_path: Path) -> None:
        put(tmp_path, {**script("vitest run", "vitest"), "a.js": "", "b.sh": "echo done\n"})
        found = look(box, tmp_path, tests="sh b.sh", lint="test ! -e bad", build="test -e b.sh")
        assert found.profile.test_runner == "command"
        report = found.run_tests(box, tmp_path)
        assert (report.outcome, [case.id for case in report.cases]) == ("pass", ["sh b.sh"])
        base = put(tmp_path / "base", {"a.js": "", "b.sh": ""})
        head = put(tmp_path / "head", {"a.js": "", "bad": ""})
        done = {check.name: check for check in found.checks(box, head, base, ["bad", "b.sh"])}
        assert (done["lint"].outcome, done["build"].outcome) == ("fail", "fail")
        same = {check.name: check for check in found.checks(box, head, head, ["bad"])}
        assert (same["lint"].outcome, same["build"].outcome) == ("neutral", "neutral")


class TestChecks:
    BASE: Mapping[str, str] = {
        "package.json": package(devDependencies={"vitest": "3"}),
        "tsconfig.json": '{ "compilerOptions": { "strict": true, "module": "nodenext", "skipLibCheck": true, "types": [] } }',
        "eslint.config.js": 'export default [{ rules: { "no-undef": "error" } }];\n',
        ".prettierrc": "{}",
        "src/add.ts": "export const add = (a: number, b: number): number => a + b;\n",
        "old.js": "export const o = undefinedThing\n",
    }

    def run(self, box: Sandbox, tmp_path: Path, head: Mapping[str, str], base: Mapping[str, str] = BASE) -> dict[str, Check]:
        before = put(tmp_path / "base", base)
        after = put(tmp_path / "head", {**base, **head})
        return {check.name: check for check in look(box, before).checks(box, after, before, tuple(head))}

    def test_a_good_change_passes_and_old_sins_are_not_blamed(self, box: Sandbox, tmp_path: Path) -> None:
        found = self.run(box, tmp_path, {"old.js": "export const o = undefinedThing\nexport const p = 1\n"})
        stages = ("manifests", "syntax", "types", "lint", "format", "imports")
        assert {name: check.outcome for name, check in found.items()} == dict.fromkeys(stages, "pass")
        assert "1 known" in found["lint"].detail

    def test_each_defect_fails_its_own_check(self, box: Sandbox, tmp_path: Path) -> None:
        found = self.run(
            box,
            tmp_path,
            {
                "src/bad.ts": "export const = 1;\n",
                "src/lost.js": 'import fs from "node:fs";\nimport { x } from "./gone.js";\nimport "vitest";\n'
                'import "not-there";\n'
                "export default [fs, x, other];\n",
                "src/wide.js": "export const a   =   1;\n",
                "data.json": "{",
            },
        )
        assert found["syntax"].detail.startswith("src/bad.ts: line 1: ")
        assert "src/bad.ts:1: TS1134" in found["types"].detail
        assert "src/lost.js:5: no-undef 'other' is not defined." in found["lint"].detail
        assert found["imports"].detail.splitlines() == ["src/lost.js: ./gone.js", "src/lost.js: not-there"]
        assert "src/wide.js: is not laid out as prettier would" in found["format"].detail
        assert found["manifests"].detail.startswith("data.json: ")
        assert {check.outcome for check in found.values()} == {"fail"}

    def test_types_only_new_errors(self, box: Sandbox, tmp_path: Path) -> None:
        wrong = 'import { add } from "./add.js";\nexport const sum: string = add(1, 2);\n'
        found = self.run(box, tmp_path / "1", {"src/wrong.ts": wrong})["types"]
        assert found.detail == "src/wrong.ts:2: TS2322: Type 'number' is not assignable to type 'string'."
        base = {**self.BASE, "src/wrong.ts": wrong}
        moved = self.run(box, tmp_path / "2", {"src/wrong.ts": f"\n\n{wrong}"}, base)["types"]
        assert (moved.outcome, moved.detail) == ("pass", "1 known findings, nothing new")

    def test_a_broken_configuration_of_the_change_fails(self, box: Sandbox, tmp_path: Path) -> None:
        found = self.run(box, tmp_path, {"eslint.config.js": "throw new Error('no')\n", "src/a.js": "export const a = 1;\n"})
        assert (found["lint"].outcome, "eslint cannot run" in found["lint"].detail) == ("fail", True)

    def test_nothing_of_the_change_is_executed_by_inspection(self, box: Sandbox, tmp_path: Path) -> None:
        base = {"package.json": package()}
        text = 'import fs from "fs";\nfs.writeFileSync("executed", "");\n'
        found = self.run(box, tmp_path, {"a.js": text}, base)
        assert [found[name].outcome for name in ("syntax", "imports")] == ["pass", "pass"]
        assert not (tmp_path / "head/executed").exists()

    @pytest.mark.parametrize(
        ("text", "good"),
        [("const a = require('fs');\nreturn;\n", True), ("export const a = <b>c</b>;\n", True), ("let a = ;\n", False)],
        ids=["commonjs", "jsx", "broken"],
    )
    def test_what_bundlers_take_is_no_defect(self, box: Sandbox, tmp_path: Path, text: str, good: bool) -> None:
        found = self.run(box, tmp_path, {"a.js": text}, {"package.json": package(type="commonjs")})
        assert found["syntax"].outcome == ("pass" if good else "fail"), found["syntax"]

    def test_without_packages_node_itself_parses(self, box: Sandbox, tmp_path: Path) -> None:
        tree = put(
            tmp_path / "tree", {"package.json": package(), "a.js": 'import "./b.js";\nimport "left-pad";\n', "c.js": "let ("}
        )
        base = put(tmp_path / "base", {"package.json": package()})
        done = {check.name: check for check in look(box, tree, NOWHERE).checks(box, tree, base, ["a.js", "c.js"])}
        assert done["syntax"].detail.startswith("c.js: line ")
        assert done["imports"].detail == "a.js: ./b.js"


SUITE = """
describe("sums", () => {
  test("add", () => {});
  test("bad", () => { expect(1).toBe(2); });
  test.skip("later", () => {});
});
test("add", () => {});
"""


@pytest.mark.parametrize("runner", RUNNERS)
class TestRunners:
    def test_cases_have_stable_ids_and_signatures(self, box: Sandbox, tmp_path: Path, runner: str) -> None:
        files = written(runner, SUITE, **{"sub/b.test.js": HEADS[runner] + 'test("other", () => {});\n'})
        report = suite(box, tmp_path, files)
        assert (report.outcome, report.exit) == ("fail", 1), report
        assert {case.id: case.outcome for case in report.cases} == {
            "a.test.js::sums > add": "passed",
            "a.test.js::sums > bad": "failed",
            "a.test.js::sums > later": "skipped",
            "a.test.js::add": "passed",
            "sub/b.test.js::other": "passed",
        }
        again = look(box, tmp_path).run_tests(box, tmp_path)
        assert [(case.id, case.signature) for case in again.cases] == [(case.id, case.signature) for case in report.cases]
        assert report.failing[0].message.endswith(")")
        assert "a.test.js:" in report.failing[0].message or runner == "node"

    def test_a_file_or_an_id_selects_its_file(self, box: Sandbox, tmp_path: Path, runner: str) -> None:
        files = written(runner, SUITE, **{"sub/b.test.js": HEADS[runner] + 'test("other", () => {});\n'})
        report = suite(box, tmp_path, files, selection=("--version", "sub/b.test.js::other"))
        assert (report.outcome, [case.id for case in report.cases]) == ("pass", ["sub/b.test.js::other"]), report

    def test_related_tests_are_those_that_import_the_change(self, box: Sandbox, tmp_path: Path, runner: str) -> None:
        files = written(
            runner,
            'import { add } from "./lib/add.js";\ntest("uses it", () => { expect(add(1, 2)).toBe(3); });\n',
            **{"lib/add.js": "export const add = (a, b) => a + b;\n", "b.test.js": HEADS[runner] + 'test("other", () => {});\n'},
        )
        if runner == "jest":
            files["lib/add.js"] = "module.exports = { add: (a, b) => a + b };\n"
        report = suite(box, tmp_path, files, related=("lib/add.js",))
        assert (report.outcome, [case.id for case in report.cases]) == ("pass", ["a.test.js::uses it"]), report
        found = look(box, tmp_path)
        assert "1 changed file" in found.narrows(["lib/add.js", "README.md"])
        for whole in (["package.json"], ["lib/data.bin"], ["README.md"], ["vitest.config.ts"]):
            assert found.narrows(whole) == ""

    @pytest.mark.parametrize(
        ("body", "outcome", "said"),
        [
            ('test("a", () => {});', "pass", "1 of 1"),
            ('test.skip("a", () => {});', "neutral", "skipped"),
            ('import "./nope.js";\ntest("a", () => {});', "fail", "1 of 1"),
            ("test(", "fail", "1 of 1"),
            ('test("a", () => { for (;;) {} });', "error", "stopped after"),
            ('test("a", () => { process.exit(0); });', "bad", ""),
            ('test("a", () => { process.kill(process.pid, "SIGKILL"); });', "bad", ""),
            ('test("a", () => { throw new Error("no"); });', "fail", "1 of 1"),
        ],
        ids=["good", "skipped", "import", "syntax", "hang", "exit-0", "killed", "throws"],
    )
    def test_only_a_pass_is_a_pass(self, box: Sandbox, tmp_path: Path, runner: str, body: str, outcome: str, said: str) -> None:
        if runner == "jest":
            body = body.replace('import "./nope.js"', 'require("./nope.js")')
        slow = "for (;;)" in body
        report = suite(box, tmp_path, written(runner, body), seconds=6.0 if slow else 60.0)
        assert report.outcome in ((outcome,) if outcome != "bad" else ("fail", "error")), report
        assert report.timed_out == slow
        assert said in report.reason

    def test_a_flood_is_called_a_flood(self, box: Sandbox, tmp_path: Path, runner: str) -> None:
        flood = 'test("a", () => { for (;;) { try { require("fs").writeSync(2, "x".repeat(65536)); } catch {} } });'
        flood = flood if runner == "jest" else flood.replace('require("fs")', "fs")
        body = flood if runner == "jest" else 'import fs from "node:fs";\n' + flood
        report = suite(box, tmp_path, written(runner, body))
        if runner == "node":  # its runner keeps what tests write, and gives up first
            assert report.outcome in ("fail", "error"), report
        else:
            assert report.outcome == "error", report
            assert "writing output without end" in report.reason


class TestSuites:
    def test_a_script_without_results_is_one_test(self, box: Sandbox, tmp_path: Path) -> None:
        files = {**script("node check.mjs"), "check.mjs": "process.exit(Number(process.env.CI !== 'true'));\n"}
        report = suite(box, tmp_path / "a", files)
        assert (report.outcome, [(case.id, case.outcome) for case in report.cases]) == ("pass", [("npm test", "passed")])
        failed = suite(box, tmp_path / "b", {**files, "check.mjs": "console.log('2 is not 3');\nprocess.exit(4);\n"})
        assert (failed.outcome, failed.failing[0].message) == ("fail", "2 is not 3")
        gone = suite(box, tmp_path / "c", script("no-such-tool"))
        assert (gone.outcome, "no-such-tool" in gone.reason) == ("error", True)

    def test_a_broken_step_before_the_tests_is_no_pass(self, box: Sandbox, tmp_path: Path) -> None:
        files = {**script("false && vitest run", "vitest"), "a.test.js": HEADS["vitest"] + 'test("a", () => {});\n'}
        report = suite(box, tmp_path, files)
        assert (report.outcome, "no report" in report.reason) == ("error", True)

    def test_a_configuration_is_loaded_and_caches_are_not_kept(self, box: Sandbox, tmp_path: Path) -> None:
        """Vite writes the configuration that it has bundled, and its results, into node_modules, where the user's may be."""
        config = 'import { defineConfig } from "vitest/config";\nexport default defineConfig({ test: { globals: true } });\n'
        files = {**script("vitest run", "vitest"), "vite.config.ts": config, "a.test.ts": 'test("a", () => {});\n'}
        checkout, root = installed_in(put(tmp_path / "checkout", {})), put(tmp_path / "copy", files)
        results = "node_modules/.vite/vitest/da39a3ee5e6b4b0d3255bfef95601890afd80709/results.json"  # Vitest's own name for them
        put(checkout, {results: "{}", "node_modules/.vite-temp/of.the.user": ""})
        before = sorted(path.name for path in (checkout / "node_modules").rglob("*"))
        report = look(box, root, checkout).run_tests(box, root)
        assert report.outcome == "pass", report
        assert sorted(path.name for path in (checkout / "node_modules").rglob("*")) == before
        assert (checkout / results).read_text() == "{}"

    def test_typescript_needs_a_node_that_runs_it(self, box: Sandbox, tmp_path: Path) -> None:
        put(tmp_path, {**script("node --test a.test.ts"), "a.test.ts": HEADS["node"].replace("(got)", "(got: number)")})
        found = look(box, tmp_path)
        assert found.node is not None
        stage = found.profile.stage("tests")
        assert stage is not None
        if not found.node.typescript:
            assert (found.profile.test_runner, "runs no TypeScript" in stage.reason) == (None, True)
        else:
            assert found.run_tests(box, tmp_path).outcome == "pass"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("<x>", "cannot be read"),
            ("{}", "cannot be read"),
            ('{"testResults": [{"name": 1}]}', "of another form"),
            ('{"testResults": [{"name": "a", "status": "passed", "assertionResults": [3]}]}', "of another form"),
            ("[" * 100_000, "cannot be read"),
        ],
    )
    def test_a_forged_report_is_read_as_what_it_is(self, tmp_path: Path, text: str, said: str) -> None:
        assert read(tmp_path, "/at") == "the tests left no report"
        (tmp_path / "report.json").write_text(text)
        found = read(tmp_path, "/at")
        assert isinstance(found, str)
        assert said in found
