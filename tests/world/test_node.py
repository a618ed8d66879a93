"""A TypeScript repository from red to green with `ostler run`: its own vitest, tsc and prettier, and a scripted model.

Its packages are those of `make node-packages`; where they or Node are not here these tests are skipped, and say so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.node_packages.there import FOLDER, installed_in, needs_packages
from tests.world.world import ISSUE, Rule, World, a_plan, approves, audits, builds, create, drafts, edit, run_checks, serve

pytestmark = needs_packages

CODE = """/** The sum. */
export function add(left: number, right: number): number {
  return left - right;
}
"""
TESTS = """import { expect, test } from "vitest";
import { add } from "./calc.js";

test("nothing is added", () => {
  expect(add(2, 0)).toBe(2);
});
"""
VERSIONS = json.loads((FOLDER / "package.json").read_text("utf-8"))["devDependencies"] if FOLDER.is_dir() else {}
DEPENDS = {name: VERSIONS.get(name, "") for name in ("vitest", "typescript", "prettier")}
PACKAGE = {"name": "calc", "version": "1.0.0", "private": True, "type": "module", "scripts": {"test": "vitest run"},
           "devDependencies": DEPENDS}  # fmt: skip
SOURCES: Mapping[str, str] = {
    "package.json": json.dumps(PACKAGE, indent=2) + "\n",
    "package-lock.json": json.dumps(
        {"name": "calc", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {**PACKAGE, "devDependencies": DEPENDS}}}
    ),
    "tsconfig.json": '{ "compilerOptions": { "strict": true, "module": "nodenext", "skipLibCheck": true, "types": [] } }\n',
    ".prettierrc": "{}\n",
    ".gitignore": "node_modules/\n",
    "src/calc.ts": CODE,
    "src/calc.test.ts": TESTS,
}
FIX = edit("src/calc.ts", "left - right", "left + right")
PROOF = edit(
    "src/calc.test.ts",
    "  expect(add(2, 0)).toBe(2);\n});\n",
    '  expect(add(2, 0)).toBe(2);\n});\n\ntest("adds", () => {\n  expect(add(2, 3)).toBe(5);\n});\n',
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World.of(tmp_path, SOURCES)
    installed_in(made.repository)
    return made


def script(*turns: str | list[dict[str, object]]) -> list[Rule]:
    plan = a_plan("src/calc.ts", "src/calc.test.ts", "package.json")
    return [drafts(plan), approves(), *builds(*turns), audits(evidence=("src/calc.ts:3",))]


def test_red_to_green(world: World) -> None:
    with serve(script([FIX, PROOF], [run_checks()], "add() adds now.")) as vendors:
        said = world.run(ISSUE, vendors=vendors)
    assert said.code == 0, said.err + said.out
    assert said.result["run_state"] == "DONE_SUCCESS"
    assert world.git("show", f"{said.result['branch']}:src/calc.ts") == CODE.replace("-", "+").strip()
    report = (world.folder(said) / "report.md").read_text("utf-8")
    assert "**Fails before, passes after:**\n\n- `src/calc.test.ts::adds`" in report
    assert "1 of 1 tests pass" in report
    assert "2 of 2 tests pass" in report
    for stage in ("manifests", "syntax", "types", "format", "imports"):
        assert f"| {stage} | pass" in report, report
    assert "| lint | neutral: the repository does not configure eslint" in report
    told = "only those that import the 2 changed files, found by vitest related; all tests run before delivery"
    assert any(told in repr(record.item) for record in world.records(said))
    assert world.git("status", "--porcelain") == ""


def test_what_only_types_and_the_lockfile_show_is_not_delivered(tmp_path: Path) -> None:
    """In a repository without tests, which verify nothing and so hide nothing."""
    bare = {name: value for name, value in PACKAGE.items() if name != "scripts"} | {"devDependencies": {}}
    lock = {"name": "calc", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": bare}}
    files = {name: SOURCES[name] for name in ("tsconfig.json", ".gitignore", "src/calc.ts")}
    world = World.of(tmp_path, {**files, "package.json": json.dumps(bare), "package-lock.json": json.dumps(lock)})
    installed_in(world.repository)
    wrong = edit("src/calc.ts", "  return left - right;\n", "  const sum: string = left + right;\n  return sum as never;\n")
    more = create("package.json", json.dumps({**bare, "dependencies": {"left-pad": "1.3.0"}}, indent=2) + "\n")
    with serve(script([wrong, more], "add() adds now.")) as vendors:
        said = world.run(ISSUE, vendors=vendors)
    assert said.code != 0
    assert said.result["run_state"] != "DONE_SUCCESS"
    assert world.branches() == ["main"]
    report = (world.folder(said) / "report.md").read_text("utf-8")
    assert "TS2322" in report
    assert "package-lock.json: left-pad is missing and in package.json 1.3.0" in report
    assert "not verified: no test runner" in report


def test_what_will_run_is_shown_beforehand(world: World) -> None:
    with serve([]) as vendors:
        said = world.run(ISSUE, "--dry-run", vendors=vendors)
    assert said.code == 0, said.err
    toolchain = said.result["toolchain"]
    assert (toolchain["language"], toolchain["test_runner"]) == ("node", "vitest")
    stages = {stage["name"]: stage for stage in toolchain["stages"]}
    assert "vitest.mjs run" in stages["tests"]["command"]
    assert stages["tests"]["reason"] == "vitest, because the script test in package.json is `vitest run`"
    doctor = world.ostler("doctor", str(world.repository))
    assert "node, because there are package.json" in doctor.out
    assert "vitest.mjs run" in doctor.out
