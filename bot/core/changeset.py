"""The changeset: the file edits of a build as one canonical, hashed value, and what its lines add and remove."""

from __future__ import annotations

import base64
import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bot.core.reports import FileChange


@dataclass(frozen=True, slots=True)
class Changeset:
    """All edits against `base_sha`. `tree` is git's id of the result."""

    session: str
    base_sha: str
    tree: str
    files: tuple[FileChange, ...]

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON (sorted keys, no spaces): what is made, tested and audited must agree on it."""
        return hashlib.sha256(canonical(self.as_json())).hexdigest()

    def as_json(self) -> dict[str, Any]:
        return {
            "v": 1,
            "session": self.session,
            "base_sha": self.base_sha,
            "files": [_entry(change) for change in sorted(self.files, key=lambda change: change.path)],
        }

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(change.path for change in self.files)

    @property
    def bytes(self) -> int:
        return sum(len(change.after or b"") for change in self.files)


def canonical(value: Any) -> bytes:
    """`value` as JSON that is the same bytes for the same content."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _entry(change: FileChange) -> dict[str, Any]:
    after = change.after
    return {
        "path": change.path,
        "mode": change.new_mode,
        "op": change.op,
        "base_blob": change.old_blob,
        "sha256": None if after is None else hashlib.sha256(after).hexdigest(),
        "b64": None if after is None else base64.b64encode(after).decode(),
    }


def decoded(content: bytes | None) -> str | None:
    """The text of a file, or None where it is absent, binary or not UTF-8."""
    if content is None or b"\0" in content:
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None


def added_lines(change: FileChange) -> tuple[tuple[int, str], ...]:
    """Lines of the new content, with their numbers, that occur more often than in the old one."""
    return tuple(_surplus(_lines(change.after), _lines(change.before)))


def removed_lines(change: FileChange) -> tuple[tuple[int, str], ...]:
    """Lines of the old content, with their numbers, that occur more often than in the new one."""
    return tuple(_surplus(_lines(change.before), _lines(change.after)))


def unified(changeset: Changeset) -> str:
    """The changeset as a unified diff for reading; what is not text is only named."""
    return "".join(_diff_of(change) for change in sorted(changeset.files, key=lambda change: change.path))


def _diff_of(change: FileChange) -> str:
    old, new = (decoded(content) if content is not None else "" for content in (change.before, change.after))
    names = (f"a/{change.path}" if change.before is not None else "/dev/null",
             f"b/{change.path}" if change.after is not None else "/dev/null")  # fmt: skip
    head = f"diff --git a/{change.path} b/{change.path}\n"
    if old is None or new is None:
        return f"{head}Binary files {names[0]} and {names[1]} differ\n"
    lines = difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), *names)
    return head + "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _lines(content: bytes | None) -> list[str]:
    return (content or b"").decode("utf-8", "replace").split("\n")


def _surplus(lines: list[str], other: list[str]) -> Iterable[tuple[int, str]]:
    known = Counter(other)
    for number, line in enumerate(lines, 1):
        if known[line]:
            known[line] -= 1
        elif line:
            yield number, line
