"""Mechanical fixers: tools that answer a ticket without a model, with their own before and after as the evidence.

They run in the sandbox on the run's tree, as `python -I -m tool` from Ostler's own installation and with the
repository's own configuration, so that a configuration that reads files elsewhere finds nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bot.core.changeset import decoded
from bot.core.errors import BadInput, SetupError
from bot.core.follow_up import SUGGESTION, suggested
from bot.core.policy import PUT_BACK
from bot.core.reports import FixerReport, Ran
from bot.workspace.files import Beneath
from bot.workspace.git import Worktree
from bot.workspace.merging import revert
from bot.workspace.sandbox import Sandbox, own_interpreter
from bot.workspace.sweep import remove
from bot.workspace.toolchains.python_checks import ruff_rows

AT = "/work/tree"
MODULES = {"codespell": "codespell_lib"}
SECONDS = 300.0
OUTPUT_BYTES = 32 * 1024 * 1024
RULE = re.compile(r"[A-Z]{1,5}\d{0,4}")
VERSION = re.compile(r"3\.(\d{1,2})")
MISSPELLED = re.compile(r"^.+:\d+: .+ ==> .+$", re.MULTILINE)
WOULD_FORMAT = re.compile(r"^(\d+) files? would be reformatted", re.MULTILINE)
REWRITING = re.compile(r"^Rewriting ", re.MULTILINE)
PER_CALL = 500
ROUNDS = 4
# What is generated or not prose; a repository adds its own in [tool.codespell].
NOT_SPELLED = "*.lock,*-lock.json,*-lock.yaml,*.min.js,*.min.css,*.map,*.svg,*.po,*.ipynb,*.csv,*.pem"


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a fixer works."""

    box: Sandbox
    worktree: Worktree
    at: str

    def run(self, tool: str, *args: str, ok: tuple[int, ...] = (0,)) -> Ran:
        """Run one of our tools in the tree. Raises SetupError when it doesn't end with an exit code in `ok`."""
        argv = (sys.executable, "-I", "-m", MODULES.get(tool, tool), *args)
        ran = self.box.run(
            argv, work=self.worktree.tree, at=self.at, readonly=own_interpreter(), seconds=SECONDS, output_bytes=OUTPUT_BYTES
        )
        if not ran.ended or ran.exit not in ok:
            last = (ran.text.strip().splitlines() or [""])[-1][:300]
            raise SetupError(f"{tool} cannot run on this repository ({ran.how}): {last}; check its configuration")
        return ran


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tool said: its findings before and after, the command that a person would type, and its words."""

    command: tuple[str, ...]
    before: int
    after: int
    detail: str


@dataclass(frozen=True, slots=True)
class Fixer:
    """`title` names it; `answers` says which wish it answers; `run` does it."""

    title: str
    answers: str
    run: Callable[[Bench, tuple[str, ...]], Outcome]


def run_fixer(name: str, args: Sequence[str], worktree: Worktree, box: Sandbox, *, at: str = AT) -> FixerReport:
    """Run a fixer over the whole tree and leave its changes there.

    `at` is the path that the tool sees; give the checkout's own where a configuration may depend on it. Raises BadInput
    for an unknown fixer or argument, SetupError when the tool can't run.
    """
    if name not in FIXERS:
        raise BadInput(f"there is no fixer {name!r}; there are {', '.join(FIXERS)}")
    before = worktree.snapshot()
    with _looks_like_a_checkout(worktree):
        done = FIXERS[name].run(Bench(box, worktree, at), tuple(args))
    changed = tuple(change.path for change in worktree.changes(before, worktree.snapshot()))
    detail = done.detail or f"{done.before} before, {done.after} after, {len(changed)} files changed"
    return FixerReport(name, done.command, done.before, done.after, changed, detail)


@contextmanager
def _looks_like_a_checkout(worktree: Worktree) -> Iterator[None]:
    """Ruff obeys .gitignore only next to a `.git`; an empty folder does, and snapshots never see it."""
    mark = worktree.tree / ".git"
    mark.mkdir(exist_ok=True)
    try:
        yield
    finally:
        if mark.is_dir():
            remove(mark, is_folder=True)


def _ruff(bench: Bench, rules: tuple[str, ...]) -> Outcome:
    if bad := next((rule for rule in rules if not RULE.fullmatch(rule) or rule == "ALL"), None):
        raise BadInput(f"{bad!r} is no ruff rule; name rules such as F401 or families such as UP")
    chosen = ("--select", ",".join(rules)) if rules else ()
    before = _ruff_count(bench, chosen)
    bench.run("ruff", "check", *chosen, "--fix", "--no-cache", "--exit-zero", "--quiet")
    return Outcome(("ruff", "check", *chosen, "--fix"), before, _ruff_count(bench, chosen), "")


def _ruff_count(bench: Bench, chosen: tuple[str, ...]) -> int:
    ran = bench.run("ruff", "check", *chosen, "--no-fix", "--no-cache", "--exit-zero", "--output-format=json")
    rows = ruff_rows(ran)
    if rows is None:
        raise SetupError(f"ruff's report cannot be read: {ran.text.strip()[-300:]}")
    return len(rows)


def _ruff_format(bench: Bench, args: tuple[str, ...]) -> Outcome:
    _no_args("ruff-format", args)
    before = _format_count(bench)
    # Exit 2: some files don't parse and stay as they are; ruff says which.
    said = bench.run("ruff", "format", "--no-cache", ok=(0, 2)).text.strip()
    return Outcome(("ruff", "format"), before, _format_count(bench), said[-1000:])


def _format_count(bench: Bench) -> int:
    ran = bench.run("ruff", "format", "--check", "--no-cache", "--output-format=concise", ok=(0, 1, 2))
    said = WOULD_FORMAT.search(ran.text)
    return int(said[1]) if said else 0


def _pyupgrade(bench: Bench, args: tuple[str, ...]) -> Outcome:
    version = VERSION.fullmatch(args[0]) if len(args) == 1 else None
    if version is None:
        raise BadInput("pyupgrade takes the oldest Python to support, such as 3.11")
    option = f"--py3{version[1]}-plus"
    files = _python_files(bench)
    counts: list[int] = []
    # One rewrite may make room for another: go on until nothing changes.
    while len(counts) < ROUNDS and (not counts or counts[-1]):
        runs = (bench.run("pyupgrade", option, "--exit-zero-even-if-changed", "--", *part) for part in _parts(files))
        counts.append(sum(len(REWRITING.findall(ran.text)) for ran in runs))
    return Outcome(("pyupgrade", option), counts[0], counts[-1], f"{counts[0]} of {len(files)} files had older syntax")


def _python_files(bench: Bench) -> tuple[str, ...]:
    """Tracked Python files, but for those that the repository's ruff configuration leaves out."""
    shown = bench.run("ruff", "check", "--show-files", "--no-cache").text.splitlines()
    included = {line.removeprefix(f"{bench.at}/") for line in shown}
    return tuple(name for name in _tracked(bench) if name.endswith(".py") and name in included)


