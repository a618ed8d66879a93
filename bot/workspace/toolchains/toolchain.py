"""What every toolchain does: run the stages of verification on two copies, and the tests on one, all in the sandbox.

A language adds what differs: which stages it has, and how its tests are run (`python.py`, `node.py`, `generic.py`). What the
repository's configuration says replaces what was detected.
"""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bot.core.error_classes import patterns
from bot.core.reports import Check, Commands, Profile, Ran, Stage, TestCase, TestOutcome, TestReport
from bot.workspace.sandbox import OUTPUT_BYTES, SAFE_PATH, Sandbox
from bot.workspace.toolchains import suite_reports
from bot.workspace.toolchains.checks import Mender, Pair, RunTool
from bot.workspace.toolchains.commands import commanded
from bot.workspace.toolchains.reading import read_plain

CHECK_SECONDS = 120.0
TEST_SECONDS = 180.0
TOOL_OUTPUT = 8 * 1024 * 1024
TEXT = 20_000
STAGES = ("manifests", "syntax", "types", "lint", "format", "imports", "build", "tests")
"""Names of stages in the order in which they are reported."""
MAKES_OWN = re.compile(r"^g?make(?:\[\d+\])?: .*$", re.MULTILINE)
"""What make says after the program that failed had its say."""
SHELL_CANNOT = (126, 127)
"""What a shell exits with when it cannot start a program."""

MakeChecks = Callable[[], tuple[Check, ...]]


