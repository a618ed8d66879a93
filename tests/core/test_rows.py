"""Rows and experience in JSON: what is written is read again, and anything else is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import PolicyError
from bot.core.experience import MAX_RUNS, Audited, Experience, File, KindUse, Outcome, RunCost, Sighting, frozen, read_experience
from bot.core.rows import rows

AMOUNT, WORD = st.integers(0, 2**63 - 1), st.text(max_size=8)
OUTCOMES = st.builds(Outcome, WORD, WORD, WORD, WORD, WORD, st.booleans(), AMOUNT)
USES = st.builds(KindUse, WORD, AMOUNT, st.floats(0, 1e9))
RUNS = st.builds(RunCost, WORD, WORD, WORD, AMOUNT, st.lists(USES, max_size=3).map(tuple))
FILES, LEFT = st.builds(File, WORD), st.builds(Sighting, WORD, WORD, WORD, WORD)
SOME_FILES, SOME_LEFT = (st.lists(each, max_size=2).map(tuple) for each in (FILES, LEFT))
AUDITS = st.builds(Audited, st.booleans(), AMOUNT, AMOUNT, SOME_FILES, SOME_LEFT, WORD, WORD, WORD)
EXPERIENCES = st.builds(Experience, *(st.lists(each, max_size=4).map(tuple) for each in (OUTCOMES, RUNS, AUDITS)))


@given(EXPERIENCES)
def test_what_is_written_is_read_again(experience: Experience) -> None:
    for known in (experience, frozen(experience)):
        assert read_experience(json.loads(json.dumps(asdict(known)))) == known


JUNK = st.one_of(
    st.none(), st.text(max_size=3), st.integers(max_value=-1), st.just(float("nan")), st.lists(st.integers(), max_size=1)
)


@given(OUTCOMES, st.sampled_from([field.name for field in fields(Outcome)]), JUNK)
def test_a_field_of_another_kind_is_refused(outcome: Outcome, name: str, junk: Any) -> None:
    value = asdict(outcome)
    if type(value[name]) is type(junk):
        junk = None
    with pytest.raises(PolicyError, match="Outcome"):
        rows(Outcome, [{**value, name: junk}])


@given(OUTCOMES, st.sampled_from([field.name for field in fields(Outcome)]))
def test_a_field_more_or_less_is_refused(outcome: Outcome, name: str) -> None:
    value = asdict(outcome)
    for wrong in ({**value, "more": 1}, {key: found for key, found in value.items() if key != name}):
        with pytest.raises(PolicyError, match="fields"):
            rows(Outcome, [wrong])


RUN = asdict(RunCost("bug", "Small", "medium", 5))
EMPTY: dict[str, Any] = {"outcomes": [], "runs": [], "audits": []}


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"outcomes": [], "runs": []}, {**EMPTY, "outcomes": {}}, {**EMPTY, "runs": {}}, {**EMPTY, "runs": [{}]},
     {**EMPTY, "runs": [RUN] * (MAX_RUNS + 1)}, {**EMPTY, "runs": [{**RUN, "uses": [{}]}]}, {**EMPTY, "audits": [{}]}],
)  # fmt: skip
def test_what_is_no_experience_is_refused(value: Any) -> None:
    with pytest.raises(PolicyError):
        read_experience(value)
