"""Models' answers: what the schema allows is what can be read, nothing else is, and the plan's graph is one."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from random import Random
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core import answers
from bot.core.answers import AnswerError, Approach, Audit, Plan, PlanReview, RefinedPlan, Task, read, schema_of
from bot.core.graph import ordered
from bot.core.phases import KINDS

KINDS_OF_ANSWER = sorted(
    {stage.answer for spec in KINDS.values() for stage in spec.stages if stage.answer}, key=lambda kind: kind.__name__
)
kinds = pytest.mark.parametrize("kind", KINDS_OF_ANSWER, ids=lambda kind: kind.__name__)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of an answer's type."""
    if kind is str:
        return words
    if kind in (int, bool):
        return st.integers() if kind is int else st.booleans()
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is tuple:
        return st.lists(values(get_args(kind)[0]), max_size=3).map(tuple)
    return st.builds(kind, **{name: values(hint) for name, hint in get_type_hints(kind).items()})


def conforms(schema: dict[str, Any], value: Any) -> bool:
    """Whether `value` is what `schema` describes, as JSON Schema says it."""
    if "enum" in schema and value not in schema["enum"]:
        return False
    match schema["type"]:
        case "object":
            parts: dict[str, Any] = schema["properties"]
            return (
                isinstance(value, dict) and set(value) == set(parts) and all(conforms(parts[name], value[name]) for name in parts)
            )
        case "array":
            return isinstance(value, list) and all(conforms(schema["items"], item) for item in value)
        case simple:
            return type(value) is {"string": str, "integer": int, "boolean": bool}[simple]


def is_read(kind: type[Any], value: Any) -> bool:
    try:
        read(kind, json.dumps(value))
    except AnswerError:
        return False
    return True


@kinds
@given(data=st.data())
def test_every_answer_can_be_read_back(kind: type[Any], data: st.DataObject) -> None:
    answer = data.draw(values(kind))
    text = json.dumps(asdict(answer), ensure_ascii=data.draw(st.booleans()))
    assert read(kind, text) == answer
    assert read(kind, f"```json\n{text}\n```\n") == answer
    assert read(kind, f"\n ```\n{text}\n  ``` ") == answer


JUNK: tuple[Any, ...] = (None, True, 1, 1.5, "approve", "", [], [[]], {}, {"id": "x"}, ["x"], [None], float("nan"))


def broken(value: Any, chance: Random) -> Any:
    """`value` with one thing in it changed, anywhere."""
    if chance.random() < 0.25 or not isinstance(value, (dict, list)) or not value:
        return chance.choice(JUNK)
    if isinstance(value, list):
        at = chance.randrange(len(value))
        return [*value[:at], broken(value[at], chance), *value[at + 1 :]]
    name = chance.choice(sorted(value))
    rest = {key: item for key, item in value.items() if key != name}
    return chance.choice((rest, {**value, "more": 1}, {**rest, name: broken(value[name], chance)}))


@kinds
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_what_the_schema_allows_is_what_is_read(kind: type[Any], data: st.DataObject, seed: int) -> None:
    value = json.loads(json.dumps(asdict(data.draw(values(kind)))))
    schema = schema_of(kind)
    assert conforms(schema, value)
    mutant = broken(value, Random(seed))
    assert is_read(kind, mutant) is conforms(schema, mutant)


@kinds
def test_schemas_are_strict_all_the_way_down(kind: type[Any]) -> None:
    def look(schema: dict[str, Any]) -> None:
        if schema["type"] == "object":
            assert schema["additionalProperties"] is False
            assert schema["required"] == list(schema["properties"])
            for part in schema["properties"].values():
                look(part)
        elif schema["type"] == "array":
            look(schema["items"])

    look(schema_of(kind))


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "no", "{", '{"problem": "p", "approach": "a", "purpose": "w"} and more', "```\n{}", "[" * 100_000,
        '{"a":' * 100_000,
        '"' + "x" * 10, "9" * 5_000, "\ufeff{}", '```json\n{}\n```\n```json\n{}\n```', "NaN", "null",
    ],
)  # fmt: skip
def test_what_is_no_answer_is_an_answer_error(text: str) -> None:
    with pytest.raises(AnswerError):
        read(Approach, text)


