"""Buckets and breakers under any traffic: the rate holds in every window, and a breaker never stays shut."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import BadInput
from bot.core.pacing import RESOLUTION, Breaker, Bucket, Circuit

NOW = 1_764_345_600.0
buckets = st.builds(Bucket, st.integers(1, 100), st.floats(1, 600))
breakers = st.builds(Breaker, st.integers(1, 5), st.integers(1, 4), st.floats(1, 300))
gaps = st.lists(st.floats(0, 100), min_size=1, max_size=150)


def taken(bucket: Bucket, times: list[float]) -> list[float]:
    """The times at which a call was let through."""
    full_at, through = 0, list[float]()
    for now in times:
        full_at, wait = bucket.take(full_at, now)
        if not wait:
            through.append(now)
    return through


@given(buckets, gaps)
def test_no_window_holds_more_calls_than_the_capacity_and_the_refill(bucket: Bucket, steps: list[float]) -> None:
    """From the `first` to the `last` call through: last - first + 1 <= capacity + what came back in between."""
    lowest = float("inf")
    for number, at in enumerate(taken(bucket, [NOW + at for at in accumulate(steps)])):
        came_back = (at - NOW) * bucket.capacity / bucket.seconds
        lowest = min(lowest, number - came_back)
        assert number - came_back - lowest + 1 <= bucket.capacity + 0.01


@given(buckets, st.integers(1, 50))
def test_whoever_waits_as_told_gets_through_and_nobody_waits_in_vain(bucket: Bucket, more: int) -> None:
    full_at, now, waits = 0, NOW, 0
    for _ in range(bucket.capacity + more):
        full_at, wait = bucket.take(full_at, now)
        if wait:
            waits, now = waits + 1, now + wait
            full_at, wait = bucket.take(full_at, now)
        assert wait == 0.0
    assert waits == more
    assert now - NOW == pytest.approx(more * bucket.seconds / bucket.capacity, abs=more * 3 * RESOLUTION)


@given(buckets, gaps, st.floats(0, 1))
def test_a_clock_that_is_behind_wins_no_calls(bucket: Bucket, steps: list[float], skew: float) -> None:
    """Two machines ask in turn, and the clock of one is up to `seconds` behind the other's."""
    true = [NOW + at for at in accumulate(steps)]
    full_at, through = 0, list[float]()
    for number, at in enumerate(true):
        full_at, wait = bucket.take(full_at, at - skew * bucket.seconds * (number % 2))
        if not wait:
            through.append(at)
    elapsed = true[-1] - true[0]
    assert len(through) <= bucket.capacity * (1 + elapsed / bucket.seconds) + 0.01


@given(buckets, st.floats(3, 1e6))
def test_a_clock_that_was_set_back_leaves_an_empty_bucket_and_no_more(bucket: Bucket, windows: float) -> None:
    full_at, _ = bucket.take(0, NOW + windows * bucket.seconds)
    _, wait = bucket.take(full_at, NOW)
    assert 0 < wait <= bucket.seconds / bucket.capacity + 3 * RESOLUTION


@given(buckets, st.integers(0, 200), st.integers(0, 100))
def test_lowering_leaves_at_most_what_the_service_said(bucket: Bucket, said: int, before: int) -> None:
    full_at = 0
    for _ in range(before):
        full_at, _ = bucket.take(full_at, NOW)
    left = max(0, bucket.capacity - before)
    full_at, got = bucket.lowered(full_at, said, NOW), 0
    while got <= bucket.capacity:
        full_at, wait = bucket.take(full_at, NOW)
        if wait:
            break
        got += 1
    assert got == min(left, said)


@given(breakers, st.lists(st.tuples(st.floats(0, 100), st.booleans(), st.integers(0, 3)), max_size=100))
def test_one_probe_at_a_time_and_never_stuck(breaker: Breaker, events: list[tuple[float, bool, int]]) -> None:
    """Calls under way tell how they ended in any order, and some never do."""
    circuit, now = Circuit(), NOW
    under_way: list[float] = []
    probe: float | None = None
    for gap, ok, chosen in events:
        now += gap
        closed = circuit.standing == "closed"
        circuit, wait = breaker.allowed(circuit, now)
        assert 0 <= wait <= breaker.seconds + RESOLUTION
        if wait:
            assert breaker.allowed(circuit, now + wait)[1] == 0.0
        else:
            assert closed or probe is None or now - probe >= breaker.seconds - RESOLUTION
            under_way.append(now)
            probe = None if closed else now
        if chosen < len(under_way):
            asked = under_way.pop(chosen)
            circuit = breaker.told(circuit, ok, now, asked=asked)
            probe = None if asked == probe else probe


