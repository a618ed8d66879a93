"""Triage and choice of models: whole words only, judges apart from authors, the strongest class for what is risky."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.builders import next_builder
from bot.core.errors import BadInput
from bot.core.experience import Experience, Outcome
from bot.core.limits import Rules
from bot.core.machines import RunState
from bot.core.phases import Role
from bot.core.recovery import MAX_TRIES, ErrorClass, Retry, Stop, Wait, decide
from bot.core.routing import Worth
from bot.core.selection import HIGH_RISK, Choice, ModelClass, ModelId, Scope, choose, triage
from bot.core.strategy import Settings, compile_strategy
from bot.core.ticket import Ticket, freeze
from tests.core.play import FIXER_TICKET, MODELS, ONE_VENDOR, TICKETS


def ticket(text: str) -> Ticket:
    return freeze(text, "#1")


def chosen(text: str, models: tuple[ModelId, ...] = MODELS) -> dict[Role, Choice]:
    return {choice.role: choice for choice in choose(triage(ticket(text)), models)}


@pytest.mark.parametrize(
    "text",
    [
        "Show the checklist of authors", "Author names are sorted", "Add a lintel to the door", "Secretary mode for it",
        "Productions list", "Authored content", "Doctor visits", "Testament export", "Fastener sizes", "Allfiles folder",
        "Refixing a lamp",
    ],
)  # fmt: skip
def test_a_word_within_a_word_means_nothing(text: str) -> None:
    seen = triage(ticket(text))
    assert (seen.category, seen.risk, seen.score, seen.is_bug, seen.importance) == (
        "feature_scaffolding",
        "low",
        0,
        False,
        "medium",
    )


HIGH = {
    "security_auth_change": "Harden the authentication of the admin page",
    "schema_contract_change": "Add a migration for the orders table",
    "external_code_intake": "Copy the code from requests into our tree",
    "external_feature_reuse": "Port the feature from the other project",
    "bulk_multi_file_operation": "Rename the class in every file",
    "cross_cutting_refactor": "Refactor the whole thing",
    "index_registry_change": "Rebuild the plugin registry",
}


def test_the_seven_risky_categories_are_all_found() -> None:
    assert set(HIGH) == HIGH_RISK


@pytest.mark.parametrize("category", HIGH)
def test_a_risky_category_gets_the_strongest_models_and_a_person(category: str) -> None:
    strategy = compile_strategy(ticket(HIGH[category]), Settings(10**6, 10**6, MODELS))
    assert strategy.triage.category == category
    assert {choice.model.model_class for choice in strategy.choices} == {ModelClass.ADVANCED}
    assert strategy.approval_reason
    assert not [plan for plan in strategy.phases if plan.skip and plan.tier == "T0 framing"], "nothing is skipped in the framing"


@pytest.mark.parametrize("text", [*HIGH.values(), "Add a flag", "Improve the performance of the distributed algorithm"])
def test_judges_are_of_the_other_vendor(text: str) -> None:
    for models in (MODELS, (*MODELS[3:], *MODELS[:3])):
        role = chosen(text, models)
        assert role[Role.PLANNER].model.vendor == role[Role.BUILDER].model.vendor == models[0].vendor
        assert role[Role.PLAN_REVIEWER].model.vendor == role[Role.AUDITOR].model.vendor != models[0].vendor


@given(
    st.sampled_from([*HIGH.values(), "Add a flag", "Fix the typo", "Improve performance"]),
    st.sets(st.sampled_from(MODELS), min_size=1),
)
def test_nobody_judges_their_own_work_unless_there_is_nobody_else(text: str, some: set[ModelId]) -> None:
    models = tuple(model for model in MODELS if model in some)
    role = chosen(text, models)
    for author, judge in ((Role.PLANNER, Role.PLAN_REVIEWER), (Role.BUILDER, Role.AUDITOR)):
        assert {role[author].model, role[judge].model} <= some
        if len({model.vendor for model in some}) > 1:
            assert role[author].model.vendor != role[judge].model.vendor
        elif len(some) > 1:
            assert role[author].model != role[judge].model
        else:
            assert "judges its own work" in role[judge].reason
    assert all(choice.reason for choice in role.values())


def test_no_key_is_said_in_a_sentence_that_helps() -> None:
    with pytest.raises(BadInput, match="ANTHROPIC_API_KEY or OPENAI_API_KEY"):
        choose(triage(ticket("Add a flag")), ())


def test_a_fixers_ticket_needs_no_model() -> None:
    strategy = compile_strategy(ticket(FIXER_TICKET), Settings(10**6, 10**6))
    assert strategy.fixers
    assert (strategy.choices, strategy.approval_reason, strategy.finish_reserve) == ((), "", 0)


@pytest.mark.parametrize(
    ("text", "scope", "built_by"),
    [
        ("Add a flag", Scope.TINY, ModelClass.FAST),
        ("Tune the performance of the parser", Scope.MEDIUM, ModelClass.BALANCED),
        ("Improve performance and concurrency\n\n" + "Details. " * 300, Scope.LARGE, ModelClass.ADVANCED),
        ("Fix a typo and optimize the fast path", Scope.SMALL, ModelClass.FAST),
    ],
)
def test_the_builders_class_follows_the_scope(text: str, scope: Scope, built_by: ModelClass) -> None:
    assert triage(ticket(text)).scope is scope
    assert chosen(text)[Role.BUILDER].model.model_class is built_by


@pytest.mark.parametrize(
    ("text", "planned_by", "reviewed_by"),
    [
        ("Add a flag", ModelClass.FAST, ModelClass.FAST),
        ("Add a flag to the database", ModelClass.BALANCED, ModelClass.BALANCED),
        ("Fix a typo and optimize the fast path", ModelClass.FAST, ModelClass.BALANCED),
        ("Tune the performance of the parser", ModelClass.BALANCED, ModelClass.BALANCED),
    ],
)
def test_planning_follows_scope_and_risk_and_the_audit_stays_balanced(
    text: str, planned_by: ModelClass, reviewed_by: ModelClass
) -> None:
    roles = chosen(text)
    assert roles[Role.PLANNER].model.model_class is planned_by
    assert roles[Role.PLAN_REVIEWER].model.model_class is reviewed_by
    assert roles[Role.AUDITOR].model.model_class is ModelClass.BALANCED
    assert roles[Role.PLAN_REVIEWER].model.vendor != roles[Role.PLANNER].model.vendor


def test_the_score_is_explained_by_its_factors() -> None:
    seen = triage(
        ticket("Improve security of the algorithm\n\n" + " ".join(f"src/m{n}.py" for n in range(12)) + "\n" + "x " * 600)
    )
    assert seen.score == min(100, sum(int(factor.split()[0]) for factor in seen.factors))
    assert any("12 files" in factor for factor in seen.factors)


def built_after(failures: int, text: str = "Add a flag", models: tuple[ModelId, ...] = MODELS, **settings: Any) -> list[Choice]:
    """The builders of the attempts up to and with the one after `failures` failures."""
    given, seen, first = Settings(10**6, 10**6, models, **settings), triage(ticket(text)), chosen(text, models)[Role.BUILDER]
    built: list[Choice] = []
    for _ in range(failures + 1):
        choice = next_builder(given, seen, first, [one.model for one in built], attempts=9, share=Fraction(0))
        assert choice is not None
        built.append(choice)
    return built


def test_two_failures_in_a_class_lead_to_the_next_class_up_and_the_second_try_is_another_vendors() -> None:
    built = built_after(5)
    assert [choice.model.model_class for choice in built] == [
        ModelClass.FAST, ModelClass.FAST, ModelClass.BALANCED, ModelClass.BALANCED, ModelClass.ADVANCED, ModelClass.ADVANCED,
    ]  # fmt: skip
    assert [choice.model.vendor for choice in built] == ["anthropic", "openai"] * 3
    assert "another vendor's" in built[1].reason
    assert "2 attempts" in built[2].reason


@given(st.sets(st.sampled_from(MODELS), min_size=1), st.integers(0, 5))
def test_escalation_never_leads_down_or_to_a_model_without_a_key(some: set[ModelId], failures: int) -> None:
    models = tuple(model for model in MODELS if model in some)
    order = list(ModelClass)
    built = built_after(failures, models=models)
    assert {choice.model for choice in built} <= some
    classes = [order.index(choice.model.model_class) for choice in built]
    assert classes == sorted(classes)


def test_high_risk_work_begins_and_ends_with_the_strongest_class() -> None:
    built = built_after(2, TICKETS[2], aggressive=True)
    assert {choice.model.model_class for choice in built} == {ModelClass.ADVANCED}


def first_attempts(*held: bool, classes: Sequence[str] = ("fast",)) -> Experience:
    category = triage(ticket("Add a flag")).category
    names = {"fast": "claude-haiku", "balanced": "claude-sonnet", "advanced": "claude-opus"}
    return Experience(tuple(Outcome(category, "Tiny", "anthropic", names[name], name, ok) for name in classes for ok in held))


ALL = ("fast", "balanced", "advanced")
COSTS = tuple((model.model, cost) for model, cost in zip(MODELS, (40_000, 600_000, 1_200_000) * 2, strict=True))


@pytest.mark.parametrize(
    ("held", "built_by"),
    [
        ((False,) * 4, "fast"),
        ((False,) * 5, "balanced"),
        ((True,) * 3 + (False,) * 2, "fast"),
        ((False,) * 9 + (True,) * 20, "fast"),
    ],
)
def test_the_cheap_class_stays_first_while_it_does_well(held: tuple[bool, ...], built_by: str) -> None:
    (choice,) = built_after(0, experience=first_attempts(*held))
    assert choice.model.model_class == built_by
    assert (f"of the last {len(held)} first attempts" in choice.reason) == (built_by == "balanced")


@pytest.mark.parametrize(("share", "built_by"), [(Fraction(69, 100), "balanced"), (Fraction(7, 10), "fast")])
def test_with_most_of_the_money_gone_a_cheaper_class_goes_on(share: Fraction, built_by: str) -> None:
    given = Settings(10**6, 10**6, MODELS)
    for text, wanted in (("Tune the performance of the parser", built_by), (TICKETS[2], "advanced")):
        choice = next_builder(given, triage(ticket(text)), chosen(text)[Role.BUILDER], [], attempts=3, share=share)
        assert choice is not None
        assert choice.model.model_class == wanted


def test_optimize_leaves_the_table_only_with_observations_and_says_what_it_expects() -> None:
    common: dict[str, Any] = {"rules": Rules(mode="optimize"), "attempt_costs": COSTS}
    (thin,) = built_after(0, **common)
    assert thin.model.model_class is ModelClass.FAST
    assert "0 of 5 observations" in thin.reason
    (rich,) = built_after(0, **common, experience=first_attempts(*((True,) * 2 + (False,)) * 4, classes=ALL))
    assert "expected against" in rich.reason


def test_an_attempt_that_is_not_worth_its_cost_is_not_made() -> None:
    given = Settings(
        10**8, 10**8, MODELS, rules=Rules(mode="optimize"), worth=Worth(1_000_000, 1_000_000),
        attempt_costs=tuple((name, 30_000_000) for name, _ in COSTS), experience=first_attempts(*(True,) * 9, classes=ALL),
    )  # fmt: skip
    seen, first = triage(ticket("Add a flag")), chosen("Add a flag")[Role.BUILDER]
    assert next_builder(given, seen, first, [first.model], attempts=5, share=Fraction(1, 10)) is None


def test_vague_wishes_are_noticed() -> None:
    assert triage(ticket("Improve it")).vague
    assert triage(ticket("Clean up")).vague
    assert not triage(ticket("Improve it\n\nThe report shows no total.")).vague
    assert not triage(ticket("Improve the total of the report")).vague


class TestRecovery:
    def test_what_may_pass_is_tried_again_with_doubling_waits_and_then_no_more(self) -> None:
        passing: tuple[ErrorClass, ...] = ("rate_limited", "transient_api", "timeout")
        for error in passing:
            waits = [decide(error, tries) for tries in range(1, MAX_TRIES + 1)]
            assert waits[:-1] == [Retry(1.0), Retry(2.0), Retry(4.0), Retry(8.0)]
            assert waits[-1] == Stop(RunState.DONE_FAILED_ENVIRONMENT)

    @pytest.mark.parametrize(("said", "wait"), [(0.0, 0.0), (7.5, 7.5), (3_600.0, 60.0), (float("inf"), 60.0)])
    def test_a_stated_wait_wins_up_to_a_minute(self, said: float, wait: float) -> None:
        assert decide("rate_limited", 1, said) == Retry(wait)

    def test_an_interrupted_call_is_asked_anew_at_once(self) -> None:
        assert decide("interrupted", 99) == Retry(0.0)

    def test_what_others_took_is_tried_again_and_then_left_to_a_person(self) -> None:
        tries = [decide("contended", number, None, 0.5) for number in range(1, MAX_TRIES + 1)]
        assert tries == [Retry(0.5)] * (MAX_TRIES - 1) + [Wait()]

    def test_what_trying_again_cannot_mend_ends_the_run_at_whoever_can(self) -> None:
        lasting: tuple[ErrorClass, ...] = ("refused", "validation")
        for tries, error in itertools.product((1, 9), lasting):
            assert decide(error, tries) == Stop(RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW)
        assert decide("environment", 1) == Stop(RunState.DONE_FAILED_ENVIRONMENT)


def test_with_one_vendor_the_choice_says_so() -> None:
    assert "only anthropic's key" in chosen("Add a flag", ONE_VENDOR)[Role.AUDITOR].reason
