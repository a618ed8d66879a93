"""Edits of real files, quoted as models quote them: a little wrong, in eleven ways (evidence 2.4).

A block is 3 to 15 lines of a file as in a diff, with one change inside: lines rewritten, put in, taken out or wrapped in a
condition, at its edges too. A damage alters what is quoted, never what is meant.
"""

from __future__ import annotations

import keyword
import random
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.corpus import Source
from bot.workspace.syntax import syntax_problem

Line = tuple[str, str]
"""' ' for context, '-' for lines that go, '+' for new ones; and the text."""
Block = tuple[Line, ...]
Sources = Sequence[Sequence[Source]]
"""Files, by release: each release has the same chance, and each of its files."""

SIZE = (3, 15)
_WORD = re.compile(r"[A-Za-z_]{3,}")
_STATEMENT = re.compile(r"\s+(?:[\w.]+ = [^\"'#]+|return [^\"'#]+|[\w.]+\([^\"'#]*\));?")
_SMART = str.maketrans({"'": "\u2019", '"': "\u201d", "-": "\u2013"})


@dataclass(frozen=True, slots=True)
class Case:
    """An edit of `source` as it is quoted, and the text that is meant, None if only a rejection is right."""

    damage: str
    source: Source
    block: Block
    wanted: str | None
    ending: str = "\n"
    """What the texts of a replacement end in: models send the last line with its ending or without."""

    @property
    def search(self) -> str:
        return _side(self.block, "+", self.ending)

    @property
    def replace(self) -> str:
        return _side(self.block, "-", self.ending)

    @property
    def patch(self) -> str:
        """The edit in V4A."""
        lines = "".join(f"{mark}{line}\n" for mark, line in self.block)
        return f"*** Begin Patch\n*** Update File: {self.source.path}\n@@\n{lines}*** End Patch\n"


def _side(block: Block, leave: str, ending: str) -> str:
    lines = [line for mark, line in block if mark != leave]
    return "\n".join(lines) + ending if lines else ""


def _quoted(block: Block) -> list[str]:
    return [line for mark, line in block if mark != "+"]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


# --- edits ------------------------------------------------------------------------------------------------------------


def _rewritten(rng: random.Random, line: str, words: Sequence[str]) -> str:
    """The line with one of its names or a number changed."""
    found = [match for match in _WORD.finditer(line) if not keyword.iskeyword(match[0])]
    if not found:
        return f"{line}{rng.randrange(10)}"
    spot = rng.choice(found)
    return line[: spot.start()] + rng.choice((f"{spot[0]}_{rng.randrange(100)}", rng.choice(words))) + line[spot.end() :]


def _edited(rng: random.Random, part: Sequence[str], source: Source, words: Sequence[str]) -> Block:
    """The lines with one change in them."""
    kind = rng.choice(("change", "insert", "delete", "wrap"))
    first = rng.randrange(len(part) + (kind == "insert"))
    last = first if kind == "insert" else min(first + rng.randint(1, 3), len(part))
    old = part[first:last]
    indent = next((_indent(line) for line in (*part[first:], *reversed(part)) if line.strip()), "")
    new: list[str] = []
    if kind == "change":
        new = [_rewritten(rng, line, words) if line.strip() else line for line in old]
    elif kind == "insert":
        statements = [line.strip() for line in source.text.split("\n") if _STATEMENT.fullmatch(line)] or ["fresh = call(1)"]
        new = [indent + _rewritten(rng, rng.choice(statements), words) for _ in range(rng.randint(1, 4))]
    elif kind == "wrap":
        head, foot = ("if {}:", []) if source.suffix == ".py" else ("if ({}) {{", [f"{indent}}}"])
        new = [indent + head.format(rng.choice(words)), *(f"    {line}" if line.strip() else line for line in old), *foot]
    rows = [[(mark, line) for line in lines] for mark, lines in ((" ", part[:first]), ("-", old), ("+", new), (" ", part[last:]))]
    return tuple(line for row in rows for line in row)


def _put(source: Source, at: int, block: Block) -> str:
    """The file's text with the block's change at line `at`."""
    lines = source.text.split("\n")
    new = [line for mark, line in block if mark != "-"]
    return "\n".join([*lines[:at], *new, *lines[at + len(_quoted(block)) :]])


def _sound(case: Case) -> bool:
    """Whether what is meant changes the file and leaves it in a state that still parses."""
    if case.wanted is None:
        return True
    return solid(case.wanted) != solid(case.source.text) and not syntax_problem(case.source.path, case.wanted.encode())


def solid(text: str) -> list[str]:
    """The lines that count when two texts are compared: without blank ones, and without blanks at their ends."""
    return [line.rstrip() for line in text.split("\n") if line.strip()]


def _words(source: Source) -> list[str]:
    return sorted({word for word in _WORD.findall(source.text) if not keyword.iskeyword(word)})


def _draw(rng: random.Random, source: Source) -> tuple[Block, str] | None:
    """A block that occurs once in the file with a change inside, and the file's text after it; None if luck had none."""
    lines = source.text.split("\n")
    length = rng.randint(*SIZE)
    if len(lines) <= length + 1:
        return None
    at = rng.randrange(len(lines) - length)
    part = lines[at : at + length]
    if not part[0].strip() or not part[-1].strip() or source.text.count("\n".join(part)) != 1:
        return None
    block = _edited(rng, part, source, _words(source))
    return block, _put(source, at, block)


# --- damages ----------------------------------------------------------------------------------------------------------


def _none(_rng: random.Random, block: Block, _comment: str) -> Block:
    return block


