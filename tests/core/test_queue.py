"""Priorities of labels, and what is said of those that wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.queue import Priority, priority, why_waits

WORDS = {
    Priority.URGENT: ("urgent", "p0", "critical"),
    Priority.HIGH: ("high", "p1", "important"),
    Priority.LOW: ("low", "p3", "cleanup"),
}
LABELS = {form.format(word): level for level, words in WORDS.items() for word in words for form in ("{}", "priority:{}")}
others = st.sampled_from(
    ["bug", "p2", "highway", "very urgent", "urgent!", "importance:high", "priority:", "priority:p2", "ostler"]
)
cases = st.sampled_from([str.lower, str.upper, str.title])


@given(st.lists(st.sampled_from(sorted(LABELS))), st.lists(others), cases)
def test_the_most_urgent_word_counts_whole_and_in_any_case(words: list[str], more: list[str], case: type[str]) -> None:
    expected = min((LABELS[word] for word in words), default=Priority.NORMAL)
    assert priority([*more, *map(case, words)]) == expected
    assert priority(reversed([*map(case, words), *more])) == expected


def test_the_levels_are_in_order() -> None:
    assert [level.name for level in sorted(Priority)] == ["FIRST", "URGENT", "HIGH", "NORMAL", "LOW"]


@pytest.mark.parametrize(
    ("load", "said"),
    [
        ((1, 1, 0, True), "1 of 1 workflow run of the repository at work"),
        ((3, 3, 4, False), "3 of 3 workflow runs of the repository at work"),
        ((1, 3, 4, True), "another session of the repository is being started"),
        ((0, 1, 4, False), "4 before it"),
        ((0, 1, 0, False), "next"),
    ],
)
def test_what_keeps_it_is_what_is_said(load: tuple[int, int, int, bool], said: str) -> None:
    running, most, before, starting = load
    assert why_waits(running, most, before, starting=starting) == said
    assert why_waits(running, most, before, starting=starting, paused=True) == "the repository is paused"
