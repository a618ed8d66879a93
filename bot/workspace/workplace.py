"""Everything a run does to files, in one place: the worktree, the sandbox and the toolchain of one session.

Nothing untrusted ever runs in the worktree but the model's own shell: checks and tests get a copy made from a tree id, so
what was tested is known exactly and what tests leave behind is gone.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bot.core.affected import affected, sampled
from bot.core.answers import AuditCheck
from bot.core.changeset import Changeset
from bot.core.conversation import Message, ToolResult, ToolUse, shortened
from bot.core.diagnosis import Table, diagnose, of_check, of_suite
from bot.core.error_classes import patterns
from bot.core.errors import BugError, PolicyError
from bot.core.events import BaseMoved, RunRequested, WorkspaceReady
from bot.core.flaky import NOT_REPEATED, Repeats, blame, suspects
from bot.core.guidance import Seen, advice, after
from bot.core.policy import is_test, is_test_support, redact, steers_tests
from bot.core.reports import (
    Check,
    CiProfile,
    FileChange,
    FixerCall,
    FixerReport,
    Profile,
    SandboxReport,
    TestReport,
    Trial,
)
from bot.core.run import Run
from bot.core.strategy import Settings
from bot.core.ticket import Ticket
from bot.core.validation import CheckSet, Proof, failing, passing
from bot.workspace import generated
from bot.workspace.checkout import Checkout
from bot.workspace.context import excerpts, guide, listing
from bot.workspace.editor import Editor, Outcome
from bot.workspace.files import Beneath
from bot.workspace.fixers import run_fixer
from bot.workspace.git import Worktree
from bot.workspace.maps import Maps
from bot.workspace.mending import mend
from bot.workspace.merging import changes_rules, onto
from bot.workspace.repeating import repeated
from bot.workspace.sandbox import Sandbox
from bot.workspace.search import grep
from bot.workspace.suites import MAX_AGAIN, WHOLE, Chosen, Suites
from bot.workspace.toolchains import Surroundings, Toolchain, detect
from bot.workspace.trials import try_check
from bot.workspace.variables import VARIABLES

INNER = ("git", "tree", "copies", "box")
"""Parts of a session's folder that hold the worktree rather than the record."""
SHELLS = ("bash", "shell")
SHELL_SECONDS = 120.0
RESULT_CHARS = 16_000
FAILURES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Used:
    """What a reply's tools did."""

    tree: str
    results: tuple[ToolResult, ...]
    refused: tuple[str, ...]