def _trailing(rng: random.Random, block: Block, _comment: str) -> Block:
    return tuple((mark, line if mark == "+" else line + " " * rng.randint(1, 3)) for mark, line in block)


def _dedented(_rng: random.Random, block: Block, _comment: str) -> Block | None:
    text = textwrap.dedent("\n".join(line for _, line in block)).split("\n")
    done = tuple((mark, line) for (mark, _), line in zip(block, text, strict=True))
    return None if done[0] == block[0] else done


def _rest_indented(_rng: random.Random, block: Block, _comment: str) -> Block | None:
    if block[0][0] == "+":
        return None
    firsts = {next((n for n, (mark, _) in enumerate(block) if mark != leave), 0) for leave in "+-"}
    return tuple((mark, line if n in firsts or not line.strip() else f"    {line}") for n, (mark, line) in enumerate(block))


def _without_blanks(_rng: random.Random, block: Block, _comment: str) -> Block | None:
    kept = tuple((mark, line) for mark, line in block if line.strip())
    return kept if len(_quoted(kept)) < len(_quoted(block)) else None


def _smart(_rng: random.Random, block: Block, _comment: str) -> Block | None:
    done = tuple((mark, line.translate(_SMART) if mark == " " else line) for mark, line in block)
    return done if done != block else None


def _typo(rng: random.Random, block: Block, _comment: str) -> Block | None:
    spots = [n for n, (mark, line) in enumerate(block) if mark != "+" and len(line.strip()) > 3]
    if not spots:
        return None
    at = rng.choice(spots)
    mark, line = block[at]
    spot = rng.choice([n for n, char in enumerate(line) if not char.isspace()])
    rest = line[spot:]
    typed = line[:spot] + rng.choice((rest[1:], f"q{rest[1:]}", rest[0] + rest))
    return None if typed == line else (*block[:at], (mark, typed), *block[at + 1 :])


def _line_missing(rng: random.Random, block: Block, _comment: str) -> Block | None:
    quoted = [n for n, (mark, _) in enumerate(block) if mark != "+"]
    inner = [n for n in quoted[1:-1] if block[n][0] == " " and block[n][1].strip()]
    if not inner:
        return None
    at = rng.choice(inner)
    return block[:at] + block[at + 1 :]


def _elided(rng: random.Random, block: Block, comment: str) -> Block | None:
    runs = [
        (a, b)
        for a in range(1, len(block) - 2)
        for b in range(a + 2, len(block))
        if all(mark == " " for mark, _ in block[a:b]) and block[a][1].strip()
    ]
    if not runs:
        return None
    a, b = rng.choice(runs)
    dots = rng.choice(("...", f"{comment} ...", f"{comment} ... existing code ..."))
    return (*block[:a], (" ", _indent(block[a][1]) + dots), *block[b:])


UNDAMAGED, AMBIGUOUS, FOREIGN = "none", "block occurs twice", "block of another file"
Damage = Callable[[random.Random, Block, str], Block | None]
LOCATABLE: dict[str, Damage] = {
    UNDAMAGED: _none,
    "trailing whitespace": _trailing,
    "uniform dedent": _dedented,
    "all but first line +4": _rest_indented,
    "blank lines dropped": _without_blanks,
    "smart quotes in context": _smart,
    "1-char typo": _typo,
    "one line missing": _line_missing,
    "elision": _elided,
}
"""Damages after which the place can still be told; None where a block can't be damaged so."""
DAMAGES = (*LOCATABLE, AMBIGUOUS, FOREIGN)


def cases(damage: str, sources: Sources, seed: int) -> Iterator[Case]:
    """Endless cases of one damage, the same for the same seed."""
    rng = random.Random(f"{seed}:{damage}")
    while True:
        source = _pick(rng, sources)
        made = _ambiguous(rng, source) if damage == AMBIGUOUS else _case(rng, source, sources, damage)
        if made is not None and _sound(made):
            yield made


def _pick(rng: random.Random, sources: Sources) -> Source:
    return rng.choice(rng.choice(sources))


def _case(rng: random.Random, source: Source, sources: Sources, damage: str) -> Case | None:
    drawn, ending = _draw(rng, _pick(rng, sources) if damage == FOREIGN else source), rng.choice(("\n", ""))
    if drawn is None:
        return None
    if damage == FOREIGN:
        # What stands here but for white space is a block of this file too.
        return None if _stands(drawn[0], source) else Case(damage, source, drawn[0], None, ending)
    block = LOCATABLE[damage](rng, drawn[0], source.comment)
    if block is None:
        return None
    case = Case(damage, source, block, drawn[1], ending)
    # A damaged quotation that stands elsewhere word for word quotes that other block: no ladder could tell.
    return case if damage == UNDAMAGED or case.search not in source.text else None


def _stands(block: Block, source: Source) -> bool:
    bare, wanted = (
        "".join(f"\n{line.strip()}" for line in lines if line.strip()) for lines in (source.text.split("\n"), _quoted(block))
    )
    return f"{wanted}\n" in f"{bare}\n"


def _ambiguous(rng: random.Random, source: Source) -> Case | None:
    """A change at one of the places of a block that occurs several times."""
    lines = source.text.split("\n")
    size = rng.randint(1, 5)
    windows = ["\n".join(lines[at : at + size]) for at in range(len(lines) - size)]
    counts = Counter(windows)
    repeated = [at for at, text in enumerate(windows) if counts[text] > 1 and lines[at].strip() and lines[at + size - 1].strip()]
    if not repeated:
        return None
    at = rng.choice(repeated)
    block = _edited(rng, lines[at : at + size], source, _words(source))
    return Case(AMBIGUOUS, source, block, _put(source, at, block), rng.choice(("\n", "")))
