"""Puts an edit's change, and only its change, onto the lines of a file.

A model quotes the lines around its change from memory, and often quotes them a little wrong. So the quoted lines serve to
find the place; what is written back is the difference between what the model searched and what it wants, and the file's own
lines stay as they are. New lines take the indentation and the line ending of their neighbours in the file. Where the place of
a change is not certain line by line, nothing is written.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

_DIFF_CELLS = 100_000
"""Lines times lines above which a change is not refined further: it replaces the whole middle."""
_ELISION = re.compile(
    r"(?:#|//|/\*|<!--|--|;|%|\{/\*)\s*(?:\.\.\.|…).*"  # in a comment, whatever follows
    r"|(?:\.\.\.|…)(?:[^\"'()=,]*(?:\.\.\.|…))?"  # bare dots, or dots, words, dots
)
_MARK = "\0elided"


class Unclear(Exception):
    """The place or the indentation of a change is not certain; the text says why, `line` (from 0) where."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


@dataclass(slots=True)
class Document:
    """A file's text as lines without their endings, the ending of each, and what stands around them."""

    bom: str
    lines: list[str]
    ends: list[str]
    final: bool
    """Whether the last line has an ending."""

    @classmethod
    def parse(cls, text: str) -> Document:
        """Splits at LF and CRLF only: form feeds and the like belong to their line."""
        bom = "\ufeff" if text.startswith("\ufeff") else ""
        lines = text[len(bom) :].split("\n")
        final = lines[-1] == ""
        if final:
            lines.pop()
        ends = ["\n"] * len(lines)
        if "\r" in text:
            for at, line in enumerate(lines):
                if line.endswith("\r") and (final or at < len(lines) - 1):
                    lines[at], ends[at] = line[:-1], "\r\n"
            if not final and ends:
                ends[-1] = max(set(ends[:-1]), key=ends.count) if len(ends) > 1 else "\n"
        return cls(bom, lines, ends, final)

    def render(self) -> str:
        text = "".join([piece for pair in zip(self.lines, self.ends, strict=True) for piece in pair])
        if self.lines and not self.final:
            text = text[: -len(self.ends[-1])]
        return self.bom + text

    def put(self, start: int, stop: int, new: Sequence[str]) -> None:
        """Replaces the lines start..stop (from 0, stop excluded); new lines end as their neighbours do."""
        near = self.ends[start:stop] or self.ends[max(start - 1, 0) : start + 1] or ["\n"]
        ends = near if stop > start and len(near) == len(new) else [near[0]] * len(new)
        if stop > start and new:
            ends[-1] = near[-1]
        self.lines[start:stop] = new
        self.ends[start:stop] = ends


@dataclass(frozen=True, slots=True)
class Place:
    """Where the searched lines are: for each of them its line in the file, or None; `first` and `last` bound them (from 0)."""

    lines: tuple[int | None, ...]
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Change:
    """The lines start..stop of the file (from 0, stop excluded) become `new`."""

    start: int
    stop: int
    new: tuple[str, ...]


def split_lines(text: str) -> list[str]:
    """Lines of an edit's text: a last line ending is an ending, not another empty line."""
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[-1] == "":
        lines.pop()
    return lines


def is_elision(line: str) -> bool:
    """Whether the line stands for lines left out: `...`, `# ...`, `// ... existing code ...`."""
    return bool(_ELISION.fullmatch(line.strip()))


def indent_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def changes(
    lines: Sequence[str], search: Sequence[str], replace: Sequence[str], place: Place, *, elided: bool = False
) -> list[Change]:
    """What to do to the file's `lines` so that search becomes replace at `place`, from the bottom up. Raises `Unclear`."""
    job = _Splice(lines, search, replace, place, elided)
    return [job.change(*hunk) for hunk in reversed(job.hunks)]