@given(breakers, st.lists(st.booleans(), max_size=40))
def test_it_opens_after_so_many_failures_in_a_row(breaker: Breaker, ends: list[bool]) -> None:
    circuit, row = Circuit(), 0
    for ok in ends:
        circuit = breaker.told(circuit, ok, NOW, asked=NOW)
        row = 0 if ok else row + 1
        assert (circuit.standing == "open") == (row >= breaker.failures)
        if circuit.standing == "open":
            return


@given(breakers)
def test_it_closes_after_so_many_probes(breaker: Breaker) -> None:
    circuit, now = Circuit("open", 0, NOW), NOW
    for _ in range(breaker.successes):
        assert circuit.standing != "closed"
        circuit, wait = breaker.allowed(circuit, now)
        assert wait == 0.0
        circuit = breaker.told(circuit, True, now, asked=now)
        now += 0.5
    assert circuit.standing == "closed"


class TestOneOutage:
    """Three failures open it for 120 s; of those who come then one goes; two answers close it."""

    breaker = Breaker(3, 2, 120.0)

    def opened(self) -> Circuit:
        circuit = Circuit()
        for second in range(3):
            circuit = self.breaker.told(circuit, False, NOW + second, asked=NOW)
        return circuit

    def test_it_opens_at_the_third_in_a_row(self) -> None:
        circuit = Circuit()
        for ok in (False, False, True, False, False):
            circuit = self.breaker.told(circuit, ok, NOW, asked=NOW)
        assert self.breaker.allowed(circuit, NOW) == (circuit, 0.0)
        assert self.breaker.allowed(self.opened(), NOW + 2)[1] == 120.0

    def test_one_probe_goes_and_the_others_wait(self) -> None:
        circuit, first = self.breaker.allowed(self.opened(), NOW + 122)
        circuit, second = self.breaker.allowed(circuit, NOW + 123)
        assert (first, second) == (0.0, 119.0)

    def test_a_probe_that_never_tells_gives_its_place_up(self) -> None:
        circuit, _ = self.breaker.allowed(self.opened(), NOW + 122)
        circuit, wait = self.breaker.allowed(circuit, NOW + 242)
        assert (wait, circuit.standing) == (0.0, "half_open")
        assert self.breaker.told(circuit, True, NOW + 250, asked=NOW + 122) == circuit

    def test_two_answers_close_it_and_a_failure_opens_it_again(self) -> None:
        half, _ = self.breaker.allowed(self.opened(), NOW + 122)
        half = self.breaker.told(half, True, NOW + 130, asked=NOW + 122)
        assert self.breaker.told(half, True, NOW + 131, asked=NOW + 122) == half
        half, wait = self.breaker.allowed(half, NOW + 131)
        assert wait == 0.0
        assert self.breaker.told(half, True, NOW + 140, asked=NOW + 131).standing == "closed"
        again = self.breaker.told(half, False, NOW + 140, asked=NOW + 131)
        assert self.breaker.allowed(again, NOW + 140) == (again, 120.0)

    def test_what_began_before_the_probe_says_nothing(self) -> None:
        half, _ = self.breaker.allowed(self.opened(), NOW + 122)
        for ok in (True, False):
            assert self.breaker.told(half, ok, NOW + 125, asked=NOW + 1) == half

    def test_a_clock_that_was_set_back_holds_nobody_for_longer(self) -> None:
        circuit, wait = self.breaker.allowed(self.opened(), NOW - 86_400)
        assert wait == 120.0
        assert self.breaker.allowed(circuit, NOW - 86_400 + 120)[1] == 0.0


@pytest.mark.parametrize("numbers", [(0, 1, 1.0), (101, 1, 1.0), (1, 0, 1.0), (1, 51, 1.0), (1, 1, 0.9), (1, 1, 3601.0)])
def test_a_breaker_out_of_bounds_is_refused(numbers: tuple[int, int, float]) -> None:
    with pytest.raises(BadInput, match="1 to 100 failures"):
        Breaker(*numbers)


@pytest.mark.parametrize("numbers", [(0, 60.0), (100_001, 60.0), (1, 0.9), (1, float("nan")), (1, 86_401.0)])
def test_a_bucket_out_of_bounds_is_refused(numbers: tuple[int, float]) -> None:
    with pytest.raises(BadInput, match="out of bounds"):
        Bucket(*numbers)
