"""Which model makes the next attempt at an issue: a table, or the sequence of the highest expected net value.

An attempt costs money, may be right or wrong, and is judged by a verifier that errs both ways. What one model failed at is hard
for all: the chance of success over issues is U-shaped, Beta(mean * s, (1 - mean) * s) with s = 0.37, and a failure of another
model counts as a part (kappa) of one's own. Both were estimated from public outcomes per instance (OpenHands Index 3015ac6, 500
issues of SWE-bench Verified, fresh retries). From them a small dynamic program over counts of failures finds the sequence.
Money is micro-dollars; chances are 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import groupby
from math import comb, floor, prod, sqrt
from operator import mul

from bot.core.budget import dollars
from bot.core.errors import BugError
from bot.core.selection import ModelClass

SHAPE = 0.37
"""s of the Beta distribution above. Six fits: .41 .36 .20 .37 .46 .37."""
STRENGTH = 8
"""How many observations a published score weighs as much as. [assumption]"""
PRIORS: Mapping[ModelClass, float] = {ModelClass.FAST: 0.65, ModelClass.BALANCED: 0.80, ModelClass.ADVANCED: 0.88}
"""Mean success by class before anything was observed: Haiku, Sonnet and Opus 5.5 on SWE-bench Pro (64.8, 81.3, 89.9 %, reported
by the maker), the two stronger ones rounded down. No figure is published for OpenAI's models of these classes, which are taken to
be alike. [assumption]"""
ATTEMPTS = 6
ESCALATE_AFTER = 2
MIN_OBSERVED = 5
"""Observations of each class in use before a computed sequence may replace the table."""
MIN_EXPOSURE = 0.02
"""What a wrong change is expected to lose by slipping through (false_accept * wrong), over what a right one is worth. Below that
the table does as well as any computed sequence and doesn't depend on the means being right (bench B4)."""
CAUTION = 0.67
"""Standard deviations that the means below the strongest class are lowered by: their lower quartile."""
MIN_GAIN, MIN_GAIN_MONEY = 0.03, 20_000


@dataclass(frozen=True, slots=True)
class Arm:
    """A model that may be tried: its mean success over issues of this kind, and what one attempt costs, checks not included."""

    model: str
    vendor: str
    model_class: ModelClass
    mean: float
    cost: int


@dataclass(frozen=True, slots=True)
class Worth:
    """What a right pull request is worth and what a wrong one loses, both in micro-dollars and not negative."""

    right: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Verifier:
    """How often a wrong change is accepted and a right one rejected, and what judging one costs: CI minutes and audit."""

    false_accept: float
    false_reject: float
    cost: int

    def __post_init__(self) -> None:
        if min(self.false_accept, self.false_reject) < 0 or self.false_accept + self.false_reject >= 1:
            raise BugError(
                f"a verifier that accepts {self.false_accept} of the wrong and rejects {self.false_reject} of the right"
            )


