"""Which errors a failed gate shows: classes with counts, from what checks and tests say, structured evidence before text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bot.core.changeset import Changeset, decoded
from bot.core.error_classes import CLASSES, PATTERNS, SOURCES, ErrorName, Pattern
from bot.core.reports import Check, TestReport
from bot.core.validation import CheckSet, Proof, Verdict, failing, passing

MESSAGES, MESSAGE = 5, 200
AROUND = 5
PLACES = 4
PLACE = re.compile(r"(?P<path>[\w.@/-]+\.\w{1,6})(?::|\(|: line )(?P<line>\d{1,7})")
PLACE_BELOW = re.compile(r"\n\s*--> ")
"""Rust writes the place of an error into a line of its own."""
Table = tuple[Pattern, ...]
MORE = re.compile(r"^\.\.\. and \d+ more$")


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that was said: by the check `source`, by a test (`tests`), the audit (`review`), Ostler's own gate (`gate`), or a
    line of a tool's output (`output`). `known` is its class where that is certain without its words."""

    source: str
    text: str
    known: ErrorName | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One class of errors: how often it was found, and the first words of the first of them. `said` is what the repository says
    about those that its own patterns told."""

    name: ErrorName
    count: int
    messages: tuple[str, ...]
    said: str = ""

    @property
    def hint(self) -> str:
        return self.said or CLASSES[self.name].hint


def named(evidence: Evidence, table: Table = PATTERNS) -> ErrorName | None:
    """The class of a piece of evidence; None for output that says nothing.

    The words of a test never blame the machine: what it calls is the change's own doing.
    """
    return _told(evidence, table)[0]


def _told(evidence: Evidence, table: Table) -> tuple[ErrorName | None, str]:
    """The class, and what the pattern that tells it says about it."""
    if evidence.known:
        return evidence.known, ""
    found = [one for one in table if one.found_in(evidence.text) and _reads(one, evidence.source)]
    best = max(found, key=lambda one: one.specificity, default=None)
    return (best.name, best.hint) if best else (SOURCES.get(evidence.source), "")


def _reads(pattern: Pattern, source: str) -> bool:
    if (pattern.language == "gate") is not (source == "gate"):
        return False
    return source != "tests" or CLASSES[pattern.name].remedy != "stop"


def diagnose(said: Iterable[Evidence], table: Table = PATTERNS) -> tuple[Diagnosis, ...]:
    """All classes found, the most frequent first, of those alike the one to mend first. What nothing tells is unknown."""
    found: dict[ErrorName, list[str]] = {}
    hints: dict[ErrorName, list[str]] = {}
    for evidence in said:
        name, hint = _told(evidence, table)
        if name:
            found.setdefault(name, []).append(" ".join(evidence.text.split())[:MESSAGE])
            hints.setdefault(name, []).append(hint)
    rows = [
        Diagnosis(name, len(texts), tuple(texts[:MESSAGES]), " ".join(dict.fromkeys(filter(None, hints[name]))))
        for name, texts in found.items()
    ]
    rows.sort(key=lambda row: (-row.count, CLASSES[row.name].order, row.name))
    return tuple(rows) or (Diagnosis("unknown", 1, ()),)


def order(diagnoses: Iterable[Diagnosis]) -> tuple[ErrorName, ...]:
    """The classes in the order in which they are best mended."""
    return tuple(row.name for row in sorted(diagnoses, key=lambda row: (CLASSES[row.name].order, -row.count, row.name)))


def of_output(text: str) -> tuple[Evidence, ...]:
    """The lines of a tool's output, each to be read by itself."""
    return tuple(Evidence("output", line) for line in PLACE_BELOW.sub(" --> ", text).splitlines() if line.strip())


def of_check(check: Check, table: Table = PATTERNS) -> Iterator[Evidence]:
    """What a failed check says. Findings stand one in a line; words of a command, which begin with its name, are its output."""
    lines = [line for line in check.detail.splitlines() if line.strip() and not MORE.match(line)]
    if not check.detail.startswith("`"):
        yield from (Evidence(check.name, line) for line in lines)
        return
    output = of_output(check.detail)
    yield from output if any(named(one, table) for one in output) else (Evidence(check.name, lines[-1] if lines else ""),)


def of_suite(report: TestReport, blamed: frozenset[str] | None = None) -> Iterator[Evidence]:
    """What the tests in `blamed`, or all that fail, say; where a suite broke without saying which, what it wrote."""
    if report.timed_out:
        yield Evidence("tests", report.reason, "timeout")
    cases = [case for case in report.failing if blamed is None or case.id in blamed]
    yield from (Evidence("tests", case.message or case.signature or case.id) for case in cases)
    if report.outcome == "error" and not cases and not report.timed_out:
        yield from of_output(f"{report.reason.rpartition('cannot run: ')[2]}\n{report.output}")


def blamed(report: TestReport, verdict: Verdict) -> frozenset[str]:
    """The tests whose failure is the change's: not those that failed before it, nor those that come and go."""
    return frozenset(failing(report) - {*verdict.preexisting, *verdict.flaky})


def of_proof(baseline: CheckSet, proof: Proof, verdict: Verdict, table: Table = PATTERNS) -> tuple[Evidence, ...]:
    """What a proof holds against a change: nothing that was so before it. What the verdict's words say of tests counts where the
    tests themselves say nothing."""
    base, head = baseline.tests, proof.head.tests
    said = [one for check in proof.head.checks if check.outcome == "fail" for one in of_check(check, table)]
    if head.outcome != base.outcome or head.outcome != "error":
        said += of_suite(head, blamed(head, verdict))
    if proof.original:
        said += of_suite(proof.original, blamed(proof.original, verdict) & passing(base) - failing(head))
    ours = [one for problem in verdict.problems if named(one := Evidence("gate", problem))] if head.outcome != "error" else []
    told = any(one.source == "tests" for one in said)
    return (*said, *(one for one in ours if not told or named(one) != "test_failure"))


def places(diagnoses: Sequence[Diagnosis], changeset: Changeset | None) -> tuple[str, ...]:
    """The lines around what was found in changed files, each with its number; a few places only."""
    texts = {change.path: decoded(change.after) for change in changeset.files if change.after is not None} if changeset else {}
    shown: list[str] = []
    seen: set[tuple[str, int]] = set()
    for found in (match for row in diagnoses for text in row.messages for match in PLACE.finditer(text)):
        path, number = _changed(found["path"], texts), int(found["line"])
        lines = (texts.get(path) or "").splitlines()
        if not 1 <= number <= len(lines) or any(one == path and abs(number - at) <= AROUND for one, at in seen):
            continue
        seen.add((path, number))
        start, end = max(1, number - AROUND), min(len(lines), number + AROUND)
        shown.append("\n".join((f"{path}:{number}", *(f"{at:>5} {lines[at - 1]}" for at in range(start, end + 1)))))
        if len(shown) == PLACES:
            break
    return tuple(shown)


def _changed(path: str, texts: dict[str, str | None]) -> str:
    """The changed file that `path` names, which a tool may name by less than all of its path."""
    path = path.removeprefix("./")
    return path if path in texts else next((name for name in texts if name.endswith(f"/{path}")), path)
