"""How each level of the ladder looks for a quoted block: all places that it could mean, never a choice among them.

A level turns the file's and the quotation's lines into keys and looks for the one run of keys in the other. Runs are found in
the joined text, at the speed of `str.find`; only the last level compares each window of the file, and does so in C (rapidfuzz).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import cached_property
from itertools import accumulate
from typing import Literal

from bot.workspace.splice import Document, Place, indent_of, is_elision

Level = Literal["exact", "rstrip", "unicode", "indent", "blank", "elision", "fuzzy"]

SIMILAR = 88.0
"""Least similarity of a fuzzy match, 0 to 100 (evidence 2.4)."""
LEAD = 5.0
"""By how much the best fuzzy match must beat the next place."""
FUZZY_CHARS, FUZZY_LINES, FUZZY_MOST = 24, 2, 400
"""Blocks of fewer characters or lines are not matched fuzzily, because too much resembles them; nor are those of more lines."""
MAX_HITS = 20
_MAX_CHAINS, _MAX_PIECES = 200, 6
_SCAN_CHARS = 2_000
"""Blocks longer than this are compared only where one of their lines occurs: they have lines to spare."""

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
        places.append(_with_blanks(target, search, list(target.filled[at : at + len(wanted)])))
    return places


def _with_blanks(target: Target, search: list[str], filled: Sequence[int | None]) -> Place:
    """The place whose lines with text are given; blank searched lines get the file's blank lines between those, in order."""
    lines: list[int | None] = []
    rest = iter(filled)
    at: int | None = None
    for line in search:
        if line.strip():
            at = next(rest)
        elif at is not None:
            at = at + 1 if at + 1 < len(target.bare) and not target.bare[at + 1] else None
        lines.append(at)
    known = [line for line in filled if line is not None]
    return Place(tuple(lines), known[0], max(line for line in lines if line is not None))


def _elision(target: Target, search: list[str]) -> list[Place]:
    """Pieces between `...` lines: each must be found after the one before it, within the same block of the file."""
    pieces: list[list[str]] = [[]]
    for line in search:
        if is_elision(line):
            pieces.append([])
        elif bare := plain(line).strip():
            pieces[-1].append(bare)
    wanted = [piece for piece in pieces if piece]
    if len(pieces) == 1 or not wanted or len(wanted) > _MAX_PIECES:
        return []
    places = [_chain_place(target, search, wanted, chain) for chain in _chains(target, wanted)]
    return [place for place in places if _evenly_moved(target, search, place)]


def _chains(target: Target, pieces: list[list[str]]) -> list[tuple[int, ...]]:
    """All ways to find the pieces one after the other, those within one block if there are several; none if too many."""
    chains: list[tuple[int, ...]] = [()]
    past = [0]
    for piece in pieces:
        starts = windows(target.dense, piece, _MAX_CHAINS)
        chains = [(*chain, at) for chain, least in zip(chains, past, strict=True) for at in starts if at >= least]
        past = [chain[-1] + len(piece) for chain in chains]
        if len(chains) > _MAX_CHAINS:
            return []
    return [chain for chain in chains if _one_block(target, pieces, chain)] or chains if len(chains) > 1 else chains


def _evenly_moved(target: Target, search: list[str], place: Place) -> bool:
    """Whether all pieces are indented off by the same amount; a piece of another block seldom is. The first line may differ."""
    pairs = [(search[i], target.lines[at]) for i, at in enumerate(place.lines) if at is not None]
    return len({len(indent_of(real)) - len(indent_of(quoted)) for quoted, real in pairs[1:]}) <= 1


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


def _fuzzy(target: Target, search: list[str]) -> list[Place]:
    """Windows that resemble the block at least within reach of `SIMILAR`, as places with bounds only."""
    wanted = [bare for line in search if (bare := plain(line).strip())]
    block = "\n".join(wanted)
    if len(block) < FUZZY_CHARS or not FUZZY_LINES <= len(wanted) <= FUZZY_MOST or any(is_elision(line) for line in search):
        return []
    skipping = _skipping(target, search, wanted)
    if skipping:
        return skipping
    spans = _spans(target.dense, wanted)
    texts = ["\n".join(target.dense[start:stop]) for start, stop in spans]
    near = similar(block, texts, SIMILAR - LEAD)
    # Best first; the lines tuple carries nothing yet, alignment is made for the winner only.
    return [Place((), target.filled[spans[n][0]], target.filled[spans[n][1] - 1]) for n, _ in near]


