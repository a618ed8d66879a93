"""Sessions of a day: never more than a cap, whoever counts and in whatever order; refused labels use up nobody's room."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from bot.core.starts import Caps, Start, reached, refused

DAYS = ("2026-11-29T23:59:59Z", "2026-11-30T00:00:00Z")
STARTS = st.lists(
    st.builds(Start, st.integers(1, 40), st.sampled_from(DAYS), st.integers(1, 3), st.sampled_from("abc")),
    unique_by=lambda one: one.event,
    max_size=20,
)
CAPS: st.SearchStrategy[Caps] = st.dictionaries(st.sampled_from(["person", "issue", "repository"]), st.integers(1, 4))


@given(CAPS, STARTS, st.randoms(use_true_random=False))
def test_no_cap_is_passed_and_what_has_room_begins(caps: Caps, labels: list[Start], chance: Random) -> None:
    begun: Counter[tuple[str, str, int | str]] = Counter()
    for mine in sorted(labels, key=lambda one: one.order):
        keys: dict[str, int | str] = {"person": mine.by, "issue": mine.issue, "repository": 0}
        full = {name for name in caps if begun[mine.at, name, keys[name]] >= caps[name]}
        seen = chance.sample(labels, len(labels))
        name = reached(caps, seen, mine)
        assert name in full if full else name is None
        assert name == reached(caps, [one for one in seen if one != mine], mine)
        if name is None:
            begun.update((mine.at, scope, key) for scope, key in keys.items())


def test_the_line_says_which_cap_where_it_is_set_and_when_it_opens() -> None:
    first, second = Start(1, DAYS[0], 7, "ada"), Start(2, DAYS[0], 8, "ada")
    assert refused({"person": 1}, [first], first, str) == ""
    said = refused({"person": 1}, [first], second, lambda key: f"the file with {key}")
    assert "`sessions_per_day.person` in the file with sessions_per_day.person" in said
    assert "2026-11-30 00:00 UTC" in said
    assert said.count("\n") == 0
