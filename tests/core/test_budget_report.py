"""The budget report: nothing that was used is missing from it, and nothing that did not run looks as if it had."""

from __future__ import annotations

import json
from dataclasses import replace
from math import nan

from hypothesis import given
from hypothesis import strategies as st

from bot.core.budget import Charge, Usage
from bot.core.budget_report import BudgetReport, OverrideRow, enforcement, report
from bot.core.changeset import canonical
from bot.core.limits import Override, Rules, task_limits
from bot.core.standing import Facts, Use, breach, by_kind, standing

RULES = Rules()
KINDS = ("PLAN", "IMPLEMENT", "VERIFY", "REVIEW", "PR")
LIMITS = task_limits(RULES, KINDS, "Small", "medium")

seconds = st.floats(-10, 100_000) | st.just(nan)
uses = st.lists(
    st.builds(Use, st.just("P1"), st.sampled_from([*KINDS, "THINK"]), st.integers(0, 400_000), seconds, st.booleans()), max_size=9
)
usages = st.builds(Usage, *(st.integers(0, 10_000) for _ in range(5)))
charges = st.lists(
    st.builds(
        Charge,
        st.just("c"),
        st.sampled_from(KINDS),
        st.just("p01"),
        st.sampled_from(["builder", "auditor"]),
        st.sampled_from(["m1", "m2"]),
        st.integers(0, 10**6),
        usages,
        st.booleans(),
    ),
    max_size=12,
)


def made_of(
    used: list[Use], billed: list[Charge] | None = None, *, rules: Rules = RULES, overrides: tuple[OverrideRow, ...] = ()
) -> BudgetReport:
    limits = task_limits(rules, KINDS, "Small", "medium")
    stands = standing(rules, limits, used, importance="medium", granted=len(overrides))
    return report(
        rules,
        limits,
        used,
        stands,
        task="T1",
        scope="Small",
        importance="medium",
        spent=sum(charge.amount for charge in billed or ()),
        cap=2_000_000,
        charges=billed or (),
        facts={"IMPLEMENT": Facts(9, lost=1)},
        overrides=overrides,
    )


@given(uses)
def test_every_token_is_in_a_row_and_every_limit_has_one(used: list[Use]) -> None:
    made = made_of(used)
    assert made.tokens == sum(row.tokens for row in made.rows) == sum(use.tokens for use in used)
    assert made.tokens_limit == sum(row.tokens_limit for row in made.rows) == sum(one.tokens for one in LIMITS)
    assert [row.kind for row in made.rows][: len(KINDS)] == list(KINDS)
    ran = {use.kind for use in used}
    assert {row.kind for row in made.rows if row.status == "Not Started"} == set(KINDS) - ran
    assert {row.kind for row in made.rows if row.status == "no limit"} == ran - set(KINDS)


@given(uses)
def test_each_breach_is_told_once_and_each_doubtful_figure_is_warned_of(used: list[Use]) -> None:
    made = made_of(used)
    limits = {one.kind: one for one in LIMITS}
    status = {use.kind: breach(use, limits[use.kind], RULES.thresholds) for use in by_kind(used) if use.kind in limits}
    over = [kind for kind, told in status.items() if told != "within"]
    assert [line.split()[0] for line in made.breaches] == over
    assert all(kind in made.headline[2] for kind in over) or not made.tokens
    far = {line.split(":")[0] for line in made.anomalies if "only" not in line}
    assert far == {kind for kind, told in status.items() if told == "exceeded"}
    assert sum("characters / 4" in line for line in made.warnings) == sum(use.estimated for use in used)
    assert sum("cannot be right" in line for line in made.warnings) == sum(not use.timed for use in used)


@given(charges)
def test_calls_are_added_up_by_model_role_and_kind(billed: list[Charge]) -> None:
    made = made_of([], billed)
    assert len({(row.model, row.role, row.kind) for row in made.spending}) == len(made.spending)
    assert sum(row.amount for row in made.spending) == made.money.spent
    assert sum(row.calls for row in made.spending) == len(billed)
    assert sum(row.lost for row in made.spending) == sum(charge.lost for charge in billed)
    tokens = sum(row.input + row.cached + row.output for row in made.spending)
    assert tokens == sum(charge.usage.prompt + charge.usage.output for charge in billed)


@given(uses, charges)
def test_the_json_form_is_plain_and_names_the_version_of_its_shape(used: list[Use], billed: list[Charge]) -> None:
    value = json.loads(canonical(enforcement(made_of(used, billed))))
    assert value["schema_version"] == 1
    assert value["rules"] == RULES.digest
    assert value["standing"]["action"] in ("go", "warn", "block")
    assert len(value["headline"]) == 3


def test_little_use_is_unusual_only_for_kinds_that_ask_a_model() -> None:
    made = made_of([Use("P1", "PLAN", 10, 1.0), Use("P2", "VERIFY", 0, 1.0)])
    assert made.anomalies == ("PLAN: only 1% of its limit",)


def test_an_override_below_what_is_computed_is_warned_of() -> None:
    rules = replace(RULES, overrides=(Override("PLAN", 1_000, None, "a small one"),))
    assert made_of([], rules=rules).warnings == (
        "PLAN: the override (1,000 tokens, 240 s) is below what is computed (122,880 tokens, 240 s)",
    )
    assert not made_of([]).warnings


def test_a_task_that_has_not_begun() -> None:
    made = made_of([])
    assert made.headline == (
        "Within its limits: 0% of the token limits used (0 of 552,960).",
        "Money: $0.00 of $2.00, SAFE.",
        "No tokens were used.",
    )
    assert (made.breaches, made.anomalies, made.warnings, made.spending) == ((), (), (), ())
