"""The four mechanical stages before any commit: manifests parse, syntax and types, lint, imports resolve.

Each check compares the changed tree with the base: what was wrong before isn't blamed on the change. Tools run in the
sandbox; a tool that cannot run gives a neutral check with its reason, never a pass.
"""

from __future__ import annotations

import configparser
import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from bot.core.reports import Check, CheckOutcome, Ran
from bot.workspace.toolchains.reading import read_plain

SHOWN = 20
MANY_FILES = 300
RUFF_OPTIONS = ("--no-cache", "--no-fix", "--force-exclude", "--exit-zero", "--output-format=json")
MYPY_OPTIONS = (
    "--no-error-summary",
    "--show-error-codes",
    "--hide-error-context",
    "--no-color-output",
    "--no-pretty",
    "--cache-dir=/dev/null",
)
FATAL_RULES = "E9,F63,F7,F82"
JSON_WITH_COMMENTS = re.compile(r"(^|/)(tsconfig[^/]*\.json|\.vscode/|\.devcontainer|\.eslintrc|jsconfig)")
MYPY_LINE = re.compile(r"^(?P<file>[^:\n]+):\d+(?::\d+)?: error: (?P<text>.*?)(?:  \[(?P<code>[\w-]+)\])?$", re.MULTILINE)

Parser = Callable[[str], object]


class RunTool(Protocol):
    """Runs a command in the sandbox on a copy; `job` goes in as /out/job.json, /out/answer.json comes back if written."""

    def __call__(self, folder: Path, argv: Sequence[str], job: Mapping[str, Any] | None = None) -> tuple[Ran, Any]: ...


@dataclass(frozen=True, slots=True)
class Pair:
    """The changed tree and the base, each as a copy on disk; `changed` are paths that are in the changed tree."""

    head: Path
    base: Path
    changed: tuple[str, ...]

    @property
    def python(self) -> tuple[str, ...]:
        return tuple(name for name in self.changed if name.endswith((".py", ".pyi")))

    def there(self, files: Sequence[str]) -> tuple[str, ...]:
        """Those of the files that the base has too."""
        return tuple(name for name in files if (self.base / name).is_file())


def manifests(pair: Pair, known: Iterable[str]) -> Check:
    """TOML, JSON, INI and YAML files parse: the ones that changed, and the manifests at the root."""
    broken, looked = [], 0
    for name in sorted({*pair.changed, *known}):
        if (parser := _parser(name)) is None:
            continue
        looked += 1
        error = _parse(pair.head, name, parser)
        if error and not _parse(pair.base, name, parser):
            broken.append(f"{name}: {error}")
    if not looked:
        return Check("manifests", "neutral", "no manifest to parse")
    return Check("manifests", "fail" if broken else "pass", _list(broken) or f"{looked} files parse")


def syntax_and_imports(pair: Pair, run: RunTool, python: str, script: str, roots: Sequence[str]) -> tuple[Check, Check]:
    """Changed files compile, and what they import at the top is there; nothing of them is executed."""
    files = [name for name in pair.python if name.endswith(".py")]
    if not files:
        return Check("syntax", "neutral", "no Python file changed"), Check("imports", "neutral", "no Python file changed")
    argv = (python, "-I", "-c", script, "/out/job.json", "/out/answer.json")
    job = {"files": files, "roots": list(roots)}
    ran, head = run(pair.head, argv, job)
    if not isinstance(head, dict):
        why = f"the files could not be inspected: {ran.how}: {ran.text.strip()[-300:]}"
        return Check("syntax", "fail", why, argv[:3], ran.exit, ran.seconds), Check("imports", "neutral", why)
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
        Check(
            "syntax", "fail" if wrong else "pass", _list(wrong) or f"{len(files)} files compile", argv[:3], ran.exit, ran.seconds
        ),
        Check("imports", "fail" if missing else "pass", _list(missing) or "all imports resolve", argv[:3], ran.exit, ran.seconds),
    )


def lint(pair: Pair, run: RunTool, configured: bool) -> Check:
    """Ruff finds nothing new in the changed files, counted per file and rule."""
    if not pair.python:
        return Check("lint", "neutral", "no Python file changed")
    argv = (
        sys.executable,
        "-I",
        "-m",
        "ruff",
        "check",
        *RUFF_OPTIONS,
        *(() if configured else ("--isolated", "--select", FATAL_RULES)),
    )
    ran, _ = run(pair.head, (*argv, "--", *_few(pair.python)))
    head = ruff_rows(ran)
    if head == []:
        return Check("lint", "pass", "nothing found", argv, ran.exit, ran.seconds)
    there = pair.there(pair.python)
    before = ruff_rows(run(pair.base, (*argv, "--", *_few(there)))[0]) if there else []
    if head is None or before is None:
        which = "the base" if before is None else "the change"
        outcome: CheckOutcome = "neutral" if before is None else "fail"
        return Check(
            "lint", outcome, f"ruff cannot run on {which}: {ran.how}: {ran.text.strip()[-300:]}", argv, ran.exit, ran.seconds
        )
    found = _news(head, before)
    detail = _list(found) or f"{len(head)} known findings, nothing new"
    return Check("lint", "fail" if found else "pass", detail, argv, ran.exit, ran.seconds)


