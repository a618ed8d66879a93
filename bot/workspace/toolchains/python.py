"""The Python toolchain: what the tree is, which interpreter runs it, its checks and its tests, all in the sandbox."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bot.core.errors import SetupError
from bot.core.reports import Check, Profile, Ran, TestCase, TestOutcome, TestReport
from bot.workspace.sandbox import OUTPUT_BYTES, Sandbox, own_interpreter
from bot.workspace.tiers import OUT
from bot.workspace.toolchains import checks, inside, interpreters, junit, profile
from bot.workspace.toolchains.interpreters import Interpreter, Wanted
from bot.workspace.toolchains.reading import read_plain

CHECK_SECONDS = 120.0
TEST_SECONDS = 180.0
TOOL_OUTPUT = 8 * 1024 * 1024
TEXT = 20_000

PYTEST_PASSED, PYTEST_FAILED, PYTEST_NO_TESTS = 0, 1, 5
PYTEST_EXITS = {
    2: "collecting the tests failed",
    3: "pytest broke",
    4: "pytest was called wrongly or its configuration is broken",
}
UNITTEST_EXITS = {2: "a test file cannot be imported"}


@dataclass(frozen=True, slots=True)
class Toolchain:
    """How to check a copy of the tree. `at` is where copies appear in the sandbox: the checkout's own path."""

    profile: Profile
    at: str
    interpreter: Interpreter | None
    types_why_not: str = ""
    types_named: bool = False

    def checks(
        self, box: Sandbox, head: Path, base: Path, changed: Sequence[str], *, seconds: float = CHECK_SECONDS
    ) -> tuple[Check, ...]:
        """The mechanical checks on two materialised copies; `changed` are the paths that differ. Time is per command."""
        pair = checks.Pair(
            head, base, tuple(name for name in changed if (head / name).is_file() and not (head / name).is_symlink())
        )
        first = checks.manifests(pair, self.profile.manifests)
        if self.interpreter is None:
            why = "not a Python tree" if self.profile.language != "python" else "no interpreter"
            return (first, *(Check(name, "neutral", why) for name in ("syntax", "lint", "types", "imports")))

        def run(folder: Path, argv: Sequence[str], job: Mapping[str, Any] | None = None) -> tuple[Ran, Any]:
            with self._out(box) as out:
                if job is not None:
                    (out / "job.json").write_text(json.dumps(job))
                ran = self._run(box, folder, argv, seconds, out, TOOL_OUTPUT)
                ran = replace(ran, text=ran.text.replace(f"{self.at}/", ""))
                return ran, _json(read_plain(out, "answer.json", TOOL_OUTPUT))

        python = str(self.interpreter.python)
        syntax, imports = checks.syntax_and_imports(pair, run, python, inside.INSPECT, self.profile.source_roots)
        lint = checks.lint(pair, run, self.profile.lint)
        return first, syntax, lint, checks.types(pair, run, python, self.types_why_not, self.types_named), imports

    def run_tests(
        self, box: Sandbox, folder: Path, *, selection: tuple[str, ...] = (), seconds: float = TEST_SECONDS
    ) -> TestReport:
        """Run all tests of a copy, or `selection` (files or ids). The exit code decides, the report only details."""
        if self.profile.test_runner is None or self.interpreter is None:
            return TestReport("neutral", (), 0, f"not verified: {'; '.join(self.profile.reasons[-3:]) or 'no tests here'}")
        argv = self._test_command(selection)
        with self._out(box) as out:
            ran = self._run(box, folder, argv, seconds, out, OUTPUT_BYTES)
            cases = junit.read(out)
        shown = tuple("(Ostler's unittest runner)" if word == inside.UNITTEST else word for word in argv)
        return verdict(self.profile.test_runner, ran, cases, shown)

    def _test_command(self, selection: tuple[str, ...]) -> tuple[str, ...]:
        python = str(self.interpreter.python) if self.interpreter else ""
        chosen = tuple(item for item in selection if not item.startswith("-"))
        if self.profile.test_runner == "unittest":
            return (python, "-c", inside.UNITTEST, f"{OUT}/junit.xml", *(chosen or self.profile.test_paths))
        return (
            python,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-o",
            "junit_family=xunit1",
            f"--junitxml={OUT}/junit.xml",
            *chosen,
        )

    def _run(self, box: Sandbox, folder: Path, argv: Sequence[str], seconds: float, out: Path, output_bytes: int) -> Ran:
        if self.interpreter is None:
            raise SetupError("there is no interpreter to run this with")
        roots = [self.at if root == "." else f"{self.at}/{root}" for root in self.profile.source_roots]
        env = {"PATH": self.interpreter.path, "PYTHONPATH": ":".join(roots)}
        readonly = (*self.interpreter.readonly, *own_interpreter())
        return box.run(
            argv, work=folder, at=self.at, readonly=readonly, env=env, seconds=seconds, output_bytes=output_bytes, out=out
        )

    @staticmethod
    @contextmanager
    def _out(box: Sandbox) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=box.scratch.folder, prefix="out-") as made:
            yield Path(made)