def _tracked(bench: Bench) -> tuple[str, ...]:
    """Regular files of the tree as it is, no links."""
    tree = bench.worktree.snapshot()
    (bench.worktree.tree / ".git").mkdir(exist_ok=True)
    return tuple(path for path, mode in bench.worktree.modes(tree) if mode.startswith("100"))


def _codespell(bench: Bench, args: tuple[str, ...]) -> Outcome:
    _no_args("codespell", args)
    files = _tracked(bench)
    before = _misspelled(bench, files)
    for part in _parts(files):
        bench.run("codespell", "--write-changes", "--skip", NOT_SPELLED, "--", *part, ok=(0, 65))
    after = _misspelled(bench, files)
    detail = f"{before} misspellings before, {after} after (those left have several possible corrections)" if after else ""
    return Outcome(("codespell", "-w"), before, after, detail)


def _misspelled(bench: Bench, files: tuple[str, ...]) -> int:
    runs = (bench.run("codespell", "--skip", NOT_SPELLED, "--", *part, ok=(0, 65)) for part in _parts(files))
    return sum(len(MISSPELLED.findall(ran.text)) for ran in runs)


def _revert(bench: Bench, args: tuple[str, ...]) -> Outcome:
    if len(args) != 1:
        raise BadInput("revert takes one commit id")
    command = ("git", "revert", "--no-commit", args[0])
    tree = revert(bench.worktree, args[0])
    if tree is None:
        return Outcome(command, 1, 1, f"{args[0]} does not come out cleanly: later changes touch the same lines")
    bench.worktree.restore(tree)
    return Outcome(command, 1, 0, f"reverted {args[0]}")


def _suggestion(bench: Bench, args: tuple[str, ...]) -> Outcome:
    path, lines, text = args
    first, _, last = lines.partition("-")
    files, command = Beneath(bench.worktree.tree), (SUGGESTION, path, lines)
    try:
        old = decoded(files.read(path))
    except BadInput as error:
        return Outcome(command, 1, 1, f"{path} is not there: {error}")
    new = suggested(old, int(first), int(last or first), text) if old is not None else None
    if new is None:
        return Outcome(command, 1, 1, f"{path} has no lines {lines}, or is no text")
    files.write(path, new.encode())
    return Outcome(command, 1, 0, f"{path}:{lines} as suggested")


def _put_back(bench: Bench, args: tuple[str, ...]) -> Outcome:
    base, *paths = args
    bench.worktree.restore(bench.worktree.overlay(bench.worktree.snapshot(), base, paths))
    return Outcome((PUT_BACK, *paths), len(paths), 0, f"{', '.join(paths)} as on the base")


def _parts(files: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for at in range(0, len(files), PER_CALL):
        yield files[at : at + PER_CALL]


def _no_args(name: str, args: tuple[str, ...]) -> None:
    if args:
        raise BadInput(f"{name} takes no arguments")


FIXERS: dict[str, Fixer] = {
    "ruff": Fixer(
        "ruff check --fix", "lint errors that ruff fixes safely: unused imports (F401), import order (I), old syntax (UP)", _ruff
    ),
    "ruff-format": Fixer("ruff format", "the layout of the code", _ruff_format),
    "pyupgrade": Fixer("pyupgrade", "syntax older than a given Python", _pyupgrade),
    "codespell": Fixer("codespell -w", "misspelled words with one correction", _codespell),
    "revert": Fixer("git revert", "taking one commit back", _revert),
    PUT_BACK: Fixer("put back", "files that no task of the plan names", _put_back),
    SUGGESTION: Fixer("suggestion", "lines that a review suggests word by word", _suggestion),
}
