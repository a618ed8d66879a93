"""B4: rules of escalation on the same simulated issues. Measured is the rule, at stated skills; no model is called."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from math import exp, sqrt
from typing import Any

from bot.core.budget import MICRO
from bot.core.routing import ATTEMPTS, SHAPE, Arm, Decision, Verifier, Worth, decide, default_path, posterior
from bot.core.selection import ModelClass
from bot.core.switching import continue_cost
from bot.llm import prices

ISSUES, QUICK = 8_000, 2_000
SEEDS, QUICK_SEEDS = (20261120, 1, 2), (20261120,)
"""Regrets are the worst of all; the other figures are the first one's."""
SIGMA = 0.75
CHECKS = 50_000
OBSERVED = 5
MODELS = (
    ("anthropic", "claude-haiku-5-5", ModelClass.FAST), ("openai", "gpt-6-luna", ModelClass.FAST),
    ("anthropic", "claude-sonnet-5-5", ModelClass.BALANCED), ("anthropic", "claude-opus-5-5", ModelClass.ADVANCED),
)  # fmt: skip
SKILLS = {"65/80/88": (0.65, 0.80, 0.88), "45/65/75": (0.45, 0.65, 0.75)}
CORRELATIONS = (0.75, 0.95)
WORTHS = (Worth(25 * MICRO, 10 * MICRO), Worth(5 * MICRO, 2 * MICRO), Worth(25 * MICRO, 50 * MICRO))
VERIFIERS = (Verifier(0, 0, CHECKS), Verifier(0.1, 0.05, CHECKS), Verifier(0.25, 0.1, CHECKS))
WRONG = {ModelClass.FAST: 0.12, ModelClass.BALANCED: -0.08, ModelClass.ADVANCED: -0.05}
BELIEFS = ("right", "corrected", "wrong")
"""What the rule takes the means for: what they are; scores published wrong by `WRONG`, corrected by the 5 observations without
which it adopts nothing; wrong by all of it although 5 were seen."""
TARGETS = {
    "worst_regret_percent": ("at most 3 %", "", 3.0),
    **{f"worst_regret_percent ({belief})": ("at most 3 %", "", 3.0) for belief in BELIEFS},
    "cost_ratio_to_always_advanced": ("at most 0.3", "", 0.3),
}
Figures = dict[str, dict[str, Any]]
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Draw:
    """What chance gives one try: whether it is right, whether the verifier errs, and its cost over the mean."""

    skill: float
    verdict: float
    cost: float


@dataclass(frozen=True, slots=True)
class World:
    """Issues: each model's chance at each, and the draws of each try, the same for every rule."""

    chances: Mapping[str, Sequence[float]]
    draws: Mapping[str, Sequence[Sequence[Draw]]]


@dataclass(frozen=True, slots=True)
class Tally:
    """Issues solved, wrong pull requests, and micro-dollars for models and for checks."""

    issues: int
    solved: int
    wrong: int
    models: float
    checks: int

    @property
    def cost(self) -> float:
        return self.models + self.checks

    def net(self, worth: Worth) -> float:
        """Dollars an issue."""
        return (self.solved * worth.right - self.wrong * worth.wrong - self.cost) / self.issues / MICRO

    def each(self) -> float:
        """Dollars of cost an issue."""
        return round(self.cost / self.issues / MICRO, 3)


@dataclass(frozen=True, slots=True)
class Setting:
    skills: str
    correlation: float
    worth: Worth
    verifier: Verifier
    belief: str

    @property
    def place(self) -> str:
        worth = f"${self.worth.right // MICRO}/-{self.worth.wrong // MICRO}"
        return f"{self.skills} rho {self.correlation} {worth} FA {self.verifier.false_accept}"

    def __str__(self) -> str:
        return f"{self.place}: {self.belief}"


@dataclass(frozen=True, slots=True)
class Row:
    """One setting: net value an issue of each fixed rule and of ours, and what ours decided."""

    setting: Setting
    fixed: Mapping[str, float]
    ours: float
    decision: Decision

    @property
    def regret(self) -> float:
        """Percent of the best fixed rule's value that ours is below it; negative where it is above."""
        best = max(self.fixed.values())
        return 100 * (best - self.ours) / abs(best)


