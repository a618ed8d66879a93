"""How attempts compare: what they changed, what they took back, and when another would only cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from bot.core.changeset import Changeset
from bot.core.diagnosis import Diagnosis
from bot.core.error_classes import ErrorName
from bot.core.setback import PLATEAU, WINDOW, Setback, best, moved, size, stuck, undone, worse
from tests.core.play import change, changeset

BASE = b"one\ntwo\nthree\n"
TEXTS = st.lists(st.sampled_from(["one", "two", "three", "four", "five"]), max_size=6).map(
    lambda lines: "\n".join(lines).encode()
)
NAMES = st.sets(st.sampled_from("abcdef"), max_size=6).map(frozenset)
CLASSES = st.sampled_from(get_args(ErrorName))


def state(tree: str, text: bytes = BASE) -> Changeset:
    return changeset(*((change("src/a.py", text, BASE),) if text != BASE else ()), tree=tree)


def went(*texts: bytes, failing: Sequence[frozenset[str]] = (), names: Sequence[ErrorName] = ()) -> tuple[Setback, ...]:
    """Attempts that begin with the base, each where the one before ended; each fails in words of its own."""
    states = [state("t0"), *(state(f"t{number}", text) for number, text in enumerate(texts, 1))]
    return tuple(
        Setback(
            (f"failed like {'abcdefghij'[number]}",),
            (Diagnosis(names[number] if names else "test_failure", 1, ()),),
            failing[number] if failing else frozenset("a"),
            states[number],
            states[number + 1],
        )
        for number in range(len(texts))
    )


@given(TEXTS, TEXTS)
def test_going_back_takes_back_all_that_going_did(first: bytes, second: bytes) -> None:
    there, again = state("t1", first), state("t2", second)
    (added, removed), (back, gone) = moved(there, again), moved(again, there)
    assert (added, removed) == (gone, back)
    assert moved(there, there) == ({}, {})


@given(TEXTS, TEXTS)
def test_the_share_that_is_undone_is_all_for_a_return_and_none_for_a_restart(first: bytes, second: bytes) -> None:
    one, two = went(first, BASE)
    assert undone(one, two) == (1.0 if size(one) else 0.0)
    there, then = went(first, second)
    assert 0.0 <= undone(there, then) <= 1.0
    anew = Setback(then.problems, then.found, then.failing, state("elsewhere"), then.changeset)
    assert undone(there, anew) == 0.0


def test_more_than_seven_tenths_undone_stop_the_run_and_less_do_not() -> None:
    wrong = went(b"one\ntwo\nwrong\n", b"one\ntwo\nother\n")
    assert (undone(*wrong), stuck(wrong)) == (0.5, "")
    returned = went(b"one\nTWO\nTHREE\n", BASE)
    assert stuck(returned) == "no progress, 100% of the last attempt takes back the one before it"


@given(TEXTS, TEXTS)
def test_the_same_problems_twice_in_a_row_stop_whatever_was_changed(first: bytes, second: bytes) -> None:
    one, two = went(first, second)
    again = Setback(("Failed  like A",), two.found, two.failing, two.began, two.changeset)
    assert stuck([one, again]) == "no progress, the same problems twice in a row"
    assert stuck([again]) == ""


@given(st.lists(TEXTS, min_size=WINDOW, max_size=5))
def test_a_plateau_is_called_converged(texts: list[bytes]) -> None:
    still = went(*texts, *([texts[-1]] * WINDOW))
    assert stuck(still).startswith("converged")
    moving = went(*texts, *(texts[-1] + f"\nline {number}".encode() for number in range(WINDOW)))
    assert "converged" not in stuck(moving)
    assert sum(map(size, moving[-WINDOW:])) > PLATEAU * WINDOW


@given(st.lists(st.integers(1, 4), min_size=1, max_size=7))
def test_a_failing_set_that_does_not_shrink_stops_after_the_window(counts: list[int]) -> None:
    texts = [b"\n".join(f"line {n} of {at}".encode() for n in range(3)) for at in range(len(counts))]
    told = stuck(went(*texts, failing=[frozenset("abcd"[:count]) for count in counts]))
    shrank = len(counts) <= WINDOW or min(counts[-WINDOW:]) < counts[-WINDOW - 1]
    assert ("did not get less" in told) is not shrank


@given(st.lists(NAMES, min_size=1, max_size=6))
def test_the_best_left_least_and_is_the_latest_of_those(failing: list[frozenset[str]]) -> None:
    behind = went(*(f"x{at}".encode() for at in range(len(failing))), failing=failing)
    chosen = behind.index(best(behind))
    assert all(len(failing[chosen]) <= len(one) for one in failing)
    assert all(len(failing[chosen]) < len(one) for one in failing[chosen + 1 :])


@given(NAMES, NAMES)
def test_a_growing_failing_set_is_worse_and_no_other(before: frozenset[str], after: frozenset[str]) -> None:
    assert bool(worse(went(b"x", b"y", failing=(before, after)))) is (len(after) > len(before))
    assert worse(went(b"x", failing=(before,))) == ""


@given(st.lists(CLASSES, min_size=3, max_size=6))
def test_failures_of_another_kind_each_time_are_a_cascade(names: list[ErrorName]) -> None:
    told = worse(went(*(f"x{at}".encode() for at in range(len(names))), names=names))
    assert bool(told) is (names[-1] != names[-2] != names[-3])


def test_what_nothing_tells_twice_is_a_persons() -> None:
    assert "of no known kind" in stuck(went(b"x", b"y", names=("unknown", "unknown")))
    assert stuck(went(b"x", b"y", names=("unknown", "value"))) == ""
