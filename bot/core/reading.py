"""What a file of code or tests holds that a change could cheat with, as values that are the same for every language.

`reading_python` fills them from the syntax tree, `reading_text` from patterns; `cheats` compares those of the file before with
those of the file after.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum


class Strength(IntEnum):
    """How much an assertion asks for."""

    NOTHING = 0
    """It holds whatever the code does: a constant, a thing compared with itself, one whose failure is caught."""
    TRUTH = 1
    """True, not None, not equal, an instance, any exception."""
    RANGE = 2
    """Near a value, within bounds, contained."""
    EXACT = 3


@dataclass(frozen=True, slots=True)
class Site:
    """Something at a line. `text` is spaced alike wherever it stands."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Assertion:
    """`subject` is what is asked about, without the expected value."""

    line: int
    subject: str
    text: str
    strength: Strength


@dataclass(frozen=True, slots=True)
class Case:
    """A test. `name` holds its class or its place among those of the same title. `rows` are its parametrised cases; `skips`
    include those of its class."""

    name: str
    line: int
    assertions: tuple[Assertion, ...]
    rows: tuple[Site, ...] = ()
    skips: tuple[Site, ...] = ()


@dataclass(frozen=True, slots=True)
class Mock:
    """A stand-in put in the place of `target`. `asserted` are the names that the same test calls in its assertions."""

    line: int
    target: str
    asserted: frozenset[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A literal given back for literals: `asked` is empty where the whole function gives it back."""

    line: int
    text: str
    asked: frozenset[str]
    given: str


@dataclass(frozen=True, slots=True)
class Reading:
    """`skips` are those of the whole file; `definitions` names what the file defines, with its code."""

    cases: tuple[Case, ...] = ()
    skips: tuple[Site, ...] = ()
    mocks: tuple[Mock, ...] = ()
    swallowed: tuple[Site, ...] = ()
    exits: tuple[Site, ...] = ()
    answers: tuple[Answer, ...] = ()
    definitions: tuple[tuple[str, str], ...] = ()


LITERAL = re.compile(
    r"""(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)|(?<![\w.])-?\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?"""
)


def literals(text: str) -> frozenset[str]:
    """The strings and numbers in `text`, strings without their quotes."""
    return frozenset(found[0][1:-1] if found["text"] else found[0].replace("_", "") for found in LITERAL.finditer(text))


def spaced(text: str) -> str:
    """`text` with every run of white space as one space."""
    return " ".join(text.split())