def run(*, quick: bool, say: Callable[[str], None]) -> Figures:
    """Play every rule in every setting, on the same issues, and compare the net values."""
    issues, seeds = (QUICK, QUICK_SEEDS) if quick else (ISSUES, SEEDS)
    first, *others = [_rows(issues, seed) for seed in seeds]
    every = [row for rows in (first, *others) for row in rows]
    figures = {
        "worst_regret_percent": _figure(max(row.regret for row in every if row.setting.belief != "wrong"), "%"),
        "mean_regret_percent": _figure(sum(row.regret for row in every) / len(every), "%"),
    }
    for belief in BELIEFS:
        mine = [row.regret for row in every if row.setting.belief == belief]
        figures[f"worst_regret_percent ({belief})"] = _figure(max(mine), "%")
    for correlation in CORRELATIONS:
        figures |= _costs(issues, seeds[0], correlation)
    for place, same in groupby(first, key=lambda row: row.setting.place):
        figures[place] = _net(list(same))
    _explain(first, say)
    return figures


def _net(rows: Sequence[Row]) -> dict[str, Any]:
    """Net value of ours with right means, beside it that with wrong means and the fixed rules."""
    right, *wrong = rows
    beside = {f"ours, {row.setting.belief}": round(row.ours, 2) for row in wrong}
    fixed = {name: round(value, 2) for name, value in right.fixed.items()}
    return {"value": round(right.ours, 2), "unit": "$/issue", "beside": fixed | beside, "ratio": {}}


def _figure(value: float, unit: str) -> dict[str, Any]:
    return {"value": round(value, 3), "unit": unit, "beside": {}, "ratio": {}}


def _explain(rows: Sequence[Row], say: Callable[[str], None]) -> None:
    """Where ours left the table and why, and where it fell short."""
    say(f"{sum(row.decision.adopted for row in rows)} of {len(rows)} settings leave the default table")
    told: dict[str, list[str]] = {}
    for row in rows:
        if row.decision.adopted:
            told.setdefault(row.decision.reason, []).append(str(row.setting))
    for reason, settings in told.items():
        say(f"{reason} [{'; '.join(settings)}]")
    for row in sorted(rows, key=lambda row: -row.regret)[:5]:
        best = max(row.fixed, key=row.fixed.__getitem__)
        say(f"regret {row.regret:.1f} %: {row.setting}, best is {best} {row.fixed[best]:.2f}, ours {row.ours:.2f}")


def _rows(issues: int, seed: int) -> list[Row]:
    rows = []
    for skills, correlation in ((skills, correlation) for skills in SKILLS for correlation in CORRELATIONS):
        arms = _arms(SKILLS[skills])
        play = _player(_world(arms, correlation, issues, seed), arms)
        for setting in _settings(skills, correlation):
            fixed = {name: play(path, setting.verifier).net(setting.worth) for name, path in _fixed(arms).items()}
            decision = decide(
                _believed(arms, setting.belief), setting.worth, setting.verifier, dict.fromkeys(ModelClass, OBSERVED)
            )
            rows.append(Row(setting, fixed, play(decision.path, setting.verifier).net(setting.worth), decision))
    return rows


def _settings(skills: str, correlation: float) -> Iterator[Setting]:
    """Where nothing wrong is accepted its price is no matter, so that a second one would count the setting twice."""
    for worth in WORTHS:
        for verifier in VERIFIERS:
            if verifier.false_accept or worth.wrong <= worth.right:
                yield from (Setting(skills, correlation, worth, verifier, belief) for belief in BELIEFS)


def _arms(means: Sequence[float]) -> tuple[Arm, ...]:
    """The models at the price of a run of 30 turns that grows from 12,000 to 93,000 tokens."""
    by_class = dict(zip((ModelClass.FAST, ModelClass.BALANCED, ModelClass.ADVANCED), means, strict=True))
    return tuple(
        Arm(model, vendor, model_class, by_class[model_class], continue_cost(
            prices.rates(vendor, model), context=12_000, per_turn=2_800, output=800, turns=30
        ))
        for vendor, model, model_class in MODELS
    )  # fmt: skip


