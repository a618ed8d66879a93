"""How the vendors cache, count and bill, by their printed rules. Nothing here is Ostler's; B2 holds Ostler's ledger against it.

Prices are those of platform.claude.com/docs/en/about-claude/pricing and developers.openai.com/api/docs/pricing as of October
2026. The pages themselves were out of reach: each figure was read from genai-prices 0.2.3, which names page and day, and
compared with litellm 1.109.1, which agrees and adds the writes of 12 hours. claude-fable-5-2 is in genai-prices alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from random import Random
from typing import Any, Literal

from genai_prices.data_snapshot import get_snapshot

Keep = Literal["short", "long"]
LIVES: Mapping[tuple[str, Keep], int] = {
    ("anthropic", "short"): 5 * 60,
    ("anthropic", "long"): 60 * 60,
    ("openai", "short"): 30 * 60,
    ("openai", "long"): 12 * 60 * 60,
}
"""Seconds."""
LOOK_BACK = 20
"""Blocks before a breakpoint in which Anthropic looks for a cached prefix, its own included."""
OPENAI_EXPLICIT = 3
"""Explicit breakpoints that OpenAI writes beside its implicit one."""
OLD_LIFE, OLD_STEP = 10 * 60, 128
"""OpenAI before gpt-5.6: how long an unused prefix stays, and the step in which hits grow."""

# model, dollars per million tokens of: input, short write, long write, read, output; smallest cached prefix;
# above so many tokens of prompt input and output cost so many times as much
_PRINTED = """
claude-haiku-5-5   0.10  0.125 0.20  0.01   0.50   512  100000 5 5
claude-haiku-4-5   1     1.25  2     0.10   5     4096  -
claude-sonnet-5-5  2     2.5   4     0.10   10     512  -
claude-sonnet-5    2     2.5   4     0.20   10    1024  -
claude-opus-5-5    4     5     8     0.20   20     512  -
claude-opus-5      5     6.25  10    0.50   25     512  -
claude-opus-4-8    5     6.25  10    0.50   25    1024  -
claude-fable-5-2   8     10    16    0.20   40     512  -
claude-fable-5-1   10    12.5  20    0.25   50     512  -
gpt-6-luna         0.10  0.125 0.25  0.01   0.50  1024  272000 2 1.5
gpt-6.1-terra      1     1.25  2.5   0.05   5     1024  272000 2 1.5
gpt-6.1-sol        2     2.5   5     0.10   10    1024  272000 2 1.5
gpt-6-sol          2     2.5   5     0.20   10    1024  272000 2 1.5
gpt-6-astra        10    12.5  25    1      50    1024  272000 2 1.5
gpt-5.6-luna       0.2   0.25  0.5   0.02   1.2   1024  272000 2 1.5
gpt-5.6-terra      2     2.5   5     0.2    12    1024  272000 2 1.5
gpt-5.6-sol        4     5     10    0.4    20    1024  272000 2 1.5
gpt-5.5            5     -     -     0.5    30    1024  272000 2 1.5
gpt-5.4-mini       0.75  -     -     0.075  4.5   1024  -
gpt-5.4-nano       0.2   -     -     0.02   1.25  1024  -
"""


@dataclass(frozen=True, slots=True)
class Tariff:
    """One model. Dollars per million tokens, which is micro-dollars a token; `short` and `long` are cache writes.

    `cliff` is 0 where there is none; above it all input costs `dearer[0]` and all output `dearer[1]` times as much.
    """

    model: str
    input: Decimal
    short: Decimal
    long: Decimal
    read: Decimal
    output: Decimal
    smallest: int
    counts_writes: bool
    cliff: int
    dearer: tuple[Decimal, Decimal]

    @property
    def vendor(self) -> str:
        return "anthropic" if self.model.startswith("claude-") else "openai"

    def factors(self, prompt: int) -> tuple[Decimal, Decimal]:
        return self.dearer if self.cliff and prompt > self.cliff else (Decimal(1), Decimal(1))


def _tariff(line: str) -> Tariff:
    model, base, *more = line.split()
    short, long, read, output = (Decimal(base if number == "-" else number) for number in more[:4])  # not counted: as input
    cliff, dearer = (0, (Decimal(1), Decimal(1))) if more[5] == "-" else (int(more[5]), (Decimal(more[6]), Decimal(more[7])))
    return Tariff(model, Decimal(base), short, long, read, output, int(more[4]), more[0] != "-", cliff, dearer)


TARIFFS = tuple(_tariff(line) for line in _PRINTED.strip().splitlines())


# --- caches -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a prompt: what it says, as a number, and whether a breakpoint stands behind it."""

    text: int
    tokens: int
    mark: Keep | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """Input of one call as the vendor has it in its books."""

    input: int
    read: int = 0
    short: int = 0
    long: int = 0

    @property
    def prompt(self) -> int:
        return self.input + self.read + self.short + self.long


