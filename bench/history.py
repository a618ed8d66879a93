"""Bug fixes that people made, out of the histories of local clones: each as the changeset that Ostler would have taken."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bot.core.changeset import Changeset
from bot.core.cheats import is_source
from bot.core.policy import is_test
from bot.core.reports import NO_BLOB, FileChange, Op

FIXES = re.compile(
    r"\b(?:fix(?:e[sd]|ing)?|bug(?:s|fix)?|regressions?|crash(?:es)?|broken|wrong(?:ly)?|incorrect(?:ly)?)\b", re.IGNORECASE
)
OTHERWISE = re.compile(
    r"^revert|\b(?:typos?|docs?|documentation|docstrings?|lint\w*|types?|typing|mypy|flake8|ruff|pre-commit|release|changelog|merge|tests?)\b",
    re.IGNORECASE,
)
"""Subjects of commits that take back, or that mend words, types or tests rather than what the code does."""
SINCE = "2014-01-01"
"""Before, some histories are imports from Subversion, and much of the code is no Python that is parsed today."""
MOST_FILES = 20
_GIT = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1"}


@dataclass(frozen=True, slots=True)
class Fix:
    """A commit that mends a bug, and every path of its tree."""

    repository: str
    sha: str
    subject: str
    changeset: Changeset


@dataclass(slots=True)
class Clone:
    """A bare repository or a work tree. It is read only."""

    path: Path
    _blobs: dict[str, bytes] = field(default_factory=dict)
    _tests: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        folder = self.path.resolve()
        return folder.parent.name if folder.name in ("repo", ".git") else folder.name.removesuffix(".git")

    def git(self, *args: str, given: bytes = b"") -> bytes:
        """What git says.

        Raises:
            RuntimeError: git fails.
        """
        done = subprocess.run(
            ["git", "-C", str(self.path), *args], env={**os.environ, **_GIT}, input=given, capture_output=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"git {args[0]} in {self.name} fails: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def fixes(self, most: int) -> Iterator[Fix]:
        """At most `most` bug fixes that touch sources, in the order of their ids' hashes."""
        log = self.git("log", "--no-merges", "--min-parents=1", f"--since={SINCE}", "--format=%H%x00%P%x00%s", "HEAD")
        commits = [line.split("\0", 2) for line in log.decode("utf-8", "replace").splitlines()]
        for sha, parent, subject in sorted(commits, key=lambda commit: hashlib.sha256(commit[0].encode()).digest()):
            if most and FIXES.search(subject) and not OTHERWISE.search(subject):
                changeset = self.changeset(parent, sha)
                if changeset is not None:
                    most -= 1
                    yield Fix(self.name, sha, subject, changeset)

    def changeset(self, parent: str, sha: str) -> Changeset | None:
        """The changes of a commit, or None where they touch no sources."""
        told = self.git("diff-tree", "-r", "-z", "--no-renames", "--full-index", parent, sha).decode("utf-8", "replace")
        fields = told.split("\0")
        rows = [(head.lstrip(":").split(), path) for head, path in zip(fields[::2], fields[1::2], strict=False)]
        if len(rows) > MOST_FILES or not any(is_source(path) for _, path in rows):
            return None
        if any(mode not in ("000000", "100644", "100755") for head, _ in rows for mode in head[:2]):
            return None
        self._read(blob for head, _ in rows for blob in head[2:4])
        ops: Mapping[str, Op] = {"A": "add", "M": "modify", "D": "delete"}
        files = tuple(
            FileChange(path, ops[op], old_mode, new_mode, old, new, self._blobs.get(old), self._blobs.get(new))
            for (old_mode, new_mode, old, new, op), path in rows
        )
        return Changeset("bench", parent, sha, files)

    def tests(self, sha: str) -> dict[str, str]:
        """Every file of tests in a commit, with its blob."""
        if sha not in self._tests:
            rows = [row.partition("\t") for row in self.git("ls-tree", "-r", "-z", sha).decode("utf-8", "replace").split("\0")]
            self._tests[sha] = {path: head.split()[2] for head, _, path in rows if is_test(path)}
        return self._tests[sha]

    def blob(self, name: str) -> bytes:
        self._read([name])
        return self._blobs[name]

    def _read(self, names: Iterator[str] | list[str]) -> None:
        wanted = [name for name in dict.fromkeys(names) if name != NO_BLOB and name not in self._blobs]
        if not wanted:
            return
        said, at = self.git("cat-file", "--batch", given="\n".join(wanted).encode() + b"\n"), 0
        for name in wanted:
            head, _, _ = said[at:].partition(b"\n")
            size = int(head.split()[2])
            at += len(head) + 1
            self._blobs[name] = said[at : at + size]
            at += size + 1
