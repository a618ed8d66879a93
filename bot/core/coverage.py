"""How much of the sources tests run, before and after a change: functions of which a test ran something."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from bot.core.coverage_map import CoverageMap
from bot.core.policy import is_test_support

Share = tuple[int, int]
"""How many functions tests ran, of how many."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Both shares, or `why` they were not measured."""

    before: Share = (0, 0)
    after: Share = (0, 0)
    why: str = ""

    @property
    def drop(self) -> float:
        """By how many percentage points the share fell; 0 where it did not, or was not measured."""
        return 0.0 if self.why else max(0.0, percent(self.before) - percent(self.after))

    @property
    def told(self) -> str:
        if self.why:
            return f"not measured: {self.why}"
        (ran, of), (then, there) = self.after, self.before
        was = f"before {percent(self.before):.1f} % ({then:,} of {there:,})"
        was += f": {self.drop:.1f} points less" if self.drop else ""
        return f"tests run {percent(self.after):.1f} % of the functions ({ran:,} of {of:,}), {was}"


def percent(share: Share) -> float:
    return 100 * share[0] / share[1]


def compared(before: Share, after: Share) -> Coverage:
    return Coverage(before, after) if before[1] and after[1] else Coverage(why="the sources have no functions")


def counted(known: CoverageMap, files: Mapping[str, str]) -> Share:
    """The share of the functions that tests ran, themselves or by an import, as far as the recorder saw it.

    `files` are the Python files of the tree with their text. Of those that only a process of a test imported, or nothing, the map
    does not hold all functions.
    """
    sources = {path for path in files if path not in known.unseen and not is_test_support(path)}
    there = {function for function in known.functions if function[0] in sources}
    ran = {*known.ran, *known.everyone, *(function for found in known.imported.values() for function in found)}
    read = sum(_functions(files[path]) for path in sources - known.files)
    return len(there & ran), sum(path in known.files for path, _ in there) + read


def _functions(source: str) -> int:
    try:
        nodes = ast.walk(ast.parse(source))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return 0
    return sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes)
