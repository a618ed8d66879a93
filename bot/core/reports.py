"""What the workspace saw, as values: file changes, sandbox probes, checks, test reports, fixer reports.

The core decides on these, so they live here and not in the room that makes them. Everything is frozen and holds
only plain values and tuples, so a report can be journalled, compared and replayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bot.core.error_classes import ErrorRow

Op = Literal["add", "modify", "delete"]
CheckOutcome = Literal["pass", "fail", "neutral"]
CaseOutcome = Literal["passed", "failed", "error", "skipped"]
TestOutcome = Literal["pass", "fail", "neutral", "error"]
TestRunner = Literal["pytest", "unittest", "vitest", "jest", "node", "go", "cargo", "maven", "gradle", "make", "command"]
CiProfile = Literal["normal", "strict"]
Language = Literal["python", "node", "go", "rust", "java", "make", "other"]

NO_BLOB = "0" * 40
NO_MODE = "000000"


@dataclass(frozen=True, slots=True)
class FileChange:
    """One path that differs between two trees.

    Modes are git's six octal digits: 100644, 100755, 120000 (symlink), 160000 (submodule), 000000 (absent). Blobs are
    full ids, forty zeros when absent. `before` and `after` are the raw contents, None when absent or a submodule.
    A rename is a delete and an add.
    """

    path: str
    op: Op
    old_mode: str
    new_mode: str
    old_blob: str
    new_blob: str
    before: bytes | None
    after: bytes | None


@dataclass(frozen=True, slots=True)
class Conflict:
    """A file whose lines both sides of a merge changed: as it was, with the change, and on the branch. A long version is cut; one
    that is not there is empty."""

    path: str
    base: str
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Commit:
    """One line of history. `when` is the author date, ISO 8601 with offset."""

    sha: str
    when: str
    author: str
    subject: str


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing tried from inside the sandbox; `ok` means the wall held."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class SandboxReport:
    """The tier in use and what was tried in it.

    `probes` are those of `tier`; with tier `none` they are those of the last tier that started. `refused` says in one
    sentence per tier why a better one is not used. `advice` is empty when the sandbox is full.
    """

    tier: str
    probes: tuple[Probe, ...]
    advice: str
    refused: tuple[str, ...] = ()

    @property
    def full(self) -> bool:
        """True if a tier is in use and every probe in it passed."""
        return self.tier != "none" and bool(self.probes) and all(probe.ok for probe in self.probes)


@dataclass(frozen=True, slots=True)
class Ran:
    """One command that ran in the sandbox.

    `exit` is None if a signal ended it, and then `signal` is its number. `text` is stdout and stderr as they came,
    cut in the middle when `truncated`. `flooded` means it was stopped for writing without end. `seconds` is wall time.
    """

    exit: int | None
    signal: int | None
    timed_out: bool
    seconds: float
    text: str
    truncated: bool
    flooded: bool = False

    @property
    def ended(self) -> bool:
        """True if the command came to its own end with an exit code."""
        return self.exit is not None and not self.timed_out and not self.flooded

    @property
    def how(self) -> str:
        """How it ended, in words."""
        if self.timed_out:
            return f"stopped after {self.seconds:.0f} s"
        if self.flooded:
            return "stopped for writing output without end"
        if self.signal is not None:
            return f"ended by signal {self.signal}"
        return f"exit {self.exit}"


@dataclass(frozen=True, slots=True)
class Check:
    """One mechanical check. `neutral` means it could not or need not be made, and `detail` says why."""

    name: str
    outcome: CheckOutcome
    detail: str
    command: tuple[str, ...] = ()
    exit: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Trial:
    """An auditor's check on the base and on the result. `neutral` is one that could not run there, and `detail` says why."""

    base: Check
    head: Check


@dataclass(frozen=True, slots=True)
class TestCase:
    """One test. `id` is stable between runs; `signature` is the error line with numbers, addresses and paths removed."""

    __test__: ClassVar[bool] = False

    id: str
    outcome: CaseOutcome
    signature: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class TestReport:
    """One run of the tests.

    `pass` and `fail` are verdicts; `neutral` means nothing was verified (no tests); `error` means the run itself broke
    (collection, crash, time-out, flood, missing report). `reason` says it in one sentence. `left_out` tests did not run because
    the suite takes longer than it may.
    """

    __test__: ClassVar[bool] = False

    outcome: TestOutcome
    cases: tuple[TestCase, ...]
    collected: int
    reason: str
    command: tuple[str, ...] = ()
    exit: int | None = None
    seconds: float = 0.0
    timed_out: bool = False
    output: str = ""
    left_out: int = 0

    @property
    def failing(self) -> tuple[TestCase, ...]:
        """The cases that failed or broke."""
        return tuple(case for case in self.cases if case.outcome in ("failed", "error"))


@dataclass(frozen=True, slots=True)
class Commands:
    """What the repository's configuration says instead of what is detected: shell commands, empty where it says nothing.

    `toolchain` is the one to take. `tests` is a whole suite, `report` a pattern of the JUnit files that it leaves, relative to
    the root. `install` is named to people and never run in the sandbox. `normal` and `strict` are further checks, each a name and
    a command. `errors` say what the repository's own tools mean.
    """

    toolchain: str = ""
    install: str = ""
    build: str = ""
    types: str = ""
    lint: str = ""
    tests: str = ""
    report: str = ""
    normal: tuple[tuple[str, str], ...] = ()
    strict: tuple[tuple[str, str], ...] = ()
    errors: tuple[ErrorRow, ...] = ()

    def of(self, profile: CiProfile) -> tuple[tuple[str, str], ...]:
        """The further checks of a CI profile: strict has those of normal too."""
        return (*self.normal, *self.strict) if profile == "strict" else self.normal


AS_DETECTED = Commands()


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of verification as a person would type it. Without a `command` it isn't run, and `reason` says why."""

    name: str
    command: str
    reason: str


@dataclass(frozen=True, slots=True)
class Profile:
    """What a toolchain found in the tree: what will run, and why.

    `runtime` is the path of the interpreter or tool that runs the tests, empty where there is none, and `reasons` say why this
    one. `languages` say why this toolchain, and why none of the others that the tree shows. `stages` are in the order in which a
    reader looks at them. `mends` are those whose tool can mend what it finds by itself.
    """

    language: Language
    runtime: str
    test_runner: TestRunner | None
    manifests: tuple[str, ...]
    stages: tuple[Stage, ...] = ()
    reasons: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    mends: tuple[str, ...] = ()

    @property
    def why(self) -> tuple[str, ...]:
        return (*self.languages, *self.reasons)

    def stage(self, name: str) -> Stage | None:
        return next((stage for stage in self.stages if stage.name == name), None)


@dataclass(frozen=True, slots=True)
class FixerCall:
    """A mechanical fixer chosen for a ticket, and why."""

    name: str
    args: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class FixerReport:
    """What a fixer found before and after it ran; the counts are its own tool's."""

    fixer: str
    command: tuple[str, ...]
    before: int
    after: int
    files_changed: tuple[str, ...]
    detail: str
