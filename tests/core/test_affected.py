"""Tests that a change makes fail are always chosen: shown on programs that really run, before and after the change."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.affected import Affected, FullRun, affected, sampled
from bot.core.coverage_map import FIELDS, Block, CoverageMap, read_map
from bot.core.errors import PolicyError
from bot.core.outline import outline
from bot.core.reports import NO_BLOB, FileChange

PATH = "m.py"
NUMBER = re.compile(r"\b\d+\b")
NUMBERS = st.integers(0, 9)


def value(names: list[str]) -> st.SearchStrategy[str]:
    """A number, or what an earlier name gives."""
    return st.one_of(NUMBERS.map(str), st.sampled_from(names)) if names else NUMBERS.map(str)


@st.composite
def programs(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A module of constants, functions and two classes, and expressions that are its tests."""
    lines: list[str] = []
    values: list[str] = []
    calls: list[str] = []
    for number in range(draw(st.integers(1, 3))):
        lines.append(f"C{number} = {draw(value(values))} + {draw(NUMBERS)}")
        values.append(f"C{number}")
    for number in range(draw(st.integers(1, 4))):
        inner = draw(value([*values, *(f"{call}(x)" for call in calls)]))
        lines.append(f"def f{number}(x, y={draw(value(values))}):\n    return {inner} * 3 + x + y + {draw(NUMBERS)}")
        calls.append(f"f{number}")
    if draw(st.booleans()):
        lines.append(f"LATE = {draw(st.sampled_from(calls))}(1)")
        values.append("LATE")
    rest = [*values, *(f"{call}(x)" for call in calls)]
    lines.append(f"class K:\n    a = {draw(value(values))}\n    def m(self, x):\n        return self.a + {draw(value(rest))}")
    lines.append(f"    def n(self, x, z={draw(NUMBERS)}):\n        return self.m(x) + z")
    lines.append(f"class L(K):\n    b = {draw(NUMBERS)}\n    def o(self, x):\n        return self.n(x) - self.b")
    tests = [*(f"{call}(2)" for call in calls), *values, "K().m(2)", "K().n(2)", "L().n(2)", "L().o(2)", "K().a", "L().b"]
    return "\n".join(lines) + "\n", tests


@dataclass
class Running:
    """A module that was imported, with the functions that ran meanwhile."""

    names: dict[str, Any]
    ran: set[Block]


def traced(work: Callable[[], Any]) -> tuple[Any, set[Block]]:
    """What `work` gives, and the functions of the module that it ran."""
    ran: set[Block] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename == PATH and frame.f_code.co_name != "<module>":
            ran.add((PATH, frame.f_code.co_qualname))

    sys.setprofile(note)
    try:
        return work(), ran
    finally:
        sys.setprofile(None)


def imported(text: str) -> Running:
    names: dict[str, Any] = {}
    _, ran = traced(lambda: exec(compile(text, PATH, "exec"), names))  # noqa: S102 - the program is made above
    return Running(names, {one for one in ran if one[1] not in ("K", "L")})


def results(text: str, tests: list[str]) -> list[tuple[Any, set[Block]]]:
    """Each test's result, and what it ran. A test is a function of its own file, as in `suite_of`."""
    running = imported(text)
    return [traced(lambda test=test: eval(test, running.names)) for test in tests]  # type: ignore[misc]  # noqa: S307


def suite_of(tests: list[str]) -> str:
    body = "\n".join(f"def test_{number}():\n    return {test}" for number, test in enumerate(tests))
    return f"from m import *\n{body}\n"


def recorded(text: str, tests: list[str]) -> CoverageMap:
    ran: dict[Block, int] = {}
    for number, (_, functions) in enumerate(results(text, tests)):
        for function in functions | {("test_m.py", f"test_{number}")}:
            ran[function] = ran.get(function, 0) | 1 << number
    names = tuple(f"test_m.py::test_{number}" for number in range(len(tests)))
    files = frozenset((PATH, "test_m.py"))
    return CoverageMap(
        names, (1.0,) * len(names), ran, frozenset(), {PATH: frozenset(imported(text).ran)}, {}, {}, 0, files, frozenset()
    )


def changed(before: str, after: str, path: str = PATH) -> FileChange:
    return FileChange(path, "modify", "100644", "100644", NO_BLOB, "1" * 40, before.encode(), after.encode())


def chosen(found: Affected, tests: int) -> set[int]:
    """The numbers of the tests that run."""
    if found.everything or "test_m.py" in found.items:
        return set(range(tests))
    return {int(item.rpartition("_")[2]) for item in found.items}


def failing(before: str, after: str, tests: list[str]) -> set[int]:
    both = zip(results(before, tests), results(after, tests), strict=True)
    return {number for number, (old, new) in enumerate(both) if old[0] != new[0]}


