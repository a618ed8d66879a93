"""What the checks of all languages share: two copies to compare, and findings that are new.

Each check compares the changed tree with the base: what was wrong before isn't blamed on the change. Tools run in the
sandbox; a tool that cannot run gives a neutral check with its reason, never a pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bot.core.reports import Check, CheckOutcome, Ran

SHOWN = 20
MANY_FILES = 300

Read = Callable[[Ran], "list[Finding] | None"]


class RunTool(Protocol):
    """Runs a command in the sandbox on a copy; `job` goes in as /out/job.json, /out/answer.json comes back if written."""

    def __call__(self, folder: Path, argv: Sequence[str], job: Mapping[str, Any] | None = None) -> tuple[Ran, Any]: ...


@dataclass(frozen=True, slots=True)
class Pair:
    """The changed tree and the base, each as a copy on disk; `changed` are paths that are in the changed tree."""

    head: Path
    base: Path
    changed: tuple[str, ...]

    def named(self, *ends: str) -> tuple[str, ...]:
        """The changed files whose names end so."""
        return tuple(name for name in self.changed if name.endswith(ends))

    def there(self, files: Sequence[str]) -> tuple[str, ...]:
        """Those of the files that the base has too."""
        return tuple(name for name in files if (self.base / name).is_file())


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a tool. `kind` is what makes it the same finding where its place has moved: its rule, or its message."""

    file: str
    kind: str
    text: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.place or self.file}: {self.text}"


@dataclass(frozen=True, slots=True)
class Mender:
    """A stage's tool that mends what it finds: `find` and `mend` are its commands, files to follow; `read` gives the findings."""

    find: tuple[str, ...]
    mend: tuple[str, ...]
    read: Read


def finished(name: str, outcome: CheckOutcome, detail: str, ran: Ran, argv: Sequence[str]) -> Check:
    """A check that a command made."""
    return Check(name, outcome, detail, tuple(argv), ran.exit, ran.seconds)


def neutral(name: str, why: str) -> tuple[Check, ...]:
    return (Check(name, "neutral", why),)


def compared(
    name: str, tool: str, pair: Pair, run: RunTool, argv: Sequence[str], files: Sequence[str], read: Read, *, whole: bool = False
) -> tuple[Check, ...]:
    """What a tool finds in the changed `files` that it doesn't find on the base; `whole` leaves the files to its configuration.

    `read` gives the findings of a run, None where it could not run. Where the base cannot be looked at, nothing is blamed.
    """
    ran, _ = run(pair.head, (*argv, *(() if whole else few(files))))
    head = read(ran)
    if head == []:
        return (finished(name, "pass", f"{tool} finds nothing", ran, argv),)
    there = pair.there(files)
    before = run(pair.base, (*argv, *(() if whole else few(there))))[0] if there or whole else None
    base = read(before) if before else []
    if base is None:
        why = f"{tool} cannot run on the base, so there is nothing to compare with: {said(before or ran)}"
        return (finished(name, "neutral", why, ran, argv),)
    if head is None:
        return (finished(name, "fail", f"{tool} cannot run: {said(ran)}", ran, argv),)
    found = news(head, base)
    detail = listed(found) or f"{len(head)} known findings, nothing new"
    return (finished(name, "fail" if found else "pass", detail, ran, argv),)


def news(head: Sequence[Finding], base: Sequence[Finding]) -> list[str]:
    """A line for each finding of a (file, kind) that is found more often than before; texts that are new come first."""
    counts = Counter((row.file, row.kind) for row in head)
    counts.subtract((row.file, row.kind) for row in base)
    known = Counter((row.file, row.kind, row.text) for row in base)
    found: list[str] = []
    for row in sorted(head, key=lambda row: known[row.file, row.kind, row.text] > 0):
        if counts[row.file, row.kind] > 0:
            counts[row.file, row.kind] -= 1
            found.append(str(row))
    return sorted(found)


def said(ran: Ran) -> str:
    """How a command ended, and its last words."""
    return f"{ran.how}: {ran.text.strip()[-300:]}"


def few(files: Sequence[str]) -> Sequence[str]:
    """The files, or the whole tree where they are too many for a command line."""
    return files if len(files) <= MANY_FILES else (".",)


def listed(items: Sequence[str]) -> str:
    more = f"\n... and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return "\n".join(items[:SHOWN]) + more
