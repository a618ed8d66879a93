"""Triage of a ticket and choice of models, each with the reason in one sentence. Words count only as whole words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bot.core.errors import BadInput
from bot.core.phases import Role
from bot.core.ticket import Ticket


class ModelClass(StrEnum):
    MECHANICAL = "mechanical"
    FAST = "fast"
    BALANCED = "balanced"
    ADVANCED = "advanced"


class Scope(StrEnum):
    TINY = "Tiny"
    SMALL = "Small"
    MEDIUM = "Medium"
    LARGE = "Large"


@dataclass(frozen=True, slots=True)
class ModelId:
    """One model of one vendor, with its class."""

    vendor: str
    model: str
    model_class: ModelClass


@dataclass(frozen=True, slots=True)
class Choice:
    """The model of a role and why."""

    role: Role
    model: ModelId
    reason: str


@dataclass(frozen=True, slots=True)
class Triage:
    """What kind of work a ticket is. `score` is its complexity from 0 to 100; `factors` say what made it up."""

    category: str
    scope: Scope
    importance: str
    risk: str
    score: int
    is_bug: bool
    vague: bool
    factors: tuple[str, ...]

    @property
    def label(self) -> str:
        """The category for people; work of none is a bug fix or a change."""
        if self.category != UNSPECIFIED:
            return self.category.replace("_", " ")
        return "bug fix" if self.is_bug else "change"

    @property
    def high_risk(self) -> bool:
        return self.category in HIGH_RISK or self.risk in ("high", "critical")


UNSPECIFIED = "feature_scaffolding"
"""The category of work that no other describes."""

HIGH_RISK = frozenset(
    ("cross_cutting_refactor", "index_registry_change", "schema_contract_change", "bulk_multi_file_operation",
     "security_auth_change", "external_feature_reuse", "external_code_intake")
)  # fmt: skip
"""The seven categories that always get the strongest class and a person's approval."""

_CATEGORY_WORDS: Mapping[str, str] = {
    "security_auth_change": r"security|auth|authentication|authorization|oauth|permissions?|crypto\w*"
    r"|csrf|xss|injection|vulnerab\w+|cve-\S+",
    "schema_contract_change": r"migrations?|database schema|schema change|breaking api|api contract|protobuf|openapi",
    "external_code_intake": r"vendor(?:ed|ing)? code|copy (?:the )?code from|import code from|third[- ]party code",
    "external_feature_reuse": r"port (?:the )?feature from|reuse .* from another",
    "bulk_multi_file_operation": r"every file|all files|across the (?:repo|repository|codebase)|rename everywhere",
    "cross_cutting_refactor": r"refactor(?:ing)? (?:the )?(?:whole|entire|architecture)|re-?architect\w*|cross-cutting",
    "index_registry_change": r"plugin registry|package index|registry change|search index",
    "docs": r"docs?|documentation|readme|docstrings?|changelog|typos?|spelling",
    "tests": r"test coverage|add tests?|missing tests?|unit tests? for",
    "debt_cleanup": r"clean ?up|dead code|unused|tech(?:nical)? debt|deprecat\w+|lint",
}
_BUG = (
    r"bugs?|fix(?:es|ed)?|crash\w*|errors?|raises?|fails?|failing|failed|broken|wrong|incorrect\w*|regression|traceback"
    r"|exception|unexpected\w*|should(?:n't| not)|does(?:n't| not)|typeerror|valueerror|keyerror"
)
_HARD = (
    r"architecture|security|performance|distributed|concurrency|scalability|algorithm|optimi[sz]ation|cryptography"
    r"|authentication|authorization"
)
_SIMPLE = r"typos?|documentation|comments?|formatting|style|rename|logging"
_RISKY = (
    r"databases?|migrations?|security|auth(?!or(?:s|ed|ing|ship)?\b)\w*|payments?|production|deploy\w*"
    r"|secrets?|credentials?|passwords?"
)
_IMPORTANCE: Mapping[str, str] = {
    "critical": r"security|data[- ]loss|financial|production[- ]down|outage",
    "high": r"core|user-facing|users? (?:see|get|lose)",
    "low": r"docs?|documentation|clean ?up|typos?|cosmetic",
}
_VAGUE_STARTS = ("improve", "make it better", "clean up", "optimize", "refactor", "enhance", "fix it", "do something")
_PATH = re.compile(r"(?<![\w/])[\w./-]+\.(?:py|js|ts|tsx|go|rs|java|md|toml|cfg|yml|yaml|json|txt|html|css|c|h|cpp)\b")