@dataclass(slots=True)
class _Entry:
    first_end: float
    until: float
    life: float
    keep: Keep


@dataclass(slots=True)
class Caches:
    """The prefixes that both vendors hold, by model. Times are seconds of a clock that the caller turns; `seen` counts what
    happened by name."""

    chance: Random
    seen: Counter[str]
    _entries: dict[int, _Entry] = field(default_factory=dict)

    def bill(self, tariff: Tariff, parts: Sequence[Part], keep: Keep, now: float) -> Tokens:
        """Count the input of a call, and keep what the rules keep. `keep` is what OpenAI is asked for; Anthropic's is at the
        marks."""
        ends: list[tuple[int, int]] = []
        key, total = hash((tariff.model,)), 0
        for part in parts:
            key, total = hash((key, part.text, part.tokens)), total + part.tokens
            ends.append((key, total))
        if not tariff.counts_writes:
            return self._automatic(tariff, ends, now)
        count = self._anthropic if tariff.vendor == "anthropic" else self._openai
        return count(tariff, parts, ends, keep, now)

    def _anthropic(self, tariff: Tariff, parts: Sequence[Part], ends: Sequence[tuple[int, int]], _: Keep, now: float) -> Tokens:
        """Read up to the longest prefix found, then write up to the last long mark at the one price and up to the last mark at
        the other. A hit renews what it covers."""
        marked = [place for place, part in enumerate(parts) if part.mark]
        marks = [place for place in marked if ends[place][1] >= tariff.smallest]
        self.seen["a mark below the smallest prefix"] += len(marks) < len(marked)
        reach = {place for mark in marks for place in range(max(0, mark - LOOK_BACK + 1), mark + 1)}
        hit = max((place for place in reach if self._lives(ends[place][0], now)), default=-1)
        read = ends[hit][1] if hit >= 0 else 0
        for key, _total in ends[: hit + 1]:
            if entry := self._entries.get(key):
                entry.until = now + entry.life
        new = [mark for mark in marks if mark > hit]
        long = max((ends[mark][1] for mark in new if parts[mark].mark == "long"), default=read)
        end = ends[new[-1]][1] if new else read
        for mark in new:
            self._keep(ends[mark][0], now, "anthropic", parts[mark].mark or "short")
        return Tokens(ends[-1][1] - end, read, end - long, long - read)

    def _openai(self, tariff: Tariff, parts: Sequence[Part], ends: Sequence[tuple[int, int]], keep: Keep, now: float) -> Tokens:
        """Breakpoints are the explicit ones and the end; only there is a prefix found. All that is written is kept alike."""
        explicit = [place for place, part in enumerate(parts) if part.mark]
        marks = [place for place in dict.fromkeys([*explicit, len(parts) - 1]) if ends[place][1] >= tariff.smallest]
        self.seen["a prompt below the smallest prefix"] += not marks
        hit = max((mark for mark in marks if self._lives(ends[mark][0], now)), default=-1)
        read = ends[hit][1] if hit >= 0 else 0
        written = [mark for mark in marks if mark > hit][-OPENAI_EXPLICIT - 1 :]
        for mark in written:
            self._keep(ends[mark][0], now, "openai", keep)
        end = ends[written[-1]][1] if written else read
        return Tokens(ends[-1][1] - end, read, *((end - read, 0) if keep == "short" else (0, end - read)))

    def _automatic(self, tariff: Tariff, ends: Sequence[tuple[int, int]], now: float) -> Tokens:
        """OpenAI before gpt-5.6: every prefix may be found, in steps, and writing is not counted."""
        found = max((total for key, total in ends if self._lives(key, now)), default=0)
        read = found // OLD_STEP * OLD_STEP if found >= tariff.smallest else 0
        for key, _ in ends:
            self._entries[key] = _Entry(now + OLD_LIFE, now + OLD_LIFE, OLD_LIFE, "short")
        return Tokens(ends[-1][1] - read, read)

    def _lives(self, key: int, now: float) -> bool:
        entry = self._entries.get(key)
        if entry is None:
            return False
        if now > entry.until:
            self.seen[f"a {entry.keep} cache that ran out"] += 1
            del self._entries[key]
            return False
        self.seen["a hit that only a renewal kept"] += now > entry.first_end
        return True

    def _keep(self, key: int, now: float, vendor: str, keep: Keep) -> None:
        """OpenAI's life is a minimum."""
        life: float = LIVES[vendor, keep]
        if vendor == "openai":
            life *= self.chance.uniform(1, 1.5)
        self._entries[key] = _Entry(now + life, now + life, life, keep)


