"""How each level of the ladder looks for a quoted block: all places that it could mean, never a choice among them.

A level turns the file's and the quotation's lines into keys and looks for the one run of keys in the other. Runs are found in
the joined text, at the speed of `str.find`. The last level, which takes what is only similar, is `fuzzy.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import accumulate, groupby, takewhile
from typing import Literal

from bot.workspace.splice import Document, Place, indent_of, is_elision

Level = Literal["exact", "rstrip", "unicode", "indent", "blank", "elision", "fuzzy"]

MAX_HITS = 20
MAX_CHAINS, _MAX_PIECES = 200, 6

_TYPOGRAPHY = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"'),
        **dict.fromkeys("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "),
        **dict.fromkeys("\u200b\u2060\ufeff"),
        "\u2026": "...",
    }
)


class Target:
    """A document and its lines as each level reads them, made when asked for."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.lines = document.lines

    @cached_property
    def flat(self) -> str:
        return "\n".join(self.lines) + ("\n" if self.document.final and self.lines else "")

    @cached_property
    def offsets(self) -> list[int]:
        """Where each line begins in `flat`."""
        return [0, *accumulate(len(line) + 1 for line in self.lines)]

    @cached_property
    def plain(self) -> list[str]:
        return [plain(line) for line in self.lines]

    @cached_property
    def bare(self) -> list[str]:
        return [line.strip() for line in self.plain]

    @cached_property
    def filled(self) -> list[int]:
        """Numbers of the lines that aren't blank."""
        return [at for at, line in enumerate(self.bare) if line]

    @cached_property
    def dense(self) -> list[str]:
        return [self.bare[at] for at in self.filled]

    def line_at(self, offset: int) -> int:
        return max(bisect_left(self.offsets, offset + 1) - 1, 0)


def plain(line: str) -> str:
    return line.rstrip() if line.isascii() else line.translate(_TYPOGRAPHY).rstrip()


def occurrences(text: str, needle: str, most: int = MAX_HITS) -> list[int]:
    """Where `needle` is, overlapping ones too; one more than `most` at most."""
    found: list[int] = []
    at = text.find(needle) if needle else -1
    while at >= 0 and len(found) <= most:
        found.append(at)
        at = text.find(needle, at + 1)
    return found


def windows(keys: Sequence[str], wanted: Sequence[str], most: int = MAX_HITS) -> list[int]:
    """Where `wanted` occurs in `keys` line by line; linear, since the search runs over the joined text."""
    joined = "\n" + "\n".join(keys) + "\n"
    found: list[int] = []
    seen = line = 0
    for at in occurrences(joined, "\n" + "\n".join(wanted) + "\n", most) if wanted else []:
        line += joined.count("\n", seen, at)
        seen = at
        found.append(line)
    return found


def _by_line(keys: Callable[[Target], list[str]], key: Callable[[str], str]) -> Callable[[Target, list[str]], list[Place]]:
    """A level that compares line with line."""

    def look(target: Target, search: list[str]) -> list[Place]:
        starts = windows(keys(target), [key(line) for line in search])
        return [Place(tuple(range(at, at + len(search))), at, at + len(search) - 1) for at in starts]

    return look


def _blank(target: Target, search: list[str]) -> list[Place]:
    """Compares the lines that aren't blank."""
    wanted = [bare for line in search if (bare := plain(line).strip())]
    places = []
    for at in windows(target.dense, wanted):
        places.append(with_blanks(target, search, list(target.filled[at : at + len(wanted)])))
    return places


def with_blanks(target: Target, search: Sequence[str], filled: Sequence[int | None]) -> Place:
    """The place whose lines with text are given; blank searched lines get the file's blank lines between those, in order."""
    lines: list[int | None] = []
    texts = iter([*filled, None])
    above, below = None, next(texts)
    for blank, run in groupby(search, lambda line: not line.strip()):
        if blank:
            lines += _blanks(target, above, below, len(list(run)))
            continue
        for _ in run:
            lines.append(below)
            above, below = below, next(texts)
    known = [line for line in filled if line is not None]
    return Place(tuple(lines), known[0], max(line for line in lines if line is not None))