def words(pattern: str, text: str) -> tuple[str, ...]:
    """The distinct whole-word matches of `pattern` in `text`, lower case, in order."""
    return tuple(dict.fromkeys(match.lower() for match in re.findall(rf"(?<![\w-])(?:{pattern})(?![\w-])", text, re.IGNORECASE)))


def triage(ticket: Ticket) -> Triage:
    """Category, scope, importance, risk and complexity of `ticket`, from its words."""
    text = ticket.text
    category = next((name for name, pattern in _CATEGORY_WORDS.items() if words(pattern, text)), UNSPECIFIED)
    score, factors = _complexity(text)
    importance = next((name for name, pattern in _IMPORTANCE.items() if words(pattern, text)), "medium")
    scope = Scope.TINY if score < 15 else Scope.SMALL if score < 30 else Scope.MEDIUM if score < 70 else Scope.LARGE
    title = ticket.title.lower()
    vague = not ticket.body and (len(title.split()) <= 3 and title.startswith(_VAGUE_STARTS))
    return Triage(category, scope, importance, _risk(text), score, bool(words(_BUG, text)), vague, factors)


def _complexity(text: str) -> tuple[int, tuple[str, ...]]:
    factors: list[tuple[int, str]] = []
    if len(text) > 1000:
        factors.append((20, "over 2,000 characters") if len(text) > 2000 else (10, "over 1,000 characters"))
    if hard := words(_HARD, text):
        factors.append((30, f"names {', '.join(hard)}"))
    files = set(_PATH.findall(text))
    if len(files) > 5:
        factors.append((20 if len(files) > 10 else 10, f"names {len(files)} files"))
    if words(r"security|auth|crypto", text):
        factors.append((30, "touches security"))
    if words(r"performance|optimi[sz]e|fast", text):
        factors.append((20, "touches performance"))
    score = min(100, sum(points for points, _ in factors))
    if words(_SIMPLE, text) and not hard:
        score = min(score, 29)
    return score, tuple(f"+{points} {why}" for points, why in factors)


def _risk(text: str) -> str:
    points = 3 * bool(words(_RISKY, text)) + 4 * bool(words("breaking change", text))
    points += 2 * bool(words("new dependency|external dependency|upgrade .* dependency", text)) + 3 * bool(
        words("architecture", text)
    )
    return "critical" if points >= 6 else "high" if points >= 4 else "medium" if points >= 2 else "low"


def choose(triage_: Triage, models: tuple[ModelId, ...]) -> tuple[Choice, ...]:
    """The model of each role: the builder by scope, planner and judges by risk, the judges from the other vendor where its key
    is there.

    Work of low risk that the fast class builds is planned by it too: a plan by a stronger model costs ten times such a build
    (bench B9), and a plan before the code was found to help little, a review of it more (arXiv 2603.03406). So what looks at
    the plan and at the code stays balanced; only Tiny work has its plan reviewed by the fast class.

    Raises:
        BadInput: no vendor's models are given.
    """
    vendors = tuple(dict.fromkeys(model.vendor for model in models))
    if not vendors:
        raise BadInput("No model is available: set ANTHROPIC_API_KEY or OPENAI_API_KEY.")
    own, other = vendors[0], vendors[1] if len(vendors) > 1 else vendors[0]
    build = _build_class(triage_)
    plan, review, audit = _framing_classes(triage_)
    planner, builder = pick(models, own, plan), pick(models, own, build)
    reason = f"{triage_.scope} {triage_.label}, complexity {triage_.score}"
    return (
        Choice(Role.PLANNER, planner, f"{plan} for planning ({reason})"),
        _judge(Role.PLAN_REVIEWER, models, other, review, planner),
        Choice(Role.BUILDER, builder, f"{build}: {reason}" + (", high risk" if triage_.high_risk else "")),
        _judge(Role.AUDITOR, models, other, audit, builder),
    )


