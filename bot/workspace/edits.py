"""The unique-match ladder: finds the one place an edit can mean, or says why not, naming candidate lines.

Levels, from strict to lenient: exact, rstrip, unicode (typographic quotes, dashes and spaces), indent, blank (blank lines don't
count), elision (`...` for lines left out), fuzzy. A level that finds one place decides; a level that finds several rejects, but
for places at which the edit does the same to the same lines; a level that finds none passes on. Below `exact` only the edit's
change is put onto the file's own lines (`splice.py`). Measured by `make bench BENCH=B1`.

Pure text: no files, no clock. Newline style, byte order mark and a missing final newline stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bot.workspace import fuzzy
from bot.workspace.levels import LEVELS, MAX_HITS, ORDER, Level, Target, evenly_moved, occurrences, plain, windows
from bot.workspace.splice import Change, Document, Place, Unclear, changes, split_lines


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace `search` by `replace`, once.

    `scope` are lines (`class A`, `def f`) inside which the place is, outermost first. `whole_lines` forbids a match inside a
    line, `at_end` prefers the end of the file; both come from patches. A final line ending is not part of a whole line.
    """

    search: str
    replace: str
    scope: tuple[str, ...] = ()
    whole_lines: bool = False
    at_end: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """The new text, the level that found the place, and the lines (from 1, both included) the edit now covers."""

    text: str
    level: Level
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nothing was changed: one sentence why, and the lines (from 1) that may have been meant."""

    reason: str
    candidates: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Located:
    """Where an edit would apply: lines from 1, both included."""

    first: int
    last: int
    level: Level


def apply(text: str, edit: Edit) -> Applied | Rejected:
    """Applies one edit to a file's text."""
    return _apply(text, edit, 0)


def locate(text: str, edit: Edit) -> Located | Rejected:
    """Finds the one place of an edit without applying it."""
    found = _find(Target(Document.parse(text)), _normal(edit), 0)
    return found if isinstance(found, Rejected) else Located(found.place.first + 1, found.place.last + 1, found.level)


def apply_in_order(text: str, edits: Sequence[Edit]) -> Applied | Rejected:
    """Applies edits whose places follow each other in the file; all or none. The level is the most lenient one used."""
    levels: list[Level] = []
    cursor, first, last = 0, 0, 0
    for number, edit in enumerate(edits, 1):
        done = _apply(text, edit, cursor)
        if isinstance(done, Rejected):
            return replace(done, reason=f"Chunk {number} of {len(edits)}: {done.reason}") if len(edits) > 1 else done
        text, cursor, last = done.text, done.last, done.last
        first = first or done.first
        levels.append(done.level)
    if not levels:
        return Rejected("There is no change to apply.")
    return Applied(text, max(levels, key=ORDER.index), first, last)


@dataclass(frozen=True, slots=True)
class _Found:
    """A decided place. `at` is the character offset of a literal match in the LF text, or None for whole lines."""

    place: Place
    level: Level
    at: int | None = None


def _normal(edit: Edit) -> Edit:
    """Line endings and byte order marks are the file's matter."""
    search, new = (text.replace("\r\n", "\n").removeprefix("\ufeff") for text in (edit.search, edit.replace))
    return replace(edit, search=search, replace=new)


def _apply(text: str, edit: Edit, cursor: int) -> Applied | Rejected:
    edit = _normal(edit)
    if edit.search == edit.replace:
        return Rejected("The edit changes nothing: what is searched and what replaces it are the same.")
    target = Target(Document.parse(text))
    found = _find(target, edit, cursor)
    if isinstance(found, Rejected):
        return found
    document, place, before = target.document, found.place, len(target.lines)
    search, new = split_lines(edit.search), split_lines(edit.replace)
    if found.level == "fuzzy" and not {*new} <= {*search} and (there := _stands_already(target.lines, new)):
        return Rejected(f"The new text stands at line {there} already: this edit was made before.", (there,))
    if found.at is not None:
        _splice_literal(target, edit, found.at)
    elif not search:
        document.put(place.last + 1, place.last + 1, new)
    else:
        try:
            todo = changes(target.lines, search, new, place, elided=found.level == "elision")
        except Unclear as unclear:
            return Rejected(f"The block resembles line {unclear.line + 1} and following, but {unclear}.", (unclear.line + 1,))
        for change in todo:
            document.put(change.start, change.stop, change.new)
    last = place.last + 1 + len(document.lines) - before
    result = document.render()
    if result == text:
        return Rejected("The edit changes nothing in the file.")
    return Applied(result, found.level, max(place.first + 1, 1), max(last, place.first))


