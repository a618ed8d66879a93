"""The ladder against damaged quotations of real files (the standard library), and its rules one by one."""

from __future__ import annotations

import argparse
import configparser
import ftplib
import json.decoder
import logging
import random
import re
import statistics
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.workspace.edits import Applied, Edit, Located, Rejected, apply, apply_in_order, locate

SOURCES = [Path(module.__file__ or "").read_text() for module in (argparse, configparser, ftplib, json.decoder, logging)]
TRIALS = 220

Block = list[tuple[str, str]]
"""Lines of a block as in a diff: ' ' context, '-' searched only, '+' new."""


def _unique(source: str, block: str) -> bool:
    return f"\n{source}".count(f"\n{block}") == 1


def _draw(rng: random.Random, source: str, size: tuple[int, int] = (3, 14)) -> tuple[Block, str] | None:
    """A block of the source with a change inside (lines quoted before and after it), and the source after the change."""
    lines = source.split("\n")
    length = rng.randint(*size)
    start = rng.randrange(1, len(lines) - length - 1)
    part = lines[start : start + length]
    if not part[0].strip() or not part[-1].strip() or not _unique(source, "\n".join(part)):
        return None
    at = rng.randrange(1, length - 1)
    if not part[at].strip():
        return None
    indent = part[at][: len(part[at]) - len(part[at].lstrip())]
    kind = rng.choice(("change", "insert", "delete", "grow"))
    new = [f"{indent}fresh_{rng.randrange(10**6)} = {rng.randrange(100)}" for _ in range(rng.randint(1, 3))]
    if kind == "change":
        new = [part[at].replace(word, word + "_x", 1)] if (word := _word(part[at])) else new
    elif kind == "delete":
        new = []
    elif kind == "grow":
        new = [f"{indent}if fresh:", f"    {part[at]}"]
    gone = [("-", part[at])] if kind != "insert" else [(" ", part[at])]
    above, below = ([(" ", line) for line in lines] for lines in (part[:at], part[at + 1 :]))
    block = [*above, *gone, *(("+", line) for line in new), *below]
    after = [*lines[:start], *(line for mark, line in block if mark != "-"), *lines[start + length :]]
    return block, "\n".join(after)


def _word(line: str) -> str:
    found = re.search(r"[A-Za-z_]{3,}", line)
    return found[0] if found else ""


def _trailing(rng: random.Random, block: Block) -> Block | None:
    return [(mark, line + " " * rng.randint(1, 3) if mark != "+" else line) for mark, line in block]


def _dedent(_: random.Random, block: Block) -> Block | None:
    text = textwrap.dedent("\n".join(line for _, line in block)).split("\n")
    return None if text[0] == block[0][1] else [(mark, line) for (mark, _), line in zip(block, text, strict=True)]


def _indent_rest(_: random.Random, block: Block) -> Block | None:
    return [block[0], *((mark, "    " + line if line.strip() else line) for mark, line in block[1:])]


def _no_blanks(_: random.Random, block: Block) -> Block | None:
    kept = [(mark, line) for mark, line in block if line.strip()]
    return kept if len(kept) < len(block) else None


def _smart(_: random.Random, block: Block) -> Block | None:
    table = str.maketrans({"'": "\u2019", '"': "\u201d", "-": "\u2013"})
    done = [(mark, line.translate(table) if mark == " " else line) for mark, line in block]
    return done if done != block else None


def _typo(rng: random.Random, block: Block) -> Block | None:
    at = rng.choice([n for n, (mark, line) in enumerate(block) if mark != "+" and len(line.strip()) > 3] or [-1])
    if at < 0:
        return None
    mark, line = block[at]
    spot = rng.choice([n for n, char in enumerate(line) if not char.isspace()])
    wrong = line[:spot] + rng.choice(["", "q", line[spot] * 2]) + line[spot + 1 :]
    return [*block[:at], (mark, wrong), *block[at + 1 :]]


def _missing(rng: random.Random, block: Block) -> Block | None:
    inner = [n for n, (mark, line) in enumerate(block) if mark == " " and line.strip() and 0 < n < len(block) - 1]
    if not inner:
        return None
    at = rng.choice(inner)
    return block[:at] + block[at + 1 :]


