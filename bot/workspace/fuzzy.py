"""The ladder's last level: the place that a block resembles, where no other does.

First the places where all lines but one are as quoted, one after the other: the file has a line more, or a similar line in
place of the odd one. What the lines that are right have in common with no other place tells more than a likeness of the whole.
Only where there is none, windows of the file are compared with the block as one text, in C (rapidfuzz); the best has to beat
the next by a margin (evidence 2.4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from bot.workspace.levels import MAX_CHAINS, MAX_HITS, Target, evenly_moved, plain, windows, with_blanks
from bot.workspace.splice import Place, is_elision

SIMILAR = 88.0
"""Least similarity of a block, 0 to 100 (evidence 2.4)."""
LEAD = 5.0
"""By how much the best match must beat the next place."""
ODD_LINE = 70.0
"""Least similarity of the one line that is not as quoted, unless one keystroke makes it so."""
CHARS, LINES, MOST = 24, 2, 400
"""Blocks of fewer characters or lines are not matched, because too much resembles them; nor are those of more lines."""
_SCAN_CHARS = 2_000
"""Blocks longer than this are compared only where one of their lines occurs: they have lines to spare."""

Span = tuple[int, int]
"""Lines with text, from 0, the end excluded."""
Numbers = tuple[int, ...]
"""For each wanted line the number of its line with text in the file."""


def nearest(target: Target, search: Sequence[str], inside: Callable[[Place], bool]) -> list[Place]:
    """The one place among those `inside` accepts, or it and its rivals if it is not clearly the best; nothing if none is near."""
    wanted = [bare for line in search if (bare := plain(line).strip())]
    if sum(map(len, wanted)) + len(wanted) <= CHARS or not LINES <= len(wanted) <= MOST or any(map(is_elision, search)):
        return []
    odd = [(place, score) for place, score in _but_one(target, search, wanted) if inside(place)]
    if odd:
        best = max(score for _, score in odd)
        return [place for place, score in odd if best - score < LEAD]
    return _windows(target, search, wanted, inside)


def one_left_out(target: Target, search: Sequence[str], inside: Callable[[Place], bool]) -> list[Place]:
    """Places where the file has one line more than was quoted, and all others are indented alike from the first one on."""
    wanted = [bare for line in search if (bare := plain(line).strip())]
    odd = _but_one(target, search, wanted) if len(wanted) >= LINES else []
    return [place for place, score in odd if score == 100 and inside(place) and evenly_moved(target, search, place, 0)]


def _windows(target: Target, search: Sequence[str], wanted: list[str], inside: Callable[[Place], bool]) -> list[Place]:
    """The window that resembles the whole block best, or it and its rivals."""
    spans = [span for span in _spans(target.dense, wanted) if inside(_bounds(target, span))]
    near = similar("\n".join(wanted), ["\n".join(target.dense[start:stop]) for start, stop in spans], SIMILAR - LEAD)
    return _settled(target, search, wanted, [(spans[n], score) for n, score in near])


def similar(text: str, choices: Sequence[str], least: float, limit: int | None = None) -> list[tuple[int, float]]:
    """Index and similarity (0 to 100) of the choices that resemble `text` at least so much, best first."""
    from rapidfuzz import fuzz, process  # here, because most edits never need it

    return [(at, score) for _, score, at in process.extract(text, choices, scorer=fuzz.ratio, score_cutoff=least, limit=limit)]


def _one_keystroke(left: str, right: str) -> bool:
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(left, right, score_cutoff=1) <= 1


def _bounds(target: Target, span: Span) -> Place:
    return Place((), target.filled[span[0]], target.filled[span[1] - 1])


def _but_one(target: Target, search: Sequence[str], wanted: list[str]) -> list[tuple[Place, float]]:
    """Places where all wanted lines but one stand in order, and how well the odd one fits: 100 if the file has a line more.

    One of the block's halves is right then, and is looked for; the other way round, from its end, for the second half.
    """
    dense, half = target.dense, (len(wanted) + 1) // 2
    last, found = len(dense) - 1, dict(_from_head(dense, wanted, half))
    for numbers, score in _from_head(dense[::-1], wanted[::-1], len(wanted) - half):
        found[tuple(last - n for n in reversed(numbers))] = score
    return [(with_blanks(target, search, [target.filled[n] for n in numbers]), score) for numbers, score in found.items()]


def _from_head(dense: list[str], wanted: list[str], head: int) -> Iterator[tuple[Numbers, float]]:
    """The same where the first `head` lines are right."""
    starts, count = windows(dense, wanted[:head], MAX_CHAINS), len(wanted)
    for start in starts if len(starts) <= MAX_CHAINS else []:
        same = head
        while same < count and start + same < len(dense) and dense[start + same] == wanted[same]:
            same += 1
        at = start + same
        if same == count or at == len(dense):
            continue
        if dense[at + 1 : at + 1 + count - same] == wanted[same:]:
            # Beside lines that are the same, any of them may be the one left out.
            first = next((n for n in range(same, 1, -1) if dense[start + n] != wanted[n - 1]), 1)
            for left_out in range(first, same + 1):
                yield (*range(start, start + left_out), *range(start + left_out + 1, start + count + 1)), 100.0
        if dense[at + 1 : start + count] == wanted[same + 1 :]:
            yield from _instead(dense, wanted, start, same)


def _instead(dense: list[str], wanted: list[str], start: int, odd: int) -> Iterator[tuple[Numbers, float]]:
    """The place at `start` if the line that stands where `wanted[odd]` should can be meant by it."""
    count, there = len(wanted), dense[start + odd]
    if similar("\n".join(wanted), ["\n".join(dense[start : start + count])], SIMILAR):
        score = similar(wanted[odd], [there], 0)[0][1]
        if score >= ODD_LINE or _one_keystroke(wanted[odd], there):
            yield tuple(range(start, start + count)), score


def _spans(dense: Sequence[str], wanted: Sequence[str]) -> list[Span]:
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


def _settled(target: Target, search: Sequence[str], wanted: list[str], near: Sequence[tuple[Span, float]]) -> list[Place]:
    """The best window alone, line by line, if it is good enough; its rivals with it if they come near; else nothing."""
    if not near or near[0][1] < SIMILAR:
        return []
    best, score = near[0]
    rivals = [(span, other) for span, other in near[1:] if _elsewhere(span, best, len(wanted))]
    if rivals and score - rivals[0][1] < LEAD:
        return [
            replace(_bounds(target, span), lines=(None,) * len(search))
            for span in [best, *(span for span, _ in rivals[:MAX_HITS])]
        ]
    start = max(best[0] - 1, 0)  # a line further on either side, should the best cut have missed an equal line there
    aligned = _aligned(wanted, target.dense[start : best[1] + 1])
    if all(n is None for n in aligned):
        return []
    return [with_blanks(target, search, [None if n is None else target.filled[start + n] for n in aligned])]


def _elsewhere(span: Span, best: Span, length: int) -> bool:
    """Whether a window is another place than the best one, not the same cut longer, shorter or, if long, a little further on."""
    inside = best[0] <= span[0] and span[1] <= best[1]
    around = span[0] <= best[0] and best[1] <= span[1]
    return abs(span[0] - best[0]) > length // 4 and not inside and not around


def _aligned(wanted: list[str], window: list[str]) -> list[int | None]:
    """For each wanted line its line in the window; None where an alignment from the end would find another one."""
    last = len(window) - 1
    back = [None if n is None else last - n for n in reversed(_align(wanted[::-1], window[::-1]))]
    return [n if n == other else None for n, other in zip(_align(wanted, window), back, strict=True)]


def _align(wanted: list[str], window: list[str]) -> list[int | None]:
    """Equal lines by difference, then similar ones between them, in order."""
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
