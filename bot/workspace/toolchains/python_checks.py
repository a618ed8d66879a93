"""The checks of a Python tree: files compile and imports resolve, ruff, and mypy or pyright where the repository uses them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from bot.core.reports import Check, Ran
from bot.workspace.toolchains.checks import Finding, Mender, Pair, RunTool, compared, finished, listed, neutral

RUFF_OPTIONS = ("--no-cache", "--no-fix", "--force-exclude", "--exit-zero", "--output-format=json")
MYPY_OPTIONS = (
    "--no-error-summary",
    "--show-error-codes",
    "--hide-error-context",
    "--no-color-output",
    "--no-pretty",
    "--cache-dir=/dev/null",
)
PYRIGHT_OPTIONS = ("--outputjson",)
FATAL_RULES = "E9,F63,F7,F82"
MYPY_LINE = re.compile(
    r"^(?P<file>[^:\n]+):(?P<line>\d+)(?::\d+)?: error: (?P<text>.*?)(?:  \[(?P<code>[\w-]+)\])?$", re.MULTILINE
)


NOTHING = "no Python file changed"


def syntax_and_imports(pair: Pair, run: RunTool, python: str, script: str, roots: Sequence[str]) -> tuple[Check, ...]:
    """Changed files compile, and what they import at the top is there; nothing of them is executed."""
    files = pair.named(".py")
    if not files:
        return (*neutral("syntax", NOTHING), *neutral("imports", NOTHING))
    argv = (python, "-I", "-c", script, "/out/job.json", "/out/answer.json")
    job = {"files": files, "roots": list(roots)}
    ran, head = run(pair.head, argv, job)
    if not isinstance(head, dict):
        why = f"the files could not be inspected: {ran.how}: {ran.text.strip()[-300:]}"
        return (finished("syntax", "fail", why, ran, argv[:3]), *neutral("imports", why))
    amiss = head["syntax"] or any(head["imports"].values())
    _, base = run(pair.base, argv, job) if amiss else (None, None)
    base = base if isinstance(base, dict) else {"syntax": {}, "imports": {}}
    wrong = [f"{file}: {error}" for file, error in head["syntax"].items() if file not in base["syntax"]]
    missing = [
        f"{file}: {name}"
        for file, names in head["imports"].items()
        for name in names
        if name not in base["imports"].get(file, ())
    ]
    return (
        finished("syntax", "fail" if wrong else "pass", listed(wrong) or f"{len(files)} files compile", ran, argv[:3]),
        finished("imports", "fail" if missing else "pass", listed(missing) or "all imports resolve", ran, argv[:3]),
    )


def lint(pair: Pair, run: RunTool, configured: bool) -> tuple[Check, ...]:
    """Ruff finds nothing new in the changed files, counted per file and rule."""
    files = pair.named(".py", ".pyi")
    if not files:
        return neutral("lint", NOTHING)
    rules = () if configured else ("--isolated", "--select", FATAL_RULES)
    argv = (sys.executable, "-I", "-m", "ruff", "check", *RUFF_OPTIONS, *rules, "--")
    return compared("lint", "ruff", pair, run, argv, files, _ruff)


def mender(configured: bool) -> Mender:
    """Ruff's safe fixes, of the rules that `lint` looks for."""
    rules = () if configured else ("--isolated", "--select", FATAL_RULES)
    ruff = (sys.executable, "-I", "-m", "ruff", "check")
    options = tuple("--fix" if option == "--no-fix" else option for option in RUFF_OPTIONS)
    return Mender((*ruff, *RUFF_OPTIONS, *rules, "--"), (*ruff, *options, *rules, "--"), _ruff)


def types(pair: Pair, run: RunTool, python: str, tool: str, targets: bool) -> tuple[Check, ...]:
    """Mypy or pyright finds nothing new; `targets` says that the configuration names its files."""
    files = pair.named(".py", ".pyi")
    if not files:
        return neutral("types", NOTHING)
    options, read = (MYPY_OPTIONS, _mypy) if tool == "mypy" else (PYRIGHT_OPTIONS, _pyright)
    return compared("types", tool, pair, run, (python, "-I", "-m", tool, *options), files, read, whole=targets)


def ruff_rows(ran: Ran) -> list[dict[str, Any]] | None:
    """Ruff's findings as its JSON has them, None when its answer isn't one; warnings on stderr may come first."""
    start = ran.text.find("[\n") if "[\n" in ran.text else ran.text.find("[]")
    if ran.exit != 0 or start < 0 or ran.truncated:
        return None
    try:
        rows, _ = json.JSONDecoder().raw_decode(ran.text[start:])
    except json.JSONDecodeError:
        return None
    return rows if isinstance(rows, list) else None


def _ruff(ran: Ran) -> list[Finding] | None:
    rows = ruff_rows(ran)
    if rows is None:
        return None
    return [
        Finding(
            row["filename"],
            row["code"] or "syntax",
            f"{row['code'] or 'syntax'} {row['message']}",
            f"{row['filename']}:{row['location']['row']}",
        )
        for row in rows
    ]


def _mypy(ran: Ran) -> list[Finding] | None:
    """Lines move, messages don't."""
    texts = ((found, f"{found['text']} [{found['code'] or ''}]") for found in MYPY_LINE.finditer(ran.text))
    rows = [Finding(found["file"], text, text, f"{found['file']}:{found['line']}") for found, text in texts]
    return rows if ran.exit == 0 or (ran.exit == 1 and rows) else None


def _pyright(ran: Ran) -> list[Finding] | None:
    start = ran.text.find("{\n")
    if ran.exit not in (0, 1) or start < 0 or ran.truncated:
        return None
    try:
        rows = json.JSONDecoder().raw_decode(ran.text[start:])[0]["generalDiagnostics"]
        errors = [row for row in rows if row["severity"] == "error"]
        return [_pyright_row(row) for row in errors]
    except (json.JSONDecodeError, KeyError, TypeError):
        return None


def _pyright_row(row: dict[str, Any]) -> Finding:
    place = f"{row['file']}:{row['range']['start']['line'] + 1}"
    return Finding(row["file"], row["message"], f"{row['message']} [{row.get('rule', '')}]", place)
