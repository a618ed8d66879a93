"""What checks and tests say: baseline against candidate, proof that a test catches the defect, a verdict with reasons.

"Not run" is never "passed": a suite that did not run leaves the verdict neutral or failed, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bot.core.coverage import Coverage
from bot.core.flaky import NOT_REPEATED, Repeats, blame, quarantined, suspects
from bot.core.reports import Check, TestReport


@dataclass(frozen=True, slots=True)
class CheckSet:
    """Everything that ran on one tree. `taken` is when its tests ran, UTC, ISO 8601, where that was in an earlier run."""

    tree: str
    checks: tuple[Check, ...]
    tests: TestReport
    taken: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """What ran to prove a changeset.

    `head`: checks and full suite on the result. `original`: the base's own versions of changed test files, and of what
    steers the runner, on the result. `before`: the result's test files, and once more what failed on the base, on the base's
    sources: the same as the result with its source hunks reverted. The last two are None where there is nothing to run.
    `repeats` and `original_repeats`: what got worse in `head` and in `original`, run again. `coverage` is None unless asked for.
    """

    head: CheckSet
    original: TestReport | None
    before: TestReport | None
    repeats: Repeats = NOT_REPEATED
    original_repeats: Repeats = NOT_REPEATED
    coverage: Coverage | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's answer. `reproduced` are tests that fail without the change and pass with it; `flaky` are failures that nobody
    is blamed for, as they come and go."""

    outcome: Literal["pass", "fail", "neutral"]
    problems: tuple[str, ...]
    reproduced: tuple[str, ...]
    fixed: tuple[str, ...]
    preexisting: tuple[str, ...]
    notes: tuple[str, ...]
    flaky: tuple[str, ...] = ()


def outcomes(report: TestReport | None) -> dict[str, str]:
    """Test id to `passed | failed | error | skipped`."""
    return {case.id: case.outcome for case in report.cases} if report else {}


def failing(report: TestReport | None) -> set[str]:
    return {name for name, outcome in outcomes(report).items() if outcome in ("failed", "error")}


def passing(report: TestReport | None) -> set[str]:
    return {name for name, outcome in outcomes(report).items() if outcome == "passed"}


def judge(
    baseline: CheckSet,
    proof: Proof,
    *,
    is_bug: bool,
    insist_on_reproduction: bool,
    tests_may_go: bool = False,
    quarantine: tuple[str, ...] = (),
) -> Verdict:
    """The verdict over a changeset.

    `insist_on_reproduction` makes a bug fix without a test that fails before it a problem rather than a note; `tests_may_go`
    is for a revert, which takes back the tests of what it reverts. Failures of tests that a pattern of `quarantine` names count
    for nothing, neither for the change nor against it.
    """
    base, head = baseline.tests, proof.head.tests
    kept_out = {name for name in failing(base) | failing(head) | failing(proof.before) if quarantined(name, quarantine)}
    fixed = sorted((failing(base) & passing(head)) - passing(proof.before) - kept_out)
    reproduced = sorted((failing(proof.before) & passing(head) | _in_broken_files(proof.before, head)) - kept_out)
    problems = [f"{check.name}: {check.detail}" for check in proof.head.checks if check.outcome == "fail"]
    worse, flaky = _blamed(base, head, proof.repeats, quarantine)
    problems += _suite_problems(base, head, worse, kept_out, tests_may_go)
    if proof.original and not tests_may_go:
        broken, sometimes = _blamed(base, proof.original, proof.original_repeats, quarantine)
        problems += _original_problems(base, proof.original, broken)
        flaky += sometimes
    notes = _notes(baseline, proof)
    verified = head.outcome in ("pass", "fail")
    if is_bug and verified and not reproduced:
        missing = "no test fails before the change and passes after it, so nothing shows that the defect is gone"
        (problems if insist_on_reproduction else notes).append(missing)
    outcome: Literal["pass", "fail", "neutral"] = "fail" if problems else "pass" if verified else "neutral"
    come_and_go = {*flaky, *(failing(base) & passing(head) & passing(proof.before)), *(kept_out & failing(head))}
    still = sorted(failing(base) & failing(head) - come_and_go - set(worse))
    return Verdict(
        outcome, tuple(problems), tuple(reproduced), tuple(fixed), tuple(still), tuple(notes), tuple(sorted(come_and_go))
    )


