"""Guidance comes with the errors of its class and goes when they stay away."""

from __future__ import annotations

from functools import reduce
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.diagnosis import Diagnosis
from bot.core.error_classes import ErrorName
from bot.core.guidance import THRESHOLDS, Seen, advice, after

FOUND = st.builds(Diagnosis, st.sampled_from(get_args(ErrorName)), st.integers(1, 5), st.just(()))
LOOKS = st.lists(st.lists(FOUND, max_size=3, unique_by=lambda row: row.name), max_size=8)


def of(name: ErrorName, count: int = 1) -> list[Diagnosis]:
    return [Diagnosis(name, count, ())]


def test_the_second_lint_error_brings_its_guidance_and_two_successes_take_it_away() -> None:
    once = after(Seen(), of("lint"))
    assert advice(once) == ()
    twice = after(once, of("lint"))
    assert [line.partition(":")[0] for line in advice(twice)] == ["lint"]
    assert advice(after(twice, [])) == advice(twice)
    assert advice(twice, [Diagnosis("lint", 1, (), "Ask Ada.")]) == ("lint: Ask Ada.",)
    assert advice(after(after(twice, []), [])) == ()


@pytest.mark.parametrize("name", THRESHOLDS)
def test_a_class_brings_its_guidance_at_its_threshold_and_not_before(name: ErrorName) -> None:
    threshold, _ = THRESHOLDS[name]
    assert advice(after(Seen(), of(name, threshold)))
    assert threshold == 1 or not advice(after(Seen(), of(name, threshold - 1)))


@given(LOOKS)
def test_all_is_forgotten_when_errors_stay_away_long_enough(looks: list[list[Diagnosis]]) -> None:
    seen = reduce(after, looks, Seen())
    for _ in range(20):
        before, seen = seen, after(seen, [])
        assert set(advice(seen)) <= set(advice(before))
    assert (seen.counts, advice(seen)) == ((), ())


@given(LOOKS, st.lists(FOUND, min_size=1, max_size=3, unique_by=lambda row: row.name))
def test_an_error_is_no_success_and_takes_no_guidance_away(looks: list[list[Diagnosis]], found: list[Diagnosis]) -> None:
    seen = reduce(after, looks, Seen())
    more = after(seen, found)
    assert more.successes == 0
    assert set(advice(seen)) <= set(advice(more))