def _stands_already(lines: Sequence[str], new: Sequence[str]) -> int:
    """The line, from 1, at which all of `new` stands, but for white space at line ends; 0 where it does not."""
    wanted, have = [line.rstrip() for line in new], [line.rstrip() for line in lines]
    starts = (at for at, line in enumerate(have) if wanted and line == wanted[0])
    return next((at + 1 for at in starts if have[at : at + len(wanted)] == wanted), 0)


def _splice_literal(target: Target, edit: Edit, at: int) -> None:
    """Replaces the characters themselves: an exact quotation means what it says.

    But for one thing: a quotation up to the end of its line, replaced by text that isn't, doesn't pull up the next line.
    """
    old, new = edit.search, edit.replace
    first, last = target.line_at(at), target.line_at(at + len(old))
    lines = target.lines
    head = lines[first][: at - target.offsets[first]]
    tail = lines[last][at + len(old) - target.offsets[last] :] if last < len(lines) else ""
    if old.endswith("\n") and not new.endswith("\n") and (head or new):
        new += "\n"
    result = (head + new + tail).split("\n")
    if last >= len(lines) and result[-1] == "":
        result.pop()
    target.document.put(first, last + 1, result)


Region = tuple[int, int]
"""Lines of the file from 0, the end excluded."""


def _find(target: Target, edit: Edit, cursor: int) -> _Found | Rejected:
    whole = [(cursor, len(target.lines))]
    scoped = _scope_regions(target, edit.scope, cursor) if edit.scope else []
    search = split_lines(edit.search)
    if not search or not edit.search:
        return _empty_search(target, edit, scoped)
    # Inside the scope first, down to the last level: a better match elsewhere is not what was meant.
    for regions in [scoped, whole] if scoped else [whole]:
        found = _ladder(target, edit, search, regions)
        if found is not None:
            return found
    return _not_found(target, edit, search, cursor, bool(scoped))


def _ladder(target: Target, edit: Edit, search: list[str], regions: list[Region]) -> _Found | Rejected | None:
    if not edit.whole_lines:
        literal = _literal(target, edit, regions)
        if literal is not None:
            return literal

    def inside(place: Place) -> bool:
        return _inside(place, regions)

    for level, look in LEVELS:
        places = list(filter(inside, look(target, search)))
        if level in ("indent", "blank") and places and not any(evenly_moved(target, search, place, 0) for place in places):
            # Closing brackets read the same when one of them is left out, but for their indentation.
            places += fuzzy.one_left_out(target, search, inside)
        found = _decided(target, edit, level, places)
        if found is not None:
            return found
    return _decided(target, edit, "fuzzy", fuzzy.nearest(target, search, inside))


def _decided(target: Target, edit: Edit, level: Level, places: list[Place]) -> _Found | Rejected | None:
    """The place if there is one, a rejection if there are several, None if there is none."""
    if edit.at_end and len(places) > 1:
        places = _at_end(target, places)
    if len(places) > 1:
        places = _alike(target, edit, level, places)
    if len(places) > 1:
        return _ambiguous(places)
    return _Found(places[0], level) if places else None


def _alike(target: Target, edit: Edit, level: Level, places: list[Place]) -> list[Place]:
    """The first place if the edit does the same at all of them: they differ in lines that it leaves as they are."""
    search, new = split_lines(edit.search), split_lines(edit.replace)
    outcomes: set[tuple[Change, ...]] = set()
    for place in places:
        try:
            outcomes.add(tuple(changes(target.lines, search, new, place, elided=level == "elision")))
        except Unclear:
            return places
        if len(outcomes) > 1:
            return places
    return places[:1]


def _at_end(target: Target, places: list[Place]) -> list[Place]:
    """Those followed by blank lines only, or all of them if none is."""
    return [place for place in places if not any(target.bare[place.last + 1 :])] or places


def _inside(place: Place, regions: list[Region]) -> bool:
    return any(start <= place.first and place.last < stop for start, stop in regions)


def _ambiguous(places: Sequence[Place]) -> Rejected:
    """Several places: says how many and where, by their first lines, or by their last ones if they begin alike."""
    found = sorted({place.first + 1 for place in places})
    word = "lines"
    if len(found) == 1:
        found, word = sorted({place.last + 1 for place in places}), "ending in lines"
    at = found[:MAX_HITS]
    count = "more than 20" if len(found) > MAX_HITS else str(max(len(found), 2))
    return Rejected(
        f"The block fits {count} places ({word} {', '.join(map(str, at))}); quote more lines around the change.",
        tuple(at),
    )


