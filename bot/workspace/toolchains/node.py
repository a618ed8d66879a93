"""The Node toolchain: JavaScript and TypeScript with the repository's own node_modules; vitest, jest, node --test or its script.

Nothing is installed here: a run has no network. Where packages are missing the profile names the command that installs them.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bot.core.reports import Commands, Profile, Stage, TestReport
from bot.workspace.sandbox import Sandbox
from bot.workspace.tiers import OUT
from bot.workspace.toolchains import inside_node, jestjson, modules, node_checks, node_profile
from bot.workspace.toolchains.checks import Mender, Pair, RunTool, neutral
from bot.workspace.toolchains.manifests import manifests
from bot.workspace.toolchains.node_profile import NodeFacts, Suite
from bot.workspace.toolchains.node_runtime import Node, find
from bot.workspace.toolchains.reading import read_plain
from bot.workspace.toolchains.toolchain import (
    TOOL_OUTPUT,
    MakeChecks,
    Place,
    Selected,
    Toolchain,
    configured,
    out_folder,
    plain_json,
    shown,
    verdict,
)

REPORT = f"{OUT}/report.json"
REPORTER = "reporter.mjs"
PROSE = (".md", ".txt", ".rst")
INSPECT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class NodeToolchain(Toolchain):
    """`tools` are the stages whose tool is configured and installed, each with its argv."""

    node: Node | None
    facts: NodeFacts
    suite: Suite | None
    tools: dict[str, tuple[str, ...]]

    def narrows(self, changed: Sequence[str]) -> str:
        """Only source files say what depends on them: after a change of anything else but prose all tests run."""
        code = [name for name in changed if not name.endswith(PROSE)]
        whole = self.commands.tests or self.suite is None or self.suite.runner == "command" or not self.facts.tests
        if whole or not code:
            return ""
        if not all(name.endswith(modules.SOURCES) and not modules.ALIAS_FILES.search(name) for name in code):
            return ""
        ways = {"vitest": "vitest related", "jest": "jest --findRelatedTests", "node": "relative imports"}
        return f"those that import the {len(code)} changed files, found by {ways[self.suite.runner if self.suite else 'node']}"

    def _checks(self, pair: Pair, run: RunTool) -> Iterator[tuple[tuple[str, ...], MakeChecks]]:
        yield ("manifests",), partial(manifests, pair, self.profile.manifests)
        if self.node is None:
            why = self.profile.reasons[-1]
            yield ("syntax", "imports"), lambda: (*neutral("syntax", why), *neutral("imports", why))
        else:
            inspect = (*self._inspect(), f"{OUT}/job.json", f"{OUT}/answer.json")
            yield ("syntax", "imports"), partial(node_checks.syntax_and_imports, pair, run, inspect, self.facts)
        made = {"types": node_checks.types, "lint": node_checks.lint, "format": node_checks.layout}
        for name, make in made.items():
            if name in self.tools:
                yield (name,), partial(make, pair, run, self.tools[name])
            else:
                yield (name,), partial(neutral, name, self._why_not(name))

    def menders(self) -> Mapping[str, Mender]:
        return node_checks.menders(self.tools)

    def _run_tests(self, box: Sandbox, folder: Path, selected: Selected, seconds: float) -> TestReport:
        if self.suite is None or self.node is None:
            return TestReport("neutral", (), 0, f"not verified: {self._why_not('tests')}")
        if self.suite.runner == "command":
            return self._by_command(box, folder, f"{self.facts.manager or 'npm'} test", self.suite.rest, seconds)
        files, related = selected.files, selected.related if self.narrows(selected.related) else ()
        if related and self.suite.runner == "node":
            files, related = self._related(box, folder, related), ()
            if not files:
                return TestReport("neutral", (), 0, "no test imports what changed")
        argv = ("/bin/sh", "-c", command(self.suite, self.node, self.facts, files, related))
        with out_folder(box) as out:
            (out / REPORTER).write_text(inside_node.REPORTER)
            ran = self.place.run(box, folder, argv, seconds, out=out)
            cases = jestjson.read(out, self.place.at)
        return verdict(ran, cases, argv)

    def _inspect(self) -> tuple[str, ...]:
        program = str(self.node.program) if self.node else ""
        return (program, "--no-warnings", "--experimental-vm-modules", "-e", inside_node.INSPECT)

    def _related(self, box: Sandbox, folder: Path, changed: tuple[str, ...]) -> tuple[str, ...]:
        """The test files that reach a changed file; all of them where the imports cannot be read."""
        here = tuple(path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
        with out_folder(box) as out:
            (out / "job.json").write_text(json.dumps({"files": node_profile.sources(here)}))
            argv = (*self._inspect(), f"{OUT}/job.json", f"{OUT}/answer.json")
            self.place.run(box, folder, argv, INSPECT_SECONDS, out=out)
            answer = plain_json(read_plain(out, "answer.json", TOOL_OUTPUT))
        tests = tuple(name for name in here if node_profile.TEST_FILE.search(name) and "node_modules/" not in name)
        if not isinstance(answer, dict) or not isinstance(answer.get("reaches"), dict):
            return tests
        return modules.related(changed, tests, answer["reaches"])


def command(suite: Suite, node: Node, facts: NodeFacts, files: Sequence[str], related: Sequence[str]) -> str:
    """The shell command of a suite with our report; `files` stand instead of the script's own."""
    given = node_profile.arguments(suite, files=not files and not related)
    chosen = shlex.join(files or related)
    program = shlex.quote(str(node.program))
    report: tuple[str, ...]
    if suite.runner == "vitest":
        report = ("--passWithNoTests", "--reporter=default", "--reporter=json", f"--outputFile.json={REPORT}")
        parts = [program, facts.program("vitest"), "related --run" if related else "run", chosen, given, *report]
    elif suite.runner == "jest":
        mode = "--findRelatedTests" if related else "--runTestsByPath" if files else ""
        report = ("--ci", "--passWithNoTests", "--json", f"--outputFile={REPORT}")
        parts = [program, suite.node, facts.program("jest"), given, *report, mode, chosen]
    else:
        report = ("--test-reporter=spec", "--test-reporter-destination=stdout", f"--test-reporter=file://{OUT}/{REPORTER}")
        typed = _typescript(node, facts, given)
        parts = [program, "--test", *report, f"--test-reporter-destination={REPORT}", typed, given, chosen]
    before = f"{suite.before} && " if suite.before else ""
    return f"{before}{suite.env}{' '.join(part for part in parts if part)}"