def _blamed(base: TestReport, now: TestReport, repeats: Repeats, quarantine: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The suspects that the change is blamed for, and those that come and go. Without repeats, what passed before is blamed."""
    worse, flaky, passed = [], [], passing(base)
    for name in suspects(base, now, quarantine):
        said = blame(name, base, now, repeats)
        if said == "worse" or (said == "unknown" and name in passed):
            worse.append(name)
        elif said == "flaky":
            flaky.append(name)
    return sorted(worse), flaky


def _original_problems(base: TestReport, original: TestReport, broken: list[str]) -> list[str]:
    not_run = {name for name, outcome in outcomes(original).items() if outcome == "skipped"}
    if gone := sorted({*broken, *(not_run & passing(base))}):
        return [f"with the test files as they were before, these fail or are skipped: {', '.join(gone[:5])}"]
    if original.outcome == "error" and base.outcome != "error":
        return [f"with the test files as they were before, the tests did not run: {original.reason}"]
    return []


def _in_broken_files(before: TestReport | None, head: TestReport) -> set[str]:
    """Tests that pass now and whose file could not even be collected before: a test of something new fails by its import."""
    broken = {_module(case.id) for case in (before.cases if before else ()) if case.outcome == "error" and "::" not in case.id}
    return {name for name in passing(head) if _module(name) in broken}


def _module(test: str) -> str:
    return test.partition("::")[0].removesuffix(".py").replace("/", ".")


def _suite_problems(base: TestReport, head: TestReport, worse: list[str], kept_out: set[str], tests_may_go: bool) -> list[str]:
    problems = []
    if head.outcome == "error" and base.outcome != "error":
        problems.append(f"the tests did not run: {head.reason}")
    if head.outcome == "neutral" and base.outcome in ("pass", "fail"):
        problems.append(f"the base has {base.collected} tests and the result none: {head.reason}")
    if broken := [name for name in worse if name in passing(base)]:
        problems.append(f"passed before and fail now: {_named(head, broken)}")
    if otherwise := [name for name in worse if name in failing(base)]:
        problems.append(f"failed before and fail in another way now: {_named(head, otherwise)}")
    if new := sorted(failing(head) - set(outcomes(base)) - kept_out):
        problems.append(f"new tests fail: {_named(head, new)}")
    if not tests_may_go and not head.left_out and (lost := sorted(passing(base) - set(outcomes(head)))):
        problems.append(f"{len(lost)} tests that passed before were not collected: {', '.join(lost[:5])}")
    if skipped := sorted(name for name in passing(base) if outcomes(head).get(name) == "skipped"):
        problems.append(f"passed before and are skipped now: {', '.join(skipped[:5])}")
    return problems


def _named(report: TestReport, names: list[str]) -> str:
    said = {case.id: case.message for case in report.cases}
    return "; ".join(f"{name} ({said[name]})" if said[name] else name for name in names[:5]) + (" …" if len(names) > 5 else "")


def _notes(baseline: CheckSet, proof: Proof) -> list[str]:
    head = proof.head
    notes = []
    if head.tests.outcome == "neutral":
        notes.append(f"not verified by tests: {head.tests.reason}")
    if head.tests.left_out:
        notes.append(f"the suite takes longer than verify.full_seconds: {head.tests.reason}")
    if head.tests.outcome == "error" and baseline.tests.outcome == "error":
        notes.append(f"the suite runs neither before nor after the change: {head.tests.reason}")
    vacuous = sorted((passing(proof.before) & passing(head.tests)) - set(outcomes(baseline.tests)))
    if vacuous:
        notes.append(f"new tests that pass without the change too: {', '.join(vacuous[:5])}")
    return notes
