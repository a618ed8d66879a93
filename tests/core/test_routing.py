"""Which model next: the program is the best of all sequences, the table climbs, and it is left only where that pays."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import BugError
from bot.core.routing import (
    PRIORS,
    SHAPE,
    Arm,
    Verifier,
    Worth,
    decide,
    default_path,
    kappa,
    posterior,
    solve,
    success,
    worth_of,
)
from bot.core.selection import ModelClass

HAIKU = Arm("haiku", "a", ModelClass.FAST, 0.65, 38_498)
LUNA = Arm("luna", "o", ModelClass.FAST, 0.65, 38_498)
SONNET = Arm("sonnet", "a", ModelClass.BALANCED, 0.80, 621_480)
OPUS = Arm("opus", "a", ModelClass.ADVANCED, 0.88, 1_242_960)
ARMS = (HAIKU, LUNA, SONNET, OPUS)
WORTH = Worth(25_000_000, 10_000_000)
STRICT, LOOSE = Verifier(0, 0, 50_000), Verifier(0.25, 0.1, 50_000)
SEEN = dict.fromkeys(ModelClass, 5)

worths = st.builds(Worth, st.integers(0, 30_000_000), st.integers(0, 50_000_000))
verifiers = st.builds(Verifier, st.floats(0, 0.45), st.floats(0, 0.45), st.integers(0, 200_000))


@st.composite
def any_arms(draw: st.DrawFn, most: int = 3) -> tuple[Arm, ...]:
    classes = st.sampled_from((ModelClass.FAST, ModelClass.BALANCED, ModelClass.ADVANCED))
    made = st.builds(Arm, st.just(""), st.sampled_from("ao"), classes, st.floats(0.01, 0.99), st.integers(0, 2_000_000))
    return tuple(replace(arm, model=f"m{number}") for number, arm in enumerate(draw(st.lists(made, min_size=1, max_size=most))))


def test_after_verified_failures_a_model_succeeds_as_often_as_was_measured() -> None:
    """20.3 % after one and about 10 % after two were counted; mean * s / (s + k) of a model of 80 % gives these."""
    arm = replace(SONNET, mean=0.8)
    assert [round(success(arm, [arm] * count), 3) for count in range(4)] == [0.8, 0.216, 0.125, 0.088]


def test_a_failure_of_another_family_says_less_than_ones_own_and_of_a_weaker_model_less_still() -> None:
    own, other, weaker = (success(LUNA, [arm]) for arm in (LUNA, HAIKU, replace(HAIKU, mean=0.5)))
    assert own < other < weaker < success(LUNA, [])
    assert kappa(replace(HAIKU, vendor="o"), LUNA) > kappa(HAIKU, LUNA)
    assert kappa(OPUS, HAIKU) > 1 > kappa(HAIKU, OPUS)


@given(st.floats(0.01, 0.99), st.lists(st.sampled_from(ARMS), max_size=6))
def test_with_an_exact_verifier_the_chance_is_the_closed_form(mean: float, failures: list[Arm]) -> None:
    arm = replace(SONNET, mean=mean)
    weight = sum(kappa(failed, arm) for failed in failures)
    assert success(arm, failures) == pytest.approx(mean * SHAPE / (SHAPE + weight), rel=1e-6)


@given(any_arms(), verifiers, st.data())
def test_one_more_rejection_never_raises_the_chance(arms: tuple[Arm, ...], verifier: Verifier, data: st.DataObject) -> None:
    failures = data.draw(st.lists(st.sampled_from(arms), max_size=5))
    chances = [success(arms[0], failures[:count], verifier) for count in range(len(failures) + 1)]
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(chances))


@given(st.floats(0.05, 0.95), verifiers)
def test_what_one_rejection_leaves_is_bayes_over_issues(mean: float, verifier: Verifier) -> None:
    """E[p L(p)] / E[L(p)] with L(p) = p FR + (1 - p)(1 - FA), from the first two moments of the Beta distribution."""
    arm = replace(OPUS, mean=mean)
    second = mean * (mean * SHAPE + 1) / (SHAPE + 1)
    reject, keep = verifier.false_reject, 1 - verifier.false_accept
    expected = (reject * second + keep * (mean - second)) / (reject * mean + keep * (1 - mean))
    assert success(arm, [arm], verifier) == pytest.approx(expected, rel=1e-9)


@given(any_arms(), worths, verifiers, st.data())
def test_the_program_is_the_best_of_all_sequences(
    arms: tuple[Arm, ...], worth: Worth, verifier: Verifier, data: st.DataObject
) -> None:
    failures = data.draw(st.lists(st.sampled_from(arms), max_size=2))
    program = solve(arms, worth, verifier, failures=failures, attempts=3)
    every = [sequence for count in range(4) for sequence in itertools.product(arms, repeat=count)]
    best = max(worth_of(sequence, worth, verifier, failures=failures) for sequence in every)
    by_name = {arm.model: arm for arm in arms}
    own = worth_of([by_name[model] for model in program.path], worth, verifier, failures=failures)
    assert program.value == pytest.approx(best, abs=2) == own


@given(any_arms(), worths, verifiers, st.integers(0, 4))
def test_the_program_obeys_the_cap_and_the_bar(arms: tuple[Arm, ...], worth: Worth, verifier: Verifier, attempts: int) -> None:
    barred = frozenset({arms[0].model})
    program = solve(arms, worth, verifier, attempts=attempts, barred=barred)
    assert len(program.path) <= attempts
    assert not barred & set(program.path)
    assert 0 <= program.value <= solve(arms, worth, verifier, attempts=attempts).value


def test_what_is_worth_little_is_not_tried_at_any_price() -> None:
    assert solve(ARMS, Worth(10_000, 0), STRICT).path == ()
    assert set(solve(ARMS, Worth(400_000, 0), STRICT).path) == {"haiku", "luna"}


def test_with_two_equal_models_the_second_try_is_the_other_familys() -> None:
    assert solve(ARMS, Worth(400_000, 0), STRICT, attempts=2).path == ("haiku", "luna")


@given(st.floats(0, 1), st.integers(0, 50), st.integers(0, 50))
def test_the_mean_lies_between_the_published_score_and_what_was_seen(prior: float, successes: int, failures: int) -> None:
    tries = successes + failures
    mean = posterior(prior, successes, tries)
    seen = successes / tries if tries else prior
    assert min(prior, seen) - 1e-9 <= mean <= max(prior, seen) + 1e-9


def test_means_as_in_the_worked_examples() -> None:
    assert round(posterior(PRIORS[ModelClass.FAST], 0, 2), 2) == 0.52
    assert round(posterior(PRIORS[ModelClass.FAST], 15, 20), 2) == 0.72
    with pytest.raises(BugError, match="3 successes in 2 tries"):
        posterior(0.5, 3, 2)


def test_a_verifier_no_better_than_chance_is_refused() -> None:
    with pytest.raises(BugError, match=r"accepts 0\.6 of the wrong and rejects 0\.4 of the right"):
        Verifier(0.6, 0.4, 0)


def models(path: tuple[Arm, ...]) -> list[str]:
    return [arm.model for arm in path]


def test_the_table_tries_two_families_and_then_the_next_class() -> None:
    assert models(default_path(ARMS)) == ["haiku", "luna", "sonnet", "sonnet", "opus", "opus"]
    assert models(default_path(ARMS[:1] + ARMS[2:], attempts=3)) == ["haiku", "haiku", "sonnet"]
    assert models(default_path(ARMS, escalate_after=1, attempts=4)) == ["haiku", "sonnet", "opus", "opus"]
    assert models(default_path(ARMS, start=ModelClass.BALANCED, attempts=3)) == ["sonnet", "sonnet", "opus"]
    assert models(default_path(ARMS, high_risk=True, attempts=2)) == ["opus", "opus"]
    assert models(default_path(ARMS[:2], start=ModelClass.ADVANCED, attempts=2)) == ["haiku", "luna"]
    assert default_path(()) == ()


@given(any_arms(5), st.integers(0, 8), st.integers(1, 4), st.booleans())
def test_the_table_goes_on_where_it_was_and_never_down(
    arms: tuple[Arm, ...], failed: int, escalate_after: int, high_risk: bool
) -> None:
    whole = default_path(arms, escalate_after=escalate_after, high_risk=high_risk, attempts=12)
    rest = default_path(arms, escalate_after=escalate_after, high_risk=high_risk, failed=failed, attempts=12 - failed)
    assert rest == whole[failed:]
    order = [list(ModelClass).index(arm.model_class) for arm in whole]
    assert order == sorted(order)
    strongest = max(list(ModelClass).index(arm.model_class) for arm in arms)
    assert order[-1] == strongest
    assert not high_risk or set(order) == {strongest}


def test_where_wrong_changes_slip_through_the_strongest_goes_first_and_the_reason_says_so() -> None:
    decision = decide(ARMS, WORTH, LOOSE, SEEN)
    assert decision.adopted
    assert decision.path == ("opus", "opus", "opus")
    assert decision.reason == (
        "advanced 3 times: $20.40 expected against $16.54 for the default, "
        "because 25% of wrong changes pass the checks and each loses $10.00"
    )


@pytest.mark.parametrize(
    ("arms", "verifier", "observed", "high_risk", "reason"),
    [
        (ARMS, STRICT, SEEN, False, "what slips through the checks costs too little to leave it"),
        (ARMS, LOOSE, SEEN | {ModelClass.ADVANCED: 4}, False, "4 of 5 observations of class advanced so far"),
        (ARMS, LOOSE, {}, False, "0 of 5 observations of class fast so far"),
        ((OPUS,), LOOSE, SEEN, False, "the best other path is worth too little more ($"),
        (ARMS, LOOSE, SEEN, True, "advanced 6 times: high-risk work always gets the strongest class"),
    ],
)
def test_else_the_table_stays_and_the_reason_says_why(
    arms: tuple[Arm, ...], verifier: Verifier, observed: dict[ModelClass, int], high_risk: bool, reason: str
) -> None:
    decision = decide(arms, WORTH, verifier, observed, high_risk=high_risk)
    assert not decision.adopted
    assert reason in decision.reason
    assert decision.path == tuple(models(default_path(arms, high_risk=high_risk)))


@given(any_arms(), worths, verifiers, st.integers(5, 30), st.data())
def test_what_is_adopted_is_worth_more_by_the_margin_and_else_the_table_stays(
    arms: tuple[Arm, ...], worth: Worth, verifier: Verifier, seen: int, data: st.DataObject
) -> None:
    failures = data.draw(st.lists(st.sampled_from(arms), max_size=2))
    decision = decide(arms, worth, verifier, dict.fromkeys(ModelClass, seen), failures=failures, attempts=4)
    table = default_path(arms, failed=len(failures), attempts=4)
    assert decision.adopted == (decision.path != tuple(models(table)))
    assert not decision.adopted or decision.gain > max(20_000, 2 * table[0].cost)


def test_a_cheap_model_that_is_little_known_is_trusted_less() -> None:
    """The same means: after few observations the path begins with a stronger model than after many."""
    verifier, worth = Verifier(0.25, 0.05, 50_000), Worth(12_000_000, 6_000_000)
    arms = (replace(HAIKU, mean=0.70), SONNET, OPUS)
    decisions = [decide(arms, worth, verifier, dict.fromkeys(ModelClass, seen)) for seen in (5, 400)]
    assert [decision.path[0] for decision in decisions if decision.adopted] == ["opus", "haiku"]


def test_a_class_that_is_not_capable_is_on_neither_path() -> None:
    cheap = Worth(5_000_000, 2_000_000)
    assert "haiku" in decide(ARMS, cheap, LOOSE, SEEN).path
    decision = decide(ARMS, cheap, LOOSE, SEEN, start=ModelClass.BALANCED)
    assert set(decision.path) <= {"sonnet", "opus"}


def test_no_model_is_no_path() -> None:
    decision = decide((), WORTH, LOOSE, SEEN)
    assert (decision.path, decision.adopted, decision.gain) == ((), False, 0)
    assert decision.reason.startswith("no attempt")