def _typescript(node: Node, facts: NodeFacts, given: str) -> str:
    """What lets Node run tests that are written in TypeScript, where the script doesn't say so itself."""
    typed = any(name.endswith((".ts", ".mts", ".cts")) for name in facts.tests)
    if not typed or "import" in given or "loader" in given or "-r " in given or "require" in given:
        return ""
    if node.typescript:
        return "" if node.typescript == "none" else node.typescript
    return "--import tsx" if facts.program("tsx") else ""


def node_toolchain(
    box: Sandbox, facts: NodeFacts, at: Path, commands: Commands, why: tuple[str, ...], path: str
) -> NodeToolchain:
    """Choose how to check a Node tree that is the checkout's at `at`."""
    node, node_why = find(box, path)
    found, nothing = node_profile.suite(facts)
    tools, stages = _tools(node, facts, node_why)
    suite, tests = _tests(node, facts, found, node_why) if found else (None, Stage("tests", "", nothing))
    suite = None if commands.tests else suite
    install = commands.install or facts.install
    reasons = [facts.manager_why]
    if facts.modules_why:
        reasons.append(f"{facts.modules_why}: `{install}` would install the packages")
    reasons.append(node_why)
    known = tuple(name for name in node_profile.MANIFESTS if name in facts.files)
    runner = suite.runner if suite else None
    profile = Profile(
        "node",
        str(node.program) if node else "",
        runner,
        known,
        (*stages, tests),
        tuple(reasons),
        why,
        tuple(node_checks.menders(tools)),
    )
    place = Place(str(at))
    if node:
        place = Place(str(at), f"{at}/node_modules/.bin:{node.path}", node.readonly, tuple(facts.workspaces(at)))
    return NodeToolchain(configured(profile, commands), place, commands, node, facts, suite, tools)


