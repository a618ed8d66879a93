"""The changeset: the file edits of a build as one canonical, hashed value, and what its lines add and remove."""

from __future__ import annotations

import base64
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


def _lines(content: bytes | None) -> list[str]:
    return (content or b"").decode("utf-8", "replace").split("\n")


def _surplus(lines: list[str], other: list[str]) -> Iterable[tuple[int, str]]:
    known = Counter(other)
    for number, line in enumerate(lines, 1):
        if known[line]:
            known[line] -= 1
        elif line:
            yield number, line
