"""The nine kinds of phase, as data: what each produces, what it is asked, its share of the budget, its gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bot.core import answers


class Kind(StrEnum):
    STRATEGIZE = "STRATEGIZE"
    SPEC = "SPEC"
    PLAN = "PLAN"
    THINK = "THINK"
    IMPLEMENT = "IMPLEMENT"
    VERIFY = "VERIFY"
    REVIEW = "REVIEW"
    PR = "PR"
    MONITOR = "MONITOR"


class Role(StrEnum):
    """Who a call is made for; each role has its model in the strategy."""

    PLANNER = "planner"
    PLAN_REVIEWER = "plan_reviewer"
    BUILDER = "builder"
    AUDITOR = "auditor"


@dataclass(frozen=True, slots=True)
class Stage:
    """One question of a phase. `answer` is the dataclass the reply is read into; None means free text and tools.

    `output` is the most tokens to ask for, `floor` the fewest that are of use, `thinking` the part meant for reasoning. What is
    `optional` is left out rather than waited or stopped for.
    """

    name: str
    role: Role
    template: str
    answer: type[Any] | None
    output: int
    floor: int
    thinking: int = 0
    tools: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class KindSpec:
    """`share` is the part of the run's cap that phases of this kind may spend together, in percent."""

    kind: Kind
    produces: str
    evidence: str
    gate: str
    share: int
    stages: tuple[Stage, ...] = ()


def _document(kind: Kind, produces: str, evidence: str, gate: str, share: int, answer: type[Any], thinking: int) -> KindSpec:
    stage = Stage("ask", Role.PLANNER, f"{kind.lower()}.md.j2", answer, 4_000 + thinking, 1_000, thinking)
    return KindSpec(kind, produces, evidence, gate, share, (stage,))


KINDS: Mapping[Kind, KindSpec] = {
    spec.kind: spec
    for spec in (
        _document(Kind.STRATEGIZE, "problem, approach, purpose", "strategy.md", "all three are stated", 10, answers.Approach, 0),
        _document(
            Kind.SPEC, "acceptance criteria, definition of done", "spec.md", "each criterion can be checked", 10, answers.Spec, 0
        ),
        KindSpec(
            Kind.PLAN,
            "tasks, files, criteria, tests, risks",
            "plan.md",
            "graph acyclic, every objection answered, approved where the rule asks for it",
            30,
            (
                Stage("draft", Role.PLANNER, "plan_draft.md.j2", answers.Plan, 16_000, 2_000, 10_000),
                Stage("review", Role.PLAN_REVIEWER, "plan_review.md.j2", answers.PlanReview, 6_000, 1_000),
                Stage("refine", Role.PLANNER, "plan_refine.md.j2", answers.RefinedPlan, 12_000, 2_000, 8_000),
            ),
        ),
        _document(
            Kind.THINK,
            "edge cases, risks, failure modes",
            "edge_cases.md",
            "each case has its handling",
            15,
            answers.EdgeCases,
            10_000,
        ),
        KindSpec(
            Kind.IMPLEMENT,
            "code, tests, docs",
            "changes.patch",
            "the changeset is not empty and the policy lets it land",
            70,
            (Stage("build", Role.BUILDER, "build.md.j2", None, 16_000, 1_000, 8_000, tools=True),),
        ),
        KindSpec(
            Kind.VERIFY,
            "all checks and tests, before and after",
            "test_results.json",
            "no regression, proof where a bug was fixed",
            0,
        ),
        KindSpec(
            Kind.REVIEW,
            "a verdict for each criterion, findings",
            "review.md",
            "criteria met, no major finding that its check or its kind upholds",
            30,
            (
                Stage("audit", Role.AUDITOR, "audit.md.j2", answers.Audit, 8_000, 1_500),
                Stage("second", Role.AUDITOR, "audit.md.j2", answers.Audit, 4_000, 1_500),
                Stage("planted", Role.AUDITOR, "audit.md.j2", answers.Audit, 4_000, 1_500, optional=True),
            ),
        ),
        KindSpec(Kind.PR, "commit, branch, patch", "report.md", "the branch holds exactly what was tested and audited", 0),
        KindSpec(Kind.MONITOR, "stable after delivery", "monitoring.json", "no degradation", 0),
    )
}

FRAMING = (Kind.STRATEGIZE, Kind.SPEC, Kind.PLAN, Kind.THINK)
SKIPPABLE = (Kind.STRATEGIZE, Kind.SPEC, Kind.THINK, Kind.MONITOR)
"""The kinds that a person may do without."""


def stage_of(kind: Kind, name: str) -> Stage:
    """The stage `name` of `kind`."""
    return next(stage for stage in KINDS[kind].stages if stage.name == name)