EXACT = Verifier(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Program:
    """The models to try, each if all before it failed, and what that is expected to be worth in micro-dollars, net of cost."""

    path: tuple[str, ...]
    value: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The path to follow and why, in one sentence. `gain` is how many micro-dollars more the computed path is expected to be
    worth than the table's; 0 where none was computed."""

    path: tuple[str, ...]
    reason: str
    adopted: bool
    gain: int


def posterior(prior: float, successes: int, tries: int) -> float:
    """Mean success after `successes` of `tries`, beginning from a published score. No raw rates: 0 of 3 is not never.

    Count only first attempts at an issue: what is tried after a failure is a harder issue than the mean speaks of.
    """
    if not 0 <= successes <= tries:
        raise BugError(f"{successes} successes in {tries} tries")
    return (STRENGTH * prior + successes) / (STRENGTH + tries)


def kappa(failed: Arm, following: Arm) -> float:
    """What part of a failure of `following` itself a failure of `failed` counts as.

    By the gap in strength, medians over more than 1,000 pairs of models. A gap of more than 30 points is taken as one of 10 to
    30, and .95 to 1.5, all that is known of a weaker model, as its two ends. [assumption]
    """
    if failed.model == following.model:
        return 1.0
    gap = round(following.mean - failed.mean, 6)
    if gap >= 0.10:
        return 0.22
    if gap >= 0.03:
        return 0.43
    if gap > -0.03:
        return 0.84 if failed.vendor == following.vendor else 0.69
    return 0.95 if gap > -0.10 else 1.5


def success(arm: Arm, failures: Sequence[Arm], verifier: Verifier = EXACT) -> float:
    """The chance that `arm` solves an issue at which the attempts in `failures` were rejected by `verifier`.

    With an exact verifier that is mean * s / (s + sum of kappa).
    """
    return _chance(arm.mean, round(sum(kappa(failed, arm) for failed in failures), 6), verifier)


@lru_cache(maxsize=4096)
def _chance(mean: float, weight: float, verifier: Verifier) -> float:
    """Chance of success after rejections that weigh `weight`. Between whole numbers its inverse is taken as linear, which it is
    for an exact verifier."""
    if not 0 < mean < 1:
        return mean
    whole = floor(weight)
    inverse, following = 1 / _after(mean, whole, verifier), 1 / _after(mean, whole + 1, verifier)
    return 1 / (inverse + (following - inverse) * (weight - whole))


def _after(mean: float, rejections: int, verifier: Verifier) -> float:
    """Mean of the Beta distribution after `rejections`, `right` of which were right all the same, weighed by how likely that is.

    Without this every rejection counts as a failure, and a strong model that a verifier rejects wrongly is given up too soon.
    """
    good, bad = mean * SHAPE, (1 - mean) * SHAPE
    weights = [
        comb(rejections, right)
        * verifier.false_reject**right
        * (1 - verifier.false_accept) ** (rejections - right)
        * prod(good + step for step in range(right))
        * prod(bad + step for step in range(rejections - right))
        for right in range(rejections + 1)
    ]
    return sum(weight * (good + right) for right, weight in enumerate(weights)) / (SHAPE + rejections) / sum(weights)


def solve(
    arms: Sequence[Arm], worth: Worth, verifier: Verifier, *,
    failures: Sequence[Arm] = (), attempts: int = ATTEMPTS, barred: frozenset[str] = frozenset(),
) -> Program:  # fmt: skip
    """The sequence of the highest expected net value: at most `attempts` more, fewer where it is worth more to stop, so that a
    person takes over. `barred` are models that failed twice in the same way: another try of them is no news.

    With p the chance of success, k the failures so far, FA and FR the verifier's errors, the value of a state is
    W(k) = max(0, max over arms m of p((1 - FR) right + FR W(k + m)) + (1 - p)(-FA wrong + (1 - FA) W(k + m)) - costs).
    """
    usable = tuple(arm for arm in arms if arm.model not in barred)
    behind = tuple(sum(kappa(failed, arm) for failed in failures) for arm in usable)
    weights = tuple(tuple(kappa(failed, arm) for failed in usable) for arm in usable)

    @cache
    def best(counts: tuple[int, ...]) -> tuple[float, int]:
        """Expected value from here on and the arm to try; -1 to stop."""
        found = (0.0, -1)
        for number, arm in enumerate(usable if sum(counts) < attempts else ()):
            weight = behind[number] + sum(map(mul, counts, weights[number]))
            rest, _ = best(_plus(counts, number))
            value = _tried(arm, _chance(arm.mean, round(weight, 6), verifier), rest, worth, verifier)
            if value > found[0]:
                found = (value, number)
        return found

    counts, path = (0,) * len(usable), []
    value, number = best(counts)
    while number >= 0:
        path.append(usable[number].model)
        counts = _plus(counts, number)
        _, number = best(counts)
    return Program(tuple(path), round(value))


def _plus(counts: tuple[int, ...], number: int) -> tuple[int, ...]:
    return (*counts[:number], counts[number] + 1, *counts[number + 1 :])


def worth_of(sequence: Sequence[Arm], worth: Worth, verifier: Verifier, *, failures: Sequence[Arm] = ()) -> int:
    """What trying `sequence` in turn, until an attempt is accepted, is expected to be worth under the model of `solve`."""
    value = 0.0
    for number in range(len(sequence) - 1, -1, -1):
        arm, before = sequence[number], (*failures, *sequence[:number])
        value = _tried(arm, success(arm, before, verifier), value, worth, verifier)
    return round(value)


def _tried(arm: Arm, chance: float, rest: float, worth: Worth, verifier: Verifier) -> float:
    """The expected value of one attempt, where being rejected is worth `rest`."""
    right = (1 - verifier.false_reject) * worth.right + verifier.false_reject * rest
    wrong = -verifier.false_accept * worth.wrong + (1 - verifier.false_accept) * rest
    return chance * right + (1 - chance) * wrong - arm.cost - verifier.cost


def default_path(
    arms: Sequence[Arm], *, start: ModelClass = ModelClass.FAST, high_risk: bool = False, escalate_after: int = ESCALATE_AFTER,
    failed: int = 0, attempts: int = ATTEMPTS, barred: frozenset[str] = frozenset(),
) -> tuple[Arm, ...]:  # fmt: skip
    """The table: from class `start` up, `escalate_after` tries in each, the strongest to the end; high risk begins there.

    Arms of one class take turns, the first given first, so that the second try is another family's where there is one (kappa .69
    instead of 1). `failed` attempts lie behind, `attempts` are to come.
    """
    usable = _capable([arm for arm in arms if arm.model not in barred], start)
    classes = sorted({arm.model_class for arm in usable}, key=list(ModelClass).index)
    climbed = classes[-1:] if high_risk else classes
    path: list[Arm] = []
    for place, model_class in enumerate(climbed):
        turns = [arm for arm in usable if arm.model_class is model_class]
        tries = escalate_after if place < len(climbed) - 1 else max(0, failed + attempts - len(path))
        path += [turns[number % len(turns)] for number in range(tries)]
    return tuple(path[failed : failed + attempts])


def _capable(arms: Sequence[Arm], start: ModelClass) -> Sequence[Arm]:
    """The arms of class `start` and above, or all where there is none."""
    order = list(ModelClass)
    return [arm for arm in arms if order.index(arm.model_class) >= order.index(start)] or arms


def decide(
    arms: Sequence[Arm], worth: Worth, verifier: Verifier, observed: Mapping[ModelClass, int], *,
    start: ModelClass = ModelClass.FAST, high_risk: bool = False, escalate_after: int = ESCALATE_AFTER,
    failures: Sequence[Arm] = (), attempts: int = ATTEMPTS, barred: frozenset[str] = frozenset(),
) -> Decision:  # fmt: skip
    """The computed path where it is known to pay, else the table's. Neither uses a class below `start`, the cheapest capable one.

    It is adopted only with `MIN_OBSERVED` observations of each class on either path, where wrong changes that slip through matter
    (`MIN_EXPOSURE`), and where it is expected to be worth more than the table's by 3 %, by $0.02 and by two attempts of the
    table's next model. All is computed with cautious means (`_cautious`): overrating a cheap model costs more than any price.
    """
    default = default_path(
        arms, start=start, high_risk=high_risk, escalate_after=escalate_after,
        failed=len(failures), attempts=attempts, barred=barred,
    )  # fmt: skip
    table = Decision(tuple(arm.model for arm in default), f"{_told(default)}, the default", False, 0)
    if high_risk:
        return replace(table, reason=f"{_told(default)}: high-risk work always gets the strongest class")
    if verifier.false_accept * worth.wrong < MIN_EXPOSURE * worth.right:
        return replace(table, reason=f"{table.reason}: what slips through the checks costs too little to leave it")
    careful = {arm.model: arm for arm in _cautious(_capable(arms, start), observed)}
    behind = tuple(careful.get(failed.model, failed) for failed in failures)
    program = solve(tuple(careful.values()), worth, verifier, failures=behind, attempts=attempts, barred=barred)
    computed = tuple(careful[model] for model in program.path)
    value = worth_of(tuple(careful[model] for model in table.path), worth, verifier, failures=behind)
    table = replace(table, gain=program.value - value)
    thin = [arm.model_class for arm in (*default, *computed) if observed.get(arm.model_class, 0) < MIN_OBSERVED]
    if thin:
        seen = observed.get(thin[0], 0)
        return replace(table, reason=f"{table.reason}: {seen} of {MIN_OBSERVED} observations of class {thin[0]} so far")
    amounts = f"{_money(program.value)} expected against {_money(value)} for the default"
    if table.gain <= max(MIN_GAIN * abs(value), MIN_GAIN_MONEY, 2 * default[0].cost if default else 0):
        return replace(table, reason=f"{table.reason}: the best other path is worth too little more ({amounts})")
    because = f"{verifier.false_accept:.0%} of wrong changes pass the checks and each loses {_money(worth.wrong)}"
    return Decision(program.path, f"{_told(computed)}: {amounts}, because {because}", True, table.gain)


def _cautious(arms: Sequence[Arm], observed: Mapping[ModelClass, int]) -> tuple[Arm, ...]:
    """All but the strongest class with their means lowered by `CAUTION` standard deviations of what is known of them."""
    order = list(ModelClass)
    strongest = max((arm.model_class for arm in arms), key=order.index, default=None)

    def lowered(arm: Arm) -> Arm:
        if arm.model_class is strongest:
            return arm
        deviation = sqrt(arm.mean * (1 - arm.mean) / (STRENGTH + observed.get(arm.model_class, 0) + 1))
        return replace(arm, mean=max(0.0, arm.mean - CAUTION * deviation))

    return tuple(map(lowered, arms))


def _told(path: Sequence[Arm]) -> str:
    """`fast twice, then advanced once`."""
    counts = [(model_class, len(list(run))) for model_class, run in groupby(path, key=lambda arm: arm.model_class)]
    often = {1: "once", 2: "twice"}
    return ", then ".join(f"{name} {often.get(count, f'{count} times')}" for name, count in counts) or "no attempt"


def _money(amount: int) -> str:
    return f"-{dollars(-amount)}" if amount < 0 else dollars(amount)