def _believed(arms: Sequence[Arm], belief: str) -> tuple[Arm, ...]:
    if belief == "right":
        return tuple(arms)
    published = tuple(replace(arm, mean=arm.mean + WRONG[arm.model_class]) for arm in arms)
    if belief == "wrong":
        return published
    seen = tuple(round(OBSERVED * arm.mean) for arm in arms)
    return tuple(replace(arm, mean=posterior(arm.mean, count, OBSERVED)) for arm, count in zip(published, seen, strict=True))


def _fixed(arms: Sequence[Arm]) -> dict[str, Path]:
    """The rules that ours is compared with, as the models they try in turn."""
    top = tuple(arm.model for arm in arms if arm.model_class is ModelClass.ADVANCED)
    after = {f"after {count}": default_path(arms, escalate_after=count) for count in (1, 2, 3)}
    return {
        "top x2": top * 2,
        "top x6": top * ATTEMPTS,
        **{name: tuple(arm.model for arm in path) for name, path in after.items()},
    }


def _world(arms: Sequence[Arm], correlation: float, issues: int, seed: int) -> World:
    """Chances by a Gaussian copula: each model's Beta draws, given out in the order of a latent that all share a part of."""
    chance = random.Random(seed)
    shared = [chance.gauss(0, 1) for _ in range(issues)]
    chances, draws = {}, {}
    for arm in arms:
        latent = [sqrt(correlation) * value + sqrt(1 - correlation) * chance.gauss(0, 1) for value in shared]
        sorted_chances = sorted(chance.betavariate(arm.mean * SHAPE, (1 - arm.mean) * SHAPE) for _ in range(issues))
        given = [0.0] * issues
        for rank, issue in enumerate(sorted(range(issues), key=latent.__getitem__)):
            given[issue] = sorted_chances[rank]
        chances[arm.model] = given
        draws[arm.model] = [[_draw(chance) for _ in range(ATTEMPTS)] for _ in range(issues)]
    return World(chances, draws)


def _draw(chance: random.Random) -> Draw:
    return Draw(chance.random(), chance.random(), exp(SIGMA * chance.gauss(0, 1) - SIGMA**2 / 2))


def _player(world: World, arms: Sequence[Arm]) -> Callable[[Path, Verifier], Tally]:
    cost = {arm.model: arm.cost for arm in arms}

    @cache
    def play(path: Path, verifier: Verifier) -> Tally:
        """Try the models of `path` at every issue until the verifier accepts."""
        tries = [(model, path[:number].count(model)) for number, model in enumerate(path)]
        issues = len(next(iter(world.chances.values())))
        solved = wrong = checks = 0
        spent = 0.0
        for issue in range(issues):
            for model, number in tries:
                draw = world.draws[model][issue][number]
                spent += cost[model] * draw.cost
                checks += verifier.cost
                right = draw.skill < world.chances[model][issue]
                if right and draw.verdict >= verifier.false_reject:
                    solved += 1
                    break
                if not right and draw.verdict < verifier.false_accept:
                    wrong += 1
                    break
        return Tally(issues, solved, wrong, spent, checks)

    return play


def _costs(issues: int, seed: int, correlation: float) -> Figures:
    """What the default costs beside the strongest model alone, where checks are exact and both may try equally often."""
    arms = _arms(SKILLS["65/80/88"])
    play, rules = _player(_world(arms, correlation, issues, seed), arms), _fixed(arms)
    tallies = {name: play(rules[name], VERIFIERS[0]) for name in ("after 2", "top x2", "top x6")}
    default = tallies.pop("after 2")
    same = tallies["top x6"]
    suffix = "" if correlation == CORRELATIONS[0] else f" (rho {correlation})"
    return {
        f"cost_ratio_to_always_advanced{suffix}": _figure(default.cost / same.cost, ""),
        f"model_cost_ratio_to_always_advanced{suffix}": _figure(default.models / same.models, ""),
        f"solved{suffix}": {
            "value": default.solved, "unit": f"of {issues} issues", "ratio": {},
            "beside": {name: tally.solved for name, tally in tallies.items()},
        },
        f"cost_per_issue{suffix}": {
            "value": default.each(), "unit": "$",
            "beside": {name: tally.each() for name, tally in tallies.items()},
            "ratio": {name: round(default.cost / tally.cost, 3) for name, tally in tallies.items()},
        },
    }  # fmt: skip