# --- what a response says ---------------------------------------------------------------------------------------------


def response(tariff: Tariff, tokens: Tokens, output: int, thinking: int, *, split: bool) -> dict[str, Any]:
    """Model and usage as the vendor sends them. `split`: with the lives of what was written, which both may leave out."""
    if tariff.vendor == "anthropic":
        lives = {"ephemeral_5m_input_tokens": tokens.short, "ephemeral_1h_input_tokens": tokens.long}
        usage: dict[str, Any] = {
            "input_tokens": tokens.input,
            "cache_creation_input_tokens": tokens.short + tokens.long,
            "cache_read_input_tokens": tokens.read,
            "cache_creation": lives if split else None,
            "output_tokens": output,
            "output_tokens_details": {"thinking_tokens": thinking},
        }
        return {"model": tariff.model, "usage": usage}
    lives = {"ttl_30m_tokens": tokens.short, "ttl_12h_tokens": tokens.long}
    details: dict[str, Any] = {"cached_tokens": tokens.read, "cache_write_tokens": tokens.short + tokens.long}
    usage = {
        "input_tokens": tokens.prompt,
        "input_tokens_details": {**details, "cache_write_tokens_details": lives} if split else details,
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": thinking},
        "total_tokens": tokens.prompt + output,
    }
    return {"model": tariff.model, "usage": usage}


# --- what it costs, in whole micro-dollars, rounded up ----------------------------------------------------------------


def printed(tariff: Tariff, tokens: Tokens, output: int) -> int:
    """By the printed prices, from the vendor's own books."""
    inward, outward = tariff.factors(tokens.prompt)
    prices = (tariff.input, tariff.read, tariff.short, tariff.long)
    counts = (tokens.input, tokens.read, tokens.short, tokens.long)
    return _up(
        inward * sum(price * count for price, count in zip(prices, counts, strict=True)) + outward * output * tariff.output
    )


def worst(tariff: Tariff, bound: int, output: int) -> int:
    """The most that up to `bound` tokens of input, and up to `output`, can cost; each rounded up."""
    inward, outward = tariff.factors(bound)
    dearest = max(tariff.input, tariff.read, tariff.short, tariff.long)
    return _up(inward * dearest * bound) + _up(outward * tariff.output * output)


def by_genai(tariff: Tariff, said: Mapping[str, Any]) -> int:
    """By genai-prices, which reads the response itself.

    Raises:
        RuntimeError: it takes the model for another one.
    """
    flavor = "default" if tariff.vendor == "anthropic" else "responses"
    found = get_snapshot().extract_usage(said, provider_id=tariff.vendor, api_flavor=flavor)
    if found.model is None or found.model.id != tariff.model:
        raise RuntimeError(f"genai-prices takes {tariff.model} for {found.model.id if found.model else 'no model'}")
    return _up(found.calc_price().total_price * 1_000_000)


def _up(exact: Decimal) -> int:
    return int(exact.to_integral_value(ROUND_CEILING))
