"""Which code of a repository each of its tests ran: a value, made by running the suite once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.core.errors import PolicyError

MAX_TESTS, MAX_BLOCKS = 200_000, 2_000_000
FIELDS = frozenset(
    ("tests", "functions", "ran", "sets", "everyone", "imported", "kept", "opened", "opaque", "files", "unseen", "left")
)

Block = tuple[str, str]
"""A file's path and the name of a block in it, as `outline.blocks` gives them; the first of a function is named like it.
An empty name is the import of the file, in a process that a test started."""


@dataclass(frozen=True, slots=True)
class CoverageMap:
    """What the tests of one tree touched. Sets of tests are bits of an int, counted as in `tests`.

    `ran` are the tests that ran a block; `everyone` are blocks that ran for all tests, in fixtures of the session;
    `imported` are those that ran while a file was imported. `kept` are functions that may keep their results, each with what ran
    inside it: the next caller depends on that and doesn't run it. `opened` are files, and with a `/` at the end folders that
    were listed. What a process that `opaque` tests started ran is not known. `unseen` are files that were imported unnoticed.
    `left` are tests for which there was no time: nothing is known of them. `functions` are all those of `files`, by
    their first blocks.
    """

    tests: tuple[str, ...]
    seconds: tuple[float, ...]
    ran: Mapping[Block, int]
    everyone: frozenset[Block]
    imported: Mapping[str, frozenset[Block]]
    kept: Mapping[Block, frozenset[Block]]
    opened: Mapping[str, int]
    opaque: int
    files: frozenset[str]
    unseen: frozenset[str]
    left: tuple[str, ...] = ()
    functions: frozenset[Block] = frozenset()

    @property
    def all(self) -> int:
        return (1 << len(self.tests)) - 1


def read_map(value: Any) -> CoverageMap:
    """The map in the recorder's notes, which the repository's own code may have written.

    Raises:
        PolicyError: they are not such notes.
    """
    try:
        return _read(value)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, OverflowError) as error:
        raise PolicyError(f"The notes on what the tests ran cannot be read ({type(error).__name__}).") from error


def _read(value: Any) -> CoverageMap:
    if value.keys() != FIELDS or len(value["tests"]) > MAX_TESTS or len(value["functions"]) > MAX_BLOCKS:
        raise ValueError("fields")
    tests = tuple(_text(name) for name, _ in value["tests"])
    every = (1 << len(tests)) - 1
    functions = [(_text(path), _text(name)) for path, name in value["functions"]]
    sets = [int(found, 16) & every for found in value["sets"]]
    ran: dict[Block, int] = {}
    for number, found in value["ran"]:
        ran[functions[number]] = ran.get(functions[number], 0) | sets[found]
    return CoverageMap(
        tests,
        tuple(float(seconds) for _, seconds in value["tests"]),
        ran,
        frozenset(functions[number] for number in value["everyone"]),
        {_text(path): frozenset(functions[number] for number in found) for path, found in value["imported"]},
        {functions[key]: frozenset(functions[number] for number in found) for key, found in value["kept"]},
        {_text(path): int(found, 16) & every for path, found in value["opened"]},
        int(value["opaque"], 16) & every,
        frozenset(_text(path) for path in value["files"]),
        frozenset(_text(path) for path in value["unseen"]),
        tuple(_text(name) for name in value["left"]),
        frozenset((path, name) for path, name in functions if name and ":" not in name),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text")
    return value