@dataclass(frozen=True, slots=True)
class Place:
    """What commands see beside the copy that they work in, which appears at `at`, the checkout's own path.

    `readonly` and `overlay` are folders of the machine (see `Sandbox.run`); `path` is PATH, `env` what else the sandbox sets, and
    `assigned` are variables of the tools that every command gets.
    """

    at: str
    path: str = SAFE_PATH
    readonly: tuple[Path, ...] = ()
    overlay: tuple[Path, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    assigned: Mapping[str, str] = field(default_factory=dict)

    def run(
        self,
        box: Sandbox,
        folder: Path,
        argv: Sequence[str],
        seconds: float,
        *,
        out: Path | None = None,
        output_bytes: int = OUTPUT_BYTES,
    ) -> Ran:
        given = ("/usr/bin/env", *(f"{name}={value}" for name, value in self.assigned.items())) if self.assigned else ()
        return box.run(
            (*given, *argv),
            work=folder,
            at=self.at,
            readonly=self.readonly,
            overlay=self.overlay,
            env={"PATH": self.path, **self.env},
            seconds=seconds,
            output_bytes=output_bytes,
            out=out,
        )


@dataclass(frozen=True, slots=True)
class Selected:
    """Which tests of a suite run. `items` are files or ids, exactly as the runner names them where they come from a `coverage`
    map; `related` are changed paths whose tests are wanted instead."""

    items: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    coverage: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """The files of `items`, each once; what looks like an option is none."""
        found = (item.partition("::")[0] for item in self.items)
        return tuple(dict.fromkeys(name for name in found if name and not name.startswith("-")))


@dataclass(frozen=True, slots=True)
class Toolchain(ABC):
    """How to check a copy of the tree."""

    profile: Profile
    place: Place
    commands: Commands

    def checks(
        self,
        box: Sandbox,
        head: Path,
        base: Path,
        changed: Sequence[str],
        *,
        seconds: float = CHECK_SECONDS,
        own: Sequence[tuple[str, str]] = (),
        own_seconds: float = TEST_SECONDS,
    ) -> tuple[Check, ...]:
        """The mechanical checks on two materialised copies; `changed` are the paths that differ. Then those of `own`, name and
        command, in their order. Time is per command."""
        pair = Pair(head, base, tuple(name for name in changed if (head / name).is_file() and not (head / name).is_symlink()))
        run, table = partial(self._run_tool, box, seconds), patterns(self.commands.errors)
        made: dict[tuple[str, ...], MakeChecks] = dict(self._checks(pair, run))
        for name in ("types", "lint", "build"):
            if command := getattr(self.commands, name):
                made[name,] = partial(commanded, name, command, pair, run, table)
        done = sorted((check for make in made.values() for check in make()), key=lambda check: STAGES.index(check.name))
        run = partial(self._run_tool, box, own_seconds)
        return (*done, *(check for name, command in own for check in commanded(name, command, pair, run, table)))

    def _run_tool(
        self, box: Sandbox, seconds: float, folder: Path, argv: Sequence[str], job: Mapping[str, Any] | None = None
    ) -> tuple[Ran, Any]:
        """A `RunTool`, once sandbox and time are given."""
        with out_folder(box) as out:
            if job is not None:
                (out / "job.json").write_text(json.dumps(job))
            ran = self.place.run(box, folder, argv, seconds, out=out, output_bytes=TOOL_OUTPUT)
            ran = replace(ran, text=ran.text.replace(f"{self.place.at}/", ""))
            return ran, plain_json(read_plain(out, "answer.json", TOOL_OUTPUT))

    def run_tests(
        self,
        box: Sandbox,
        folder: Path,
        *,
        selection: tuple[str, ...] = (),
        related: tuple[str, ...] = (),
        coverage: bool = False,
        seconds: float = TEST_SECONDS,
    ) -> TestReport:
        """Run all tests of a copy, or `selection` (files or ids; with `coverage` as a map names them), or what `related` paths
        concern as far as `narrows` says so.

        The exit code decides, the report only details.
        """
        if self.commands.tests:
            return self._by_command(box, folder, self.commands.tests, self.commands.tests, seconds)
        if self.profile.test_runner is None:
            return TestReport("neutral", (), 0, f"not verified: {self._why_not('tests')}")
        return self._run_tests(box, folder, Selected(selection, related, coverage), seconds)

    def record(
        self, box: Sandbox, folder: Path, *, selection: tuple[str, ...] = (), seconds: float = TEST_SECONDS
    ) -> tuple[TestReport, bytes | None] | None:
        """Run all tests, or the `selection` that is the suite, and note what each of them ran; None where the runner cannot.

        Answers with the notes that `coverage_map.read_map` reads, as JSON. Where a test fails or the run breaks, it may be the
        recorder that it does not bear.
        """
        return None

    def environment(self) -> str:
        """What of the machine decides how tests end, so that the same tree ends alike where this is alike; empty where that is
        not known."""
        return ""

    def narrows(self, changed: Sequence[str]) -> str:
        """Which tests `related` would leave for `changed`, in a few words; empty where all of them would run."""
        return ""

    def menders(self) -> Mapping[str, Mender]:
        """The tools of the stages that the profile says are mended, by stage."""
        return {}

    @abstractmethod
    def _checks(self, pair: Pair, run: RunTool) -> Iterator[tuple[tuple[str, ...], MakeChecks]]:
        """The names of stages and what makes their checks, called only where no configured command stands instead."""

    @abstractmethod
    def _run_tests(self, box: Sandbox, folder: Path, selected: Selected, seconds: float) -> TestReport:
        """Run the detected runner."""

    def _by_command(self, box: Sandbox, folder: Path, name: str, command: str, seconds: float) -> TestReport:
        """A suite that is a shell command: its results by test where the configuration says where it leaves them."""
        argv, pattern = ("/bin/sh", "-c", command), self.commands.report.removeprefix("./")
        if pattern:
            suite_reports.forget(folder, (pattern,))
        ran = self.place.run(box, folder, argv, seconds)
        if not pattern or not ran.ended or ran.exit in SHELL_CANNOT:
            return whole_suite(name, ran, argv)
        box.reclaim(folder)
        return verdict(ran, suite_reports.junit_files(folder, (pattern,)), argv)

    def _why_not(self, name: str) -> str:
        """Why the stage is not run, as the profile says it."""
        stage = self.profile.stage(name)
        return stage.reason if stage else "nothing checks it"


def configured(profile: Profile, commands: Commands) -> Profile:
    """`profile` with the stages that the configuration sets, all in order."""
    said = {stage.name: stage for stage in profile.stages}
    for name in ("types", "lint", "build", "tests"):
        if command := getattr(commands, name):
            said[name] = Stage(name, command, f"verify.{name} says so")
    if commands.report and "tests" in said:
        said["tests"] = replace(said["tests"], reason=f"{said['tests'].reason}; verify.report says where its results are")
    runner = "command" if commands.tests else profile.test_runner
    mends = tuple(name for name in profile.mends if not getattr(commands, name, ""))
    own = [Stage(name, command, "verify.commands.normal says so") for name, command in commands.normal]
    own += [Stage(name, command, "verify.commands.strict says so, in the CI profile strict") for name, command in commands.strict]
    stages = (*(said[name] for name in STAGES if name in said), *own)
    return replace(profile, test_runner=runner, stages=stages, mends=mends)


@contextmanager
def out_folder(box: Sandbox) -> Iterator[Path]:
    """A folder for /out."""
    with tempfile.TemporaryDirectory(dir=box.scratch.folder, prefix="out-") as made:
        yield Path(made)


def plain_json(data: bytes | None) -> Any:
    """The value that untrusted code wrote as JSON, None where it didn't."""
    try:
        return json.loads(data) if data is not None else None
    except (ValueError, RecursionError):
        return None


def shown(argv: Sequence[str]) -> str:
    """A command as a person would type it."""
    return argv[2] if list(argv[:2]) == ["/bin/sh", "-c"] and len(argv) == 3 else shlex.join(argv)


# --- verdicts ---------------------------------------------------------------------------------------------------------


def report(ran: Ran, outcome: TestOutcome, reason: str, cases: tuple[TestCase, ...], argv: tuple[str, ...]) -> TestReport:
    return TestReport(outcome, cases, len(cases), reason, argv, ran.exit, ran.seconds, ran.timed_out, ran.text[-TEXT:])


def verdict(
    ran: Ran, cases: tuple[TestCase, ...] | str, argv: tuple[str, ...], broken: Mapping[int, str] | None = None
) -> TestReport:
    """What a run of a runner says. Nothing but exit 0 with a report that agrees is a pass.

    `cases` is why there is no report where it is text; `broken` are exit codes that mean more than failing tests.
    """
    found = () if isinstance(cases, str) else cases
    if not ran.ended:
        return report(ran, "error", f"the tests did not end by themselves: {ran.how}", found, argv)
    if ran.exit and ran.exit in (broken or {}):
        return report(ran, "error", f"{(broken or {})[ran.exit]} (exit {ran.exit})", found, argv)
    if isinstance(cases, str):
        return report(ran, "error", f"exit {ran.exit}, but {cases}", (), argv)
    outcome, reason = _count(ran.exit or 0, found)
    return report(ran, outcome, reason, found, argv)


def whole_suite(command: str, ran: Ran, argv: tuple[str, ...]) -> TestReport:
    """A suite without results by test: one test, named after its command. A program that isn't there is no test."""
    if not ran.ended:
        return report(ran, "error", f"the tests did not end by themselves: {ran.how}", (), argv)
    if ran.exit in SHELL_CANNOT:
        return report(ran, "error", f"`{command}` cannot run: {last_line(ran.text) or ran.how}", (), argv)
    if ran.exit == 0:
        return report(ran, "pass", f"`{command}` passes; it gives no results by test", (TestCase(command, "passed"),), argv)
    line = last_line(MAKES_OWN.sub("", ran.text)) or last_line(ran.text)
    return report(ran, "fail", f"`{command}` fails: {ran.how}", (TestCase(command, "failed", ran.how, line[-400:]),), argv)


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def _count(code: int, cases: tuple[TestCase, ...]) -> tuple[TestOutcome, str]:
    bad = sum(case.outcome in ("failed", "error") for case in cases)
    good = sum(case.outcome == "passed" for case in cases)
    if code:
        return (
            ("fail", f"{bad} of {len(cases)} tests fail") if bad else ("error", f"exit {code} with no failing test in the report")
        )
    if bad:
        return "error", f"exit 0, but the report holds {bad} failing tests"
    if not good:
        return "neutral", f"not verified: all {len(cases)} tests were skipped" if cases else "not verified: no tests ran"
    return "pass", f"{good} of {len(cases)} tests pass, none fails"