def types(pair: Pair, run: RunTool, python: str, why_not: str, targets: bool) -> Check:
    """Mypy finds nothing new. `why_not` is the reason not to run it; `targets` says the configuration names its files."""
    if why_not or not pair.python:
        return Check("types", "neutral", why_not or "no Python file changed")
    argv = (python, "-I", "-m", "mypy", *MYPY_OPTIONS)
    ran, _ = run(pair.head, argv if targets else (*argv, *pair.python))
    if ran.exit == 0:
        return Check("types", "pass", "no errors", argv, ran.exit, ran.seconds)
    outcome, detail = _blame(ran, *_mypy_base(pair, run, argv, targets))
    return Check("types", outcome, detail, argv, ran.exit, ran.seconds)


def _mypy_base(pair: Pair, run: RunTool, argv: tuple[str, ...], targets: bool) -> tuple[bool, Counter[tuple[str, str, str]]]:
    """Whether mypy runs on the base, and what it reports there."""
    there = pair.there(pair.python)
    if not there and not targets:
        return True, Counter()
    ran, _ = run(pair.base, argv if targets else (*argv, *there))
    return ran.exit in (0, 1), mypy_counts(ran.text)


def _blame(ran: Ran, base_runs: bool, base: Counter[tuple[str, str, str]]) -> tuple[CheckOutcome, str]:
    """What a mypy run that did not end with exit 0 says about the change."""
    if not base_runs:
        return "neutral", f"mypy cannot run on the base, so there is nothing to compare with: {ran.how}"
    if ran.exit != 1:
        return "fail", f"mypy cannot run: {ran.how}: {ran.text.strip()[-300:]}"
    head = mypy_counts(ran.text)
    if not head:
        return "neutral", "mypy failed without an error line"
    found = [f"{file}: {text} [{code}]" for file, code, text in sorted(head - base)]
    return ("fail" if found else "pass"), _list(found) or f"{head.total()} known errors, nothing new"


def _few(files: Sequence[str]) -> Sequence[str]:
    """The files, or the whole tree where they are too many for a command line."""
    return files if len(files) <= MANY_FILES else (".",)


def _news(head: Sequence[Mapping[str, Any]], base: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per finding of a (file, code) that is found more often than before; messages that are new come first."""
    counts = Counter(_key(row) for row in head)
    counts.subtract(_key(row) for row in base)
    known = Counter((*_key(row), str(row["message"])) for row in base)
    found: list[str] = []
    for row in sorted(head, key=lambda row: known[(*_key(row), str(row["message"]))] > 0):
        if counts[_key(row)] > 0:
            counts[_key(row)] -= 1
            found.append(f"{row['filename']}:{row['location']['row']}: {_key(row)[1]} {row['message']}")
    return sorted(found)


def _key(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["filename"], row["code"] or "syntax"


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


def mypy_counts(text: str) -> Counter[tuple[str, str, str]]:
    """How often each (file, code, message) is reported; lines move, messages don't."""
    return Counter((found["file"], found["code"] or "", found["text"]) for found in MYPY_LINE.finditer(text))


def _parser(name: str) -> Parser | None:
    last = name.rpartition("/")[2]
    if last.endswith(".toml"):
        return tomllib.loads
    if last.endswith(".json") and not JSON_WITH_COMMENTS.search(name):
        return json.loads
    if last in ("setup.cfg", "tox.ini", "pytest.ini", "mypy.ini", ".mypy.ini"):
        return configparser.RawConfigParser().read_string
    if last.endswith((".yml", ".yaml")):
        return lambda text: list(yaml.parse(text))
    return None


def _parse(root: Path, name: str, parser: Parser) -> str:
    """What is wrong with a file, empty when nothing is or it isn't there."""
    data = read_plain(root, name)
    if data is None:
        return ""
    try:
        parser(data.decode())
    except (ValueError, configparser.Error, yaml.YAMLError, RecursionError) as error:
        return " ".join(str(error).split())[:200] or type(error).__name__
    return ""


def _list(items: Sequence[str]) -> str:
    more = f"\n... and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return "\n".join(items[:SHOWN]) + more
