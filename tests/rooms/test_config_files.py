"""Configuration files over one another: what the uppermost says counts, but for limits, which no file can widen."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.config import File, RepoConfig, combine, parse_config
from bot.config.files import CAPS
from bot.core.errors import BadInput, SetupError
from bot.core.strategy import Source

SUM = st.decimals(Decimal("2.5"), Decimal(9), places=2).map(str)
"""Of caps: a session's is never less than a run's, whichever file each is of."""
MONEY = st.decimals(Decimal("0.01"), Decimal("2.4"), places=2).map(str)
PATTERNS = st.lists(st.sampled_from(["a/*", "b/*", "c.py"]), max_size=3)
PRICE = {"model": "m", "dated": "2025-01-01", "input": 1, "output": "2.5"}
KEYS: dict[str, st.SearchStrategy[Any]] = {
    "approval": st.sampled_from(["always", "never"]),
    "budget.money": MONEY,
    "budget.call": SUM | st.none(),
    "budget.session": SUM | st.none(),
    "budget.day": SUM | st.none(),
    "budget.complexity.Tiny": st.integers(1, 9),
    "kinds.IMPLEMENT.tokens": st.integers(1, 99),
    "kinds.PLAN.seconds": st.integers(1, 99),
    "quotas.anthropic.weekly_tokens": st.integers(1, 99),
    "sessions_per_day.person": st.integers(1, 9) | st.none(),
    "sessions_per_day.repository": st.integers(1, 9),
    "routing.labels.a \U0001f40e: b": st.just({"right": 3}),
    "verify.tests": st.just("make check") | st.lists(st.just("tests"), max_size=2),
    "paths.allow": PATTERNS,
    "paths.deny": PATTERNS,
    "prices": st.lists(st.just(PRICE), max_size=1),
}


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, name = key.split(".")
        place = made
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return made


def unlimited(config: RepoConfig) -> dict[str, Any]:
    """All but what no file can widen."""
    return config.model_dump(exclude={"paths": {"deny"}, **{section: set(names) for section, names in CAPS.items()}})


said = st.fixed_dictionaries({}, optional=KEYS)
stacks = st.lists(said, min_size=1, max_size=3)
FEWER = settings(max_examples=30)
"""PyYAML reads a file in milliseconds, not microseconds."""


def files(stack: list[dict[str, Any]]) -> list[File]:
    return [File(f"file-{number}", yaml.safe_dump(nested(flat)).encode()) for number, flat in enumerate(stack)]


class TestOverOneAnother:
    @FEWER
    @given(stacks)
    def test_the_uppermost_that_says_something_counts(self, stack: list[dict[str, Any]]) -> None:
        *beneath, own = files(stack)
        uppermost = {key: one for flat in stack for key, one in flat.items()}
        assert unlimited(combine(own, beneath).config) == unlimited(combine(files([uppermost])[0]).config)

    @FEWER
    @given(stacks)
    def test_no_file_widens_what_another_limits(self, stack: list[dict[str, Any]]) -> None:
        *beneath, own = files(stack)
        found = combine(own, beneath)
        for section, name in ((section, name) for section, names in CAPS.items() for name in names):
            caps = [Decimal(flat[key]) for flat in stack if flat.get(key := f"{section}.{name}") is not None]
            usual = getattr(getattr(RepoConfig(), section), name)
            assert getattr(getattr(found.config, section), name) == (min(caps) if caps else usual)
        assert set(found.config.paths.deny) == {path for flat in stack for path in flat.get("paths.deny", [])}
        below = [Decimal(flat["budget.money"]) for flat in stack[:-1] if "budget.money" in flat]
        assert found.most == (min(below) if below else None)

    @FEWER
    @given(stacks)
    def test_what_is_kept_for_later_jobs_says_the_same(self, stack: list[dict[str, Any]]) -> None:
        *beneath, own = files(stack)
        found = combine(own, beneath)
        assert parse_config(found.kept()) == found.config

    def test_nothing_over_nothing_is_all_defaults(self) -> None:
        assert combine(None).config == RepoConfig()
        assert combine(None, [File("a", b"")]).config == RepoConfig()


def test_each_file_is_told_with_what_it_decides() -> None:
    beneath = File("acme/.github/ostler.yml", b"budget: {money: 3}\napproval: always\nmodels: {prefer: openai}\n", "abc")
    found = combine(File("own.yml", b"version: 1\napproval: never\nbudget: {money: 5, call: 1}\n", "def"), [beneath])
    assert found.sources == (
        Source("acme/.github/ostler.yml", "abc", ("budget.money", "models.prefer")),
        Source("own.yml", "def", ("approval", "budget.money", "budget.call")),
    )
    assert [found.origin(key) for key in ("approval", "models", "models.prefer", "budget.money", "model", "loop")] == [
        "own.yml", "acme/.github/ostler.yml", "acme/.github/ostler.yml", "own.yml", "", "",
    ]  # fmt: skip


def test_another_cap_than_the_files_counts_up_to_what_those_beneath_allow() -> None:
    own = File("own.yml", b"budget: {money: 2}\n")
    assert combine(own).bounded("9") == "9"
    found = combine(own, [File("beneath.yml", b"budget: {money: 3}\n")])
    assert [found.bounded(asked) for asked in (None, "2.5", "3", "9")] == [None, "2.5", "3", "3"]
    with pytest.raises(BadInput, match="max_cost"):
        found.bounded("much")


WRONG = {
    "beneath, though overruled": (b"loop: {max_turns: x}\n", b"loop: {max_turns: 3}\n", "beneath.yml, line 1: loop.max_turns"),
    "beneath, no YAML": (b"version: 1\n  a: [\n", b"", "beneath.yml, line 2: not YAML"),
    "the repository's": (b"\n\nloop: {max_turns: 3}\n", b"\nloop: {max_turns: x}\n", "own.yml, line 2: loop.max_turns"),
    "only together": (b"budget: {session: 3}\n", b"version: 1\nbudget: {money: 5}\n", "own.yml, line 1: the file: budget.s"),
    "only when held": (b"budget: {session: 3}\n", b"budget: {session: null, money: 5}\n", "own.yml, line 1: the file: "),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_told_of_the_file_that_has_it(case: str) -> None:
    beneath, own, said = WRONG[case]
    with pytest.raises(SetupError) as caught:
        combine(File("own.yml", own), [File("beneath.yml", beneath)])
    assert str(caught.value).startswith(said)