def _elide(rng: random.Random, block: Block) -> Block | None:
    runs = [
        (a, b)
        for a in range(1, len(block) - 2)
        for b in range(a + 2, len(block))
        if all(mark == " " for mark, _ in block[a:b]) and block[a][1].strip()
    ]
    if not runs:
        return None
    a, b = rng.choice(runs)
    indent = block[a][1][: len(block[a][1]) - len(block[a][1].lstrip())]
    return [*block[:a], (" ", indent + rng.choice(["...", "# ...", "# ... existing code ..."])), *block[b:]]


DAMAGES: dict[str, Callable[[random.Random, Block], Block | None]] = {
    "none": lambda _, block: block,
    "trailing whitespace": _trailing,
    "uniform dedent": _dedent,
    "all but 1st line +4": _indent_rest,
    "blank lines dropped": _no_blanks,
    "smart quotes in context": _smart,
    "1-char typo": _typo,
    "one line missing": _missing,
    "elision": _elide,
}


def _edit(block: Block) -> Edit:
    search, replace = ("".join(f"{line}\n" for mark, line in block if mark != leave) for leave in "+-")
    return Edit(search, replace)


def _solid(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def _judge(source: str, edit: Edit, wanted: str | None) -> str:
    done = apply(source, edit)
    if isinstance(done, Rejected):
        assert all(1 <= line <= source.count("\n") + 1 for line in done.candidates)
        return "rej"
    return "ok" if wanted is not None and _solid(done.text) == _solid(wanted) else "WRONG"


def _damaged(name: str, rng: random.Random) -> Counter[str]:
    found: Counter[str] = Counter()
    while found.total() < TRIALS:
        source = rng.choice(SOURCES)
        drawn = _draw(rng, source, (6, 18) if name == "elision" else (3, 14))
        block = DAMAGES[name](rng, drawn[0]) if drawn else None
        # A damaged quotation that stands elsewhere word for word quotes that other block: no ladder could tell.
        if drawn and block and (name == "none" or _edit(block).search not in source):
            found[_judge(source, _edit(block), drawn[1])] += 1
    return found


def _ambiguous(rng: random.Random) -> Counter[str]:
    """Blocks that occur twice or more, with a line added."""
    found: Counter[str] = Counter()
    repeated = []
    for source in SOURCES:
        lines = source.split("\n")
        for size in (1, 2, 3):
            windows = Counter("\n".join(lines[at : at + size]) for at in range(len(lines) - size))
            repeated += [(source, block) for block, count in windows.items() if count > 1 and block.split("\n")[0].strip()]
    for source, block in rng.sample(repeated, TRIALS):
        found[_judge(source, Edit(f"{block}\n", f"{block}\nfresh = 1\n"), None)] += 1
    return found


def _foreign(rng: random.Random) -> Counter[str]:
    found: Counter[str] = Counter()
    while found.total() < TRIALS:
        here, there = rng.sample(SOURCES, 2)
        drawn = _draw(rng, there)
        edit = _edit(drawn[0]) if drawn else None
        if edit and not all(line in here for line in _solid(edit.search)):
            found[_judge(here, edit, None)] += 1
    return found


def test_damaged_blocks_are_mended_or_rejected_but_hardly_ever_misapplied() -> None:
    """Evidence 2.4, on other files: 11 kinds of damage, at most 0.5 % silently wrong in each."""
    rng = random.Random(20261123)
    table = {name: _damaged(name, rng) for name in DAMAGES}
    table["block occurs twice"] = _ambiguous(rng)
    table["block of another file"] = _foreign(rng)
    print(f"\n{'damage':26}{'ok':>7}{'rej':>7}{'WRONG':>7}   % of {TRIALS}")
    for name, row in table.items():
        print(f"{name:26}" + "".join(f"{100 * row[key] / row.total():7.1f}" for key in ("ok", "rej", "WRONG")))
    locatable = [table[name]["ok"] / table[name].total() for name in DAMAGES if name != "none"]
    print(f"{'mean ok of damaged':26}{100 * statistics.mean(locatable):7.1f}")
    assert table["none"]["ok"] == TRIALS
    assert all(row["WRONG"] <= 0.005 * row.total() for row in table.values())
    assert table["block occurs twice"]["rej"] == table["block of another file"]["rej"] == TRIALS
    assert statistics.mean(locatable) >= 0.95


def test_an_edit_takes_milliseconds() -> None:
    source = "\n".join(SOURCES[0].split("\n")[:1500])
    rng = random.Random(5)
    times: list[float] = []
    while len(times) < 100:
        drawn = _draw(rng, source)
        name = rng.choice(list(DAMAGES))
        block = DAMAGES[name](rng, drawn[0]) if drawn else None
        if block:
            start = time.process_time()
            apply(source, _edit(block))
            times.append(time.process_time() - start)
    print(f"\nmedian {1000 * statistics.median(times):.2f} ms, worst {1000 * max(times):.1f} ms on 1,500 lines")
    assert statistics.median(times) < 0.005


def test_worst_cases_stay_linear() -> None:
    """Files and blocks of thousands of equal lines must not cost seconds."""
    same = "x = 1\n" * 20_000
    start = time.process_time()
    for search in (
        "x = 1\n" * 5_000,
        "x = 1\n" * 5_000 + "y = 2\n",
        " x = 1\n" * 5_000,
        "x = 1\n\n" * 3_000 + "z\n",
        "x = 1\n...\n" * 5,
    ):
        assert isinstance(apply(same, Edit(search, "z = 3\n")), Rejected)
    assert isinstance(apply(same + "end\n", Edit("x = 1\n" * 3_000 + "end\n", "y = 1\n" * 3_000 + "end\n")), Applied)
    assert time.process_time() - start < 4


TEXT = textwrap.dedent("""\
    class A:
        def f(self):
            return 1

        def g(self):
            return 2


    class B:
        def f(self):
            return 1
""")


def _done(text: str, edit: Edit) -> Applied:
    done = apply(text, edit)
    assert isinstance(done, Applied), done
    return done


def test_two_places_are_a_rejection_that_names_them_and_a_scope_decides() -> None:
    edit = Edit("        return 1\n", "        return 3\n")
    rejected = apply(TEXT, edit)
    assert isinstance(rejected, Rejected)
    assert rejected.candidates == (3, 11)
    for scope, line in ((("class A",), 3), (("class B:",), 11), (("class B", "def f"), 11)):
        found = locate(TEXT, Edit(edit.search, edit.replace, scope))
        assert found == Located(line, line, "exact")
    assert isinstance(apply(TEXT, Edit(edit.search, edit.replace, ("def f(self):",))), Rejected)
    assert isinstance(apply(TEXT, Edit(edit.search, edit.replace, ("class C",))), Rejected)


def test_a_better_match_outside_the_scope_is_not_taken() -> None:
    done = _done(TEXT, Edit("  def f(self):\n      return 1\n", "  def f(self):\n      return 9\n", ("class B",)))
    assert done.text == TEXT[: TEXT.rindex("1")] + "9\n"
    assert done.level == "indent"


def test_an_exact_quotation_inside_a_line_is_replaced_as_characters() -> None:
    assert _done(TEXT, Edit("return 2", "return g")).text == TEXT.replace("return 2", "return g")
    assert _done("a = f(x)\n", Edit("f(x)", "g(\n    x\n)")).text == "a = g(\n    x\n)\n"
    assert _done("one\ntwo\nthree", Edit("two\n", "")).text == "one\nthree"
    assert _done("one\ntwo\nthree", Edit("two\n", "2")).text == "one\n2\nthree", "the next line was pulled up"


def test_a_block_that_lost_its_last_bracket_does_not_part_it_from_its_line() -> None:
    text = "x = 1\nfoo(a, long_argument_name)\ny = 2\n"
    done = _done(text, Edit("x = 1\nfoo(a, long_argument_name", "x = 1\nfoo(a, long_argument_name\nnew = 3"))
    assert done.text == "x = 1\nfoo(a, long_argument_name)\nnew = 3\ny = 2\n"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize(
    "quoted", ["    b = 2\n    c = 3", "b = 2\nc = 3", "    b = 2\r\n    c = 3\r\n", "    b = 2  \n    c = 3"]
)
def test_newlines_mark_and_missing_last_newline_stay(newline: str, bom: str, final: bool, quoted: str) -> None:
    text = bom + newline.join(["def f():", "    b = 2", "    c = 3"]) + (newline if final else "")
    new = quoted.replace("c = 3", "d = 4\n" + quoted[: len(quoted) - len(quoted.lstrip())] + "c = 3")
    wanted = bom + newline.join(["def f():", "    b = 2", "    d = 4", "    c = 3"]) + (newline if final else "")
    assert _done(text, Edit(quoted, new)).text == wanted


def test_new_lines_follow_tabs_where_the_quotation_had_spaces() -> None:
    text = "def f():\n\tif a:\n\t\treturn 1\n\treturn 2\n"
    done = _done(text, Edit("    if a:\n        return 1\n", "    if a:\n        log()\n        return 1\n"))
    assert done.text == text.replace("\t\treturn 1", "\t\tlog()\n\t\treturn 1")


def test_old_lines_quoted_wrongly_and_new_ones_rightly_are_rejected() -> None:
    text = "def f():\n        first_thing = 1\n        second_thing = 2\n"
    edit = Edit("first_thing = 1\nsecond_thing = 2\n", "        third_thing = 1\n        second_thing = 2\n")
    assert isinstance(apply(text, edit), Rejected)


def test_what_is_already_there_is_said() -> None:
    rejected = apply("a = 1\nb = 2\n", Edit("a = 1\nold = 0\n", "a = 1\nb = 2\n"))
    assert isinstance(rejected, Rejected)
    assert "already" in rejected.reason
    assert isinstance(apply("a\n", Edit("a", "a")), Rejected)
    assert isinstance(apply("a\n", Edit("", "b")), Rejected)


def test_chunks_follow_the_order_of_the_file() -> None:
    text = "a\nx\nb\nx\nc\n"
    first, second = Edit("b\n", "B\n", whole_lines=True), Edit("x\n", "X\n", whole_lines=True)
    done = apply_in_order(text, [first, second])
    assert isinstance(done, Applied)
    assert done.text == "a\nx\nB\nX\nc\n"
    rejected = apply_in_order(text, [Edit("c\n", "C\n", whole_lines=True), first])
    assert isinstance(rejected, Rejected)
    assert rejected.reason.startswith("Chunk 2 of 2")


LINES = st.lists(st.sampled_from(["", "a", "b", "    a", "    b = 1", "\tc", "x = 'y'", "\f", "...", "d "]), max_size=14)


@settings(max_examples=400, deadline=None)
@given(LINES, LINES, LINES, st.sampled_from(["\n", "\r\n"]))
def test_an_applied_edit_touches_one_stretch_only(lines: list[str], old: list[str], new: list[str], newline: str) -> None:
    """Whatever the edit: the file's lines outside the reported ones stay, byte by byte."""
    text = "".join(line + newline for line in lines)
    edit = Edit("\n".join(old), "\n".join(new))
    done = apply(text, edit)
    if isinstance(done, Rejected):
        assert done.reason
        return
    found = locate(text, edit)
    assert isinstance(found, Located)
    assert found.level == done.level
    before, after = text.split("\n"), done.text.split("\n")
    assert before[: found.first - 1] == after[: found.first - 1]
    assert before[found.last :] == after[len(after) - len(before) + found.last :]


@settings(max_examples=200, deadline=None)
@given(LINES.filter(bool), st.data())
def test_an_exact_unique_block_always_applies(lines: list[str], data: st.DataObject) -> None:
    text = "\n".join(lines)
    start = data.draw(st.integers(0, len(text) - 1)) if text else 0
    part = text[start : data.draw(st.integers(start + 1, len(text)))] if text else ""
    if not part or sum(text.startswith(part, at) for at in range(len(text))) != 1:
        return
    assert _done(text, Edit(part, f"Q{part}")).text == text.replace(part, f"Q{part}", 1)