def _tests(node: Node | None, facts: NodeFacts, suite: Suite, node_why: str) -> tuple[Suite | None, Stage]:
    """The suite if it can run here, and its stage."""
    install = f"`{facts.install}` in the checkout would install it"
    if node is None:
        return None, Stage("tests", "", node_why)
    if suite.runner in ("vitest", "jest") and not facts.program(suite.runner):
        return None, Stage(
            "tests", "", f"{suite.why}; but {suite.runner} is not installed: {facts.modules_why or 'no such package'}, {install}"
        )
    if suite.runner == "command":
        return suite, Stage("tests", suite.rest, suite.why)
    text = command(suite, node, facts, (), ())
    typed = suite.runner == "node" and any(name.endswith((".ts", ".mts", ".cts")) for name in facts.tests)
    if typed and not node.typescript and "tsx" not in text and "import" not in suite.rest and "loader" not in suite.rest:
        version = ".".join(str(part) for part in node.version)
        return None, Stage("tests", "", f"{suite.why}; but Node {version} runs no TypeScript and tsx is not installed")
    return suite, Stage("tests", text, suite.why)


def _tools(node: Node | None, facts: NodeFacts, node_why: str) -> tuple[dict[str, tuple[str, ...]], tuple[Stage, ...]]:
    """The tools that the repository configures and has installed, and a stage for each check with the reason."""
    program = str(node.program) if node else "node"
    targets = node_profile.type_targets(facts)
    wanted = (
        ("types", "typescript", "tsc", targets[0] if targets else "", ("--noEmit", "--pretty", "false")),
        (
            "lint",
            "eslint",
            "eslint",
            facts.configured("eslint.config.", ".eslintrc", field="eslintConfig"),
            ("--format=json", "--"),
        ),
        (
            "format",
            "prettier",
            "prettier",
            facts.configured(".prettierrc", "prettier.config.", field="prettier"),
            ("--no-color", "--list-different", "--ignore-unknown", "--"),
        ),
    )
    tools: dict[str, tuple[str, ...]] = {}
    stages = {name: Stage(name, "", "") for name in ("types", "lint", "format")}
    for name, package, tool, where, options in wanted:
        path = facts.program(package, tool)
        if node is None:
            stages[name] = Stage(name, "", node_why)
        elif not where:
            stages[name] = Stage(name, "", f"the repository does not configure {tool}")
        elif not path:
            why = facts.modules_why or "it is not among the packages"
            stages[name] = Stage(name, "", f"{tool} is configured by {where}, but not installed: {why}")
        else:
            tools[name] = (program, path, *options) if name != "types" else _tsc((program, path, *options), targets)
            stages[name] = Stage(name, shown(tools[name]), f"{tool} as {where} configures it")
    parse = Stage("syntax", "", node_why) if node is None else Stage("syntax", f"{program} (parse)", "changed files parse")
    there = "what changed files import is there" if node else node_why
    return tools, (
        Stage("manifests", "", "package.json and the lockfile parse and agree"),
        parse,
        *stages.values(),
        Stage("imports", f"{program} (parse)" if node else "", there),
    )


def _tsc(argv: tuple[str, ...], targets: tuple[str, ...]) -> tuple[str, ...]:
    if len(targets) == 1:
        return (*argv, "-p", targets[0])
    calls = "; ".join(f"{shlex.join((*argv, '-p', target))} || code=$?" for target in targets)
    return ("/bin/sh", "-c", f"code=0; {calls}; exit $code")
