"""Who builds next: the default table of classes, or in mode `optimize` the path of the highest expected net value; each with its
reason in one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from bot.core.experience import Outcome
from bot.core.phases import Role
from bot.core.routing import PRIORS, Arm, Decision, Verifier, decide, default_path, posterior
from bot.core.selection import Choice, ModelClass, ModelId, Triage
from bot.core.strategy import Settings

CHECKS_COST = 50_000
"""Micro-dollars for judging one attempt: CI minutes and audit. [assumption; a run on a private runner and an audit by a
balanced model come to about that]"""
REPRODUCED = Verifier(0.15, 0.05, CHECKS_COST)
TESTED = Verifier(0.25, 0.10, CHECKS_COST)
"""How often a wrong change passes the checks: with a test that failed before it, and with what tests there are. Anchored at what
audits of benchmarks found (about 0.19 of accepted patches of one, 0.085 of another). [assumption]"""
RECENT, ENOUGH, GOOD = 20, 5, 0.6
"""The cheap class stays the first while 6 of 10 of its last 20 first attempts held; fewer than 5 say nothing."""


def next_builder(
    settings: Settings, seen: Triage, default: Choice, failed: Sequence[ModelId], *, attempts: int, share: Fraction
) -> Choice | None:
    """The builder after the attempts of `failed`; None where another attempt is expected to cost more than it is worth.

    `attempts` are left, `share` of the money is gone. `default` is what the strategy began with.
    """
    start, why = _start(settings, seen, default, share)
    arms = _arms(settings, seen, default.model.vendor)
    behind = [next((arm for arm in arms if arm.model == model.model), _arm(settings, seen, model)) for model in failed]
    if settings.rules.mode == "optimize" and settings.attempt_costs:
        verifier, observed = REPRODUCED if seen.is_bug else TESTED, _observed(settings, seen)
        decision = decide(
            arms, settings.worth, verifier, observed,
            start=start, high_risk=seen.high_risk, escalate_after=settings.escalate_after, failures=behind, attempts=attempts,
        )  # fmt: skip
    else:
        path = default_path(
            arms, start=start, high_risk=seen.high_risk, escalate_after=settings.escalate_after,
            failed=len(failed), attempts=attempts,
        )  # fmt: skip
        decision = Decision(tuple(arm.model for arm in path), "", False, 0)
    if not decision.path:
        return None
    model = next(model for model in settings.models if model.model == decision.path[0])
    return Choice(Role.BUILDER, model, _reason(default, model, failed, why, decision))


def _reason(default: Choice, model: ModelId, failed: Sequence[ModelId], why: str, decision: Decision) -> str:
    if decision.adopted:
        return decision.reason
    told = f"; {decision.reason}" if decision.reason else ""
    if not failed:
        return (f"{model.model_class}: {why}" if why else default.reason) + told
    times = f"{len(failed)} attempt{'' if len(failed) == 1 else 's'} failed verification"
    if model.model_class is failed[-1].model_class:
        how = "another vendor's" if model.vendor != failed[-1].vendor else "the same"
        return f"{times}, so {how} model of class {model.model_class} tries{told}"
    return f"{times}, so the next class takes over{told}"


def _start(settings: Settings, seen: Triage, default: Choice, share: Fraction) -> tuple[ModelClass, str]:
    """The class of the first attempt, and why it is another than the scope's."""
    usual = default.model.model_class
    order = list(ModelClass)
    lower = order[max(order.index(ModelClass.FAST), order.index(usual) - 1)]
    if seen.high_risk:
        return usual, ""
    if settings.aggressive and usual is not ModelClass.FAST:
        return ModelClass.FAST, "the configuration begins with the cheapest class"
    if share >= Fraction(settings.rules.thresholds.hint) and lower is not usual:
        return lower, f"{float(share):.0%} of the budget is used, so a cheaper class goes on"
    first = _first(settings, seen)
    recent = [one.ok for one in first if one.model_class == usual and one.scope == seen.scope][-RECENT:]
    if len(recent) >= ENOUGH and sum(recent) < GOOD * len(recent) and usual is not ModelClass.ADVANCED:
        upper = order[order.index(usual) + 1]
        return upper, f"{sum(recent)} of the last {len(recent)} first attempts of class {usual} held for work like this"
    return usual, ""


def _first(settings: Settings, seen: Triage) -> list[Outcome]:
    """First attempts at work of this category. Later ones only get what others failed at."""
    return [one for one in settings.experience.outcomes if one.attempt == 1 and one.category == seen.category]


def _observed(settings: Settings, seen: Triage) -> dict[ModelClass, int]:
    counts = Counter(one.model_class for one in _first(settings, seen))
    return {model_class: counts[str(model_class)] for model_class in PRIORS}


def _arms(settings: Settings, seen: Triage, first: str) -> tuple[Arm, ...]:
    """All models, the vendor `first` before the others."""
    models = sorted(settings.models, key=lambda model: model.vendor != first)
    return tuple(_arm(settings, seen, model) for model in models)


def _arm(settings: Settings, seen: Triage, model: ModelId) -> Arm:
    mine = [one.ok for one in _first(settings, seen) if one.model == model.model and one.model_class == model.model_class]
    mean = posterior(PRIORS[model.model_class], sum(mine), len(mine))
    return Arm(model.model, model.vendor, model.model_class, mean, dict(settings.attempt_costs).get(model.model, 0))