class Workplace:
    """The files of one run. `folder` is the session's; nothing outside it is written but the branch that `deliver` makes, and
    coverage maps in `maps`, which other runs use too. With `earlier_runs` their reports of the base's suite hold here too."""

    def __init__(
        self,
        folder: Path,
        checkout: Checkout,
        *,
        maps: Path | None = None,
        earlier_runs: bool = False,
        deliver_to_checkout: bool = True,
    ) -> None:
        self._folder, self._checkout, self._to_checkout = folder, checkout, deliver_to_checkout
        self._worktree: Worktree | None = None
        self._toolchain: Toolchain | None = None
        self._versions: dict[str, bytes] = {}
        self._ran_suites: Suites | None = None
        self._maps, self._earlier = Maps(maps or folder / "coverage"), earlier_runs
        self._box = Sandbox(folder / "box")
        self._at = ""
        self._failed_before: set[str] = set()
        self._seen = Seen()

    # --- beginning ---

    def prepare(self, base: str, ticket: Ticket, settings: Settings, changed: Sequence[str] = ()) -> WorkspaceReady:
        """A fresh worktree of `base`, the probed sandbox, and what there is to know about the repository. Of files
        that are `changed` since a person could review them no guide is taken."""
        for name in INNER:
            shutil.rmtree(self._folder / name, ignore_errors=True)
        self._worktree = worktree = Worktree.create(self._folder, self._checkout, base)
        tree = worktree.tree_of(base)
        self._at = tree
        sandbox = self._box.probe()
        files = worktree.files(base)
        return WorkspaceReady(
            base_tree=tree,
            profile=self._detected(settings).profile if sandbox.full else _unknown(sandbox),
            sandbox=sandbox,
            listing=listing(files),
            guide=guide(worktree, base, changed),
            excerpts=excerpts(worktree, base, files, ticket),
        )

    def reopen(self, run: Run) -> None:
        """Take up the worktree of a run that another process left, and put its files back to what the journal says."""
        if run.workspace is None:
            return
        self._worktree = Worktree.open(self._folder).moved(run.base_sha)
        self._failed_before = failing(run.baseline.tests) if run.baseline else set()
        self._restore(run.tree)
        self._box.probe()
        self._detected(run.request.settings, known=run.workspace.profile.runtime)

    def rebuild(self, run: Run, changes: Sequence[FileChange]) -> None:
        """Make the worktree of a run that began on another machine: its base, and `changes`, which have to give its tree.

        Raises:
            PolicyError: they give another.
        """
        if run.workspace is None:
            return
        for name in INNER:
            shutil.rmtree(self._folder / name, ignore_errors=True)
        self._worktree = worktree = Worktree.create(self._folder, self._checkout, run.request.base_sha)
        if worktree.tree_of(run.request.base_sha) != run.base_tree or worktree.changed(run.base_tree, changes) != run.tree:
            raise PolicyError("The changes that came with the session are not those that its journal tells of: start it again.")
        self._failed_before = failing(run.baseline.tests) if run.baseline else set()
        self._restore(run.tree)
        self._box.probe()
        self._detected(run.request.settings)

    @property
    def worktree(self) -> Worktree:
        """The run's own tree and git dir."""
        if self._worktree is None:
            raise BugError("the worktree is used before it was made")
        return self._worktree

    @property
    def toolchain(self) -> Toolchain:
        if self._toolchain is None:
            raise BugError("the toolchain is used before it was detected")
        return self._toolchain

    @property
    def suites(self) -> Suites:
        if self._ran_suites is None:
            raise BugError("tests are run before the toolchain was detected")
        return self._ran_suites

    def _detected(self, settings: Settings, known: str = "") -> Toolchain:
        files = self.worktree.files(self.worktree.base)
        self._versions = generated.version_modules(self._checkout.root, files)
        base = self._copy(self.worktree.tree_of(self.worktree.base), "base")
        self._toolchain = found = _detect(base, files, self._checkout, self._box, settings, known)
        also = repr((self._box.report.tier, sorted(self._versions.items())))
        self._ran_suites = Suites(self._box, found, self._copy, self._maps, earlier=self._earlier, also=also)
        return found

    def _restore(self, tree: str) -> None:
        self.worktree.restore(tree)
        self._at = tree

    def _copy(self, tree: str, name: str) -> Path:
        """A copy of `tree` to run things in."""
        into = self._folder / "copies" / name
        self.worktree.materialise(tree, into)
        generated.add(self._versions, into)
        return into

    # --- checks and tests ---

    def check_base(self, tree: str, settings: Settings) -> CheckSet:
        """Tests of the base. Its checks need no run of their own: those of the result are compared with it."""
        suite = self.suites.base(tree, settings)
        self._failed_before = failing(suite.report)
        return CheckSet(tree, (), suite.report, suite.taken)

    def prove(
        self,
        base_tree: str,
        changeset: Changeset,
        baseline: CheckSet,
        settings: Settings,
        *,
        profile: CiProfile = "normal",
        coverage: bool = False,
    ) -> Proof:
        """Checks and the whole suite on the result; its tests on the old sources; the old tests on its sources.

        Tests that failed on the base run there once more: one that fails only sometimes proves nothing by passing now.
        With `coverage` it is measured what share of the sources tests run.
        """
        chosen = self._in_time(base_tree, changeset, baseline)
        unmeasured = self.suites.unmeasured(base_tree, changeset.paths, chosen) if coverage else "nobody asked"
        chosen = replace(chosen, recorded=not unmeasured)
        own = settings.commands.of(profile)
        checks, suite = self._checked(base_tree, changeset.tree, changeset.paths, settings, chosen, own)
        if chosen.left_out:
            suite = replace(suite, reason=f"{suite.reason}; {chosen.why}", left_out=chosen.left_out)
        proven = CheckSet(changeset.tree, checks, suite)
        original, repeats = self._original(base_tree, changeset, baseline, settings)
        before = self._before(base_tree, changeset, baseline, settings)
        if before and failing(baseline.tests) & passing(before):
            self.suites.distrust(base_tree)
        return Proof(
            proven,
            original,
            before,
            self._repeats(base_tree, changeset.tree, baseline.tests, suite, settings),
            repeats,
            self.suites.coverage(base_tree, changeset.tree, self._sources, unmeasured) if coverage else None,
        )

    def _in_time(self, base_tree: str, changeset: Changeset, baseline: CheckSet) -> Chosen:
        """The whole suite; where its base did not end in time, what ran what changed and a sample of the rest."""
        known = self.suites.known(base_tree) if baseline.tests.left_out else None
        if known is None:
            return WHOLE
        found = affected(known, changeset.files, self._sources(changeset.tree))
        if found.everything:
            return Chosen(why=found.why)
        chosen = frozenset(found.items)
        rest = [test for test in (*known.tests, *known.left) if test not in chosen and test.partition("::")[0] not in chosen]
        sample = sampled(rest, changeset.session)
        why = f"tests that ran what changed and {len(sample):,} of {len(rest):,} others, because the suite takes too long"
        return Chosen((*found.items, *sample), (), True, False, why, len(rest) - len(sample))

    def _sources(self, tree: str) -> dict[str, str]:
        """The Python files of `tree`."""
        return {path: content.decode(errors="replace") for path, content in self.worktree.contents(tree, ".py").items()}

    def _repeats(self, base_tree: str, tree: str, base: TestReport, now: TestReport, settings: Settings) -> Repeats:
        """What got worse from `base` to `now`, which is a run of `tree`, run again on both."""

        def run(which: str, files: tuple[str, ...]) -> TestReport:
            return self.suites.run(which, "again", settings, Chosen(files), afresh=True)

        found = suspects(base, now, settings.quarantine)
        repeats = repeated(found, partial(run, tree), partial(run, base_tree))
        if any(blame(name, base, now, repeats) != "worse" for name in found):
            self.suites.distrust(base_tree)
        return repeats

    def _original(
        self, base_tree: str, changeset: Changeset, baseline: CheckSet, settings: Settings
    ) -> tuple[TestReport | None, Repeats]:
        """The result with changed test files, and what steers the runner, put back to what they were."""
        old = tuple(change.path for change in changeset.files if change.before is not None and is_test(change.path))
        runner = tuple(change.path for change in changeset.files if steers_tests(change.path))
        if not old and not runner:
            return None, NOT_REPEATED
        mixed = self.worktree.overlay(changeset.tree, base_tree, (*old, *runner))
        report = self.suites.run(mixed, "original", settings, Chosen(() if runner else old))
        return report, self._repeats(base_tree, mixed, baseline.tests, report, settings)

    def _before(self, base_tree: str, changeset: Changeset, baseline: CheckSet, settings: Settings) -> TestReport | None:
        """The base with the result's tests: what of them fails shows what the change is for."""
        support = [change for change in changeset.files if is_test_support(change.path)]
        new = tuple(change.path for change in support if change.after is not None and is_test(change.path))
        again = tuple(case.id for case in baseline.tests.failing[:MAX_AGAIN] if not case.id.startswith(new))
        if not new and not again:
            return None
        mixed = self.worktree.overlay(base_tree, changeset.tree, [change.path for change in support])
        return self.suites.run(mixed, "before", settings, Chosen((*new, *again)))

    def try_checks(self, base_tree: str, tree: str, checks: Sequence[AuditCheck], settings: Settings) -> tuple[Trial, ...]:
        """An auditor's checks, each on a fresh copy of the base and of the result."""

        def tried(check: AuditCheck, tree: str) -> Check:
            return try_check(check, self._copy(tree, "trial"), self._box, self.toolchain, settings.quick_seconds)

        return tuple(Trial(tried(check, base_tree), tried(check, tree)) for check in checks)

    def _checked(
        self,
        base_tree: str,
        tree: str,
        changed: Sequence[str],
        settings: Settings,
        chosen: Chosen = WHOLE,
        own: Sequence[tuple[str, str]] = (),
    ) -> tuple[tuple[Check, ...], TestReport]:
        """Checks, and those of the repository's `own`, beside tests of `tree`, each on a copy of its own."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            head, base = self._copy(tree, "head"), self._copy(base_tree, "base")
            make = partial(self.toolchain.checks, own=own, own_seconds=settings.full_seconds)
            checks = pool.submit(make, self._box, head, base, changed)
            report = self.suites.run(tree, "suite", settings, chosen)
            return checks.result(), report

    # --- changes ---

    def fix(self, tree: str, calls: tuple[FixerCall, ...]) -> tuple[str, tuple[FixerReport, ...]]:
        """Run deterministic fixers one after the other on `tree`: Ostler's own, or the tools of the repository's checks."""
        self._restore(tree)
        if all(call.name in self.toolchain.profile.mends for call in calls):
            reports = mend(self.toolchain, self.worktree, self._box, calls)
        else:
            at = str(self._checkout.root)
            reports = tuple(run_fixer(call.name, call.args, self.worktree, self._box, at=at) for call in calls)
        self._at = self.worktree.snapshot()
        return self._at, reports

    def use_tools(self, tree: str, message: Message, request: RunRequested) -> Used:
        """Carry out the tool uses of `message` in order. A tool that fails says so to the model; the run goes on."""
        if self._at != tree:
            self._restore(tree)
        results: list[ToolResult] = []
        refused: list[str] = []
        changed = False
        for use in (block for block in message.blocks if isinstance(block, ToolUse)):
            outcome = self._use(use, request)
            results.append(ToolResult(use.id, redact(shortened(outcome.text, RESULT_CHARS)), outcome.is_error))
            refused += outcome.refused
            changed = changed or bool(outcome.touched) or use.name in SHELLS
        if changed:
            self._at = self.worktree.snapshot()
        return Used(self._at, tuple(results), tuple(refused))

    def _use(self, use: ToolUse, request: RunRequested) -> Outcome:
        try:
            arguments = json.loads(use.arguments or "{}")
        except ValueError as error:
            return Outcome(f"The arguments are not JSON: {error}.", is_error=True)
        if not isinstance(arguments, dict):
            return Outcome("The arguments have to be a JSON object.", is_error=True)
        editor = Editor(Beneath(self.worktree.tree), str(self._checkout.root))
        tools: Mapping[str, Callable[[dict[str, Any]], Outcome]] = {
            "str_replace_based_edit_tool": editor.text_editor,
            "apply_patch": editor.apply_patch,
            "view": lambda given: editor.view({**given, "view_range": _range(given)}),
            "search": self._search,
            "run_checks": lambda given: self._run_checks(given, request),
            "bash": lambda given: self._shell([str(given.get("command") or "")]),
            "shell": lambda given: self._shell([str(command) for command in given.get("commands") or ()]),
        }
        if use.name not in tools:
            return Outcome(f"There is no tool {use.name}; there are {', '.join(tools)}.", is_error=True)
        return tools[use.name](arguments)

    def _search(self, given: dict[str, Any]) -> Outcome:
        pattern, below = str(given.get("pattern") or ""), str(given.get("path") or "")
        if not pattern:
            return Outcome("A pattern is needed.", is_error=True)
        return Outcome(grep(self.worktree, pattern, below) or "No line matches.")

    def _run_checks(self, given: dict[str, Any], request: RunRequested) -> Outcome:
        """The inner loop: checks on what changed, and the tests asked for, with the short time limit."""
        tree = self.worktree.snapshot()
        base_tree = self.worktree.tree_of(self.worktree.base)
        changes = self.worktree.changes(base_tree, tree)
        asked = given.get("tests")
        selection = tuple(str(item) for item in asked) if isinstance(asked, list) else ()
        chosen = Chosen(selection, quick=True) if selection else self._choose(base_tree, tree, changes, request)
        checks, report = self._checked(base_tree, tree, [change.path for change in changes], request.settings, chosen)
        lines = [f"{check.name}: {check.outcome}{': ' + check.detail if check.detail else ''}" for check in checks]
        lines.append(f"tests: {report.outcome}: {report.reason} ({report.collected} collected)")
        if chosen.quick and chosen.why and not chosen.nothing:
            lines.append(f"only {chosen.why}; all tests run before delivery")
        elif chosen.why:
            lines.append(f"{'no' if chosen.nothing else 'all'} tests ran: {chosen.why}")
        lines += [f"- {case.id}: {case.message}" for case in report.failing[:FAILURES_SHOWN]]
        lines += [f"guidance, {line}" for line in self._guidance(checks, report, patterns(request.settings.commands.errors))]
        if report.outcome in ("fail", "error"):
            lines += ["", report.output[-6_000:]]
        return Outcome("\n".join(lines))

    def _choose(self, base_tree: str, tree: str, changes: Sequence[FileChange], request: RunRequested) -> Chosen:
        """The tests that concern `changes`: by what they ran on the base, else by what the runner itself knows of imports."""
        changed, files = tuple(change.path for change in changes), self.worktree.files(tree)
        if why := request.settings.full_run.reason(changed, files):
            return Chosen(why=why)
        if changed and (known := self.suites.known(base_tree)):
            found = affected(known, changes, self._sources(tree), first=(request.ticket.text,))
            return Chosen(why=found.why) if found.everything else Chosen(found.items, (), True, True, found.why)
        narrowed = self.toolchain.narrows(changed)
        return Chosen((), changed, False, True, narrowed) if narrowed else WHOLE

    def _guidance(self, checks: Sequence[Check], report: TestReport, table: Table) -> tuple[str, ...]:
        """What to say of the classes of errors that come again and again in this session; what the base fails by is none."""
        said = [one for check in checks if check.outcome == "fail" for one in of_check(check, table)]
        said += of_suite(report, frozenset(failing(report) - self._failed_before))
        found = diagnose(said, table) if said else ()
        self._seen = after(self._seen, found)
        return advice(self._seen, found)

    def _shell(self, commands: list[str]) -> Outcome:
        """Commands in the sandbox, in the worktree itself. Each starts fresh: no background process outlives it."""
        if not any(commands):
            return Outcome("There is no command. Every call starts a fresh shell.", is_error=False)
        said, bad = [], False
        for command in commands:
            ran = self.toolchain.place.run(self._box, self.worktree.tree, ("/bin/bash", "-c", command), SHELL_SECONDS)
            said.append(ran.text + ("" if ran.exit == 0 else f"\n[{ran.how}]"))
            bad = bad or ran.exit != 0
        return Outcome("\n".join(said).strip() or "[no output]", is_error=bad)

    def deliver(self, tree: str, base: str, branch: str, message: str, when: str) -> str:
        """Commit `tree` on `base` and make `branch` in the checkout's repository; its files and HEAD stay as they are.

        Found before it is made: a branch that holds this very tree on this base was delivered before a restart.
        """
        if there := self._delivered(tree, branch):
            return there
        commit = self.worktree.commit(tree, base, message, when)
        if self._to_checkout:
            self.worktree.deliver(self._checkout, commit, branch)
        return commit

    def _delivered(self, tree: str, branch: str) -> str:
        there = self._checkout.branch_head(branch) if self._to_checkout else None
        return there if there and self.worktree.tree_of(there) == tree else ""

    def follow(self, run: Run, branch: str) -> BaseMoved | None:
        """The change put onto what the branch that it began from is now; None where that is as it was or is gone, where its rules
        are others by now, or `branch` was made before a restart."""
        tip = self._checkout.branch_head(run.request.base_branch) if self._to_checkout else None
        if tip is None or tip == run.base_sha or self._delivered(run.tree, branch) or changes_rules(self.worktree, run, tip):
            return None
        return self.move(run, tip)

    def move(self, run: Run, tip: str) -> BaseMoved:
        """The change put onto the commit `tip`, which is the base from now on."""
        moved = onto(self.worktree, run, tip)
        self._worktree = self.worktree.moved(tip)
        self._detected(run.request.settings, known=self.toolchain.profile.runtime)
        return moved


def look(checkout: Checkout, settings: Settings) -> Profile:
    """What a run would find in `checkout`, for those that only want to know."""
    with tempfile.TemporaryDirectory(prefix="ostler-look-") as made:
        workplace = Workplace(Path(made), checkout)
        workplace._worktree = Worktree.create(Path(made), checkout, checkout.head)
        report = workplace._box.probe()
        return workplace._detected(settings).profile if report.full else _unknown(report)


def _detect(tree: Path, files: tuple[str, ...], checkout: Checkout, box: Sandbox, settings: Settings, known: str) -> Toolchain:
    """The only look at the caller's environment: which tools they have at hand."""
    env = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    around = Surroundings(settings.python, env, known)
    return detect(tree, files, checkout.root, box=box, commands=settings.commands, around=around)


def _unknown(report: SandboxReport) -> Profile:
    why = f"not looked at: {report.advice}"
    return Profile("other", "", None, (), (), (why,))


def _range(given: Mapping[str, Any]) -> list[int] | None:
    """`start` and `end` of the `view` tool as the editor's `view_range`; -1 is the end of the file."""
    if "start" not in given and "end" not in given:
        return None
    return [given.get("start", 1), given.get("end", -1)]