def test_half_a_character_is_refused_where_it_stands() -> None:
    """JSON can spell it, and then no file, request or journal can hold it."""
    with pytest.raises(AnswerError, match=r"answer\.approach"):
        read(Approach, '{"problem": "p", "approach": "\\ud800", "purpose": "w"}')


def test_an_error_says_where() -> None:
    plan = {"goal": "g", "is_bug": False, "tasks": [{"id": "T1", "title": "t", "files": ["a", 3], "depends_on": []}]}
    rest: dict[str, Any] = {"criteria": [], "tests": [], "out_of_scope": [], "risks": []}
    with pytest.raises(AnswerError, match=r"answer\.tasks\[0\]\.files\[1\] has to be a string"):
        read(Plan, json.dumps({**plan, **rest}))
    with pytest.raises(AnswerError, match="lacks"):
        read(Plan, json.dumps(plan))
    with pytest.raises(AnswerError, match="approve, suggest_improvements"):
        read(PlanReview, '{"verdict": "fine", "objections": []}')
    with pytest.raises(AnswerError, match="unknown"):
        read(Audit, '{"criteria": [], "findings": [], "not_checked": [], "score": 10}')


def test_a_number_is_no_truth_and_a_truth_no_number() -> None:
    plan = {"goal": "g", "tasks": [], "criteria": [], "tests": [], "out_of_scope": [], "risks": []}
    for value in (0, 1, "true", None):
        with pytest.raises(AnswerError, match="is_bug"):
            read(RefinedPlan, json.dumps({"plan": {**plan, "is_bug": value}, "answers": []}))


def test_every_answer_is_asked_for() -> None:
    """A dataclass here that no phase asks for and no answer holds is dead."""
    held: set[Any] = set()

    def look(kind: Any) -> None:
        if is_dataclass(kind):
            held.add(kind)
            for hint in get_type_hints(kind).values():
                look(hint)
        for part in get_args(kind):
            look(part)

    for kind in KINDS_OF_ANSWER:
        look(kind)
    assert held == {item for item in vars(answers).values() if is_dataclass(item)}


def task(name: str, *needs: str) -> Task:
    return Task(name, f"do {name}", (), needs)


@given(st.integers(1, 12), st.randoms(use_true_random=False))
def test_every_task_comes_after_what_it_needs(count: int, chance: Random) -> None:
    tasks = [task(f"T{n}", *chance.sample([f"T{m}" for m in range(n)], chance.randint(0, min(n, 3)))) for n in range(count)]
    chance.shuffle(tasks)
    result = ordered(tasks)
    assert sorted(t.id for t in result) == sorted(t.id for t in tasks)
    place = {t.id: at for at, t in enumerate(result)}
    assert all(place[need] < place[t.id] for t in result for need in t.depends_on)
    assert ordered(result) == result


def test_tasks_without_needs_keep_their_order() -> None:
    assert [t.id for t in ordered([task("T3"), task("T1"), task("T2")])] == ["T3", "T1", "T2"]


@given(st.integers(1, 8), st.integers(0, 4), st.randoms(use_true_random=False))
def test_a_circle_is_refused_and_named(size: int, others: int, chance: Random) -> None:
    circle = [task(f"C{n}", f"C{(n + 1) % size}") for n in range(size)]
    around = [task(f"B{n}", chance.choice(circle).id) for n in range(others)] + [task("A")]
    tasks = [*circle, *around]
    chance.shuffle(tasks)
    with pytest.raises(AnswerError) as caught:
        ordered(tasks)
    named = str(caught.value).rpartition(": ")[2].split(" -> ")
    assert named[0] == named[-1]
    assert sorted(named[1:]) == sorted(t.id for t in circle)


def test_strangers_and_twins_are_refused() -> None:
    with pytest.raises(AnswerError, match="T1 depends on T9"):
        ordered([task("T1", "T9")])
    with pytest.raises(AnswerError, match="same id"):
        ordered([task("T1"), task("T1")])
    assert ordered([]) == ()