def floor_of(triage_: Triage) -> ModelClass:
    """The weakest class that may plan and build this work, whoever asks for less."""
    return ModelClass.ADVANCED if triage_.high_risk else ModelClass.FAST


def at_class(
    choices: tuple[Choice, ...], models: tuple[ModelId, ...], wanted: ModelClass, triage_: Triage, by: str
) -> tuple[Choice, ...]:
    """`choices` with planner and builder of the class `wanted` by a person, or of the weakest that the risk lets work."""
    order = list(ModelClass)
    given = max(wanted, floor_of(triage_), key=order.index)
    why = f"{given}: asked for by {by}" if given is wanted else f"{given}: high risk, whatever {by} asks for"
    return tuple(
        Choice(choice.role, pick(models, choice.model.vendor, given), why)
        if choice.role in (Role.PLANNER, Role.BUILDER)
        else choice
        for choice in choices
    )


def _framing_classes(triage_: Triage) -> tuple[ModelClass, ModelClass, ModelClass]:
    """The classes of planner, plan reviewer and auditor."""
    if triage_.high_risk:
        return ModelClass.ADVANCED, ModelClass.ADVANCED, ModelClass.ADVANCED
    low = triage_.risk == "low"
    plan = ModelClass.FAST if low and triage_.scope in (Scope.TINY, Scope.SMALL) else ModelClass.BALANCED
    review = ModelClass.FAST if low and triage_.scope is Scope.TINY else ModelClass.BALANCED
    return plan, review, ModelClass.BALANCED


def _build_class(triage_: Triage) -> ModelClass:
    if triage_.high_risk or triage_.scope is Scope.LARGE:
        return ModelClass.ADVANCED
    return ModelClass.BALANCED if triage_.scope is Scope.MEDIUM else ModelClass.FAST


def _judge(role: Role, models: tuple[ModelId, ...], vendor: str, wanted: ModelClass, author: ModelId) -> Choice:
    """A judge of another vendor than the author's, or else another model of the same one."""
    if vendor != author.vendor:
        return Choice(role, pick(models, vendor, wanted), f"other vendor than {author.model}")
    others = tuple(model for model in models if model.vendor == vendor and model.model != author.model)
    if not others:
        return Choice(role, author, f"the only model there is, so it judges its own work: {author.model}")
    return Choice(role, pick(others, vendor, wanted), f"only {vendor}'s key is set, so another model of it judges {author.model}")


def apart(choice: Choice, models: tuple[ModelId, ...], author: ModelId) -> Choice:
    """The judge of `choice`, or another where escalation or a switch made its model or its vendor's the author."""
    other = next((model.vendor for model in models if model.vendor != author.vendor), author.vendor)
    if choice.model.vendor != author.vendor or (other == author.vendor and choice.model != author):
        return choice
    return _judge(choice.role, models, other, author.model_class, author)


def second_auditor(first: Choice, models: tuple[ModelId, ...], author: ModelId) -> Choice | None:
    """Who looks a second time: neither `first` nor the author, of another vendor than `first` where one has such a model."""
    possible = tuple(model for model in models if model.model not in (first.model.model, author.model))
    vendors = sorted({model.vendor for model in possible}, key=lambda vendor: (vendor == first.model.vendor, vendor))
    if not vendors:
        return None
    model = pick(possible, vendors[0], first.model.model_class)
    how = "other vendor than" if model.vendor != first.model.vendor else "another model than"
    return Choice(Role.AUDITOR, model, f"high risk needs a second audit, by {how} {first.model.model}")


def pick(models: tuple[ModelId, ...], vendor: str, wanted: ModelClass) -> ModelId:
    """The model of `vendor` in class `wanted`, else in the next stronger, else in the next weaker class."""
    order = list(ModelClass)
    mine = {model.model_class: model for model in models if model.vendor == vendor}
    at = order.index(wanted)
    for candidate in (*order[at:], *reversed(order[:at])):
        if candidate in mine:
            return mine[candidate]
    raise BadInput(f"No model of {vendor} is configured.")


def substitute(models: tuple[ModelId, ...], model: ModelId, left: set[str]) -> ModelId | None:
    """A model of the class of `model`, of a vendor that is not in `left`; None where there is none."""
    return next((m for m in models if m.vendor not in left and m.model_class is model.model_class), None)