def _literal(target: Target, edit: Edit, regions: list[Region]) -> _Found | Rejected | None:
    """The characters as quoted, also inside a line."""
    needle = edit.search
    found: list[tuple[int, Place]] = []
    for at in occurrences(target.flat, needle):
        # A final line ending belongs to the line before it.
        place = Place((), target.line_at(at), target.line_at(max(at, at + len(needle) - 1)))
        if _inside(place, regions):
            found.append((at, place))
    if len(found) > 1:
        return _ambiguous([place for _, place in found])
    if not found or not _clean_edges(target, edit, *found[0]):
        return None
    return _Found(found[0][1], "exact", found[0][0])


def _clean_edges(target: Target, edit: Edit, at: int, place: Place) -> bool:
    """Whether a block of several lines that begins or ends inside a line can mean just these characters.

    A quoted line that lost its last bracket is such a piece too, and a new line after it would part it from its rest.
    """
    old, new = edit.search.split("\n"), edit.replace.split("\n")
    if len(old) == 1 or len(old) == len(new):
        return True
    before = target.lines[place.first][: at - target.offsets[place.first]]
    rest = target.flat[at + len(edit.search) :].partition("\n")[0] if old[-1] else ""
    return (not before.strip() or old[0] == new[0]) and (not rest.strip() or old[-1] == new[-1])


def _scope_regions(target: Target, scope: tuple[str, ...], cursor: int) -> list[Region]:
    """The blocks of the file that the scope's last line heads, inside those of the lines before it; empty if one is missing."""
    regions: list[Region] = [(0, len(target.lines))]
    for header in scope:
        wanted = plain(header).strip()
        inside = [at for start, stop in regions for at in range(start, stop)]
        heads = [at for at in inside if target.bare[at] == wanted] or [at for at in inside if target.bare[at].startswith(wanted)]
        if not wanted or not heads:
            return []
        regions = [(at, _block_end(target, at)) for at in heads[: MAX_HITS + 1]]
    return [(max(start, cursor), stop) for start, stop in regions if stop > cursor]


def _block_end(target: Target, head: int) -> int:
    """The line after the block that line `head` opens, by indentation; brackets at its own depth don't end it."""
    lines = target.lines
    depth = len(lines[head]) - len(lines[head].lstrip())
    for at in range(head + 1, len(lines)):
        bare = target.bare[at]
        if bare and len(lines[at]) - len(lines[at].lstrip()) <= depth and bare[0] not in "{})]":
            return at
    return len(lines)


def _empty_search(target: Target, edit: Edit, scoped: list[Region]) -> _Found | Rejected:
    """A patch chunk that only adds: below its scope's line, else at the end of the file."""
    if not edit.whole_lines:
        return Rejected("There is nothing to search for; quote the lines to be replaced.")
    if len(scoped) > 1:
        return _ambiguous([Place((), start, start) for start, _ in scoped])
    if edit.scope and not scoped:
        return Rejected(f"The line {edit.scope[-1]!r} that the change belongs below is not in the file.")
    at = scoped[0][0] if scoped and not edit.at_end else len(target.lines) - 1
    return _Found(Place((), at, at), "exact", None)


def _not_found(target: Target, edit: Edit, search: list[str], cursor: int, scoped: bool) -> Rejected:
    """Why nothing matched, with lines that look like the longest line searched."""
    if edit.scope and not scoped:
        return Rejected(f"The line {edit.scope[-1]!r} that the change belongs below is not in the file, nor is the block unique.")
    new = split_lines(edit.replace)
    done = windows([line.rstrip() for line in target.lines], [line.rstrip() for line in new]) if len(new) > 1 else []
    if done:
        at = tuple(line + 1 for line in done)
        return Rejected(f"The block is not in the file, but what should replace it already is, in line {at[0]}.", at)
    longest = max((plain(line).strip() for line in search), key=len, default="")
    lines = tuple(sorted(at + 1 for at, _ in fuzzy.similar(longest, target.bare, 60, 5)))
    where = f" Similar lines: {', '.join(map(str, lines))}." if lines else " Nothing in the file resembles it."
    earlier = f" Chunks follow the file's order, and this one was searched from line {cursor + 1} on." if cursor else ""
    return Rejected(f"The block is not in the file; view it and quote its lines as they are.{where}{earlier}", lines)
