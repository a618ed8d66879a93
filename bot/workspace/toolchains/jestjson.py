"""Test reports as jest, vitest and Ostler's reporter for `node --test` write them, read as files made by untrusted code.

Form: {"testResults": [{"name": file, "status", "message", "assertionResults": [{"ancestorTitles", "title", "status",
"failureMessages"}]}]} (jest's `--json`, https://jestjs.io/docs/cli#--json).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bot.core.reports import CaseOutcome, TestCase
from bot.workspace.toolchains.junit import CAP, MESSAGE, merged, signature
from bot.workspace.toolchains.reading import read_plain
from bot.workspace.toolchains.toolchain import plain_json

OUTCOMES: dict[str, CaseOutcome] = {
    "passed": "passed",
    "failed": "failed",
    "pending": "skipped",
    "skipped": "skipped",
    "todo": "skipped",
    "disabled": "skipped",
}
ANSI = re.compile(r"\x1b\[[0-9;]*m")
PLACE = re.compile(r"(?:file://)?([^\s():]*\.[cm]?[jt]sx?):(\d+)")


def read(folder: Path, at: str, name: str = "report.json") -> tuple[TestCase, ...] | str:
    """The cases of a report, one per id, sorted by id; or why there is none. `at` is the folder that file names begin with."""
    data = read_plain(folder, name, CAP)
    if data is None:
        return "the tests left no report"
    found = plain_json(data)
    rows = found.get("testResults") if isinstance(found, dict) else None
    if not isinstance(rows, list):
        return "the test report cannot be read"
    try:
        return merged(case for row in rows for case in _cases(row, at))
    except (AttributeError, TypeError, KeyError):
        return "the test report is of another form"


def _cases(row: dict[str, Any], at: str) -> Iterator[TestCase]:
    """The tests of a file; a file that broke outside its tests is a case of its own, by its name alone."""
    file = str(row["name"]).removeprefix("file://").removeprefix(f"{at}/")
    failed = False
    for test in row["assertionResults"]:
        outcome = OUTCOMES.get(test["status"], "error")
        failed = failed or outcome in ("failed", "error")
        title = " > ".join(str(part) for part in (*test["ancestorTitles"], test["title"]))
        text = ANSI.sub("", str((test.get("failureMessages") or [""])[0])) if outcome in ("failed", "error") else ""
        yield TestCase(f"{file}::{title}", outcome, signature(text), _message(text, at))
    if row["status"] == "failed" and not failed:
        text = ANSI.sub("", str(row.get("message") or "the file broke"))
        yield TestCase(file, "error", signature(text), _message(text, at))
    elif row.get("alone") is True and not row["assertionResults"]:
        yield TestCase(file, "passed")


def _message(text: str, at: str) -> str:
    """The first line, and the innermost place that is the repository's own."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    places = (f"{name.removeprefix('//').removeprefix(f'{at}/')}:{row}" for name, row in PLACE.findall(text))
    own = next((place for place in places if not place.startswith(("/", "node:")) and "node_modules" not in place), "")
    return line[: MESSAGE - 80] + (f"\n({own[:70]})" if own else "")