@given(programs(), st.data())
def test_a_test_whose_result_changes_is_chosen(program: tuple[str, list[str]], data: st.DataObject) -> None:
    text, tests = program
    place = data.draw(st.sampled_from([match.span() for match in NUMBER.finditer(text)]))
    after = f"{text[: place[0]]}{data.draw(st.integers(10, 99))}{text[place[1] :]}"
    found = affected(recorded(text, tests), [changed(text, after)], {PATH: after, "test_m.py": suite_of(tests)})
    assert failing(text, after, tests) <= chosen(found, len(tests))


@given(programs(), st.sampled_from(["a", "m", "n"]))
def test_a_test_that_an_overriding_member_changes_is_chosen(program: tuple[str, list[str]], name: str) -> None:
    text, tests = program
    member = "    a = 77\n" if name == "a" else f"    def {name}(self, x):\n        return 77\n"
    after = text + member
    found = affected(recorded(text, tests), [changed(text, after)], {PATH: after, "test_m.py": suite_of(tests)})
    assert failing(text, after, tests) <= chosen(found, len(tests))


@given(st.sampled_from(["a", "b", "c"]))
def test_tests_that_the_ticket_names_come_first(name: str) -> None:
    files = [f"test_{one}.py" for one in "abcdef"]
    ran = {(PATH, "f"): 0b000111}
    none: frozenset[Block] = frozenset()
    tests = tuple(f"{file}::test_it" for file in files)
    known = CoverageMap(tests, (1.0,) * 6, ran, none, {}, {}, {}, 0, frozenset((PATH,)), frozenset())
    text = f"`test_{name}.py::test_it` fails"
    found = affected(known, [changed("def f(): return 1", "def f(): return 2")], {}, first=(text,))
    assert found.items[0] == f"test_{name}.py"
    assert {*found.items} == {*files[:3]}


@given(programs(), st.sampled_from(["def unheard():\n    return 1\n", "UNHEARD = 1\n", "# words\n", "\n\n"]))
def test_what_nothing_mentions_adds_no_function_s_tests(program: tuple[str, list[str]], more: str) -> None:
    text, tests = program
    found = affected(recorded(text, tests), [changed(text, text + more)], {PATH: text + more, "test_m.py": suite_of(tests)})
    assert failing(text, text + more, tests) == set()
    if not more.startswith("UNHEARD"):
        assert (found.everything, found.items) == (False, ())


def shape(text: str) -> object:
    """What counts of a module."""
    made = outline(text)
    assert made is not None
    functions = {name: [code.text for code in codes] for name, codes in made.functions.items()}
    return functions, [(one.qualified, one.kind, one.code.text, one.binds) for one in made.statements]


@given(programs())
def test_layout_changes_nothing(program: tuple[str, list[str]]) -> None:
    text, _ = program
    assert shape(text) == shape(f"# a comment\n\n{text}".replace(":\n", ":  # why\n"))


@given(
    st.lists(st.sampled_from(["a.py", "b.py", "c/d.py", "e.md", "docs/f.png", "g.ts"]), unique=True),
    st.integers(0, 5),
    st.integers(0, 100),
)
def test_rules_force_all_tests(paths: list[str], files: int, percent: int) -> None:
    here = ["a.py", "b.py", "c/d.py", "g.ts", *(f"other{number}.py" for number in range(6))]
    rules = FullRun(("d",), files, percent)
    code = [path for path in paths if path.endswith((".py", ".ts"))]
    forced = "c/d.py" in code or len(code) > files or (len(code) > 1 and len(code) * 10 > percent)
    assert bool(rules.reason(paths, here)) is forced
    assert rules.reason(["e.md", "docs/x.py"], here) == ""


EMPTY: dict[str, Any] = {
    **{name: [] for name in FIELDS},
    "opaque": "0",
}
WRONG: tuple[dict[str, Any], ...] = (
    {"opaque": []},
    {"ran": [[0, 0]]},
    {"tests": [[1, 1]]},
    {"sets": ["x"]},
    {"kept": [[0, []]]},
    {"more": []},
    {"files": [1]},
)


@pytest.mark.parametrize("value", [None, {}, {"tests": []}, *({**EMPTY, **wrong} for wrong in WRONG)])
def test_notes_that_are_none_are_refused(value: Any) -> None:
    assert read_map(EMPTY).tests == ()
    with pytest.raises(PolicyError):
        read_map(value)


@given(st.sets(st.text(max_size=5), max_size=60), st.text(max_size=5), st.integers(0, 100))
def test_a_sample_is_a_share_that_only_the_seed_decides(tests: set[str], seed: str, percent: int) -> None:
    drawn = sampled(tests, seed, percent)
    assert set(drawn) <= tests
    assert len(set(drawn)) == len(drawn) == -(-len(tests) * percent // 100)
    assert drawn == sampled(sorted(tests, reverse=True), seed, percent)
