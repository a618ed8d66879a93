"""B2: what the ledger books is what the vendors bill, to the micro-dollar.

Sessions of both vendors' models are played on a clock that the bench turns. The vendors' side (`billing`) counts tokens by
their cache rules and answers with raw usage objects; Ostler's side reads those, and reserves and settles as in a run. Each
call, each total and each sum by model and phase is compared with two bills that share no code with Ostler.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

from bench import billing
from bench.billing import Caches, Keep, Part, Tariff, Tokens
from bot.core.budget import Grant, Ledger, Rates, Shortfall
from bot.llm.anthropic import read_usage as read_anthropic
from bot.llm.model import Request
from bot.llm.openai import read_usage as read_openai
from bot.llm.prices import rates

TRACES, QUICK = 4_000, 400
CALLS = 24
"""The most of a trace."""
WINDOW = 600_000
"""Tokens of a transcript at which it begins anew, as it has to before a model's window is full."""
TARGETS: Mapping[str, tuple[str, str, float]] = {
    "worst_error_microdollars": ("0", "", 0.0),
    "over_cap_microdollars": ("0", "", 0.0),
}

PHASES = ("PLAN", "IMPLEMENT", "REVIEW")
SCALES = (60, 400, 3_000, 12_000, 40_000)
"""Tokens of a middling part of a prompt: from prompts below every smallest prefix to those above every cliff."""
PAUSES = (5, 20, 40, 60, 120, 240, 299, 300, 301, 1_500, 1_801, 3_600, 3_601, 20_000, 50_000)
"""Seconds between calls: on both sides of every life of a cache."""
ASKED_SHORT = "gpt-5.6-"
"""Ostler asks these for no cache of 12 hours, even where a run wants long ones."""

NEEDED = (
    "a short cache that ran out", "a long cache that ran out", "a hit that only a renewal kept",
    "a mark below the smallest prefix", "a prompt below the smallest prefix",
    "100000 tokens to the token", "100000 tokens passed", "272000 tokens to the token", "272000 tokens passed",
    "anthropic short write", "anthropic long write", "anthropic both writes", "openai short write", "openai long write",
    "read", "thinking", "lives not said", "another model", "refused", "lost", "output cut", "no room",
)  # fmt: skip
"""What has to have happened, or the bench has measured nothing."""