class _Splice:
    """One edit at one place."""

    def __init__(self, lines: Sequence[str], search: Sequence[str], replace: Sequence[str], place: Place, elided: bool) -> None:
        self.lines, self.search, self.replace, self.place = lines, search, replace, place
        self.elided = elided
        self.hunks = list(_hunks(search, replace, elided))
        found = [i for i, at in enumerate(place.lines) if at is not None and search[i].strip()]
        # A line with a slip in its text may have one in its indentation.
        self.mapped = [i for i in found if search[i].strip() == self._line(i).strip()] or found
        self.vouched = self._is_vouched()
        # Trailing blanks that the model added to what it quoted it has added to what is new as well.
        self.trim = any(self.search[i] != self.search[i].rstrip() and self.search[i] != self._line(i) for i in self.mapped)
        self.indents: dict[str, str | None] = {}
        for i in self.mapped:
            if i or len(self.mapped) == 1:
                quoted, real = indent_of(search[i]), indent_of(self._line(i))
                self.indents[quoted] = real if self.indents.get(quoted, real) == real else None

    def change(self, i1: int, i2: int, j1: int, j2: int) -> Change:
        """The change that turns search[i1:i2] into replace[j1:j2]."""
        if self.elided and any(is_elision(line) for line in (*self.search[i1:i2], *self.replace[j1:j2])):
            raise Unclear("lines that are left out (...) stand inside the change", self.place.first)
        start, stop = self._bounds(i1, i2, j1, j2)
        return Change(start, stop, tuple(self._dressed(j, i1, i2, j1, j2) for j in range(j1, j2)))

    def _is_vouched(self) -> bool:
        """Whether lines that stay show that both sides of the edit are indented unlike the file, or neither is.

        Else the model may have quoted the old lines wrongly and indented the new ones as they should be.
        """
        changed = {i for i1, i2, _, _ in self.hunks for i in range(i1, i2)}
        new = {self.replace[j].rstrip() for _, _, j1, j2 in self.hunks for j in range(j1, j2)}
        moved = [i for i in self.mapped if indent_of(self.search[i]) != indent_of(self._line(i))]
        against = [i for i in moved if i in changed and self._line(i).rstrip() in new]
        return not moved or len([i for i in moved if i not in changed]) > len(against)

    def _line(self, i: int) -> str:
        at = self.place.lines[i]
        return "" if at is None else self.lines[at]

    def _bounds(self, i1: int, i2: int, j1: int, j2: int) -> tuple[int, int]:
        gone = [i for i in range(i1, i2) if self.search[i].strip()]
        new = {line.strip() for line in self.replace[j1:j2] if line.strip()}
        places = [at for i in range(i1, i2) if (at := self.place.lines[i]) is not None]
        if not gone and not places:
            return self._insertion(i1, i2, bool(new))
        if any(self.place.lines[i] is None for i in gone):
            raise Unclear("a line to be changed is not in the file", self.place.first)
        start, stop = min(places), max(places) + 1
        if sum(1 for line in self.lines[start:stop] if line.strip()) != len(gone):
            raise Unclear("the file has further lines between those to be changed", start)
        beside = self._gap(i1, start, back=True) + self._gap(i2 - 1, stop - 1, back=False)
        if any(line.strip() in new for line in beside):
            raise Unclear("the file has a new line already, next to the change", start)
        return start, stop

    def _insertion(self, i1: int, i2: int, has_text: bool) -> tuple[int, int]:
        """Where lines go that replace nothing: after the mapped line before them or before the one after them."""
        before = self._neighbour(i1 - 1, -1)
        after = self._neighbour(i2, 1)
        if before is None and after is None:
            raise Unclear("no line beside the insertion is in the file", self.place.first)
        if before is None:
            return after or 0, after or 0
        # Blank lines that were quoted and found hold the insertion from both sides, as lines with text do.
        before = max([before, *(at for at in self.place.lines[:i1] if at is not None)])
        if after is not None and has_text:
            after = min([after, *(at for at in self.place.lines[i2:] if at is not None)])
            if any(line.strip() for line in self.lines[before + 1 : after]):
                raise Unclear("the file has further lines where the new ones belong", before)
        return before + 1, before + 1

    def _neighbour(self, i: int, step: int) -> int | None:
        """The file's line of the nearest searched line with text; None at the edge, beside `...` or if it isn't mapped."""
        while 0 <= i < len(self.search):
            if self.search[i].strip():
                return None if self.elided and is_elision(self.search[i]) else self._mapped_or_unclear(i)
            i += step
        return None

    def _mapped_or_unclear(self, i: int) -> int:
        at = self.place.lines[i]
        if at is None:
            raise Unclear("a line beside the insertion is not in the file", self.place.first)
        return at

    def _gap(self, i: int, at: int, *, back: bool) -> list[str]:
        """File lines between line `at` and the next mapped line in that direction."""
        if back:
            other = max((n for k in range(i) if (n := self.place.lines[k]) is not None and n < at), default=at - 1)
            return list(self.lines[other + 1 : at])
        other = min(
            (n for k in range(i + 1, len(self.search)) if (n := self.place.lines[k]) is not None and n > at), default=at + 1
        )
        return list(self.lines[at + 1 : other])

    def _dressed(self, j: int, i1: int, i2: int, j1: int, j2: int) -> str:
        """The new line replace[j] with the file's indentation."""
        line = self.replace[j].rstrip() if self.trim else self.replace[j]
        if not line.strip():
            return line
        quoted = indent_of(line)
        sides = {(indent_of(self.search[i]), indent_of(self._line(i))) for i in self._anchors(j, i1, i2, j1, j2)}
        found = {_shift(quoted, old, real) for old, real in sides}
        if not self.vouched and any(old != real == quoted for old, real in sides):
            raise Unclear("the old lines are indented unlike the file and the new ones like it", self.place.first)
        indent = found.pop() if len(found) == 1 else self.indents.get(quoted)
        if indent is None:
            raise Unclear("the indentation of the new lines can't be told from the lines around them", self.place.first)
        return indent + line.lstrip()

    def _anchors(self, j: int, i1: int, i2: int, j1: int, j2: int) -> list[int]:
        """Searched lines whose shift the new line j shares: itself if it replaces one, else its nearest neighbours.

        The first quoted line often lost its indentation alone, so it speaks for the first new line only.
        """
        usable = [i for i in self.mapped if i > 0] or self.mapped
        if j == 0 and self.mapped and self.mapped[0] == 0:
            # Indented alike, both first lines are quoted alike; else all neighbours have to agree.
            return [0] if indent_of(self.replace[0]) == indent_of(self.search[0]) else [0, usable[0]]
        own = i1 + j - j1
        if i2 - i1 == j2 - j1 and own in usable:
            return [own]
        start, stop = bisect_left(usable, i1), bisect_left(usable, i2)
        if start < stop:
            return [usable[start], usable[stop - 1]]
        return usable[max(start - 1, 0) : start] + usable[stop : stop + 1]


