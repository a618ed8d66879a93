"""One known defect in a change: an operator turned round in a line that was added.

An auditor that is shown it and finds nothing major would approve defects of its kind: the share of those says how far to trust an
approval (mutation analysis, DeMillo, Lipton and Sayward, "Hints on Test Data Selection", IEEE Computer 11(4), 1978).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from bot.core.changeset import Changeset, added_lines, decoded
from bot.core.policy import is_test_support
from bot.core.reports import FileChange

TURNED = {
    "==": "!=", "!=": "==", "<=": ">", ">=": "<", "<": ">=", ">": "<=", "+": "-", "-": "+", "*": "+",
    "and": "or", "or": "and", "&&": "||", "||": "&&", "True": "False", "False": "True", "true": "false", "false": "true",
}  # fmt: skip
CODE = (
    ".py", ".js", ".jsx", ".ts", ".tsx", ".mjs", ".cjs", ".go", ".rs", ".java", ".kt", ".c", ".h", ".cpp", ".rb", ".php",
)  # fmt: skip
_OPERATOR = re.compile(r"(?<= )(?:==|!=|<=|>=|<|>|\+|-|\*|&&|\|\||and|or)(?= )|\b(?:True|False|true|false)\b")
_NO_CODE = re.compile(r"\s*(?:#|//|/?\*|[\"'`]|import\b|from\b)")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'|`[^`]*`|(?:#|//).*")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change with one operator turned: `was` became `now` in line `line` of `path`."""

    changeset: Changeset
    path: str
    line: int
    was: str
    now: str


def mutant(changeset: Changeset) -> Mutant | None:
    """The change with one known defect, the same for the same tree; None where no line of code was added that has an operator."""
    possible = [(change, *place) for change in changeset.files if _is_code(change) for place in _places(change)]
    if not possible:
        return None
    change, line, start, was = possible[draw(changeset.tree, "operator") % len(possible)]
    lines = (decoded(change.after) or "").split("\n")
    lines[line - 1] = _turned(lines[line - 1], start, was)
    bad = replace(change, after="\n".join(lines).encode())
    files = tuple(bad if one.path == change.path else one for one in changeset.files)
    return Mutant(replace(changeset, files=files), change.path, line, was, TURNED[was])


def draw(tree: str, what: str) -> int:
    """A large number that hangs on the files of a change alone, so that a replay draws the same."""
    return int.from_bytes(hashlib.sha256(f"{what} {tree}".encode()).digest()[:8], "big")


def _is_code(change: FileChange) -> bool:
    return change.path.endswith(CODE) and not is_test_support(change.path) and decoded(change.after) is not None


def _places(change: FileChange) -> Iterator[tuple[int, int, str]]:
    """Line, column and word of each operator in added lines, comments and quoted text left out, and what would only be undone."""
    before = set((decoded(change.before) or "").split("\n"))
    for number, text in added_lines(change):
        if _NO_CODE.match(text):
            continue
        code = _QUOTED.sub(lambda found: "\0" * len(found[0]), text)
        for found in _OPERATOR.finditer(code):
            if _turned(text, found.start(), found[0]) not in before:
                yield number, found.start(), found[0]


def _turned(text: str, start: int, was: str) -> str:
    return text[:start] + TURNED[was] + text[start + len(was) :]