def run(*, quick: bool, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """
    Raises:
        RuntimeError: one of the cases that B2 is about never came up.
    """
    tally = Tally()
    traces = QUICK if quick else TRACES
    for seed in range(traces):
        _Trace(seed, tally).play()
    if missing := [name for name in NEEDED if not tally.seen[name]]:
        raise RuntimeError(f"no trace had: {', '.join(missing)}")
    say(", ".join(f"{name} {tally.seen[name]:,}" for name in NEEDED))
    return {
        "worst_error_microdollars": _figure(tally.worst, "µ$", {"genai-prices": tally.worst_genai}),
        "over_cap_microdollars": _figure(tally.over_cap, "µ$", {}),
        "calls_billed": _figure(tally.seen["billed"], "calls", {"genai-prices": tally.seen["by genai-prices"]}),
        "traces": _figure(traces, "traces", {}),
    }


def _figure(value: int, unit: str, beside: Mapping[str, int]) -> dict[str, Any]:
    return {"value": value, "unit": unit, "beside": dict(beside), "ratio": {}}


@dataclass(slots=True)
class Tally:
    """The largest differences, in micro-dollars: of the ledger from either bill, of genai-prices from the printed prices where
    it is told everything, of the true bill of a trace above its cap. `seen` counts cases by name."""

    worst: int = 0
    worst_genai: int = 0
    over_cap: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def compare(self, booked: int, billed: int) -> None:
        self.worst = max(self.worst, abs(booked - billed))


@cache
def _rates(vendor: str, model: str) -> Rates:
    return rates(vendor, model)


class _Trace:
    """One session: a prompt that grows, models that change, pauses, failures, and a ledger with a cap."""

    def __init__(self, seed: int, tally: Tally) -> None:
        self.chance = Random(seed)
        self.tally, self.seen = tally, tally.seen
        self.caches = Caches(self.chance, tally.seen)
        self.now = 0.0
        self.scale = self.chance.choice(SCALES)
        self.texts = 0
        self.models = self.chance.sample(billing.TARIFFS, 3)
        self.tariff = self.models[0]
        self.long = self.chance.random() < 0.5
        self.mixed = self.chance.random() < 0.2
        self.stable = [self._part("long" if self.long or self.mixed else "short") for _ in range(3)]
        self.transcript = [self._part()]
        cap = int(10 ** self.chance.uniform(4.5, 9.5))
        phases = tuple((phase, cap * share // 100) for phase, share in zip(PHASES, (30, 70, 40), strict=True))
        self.ledger = Ledger(cap, self.chance.choice((cap, cap // 4)), cap * 15 // 100, phases)
        self.bill = 0
        self.booked: Counter[tuple[str, str]] = Counter()

    def play(self) -> None:
        for number in range(self.chance.randint(1, CALLS)):
            self._change()
            self._call(f"call-{number}", self.chance.choice(PHASES))
        self._sums()

    def _part(self, mark: Keep | None = None) -> Part:
        self.texts += 1
        smallest = self.tariff.smallest
        tokens = self.chance.choice((smallest - 1, smallest)) if self.chance.random() < 0.05 else self._size()
        return Part(self.texts, tokens, mark)

    def _size(self) -> int:
        return self.chance.randint(1, 2 * self.scale)

    def _change(self) -> None:
        """What happens between two calls: time passes, the transcript grows, now and then a model or a stable part changes."""
        self.now += self.chance.choice(PAUSES)
        self.transcript += [self._part() for _ in range(30 if self.chance.random() < 0.03 else self.chance.randint(1, 3))]
        if sum(part.tokens for part in self.transcript) > WINDOW:
            self.transcript = [self._part()]
        if self.chance.random() < 0.05:
            self.stable[self.chance.randrange(3)] = self._part(self.stable[0].mark)
        if self.chance.random() < 0.2:
            before, self.tariff = self.tariff, self.chance.choice(self.models)
            self.seen["another model"] += self.tariff is not before

    def _prompt(self) -> list[Part]:
        """Ostler's order: stable parts, transcript with its moving mark, a tail that is never found again. Where a cliff is in
        reach, the tail sometimes ends on it or one token behind."""
        moving: Keep = "long" if self.long and not self.mixed else "short"
        *older, last = self.transcript
        parts = [*self.stable, *older, Part(last.text, last.tokens, moving)]
        left = self.tariff.cliff - sum(part.tokens for part in parts)
        self.texts += 1
        tail = left + self.chance.randint(0, 1) if left > 0 and self.chance.random() < 0.3 else self._size() // 4 + 1
        return [*parts, Part(self.texts, tail)]

    def _call(self, name: str, phase: str) -> None:
        """Reserve, ask, settle; on the vendors' side count, bill and answer."""
        chance, tariff, parts = self.chance, self.tariff, self._prompt()
        bound = sum(part.tokens for part in parts) * chance.randint(2, 4) + 2_000
        wanted, floor = chance.randint(500, 32_000), chance.randint(100, 2_000)
        prices = _rates(tariff.vendor, tariff.model)
        self.ledger, grant = self.ledger.reserve(
            name, phase, phase, prices, input_bound=bound, output_wanted=wanted, output_floor=floor, finishing=phase == "REVIEW"
        )
        if isinstance(grant, Shortfall):
            self.seen["no room"] += 1
            self.tally.compare(grant.needed, billing.worst(tariff, bound, min(floor, wanted)))
            return
        self.seen["output cut"] += grant.max_output < wanted
        self.tally.compare(grant.amount, billing.worst(tariff, bound, grant.max_output))
        output = chance.choice((grant.max_output, chance.randint(1, grant.max_output)))
        fate = chance.choices(("answered", "refused", "lost"), (90, 5, 5))[0]
        if fate == "refused":
            self.seen[fate] += 1
            self.ledger = self.ledger.release(name)
            return
        keeps_long = self.long and not tariff.model.startswith(ASKED_SHORT)
        tokens = self.caches.bill(tariff, parts, "long" if keeps_long else "short", self.now)
        billed = billing.printed(tariff, tokens, output)
        self.bill += billed
        if fate == "lost":  # the vendor did the work and its answer never came
            self.seen[fate] += 1
            self.ledger = self.ledger.lose(name, role="builder", model=tariff.model)
            billed = billing.worst(tariff, bound, grant.max_output)
        else:
            self._settle(name, grant, tokens, output, billed)
        self.tally.compare(self.ledger.charges[-1].amount, billed)
        self.booked[phase, tariff.model] += billed

    def _settle(self, name: str, grant: Grant, tokens: Tokens, output: int, billed: int) -> None:
        tariff = self.tariff
        split = self.mixed or self.chance.random() < 0.8
        said = billing.response(tariff, tokens, output, self.chance.randint(0, output), split=split)
        request = Request(tariff.model, (), (), grant.max_output, long_cache=self.long)
        usage = (read_anthropic if tariff.vendor == "anthropic" else read_openai)(said["usage"], request)
        if usage is None:
            raise RuntimeError(f"Ostler reads no usage in {said}")
        self.ledger = self.ledger.settle(name, role="builder", rates=_rates(tariff.vendor, tariff.model), usage=usage)
        self._note(tariff, tokens, said, split=split)
        theirs = billing.by_genai(tariff, said)
        if split:
            self.tally.worst_genai = max(self.tally.worst_genai, abs(theirs - billed))
        if not tokens.long or (tariff.vendor == "anthropic" and split):  # it knows no 12 hours, and no hour that isn't said
            self.seen["by genai-prices"] += 1
            self.tally.compare(self.ledger.charges[-1].amount, theirs)

    def _note(self, tariff: Tariff, tokens: Tokens, said: Mapping[str, Any], *, split: bool) -> None:
        self.seen["billed"] += 1
        self.seen["lives not said"] += not split
        self.seen["read"] += tokens.read > 0
        self.seen[f"{tariff.vendor} short write"] += tokens.short > 0
        self.seen[f"{tariff.vendor} long write"] += tokens.long > 0
        self.seen[f"{tariff.vendor} both writes"] += tokens.short > 0 and tokens.long > 0
        details = said["usage"]["output_tokens_details"]
        self.seen["thinking"] += any(details.values())
        if tariff.cliff:
            self.seen[f"{tariff.cliff} tokens to the token"] += tokens.prompt == tariff.cliff
            self.seen[f"{tariff.cliff} tokens passed"] += tokens.prompt > tariff.cliff

    def _sums(self) -> None:
        """The ledger's totals, and the true bill (what was lost included) against the cap."""
        self.tally.compare(self.ledger.committed, self.booked.total())
        for phase in PHASES:
            self.tally.compare(self.ledger.spent_on(phase), sum(n for (at, _), n in self.booked.items() if at == phase))
        for tariff in self.models:
            charged = sum(charge.amount for charge in self.ledger.charges if charge.model == tariff.model)
            self.tally.compare(charged, sum(n for (_, model), n in self.booked.items() if model == tariff.model))
        self.tally.over_cap = max(self.tally.over_cap, self.bill - self.ledger.run_cap)
