"""Probes and the outline name the same blocks: a test whose result a change to a function alters ran a block that changed."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from textwrap import indent
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bot.core.affected import affected
from bot.core.coverage_map import Block, CoverageMap
from bot.core.outline import outline
from bot.core.reports import NO_BLOB, FileChange
from bot.workspace.toolchains.probes import PROBES

PATH, TESTS = "m.py", "test_m.py"
CALLS = range(8)
NUMBER = re.compile(r"\b\d+\b")
SIMPLE = ("t += N", "t = t * 3 - N", "u = N", "t += u", "t //= N", "def g(x, y=N): return x + y", "t += g(t)", "return t + N")
NEW = ("return t", "u = 1", "raise ValueError", "if t > 1: return t", "def g(x): return x", "yield t", "else: t += 9")
SHAPES = (
    "if t % 3 > N:\n    ...",
    "if t % 2 == N:\n    ...\nelse:\n    ...",
    "if t % 5 == N:\n    ...\nelif t % 2:\n    ...\nelse:\n    ...",
    "for i in range(N):\n    ...\n    if t % 2: break\nelse:\n    ...",
    "try:\n    t = t // (N - n)\n    ...\nexcept ZeroDivisionError as e:\n    ...\nelse:\n    ...\nfinally:\n    ...",
    "match t % 4:\n    case N:\n        ...\n    case u:\n        ...",
    "with open('/dev/null'):\n    t += N\n    ...",
)


@st.composite
def bodies(draw: st.DrawFn, depth: int = 0) -> str:
    """Statements, with others in them."""
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        number = str(draw(st.integers(0, 3)))
        for line in draw(st.sampled_from([*SIMPLE, *(SHAPES if depth < 2 else ())])).replace("N", number).splitlines():
            lines.append(indent(draw(bodies(depth + 1)), line[: line.index(".")]) if line.strip() == "..." else line)
    return "\n".join(lines)


@st.composite
def functions(draw: st.DrawFn) -> str:
    return f"u = 5\ndef g(x): return x\ndef f(n):\n    t = n\n{indent(draw(bodies()), '    ')}\n    return t\n"


@st.composite
def changes(draw: st.DrawFn, text: str) -> str:
    """The function with another number, without a line, or with a new one."""
    lines = text.splitlines()
    at = draw(st.integers(4, len(lines) - 1))
    kind = draw(st.sampled_from(["number", "new", "instead", "gone"]))
    if kind == "number":
        lines[at] = NUMBER.sub(str(draw(st.integers(0, 4))), lines[at], count=1)
    else:
        like = lines[at if kind == "instead" else draw(st.integers(3, at))]
        new = like[: len(like) - len(like.lstrip())] + draw(st.sampled_from(NEW))
        lines[at : at + (kind != "new")] = [] if kind == "gone" else [new]
    return "\n".join(lines) + "\n"


def compiles(text: str) -> bool:
    try:
        compile(text, PATH, "exec")
    except SyntaxError:
        return False
    return True


def result(call: Callable[[int], Any], number: int) -> object:
    try:
        found = call(number)
        return [*found] if hasattr(found, "__next__") else found
    except Exception as error:  # noqa: BLE001 - whatever it is
        return type(error)


def recorded(text: str) -> tuple[CoverageMap, list[object]]:
    """What each call ran, by real probes, and its result."""
    script: dict[str, Any] = {"ast": ast}
    exec(PROBES, script)  # noqa: S102 - the script that runs in the sandbox
    tree = ast.parse(text)
    script["probe"](tree, PATH, False)
    hits: set[int] = set()
    module: dict[str, Any] = {"__ostler_ran__": hits.add}
    exec(compile(tree, PATH, "exec"), module)  # noqa: S102 - the program is made above
    ran: dict[Block, int] = {}
    results = []
    for number in CALLS:
        hits.clear()
        results.append(result(module["f"], number))
        for hit in hits:
            ran[script["functions"][hit]] = ran.get(script["functions"][hit], 0) | 1 << number
    tests = (*(f"{TESTS}::test_{number}" for number in CALLS), f"{TESTS}::test_slow")
    seconds = (*(0.0 for _ in CALLS), 1.0)
    none: frozenset[Block] = frozenset()
    known = CoverageMap(tests, seconds, ran, none, {}, {}, {}, 0, frozenset((PATH, TESTS)), frozenset())
    return known, results


def chosen(text: str, after: str) -> tuple[set[str], set[str]]:
    """The tests whose result is another after a change, and those that are chosen."""
    known, before = recorded(text)
    change = FileChange(PATH, "modify", "100644", "100644", NO_BLOB, "1" * 40, text.encode(), after.encode())
    found = affected(known, [change], {PATH: after, TESTS: "from m import f\n"})
    assert not found.everything
    differ = {test for test, old, new in zip(known.tests, before, recorded(after)[1], strict=False) if old != new}
    return differ, {*found.items}


@given(functions(), st.data())
def test_a_call_that_gives_something_else_is_chosen(text: str, data: st.DataObject) -> None:
    after = data.draw(changes(text))
    assume(compiles(after))
    differ, items = chosen(text, after)
    assert differ <= items


IF = "if n > 3:\n        if n > 5:\n            t += 1"
TRAPS = (
    ("if n > 3:\n        t += u\n    if n < 2:\n        t += 1", "t += 1", "u = 1"),  # a name becomes local everywhere
    ("if n > 3:\n        return 9\n    if n < 2:\n        t += 1", "t += 1", "yield t"),  # calls give a generator
    (IF, "t += 1", "t += 1\n        t += 2"),  # something follows an `if`
    (IF, "t += 1", "t += 1\n        else:\n            t += 2"),  # there was no `else`
    ("try:\n        t /= n - 3\n    except ArithmeticError:\n        t = 1", "ArithmeticError", "KeyError"),
)


@pytest.mark.parametrize(("body", "old", "new"), TRAPS)
def test_what_changes_more_than_the_block_it_stands_in_is_found(body: str, old: str, new: str) -> None:
    text = f"u = 5\ndef f(n):\n    t = n\n    {body}\n    return t\n"
    differ, items = chosen(text, text.replace(old, new))
    assert differ
    assert differ <= items


@given(functions())
def test_probes_stand_at_the_blocks_that_the_outline_finds(text: str) -> None:
    script: dict[str, Any] = {"ast": ast}
    exec(PROBES, script)  # noqa: S102 - the script that runs in the sandbox
    script["probe"](ast.parse(text), PATH, False)
    made, nothing = outline(text), outline("")
    assert made is not None
    assert nothing is not None
    assert {name for _, name in script["functions"]} == {*nothing.changed(made)}
