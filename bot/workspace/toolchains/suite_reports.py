"""Results of tests as Go, Cargo, Maven and Gradle give them, read as what untrusted code wrote."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bot.core.reports import CaseOutcome, Ran, TestCase
from bot.workspace.toolchains import junit
from bot.workspace.toolchains.junit import MESSAGE, merged, signature
from bot.workspace.toolchains.reading import read_text

GO_OUTCOMES: dict[str, CaseOutcome] = {"pass": "passed", "fail": "failed", "skip": "skipped"}
RUST_OUTCOMES: dict[str, CaseOutcome] = {"ok": "passed", "FAILED": "failed", "ignored": "skipped"}
RUST_SUITE = re.compile(r"^\s*(?:Running (?:unittests )?(?P<file>\S+) \(|Doc-tests (?P<doc>\S+))", re.MULTILINE)
RUST_TEST = re.compile(r"^test (?P<name>.+?)(?: - should panic)? \.\.\. (?P<outcome>ok|FAILED|ignored)\b.*$", re.MULTILINE)
RUST_PANIC = re.compile(r"^---- (?P<name>\S+).* stdout ----\n(?P<text>(?:(?!^---- ).*\n)*)", re.MULTILINE)
JUNIT = ("*target/surefire-reports/*.xml", "*target/failsafe-reports/*.xml", "*build/test-results/*.xml")
"""Where Maven and Gradle leave JUnit files."""
DEEPEST = 50


def go(folder: Path, ran: Ran, at: str) -> tuple[TestCase, ...] | str:
    """`go test -json`: one event a line (https://pkg.go.dev/cmd/test2json). An id is folder::Test, a package that doesn't build
    its folder alone."""
    module = re.search(r"^module\s+(\S+)", read_text(folder, "go.mod"), re.MULTILINE)
    if ran.truncated:
        return "the output with the results is too long"
    return merged(_go_cases(ran.text, module[1] if module else ""))


def _go_cases(text: str, module: str) -> Iterator[TestCase]:
    output: dict[tuple[str, str], list[str]] = {}
    failing: set[str] = set()
    for line in text.splitlines():
        event = _event(line)
        package, test = str(event.get("Package") or event.get("ImportPath") or ""), str(event.get("Test") or "")
        where = package.split(" ")[0].removeprefix(module).strip("/") or "."
        if event.get("Action") in ("output", "build-output"):
            output.setdefault((where, test), []).append(str(event.get("Output")))
        outcome = GO_OUTCOMES.get(str(event.get("Action")))
        if outcome is None:
            continue
        said = "".join(output.get((where, test), ()))
        if test:
            failing |= {where} if outcome == "failed" else set()
            message = _go_message(said) if outcome == "failed" else ""
            yield TestCase(f"{where}::{test}", outcome, signature(message), message)
        elif outcome == "failed" and where not in failing:
            message = _go_message(said) or "the package does not build"
            yield TestCase(where, "error", signature(message), message)


def _event(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line) if line.startswith("{") else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _go_message(text: str) -> str:
    lines = [line.strip() for line in text.splitlines()]
    wanted = (line for line in lines if line and not line.startswith(("===", "---", "FAIL", "#", "exit status", "ok ")))
    return next(wanted, "")[:MESSAGE]


def cargo(folder: Path, ran: Ran, at: str) -> tuple[TestCase, ...] | str:
    """Libtest's lines, because its JSON is not in stable Rust. An id is file::path::of::test."""
    if ran.truncated:
        return "the output with the results is too long"
    panics = {found["name"]: found["text"] for found in RUST_PANIC.finditer(ran.text)}
    starts = [*RUST_SUITE.finditer(ran.text)]
    if not starts:
        return "the tests do not build"
    ends = [*(found.start() for found in starts[1:]), len(ran.text)]
    cases = []
    for start, end in zip(starts, ends, strict=True):
        where = start["file"] or f"doc {start['doc']}"
        for found in RUST_TEST.finditer(ran.text, start.end(), end):
            outcome = RUST_OUTCOMES[found["outcome"]]
            message = _panic(panics.get(found["name"], "")) if outcome == "failed" else ""
            cases.append(TestCase(f"{where}::{found['name']}", outcome, signature(message), message))
    return merged(cases)


def _panic(text: str) -> str:
    """What a panic says, then where: Rust prints the place first."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    at = next((number for number, line in enumerate(lines) if "panicked at" in line), None)
    if at is None:
        return lines[0][:MESSAGE] if lines else ""
    place = lines[at].partition("panicked at ")[2].rstrip(":")
    return f"{' '.join(lines[at + 1 : at + 2])[: MESSAGE - 80]}\n({place[:70]})"


def forget(folder: Path, patterns: Sequence[str]) -> None:
    """Remove reports that a copy already holds: a committed one would tell of a run that never was."""
    for name in _matching(folder, patterns):
        (folder / name).unlink()


def junit_files(folder: Path, patterns: Sequence[str]) -> tuple[TestCase, ...] | str:
    """The cases of all JUnit files whose paths fit a pattern; ids are class::method where no file is named."""
    cases: list[TestCase] = []
    names = _matching(folder, patterns)
    for name in names:
        found = junit.read(folder, name)
        if isinstance(found, str):
            return f"{name}: {found}"
        cases += found
    return merged(cases) if names else f"the tests left no report ({' or '.join(patterns)})"


def _matching(folder: Path, patterns: Sequence[str]) -> list[str]:
    """The plain files whose paths below `folder` fit, to a depth of fifty folders; links are not followed, `*` fits a `/` too."""
    found: list[str] = []
    for here, inner, names in os.walk(folder):
        below = os.path.relpath(here, folder)
        inner[:] = [] if below.count("/") >= DEEPEST else [name for name in inner if name not in ("node_modules", ".git")]
        paths = (os.path.normpath(f"{below}/{name}") for name in names)
        found += [path for path in paths if any(fnmatchcase(path, pattern) for pattern in patterns)]
    return sorted(path for path in found if not (folder / path).is_symlink())