def _blanks(target: Target, above: int | None, below: int | None, count: int) -> list[int | None]:
    """The file's lines for so many blank ones quoted between two lines with text: those that follow the upper one directly.

    Where the file has text in between that isn't quoted, all its blank lines there, if they are as many; else none.
    """
    if above is None:
        return [None] * count
    between = range(above + 1, len(target.bare) if below is None else below)
    directly = list(takewhile(lambda at: not target.bare[at], between))
    if below is None or len(directly) == len(between):
        return [*directly, *[None] * count][:count]
    found = [at for at in between if not target.bare[at]]
    return [*found] if len(found) == count else [None] * count


def _elision(target: Target, search: list[str]) -> list[Place]:
    """Pieces between `...` lines: each must be found after the one before it."""
    pieces: list[list[str]] = [[]]
    for line in search:
        if is_elision(line):
            pieces.append([])
        elif bare := plain(line).strip():
            pieces[-1].append(bare)
    wanted = [piece for piece in pieces if piece]
    return _likely(target, search, wanted) if len(pieces) > 1 and 0 < len(wanted) <= _MAX_PIECES else []


def _likely(target: Target, search: list[str], pieces: list[list[str]]) -> list[Place]:
    """Places of the pieces that are moved evenly: those within one block of the file, or all."""
    whole: list[Place] = []
    torn: list[Place] = []
    for chain in _chains(target, pieces):
        place = _chain_place(target, search, pieces, chain)
        if evenly_moved(target, search, place, 1):
            (whole if _one_block(target, pieces, chain) else torn).append(place)
    # A place within one block is the likelier one, unless only another is indented as quoted from the first line on.
    even = [any(evenly_moved(target, search, place, 0) for place in places) for places in (whole, torn)]
    return whole if whole and even != [False, True] else [*whole, *torn]


def _chains(target: Target, pieces: list[list[str]]) -> list[tuple[int, ...]]:
    """All ways to find the pieces one after the other; none if too many."""
    chains: list[tuple[int, ...]] = [()]
    past = [0]
    for piece in pieces:
        starts = windows(target.dense, piece, MAX_CHAINS)
        chains = [(*chain, at) for chain, least in zip(chains, past, strict=True) for at in starts if at >= least]
        past = [chain[-1] + len(piece) for chain in chains]
        if len(chains) > MAX_CHAINS:
            return []
    return chains


def evenly_moved(target: Target, search: Sequence[str], place: Place, first: int) -> bool:
    """Whether all lines are indented off by the same amount; what belongs to another block seldom is.

    A quotation's first line often lost its indentation alone: `first` is 1 to let it differ, else 0.
    """
    pairs = [(search[i], target.lines[at]) for i, at in enumerate(place.lines) if at is not None and search[i].strip()]
    return len({len(indent_of(real)) - len(indent_of(quoted)) for quoted, real in pairs[first:]}) <= 1


def _one_block(target: Target, pieces: list[list[str]], chain: tuple[int, ...]) -> bool:
    """Whether no line left out is shallower than all quoted ones: what is left out belongs to the block that is quoted."""
    quoted = {n for piece, at in zip(pieces, chain, strict=True) for n in range(at, at + len(piece))}
    depth = {n: len(indent_of(target.lines[target.filled[n]])) for n in range(chain[0], chain[-1] + len(pieces[-1]))}
    return min(depth[n] for n in quoted) <= min(depth.values())


def _chain_place(target: Target, search: list[str], pieces: list[list[str]], chain: tuple[int, ...]) -> Place:
    numbers = [n for piece, at in zip(pieces, chain, strict=True) for n in target.filled[at : at + len(piece)]]
    rest = iter(numbers)
    lines = tuple(None if is_elision(line) or not plain(line).strip() else next(rest) for line in search)
    return Place(lines, numbers[0], numbers[-1])


LEVELS: tuple[tuple[Level, Callable[[Target, list[str]], list[Place]]], ...] = (
    ("exact", _by_line(lambda target: target.lines, str)),
    ("rstrip", _by_line(lambda target: [line.rstrip() for line in target.lines], str.rstrip)),
    ("unicode", _by_line(lambda target: target.plain, plain)),
    ("indent", _by_line(lambda target: target.bare, lambda line: plain(line).strip())),
    ("blank", _blank),
    ("elision", _elision),
)
ORDER: list[Level] = [*(level for level, _ in LEVELS), "fuzzy"]