def _skipping(target: Target, search: list[str], wanted: list[str]) -> list[Place]:
    """Places where all lines are as quoted but for one line of the file that the quotation left out."""
    dense, count = target.dense, len(wanted)
    places = []
    for start in windows(dense, wanted[:1], _MAX_CHAINS) if count > 2 else []:
        same = 1
        while same < count and start + same < len(dense) and dense[start + same] == wanted[same]:
            same += 1
        if same < count and dense[start + same + 1 : start + count + 1] == wanted[same:]:
            numbers = [*range(start, start + same), *range(start + same + 1, start + count + 1)]
            places.append(_with_blanks(target, search, [target.filled[n] for n in numbers]))
    return places


def similar(text: str, choices: Sequence[str], least: float, limit: int | None = None) -> list[tuple[int, float]]:
    """Index and similarity (0 to 100) of the choices that resemble `text` at least so much, best first."""
    from rapidfuzz import fuzz, process  # here, because most edits never need it

    return [(at, score) for _, score, at in process.extract(text, choices, scorer=fuzz.ratio, score_cutoff=least, limit=limit)]


def _spans(dense: Sequence[str], wanted: Sequence[str]) -> list[tuple[int, int]]:
    """Windows to compare: all of about the block's length, or for long blocks those that share a line with it in its place."""
    sizes = [size for size in (len(wanted) - 1, len(wanted), len(wanted) + 1) if size > 0]
    starts: Sequence[int] = range(len(dense))
    if sum(map(len, wanted)) > _SCAN_CHARS:
        at: dict[str, list[int]] = {}
        for number, line in enumerate(dense):
            at.setdefault(line, []).append(number)
        rare = [(n, places) for n, line in enumerate(wanted) if len(places := at.get(line, [])) in range(1, 6)]
        starts = sorted({max(place - n + off, 0) for n, places in rare[:100] for place in places for off in (-1, 0, 1)})
    return [(start, start + size) for start in starts for size in sizes if start + size <= len(dense)]


def settle(places: list[Place], target: Target, search: list[str]) -> list[Place]:
    """The fuzzy winner alone, line by line, if it is good enough; its rivals with it if they come near; else nothing."""
    wanted = [bare for line in search if (bare := plain(line).strip())]
    number = {line: n for n, line in enumerate(target.filled)}
    best, *others = [(number[place.first], number[place.last] + 1) for place in places]
    rivals = [span for span in others if _elsewhere(span, best, len(wanted))]
    texts = ["\n".join(target.dense[start:stop]) for start, stop in [best, *rivals[:1]]]
    score = dict(similar("\n".join(wanted), texts, 0))
    if score[0] < SIMILAR:
        return []
    if rivals and score[0] - score[1] < LEAD:
        return [Place((), target.filled[start], target.filled[stop - 1]) for start, stop in [best, *rivals[:MAX_HITS]]]
    start = max(best[0] - 1, 0)  # a line further on either side, should the best cut have missed an equal line there
    aligned = _align(wanted, target.dense[start : best[1] + 1])
    if all(n is None for n in aligned):
        return []
    return [_with_blanks(target, search, [None if n is None else target.filled[start + n] for n in aligned])]


def _elsewhere(span: tuple[int, int], best: tuple[int, int], length: int) -> bool:
    """Whether a window is another place than the best one, not the same cut longer, shorter or, if long, a little further on."""
    inside = best[0] <= span[0] and span[1] <= best[1]
    around = span[0] <= best[0] and best[1] <= span[1]
    return abs(span[0] - best[0]) > length // 4 and not inside and not around


def _align(wanted: list[str], window: list[str]) -> list[int | None]:
    """For each wanted line its line in the window: equal ones by difference, then similar ones between them, in order."""
    found: list[int | None] = [None] * len(wanted)
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, wanted, window, autojunk=False).get_opcodes():
        free = j1
        for i in range(i1, i2):
            if tag == "equal":
                found[i] = j1 + i - i1
                continue
            for n, score in similar(wanted[i], window[free : min(j2, free + 8)], 50, 1):
                # Between equal lines, as many quoted as there are: the same position vouches for a weaker likeness.
                held = i1 > 0 and i2 < len(wanted) and i2 - i1 == j2 - j1 and free + n - j1 == i - i1
                if score >= 70 or held:
                    found[i], free = free + n, free + n + 1
                    break
    return found


LEVELS: tuple[tuple[Level, Callable[[Target, list[str]], list[Place]]], ...] = (
    ("exact", _by_line(lambda target: target.lines, str)),
    ("rstrip", _by_line(lambda target: [line.rstrip() for line in target.lines], str.rstrip)),
    ("unicode", _by_line(lambda target: target.plain, plain)),
    ("indent", _by_line(lambda target: target.bare, lambda line: plain(line).strip())),
    ("blank", _blank),
    ("elision", _elision),
    ("fuzzy", _fuzzy),
)
ORDER = [level for level, _ in LEVELS]