def _hunks(search: Sequence[str], replace: Sequence[str], elided: bool) -> Iterator[tuple[int, int, int, int]]:
    """Ranges of search that become ranges of replace; equal lines are left out."""
    old = [_MARK if elided and is_elision(line) else line for line in search]
    new = [_MARK if elided and is_elision(line) else line for line in replace]
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    left, right = old[head : len(old) - tail], new[head : len(new) - tail]
    if len(left) * len(right) > _DIFF_CELLS:
        yield head, head + len(left), head, head + len(right)
        return
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag != "equal":
            yield head + i1, head + i2, head + j1, head + j2


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    """How many lines from the beginning are the same."""
    differs = (n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
    return next(differs, min(len(left), len(right)))


def _shift(indent: str, quoted: str, real: str) -> str | None:
    """`indent` moved as the quoted indentation has to be moved to become the real one; None if that can't be told."""
    if quoted == real:
        return indent
    if set(real) == {"\t"} and set(indent) <= {" "} and set(quoted) <= {" "}:
        unit = len(quoted) // len(real)
        return "\t" * (len(indent) // unit) if unit and len(quoted) % len(real) == 0 and len(indent) % unit == 0 else None
    if indent.startswith(quoted):
        return real + indent[len(quoted) :]
    if real.endswith(quoted):
        return real[: len(real) - len(quoted)] + indent
    surplus = quoted[: len(quoted) - len(real)]
    if quoted.endswith(real) and indent.startswith(surplus):
        return indent[len(surplus) :]
    return None