def detect(
    tree: Path,
    files: Sequence[str],
    checkout_root: Path,
    *,
    box: Sandbox,
    setting: str = "",
    virtual_env: str = "",
    path: str = "",
    known: str = "",
) -> Toolchain:
    """Look at a tree (`files` as git lists them) and choose how to check it. `setting`, `virtual_env` and `path` are the
    configured interpreter, $VIRTUAL_ENV and $PATH. Raises SetupError when no interpreter can run the tests."""
    facts = profile.Facts.read(tree, files)
    manifests = tuple(name for name in profile.MANIFESTS if name in facts.files)
    at = str(checkout_root.absolute())
    if not any(name.endswith(".py") for name in files):
        found = Profile(
            "other",
            "",
            None,
            (),
            (".",),
            False,
            "not a Python tree",
            False,
            "not a Python tree",
            manifests,
            ("no Python toolchain, because there is no .py file",),
        )
        return Toolchain(found, at, None, "not a Python tree")
    runner, runner_why = profile.test_runner(facts)
    wanted = Wanted(("pytest",) if runner == "pytest" else (), profile.requires_python(facts))
    chosen, said = interpreters.choose(
        box, checkout_root.absolute(), wanted, setting=setting, virtual_env=virtual_env, path=path, known=known
    )
    test_paths, paths_why = profile.test_paths(facts)
    lint, lint_why = profile.lint(facts)
    types, types_why = profile.types(facts)
    why_not = "" if types else types_why
    if types and not interpreters.has_module(box, chosen, "mypy"):
        types, why_not = False, f"{types_why}, but {chosen.python} has no mypy"
    types_why = why_not or types_why
    found = Profile(
        "python",
        str(chosen.python),
        runner,
        test_paths,
        profile.source_roots(facts),
        lint,
        lint_why,
        types,
        types_why,
        manifests,
        (runner_why, paths_why, *said),
    )
    return Toolchain(found, at, chosen, why_not, profile.types_named(facts))


def verdict(runner: str, ran: Ran, cases: tuple[TestCase, ...] | str, argv: tuple[str, ...]) -> TestReport:
    """What a test run says. Nothing but exit 0 with a report that agrees is a pass."""
    found = () if isinstance(cases, str) else cases
    outcome, reason = _judge(runner, ran, cases)
    return TestReport(outcome, found, len(found), reason, argv, ran.exit, ran.seconds, ran.timed_out, ran.text[-TEXT:])


def _judge(runner: str, ran: Ran, cases: tuple[TestCase, ...] | str) -> tuple[TestOutcome, str]:
    if not ran.ended:
        return "error", f"the tests did not end by themselves: {ran.how}"
    if ran.exit == PYTEST_NO_TESTS:
        return "neutral", "not verified: no tests ran"
    exits = PYTEST_EXITS if runner == "pytest" else UNITTEST_EXITS
    if ran.exit not in (PYTEST_PASSED, PYTEST_FAILED):
        return "error", f"{exits.get(ran.exit or 0, f'{runner} ended in an unknown way')} (exit {ran.exit})"
    if isinstance(cases, str):
        return "error", f"exit {ran.exit}, but {cases}"
    return _count(ran.exit == PYTEST_PASSED, cases)


def _count(passed: bool, cases: tuple[TestCase, ...]) -> tuple[TestOutcome, str]:
    bad = sum(case.outcome in ("failed", "error") for case in cases)
    good = sum(case.outcome == "passed" for case in cases)
    if not passed:
        return "fail", f"{bad} of {len(cases)} tests fail" if bad else "exit 1 with no failing test in the report"
    if bad:
        return "error", f"exit 0, but the report holds {bad} failing tests"
    if not good:
        return (
            "neutral",
            f"not verified: all {len(cases)} tests were skipped" if cases else "not verified: the report holds no tests",
        )
    return "pass", f"{good} of {len(cases)} tests pass, none fails"


def _json(data: bytes | None) -> Any:
    try:
        return json.loads(data) if data is not None else None
    except (ValueError, RecursionError):
        return None
