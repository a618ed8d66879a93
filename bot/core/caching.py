"""What vendors' prompt caches are worth: how long to have a prefix kept, and when to leave old tool results out.

Both are questions of price. `w` is what a token costs that is written to the cache, `r` one that is read from it. Sources: the
vendors' prompt-caching pages of October 2026 (lifetimes, prices relative to input); Lindenbauer et al., "The Complexity Trap",
arXiv 2508.21433 (leaving out old tool results halves the cost of a build and solves as much).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeGuard

from bot.core.budget import PriceTier, Rates
from bot.core.conversation import Block, Conversation, Message, Opaque, Text, ToolResult, ToolUse

LIVES: Mapping[str, tuple[float, float]] = {"anthropic": (300.0, 3_600.0), "openai": (1_800.0, 43_200.0)}
"""Seconds that a prefix is kept after its last use, by vendor: at the short price and at the long one."""
ANSWER_SECONDS = 60.0
"""What a model's own answer may take: it adds to the gap between two requests."""
SUITES_IN_A_BUILD, CHECKS_IN_A_BUILD = 2, 6
"""How often a builder runs the whole suite, and any tests at all. Assumptions: it looks what fails, mends, looks once more."""
KEPT_SHARE = 0.25
"""Of all that a build writes to the cache, the part that stands after a bite (measured: 0.20 in bench B9)."""

KEPT_RESULTS = 6
"""Turns whose tool results stay readable, however old."""
LOOKING = frozenset(("view", "search", "run_checks"))
"""Tools that leave the files as they are."""
EXPECTED_TURNS = 30
"""How long a build is expected to be as long as it isn't longer: then it is half over at most."""
SAFE_CHARACTERS_PER_TOKEN = 3
"""Source code has more; so a prompt of so many characters stays below a limit in tokens."""
SMALLEST_WINDOW = 190_000
"""Tokens below the smallest context window in the price table (200,000): as good as a price that begins there."""


# --- how long to keep -------------------------------------------------------------------------------------------------


def gaps(vendor: str, suite_seconds: float, quick_seconds: float) -> int:
    """How many times in a build a prefix kept for the short time is expected to be gone where one kept for long is not.

    `suite_seconds` is what the whole suite takes, `quick_seconds` the most that selected tests may.
    """
    short, long = (life - ANSWER_SECONDS for life in LIVES[vendor])
    if not short <= suite_seconds < long:
        return 0
    return CHECKS_IN_A_BUILD if quick_seconds >= short else SUITES_IN_A_BUILD


def long_pays(expected: float, tier: PriceTier, share: float = KEPT_SHARE) -> bool:
    """Whether keeping all that is written for long is cheaper than writing `share` of it anew at each of `expected` gaps.

    The long price costs `w_long - w` once for everything written, a gap `w - r` for what then still stands. Were that all of
    it (`share` 1), 0.63 gaps would do at the prices of Sonnet 5.5 and Opus 5.5. It is a quarter, because the cheapest moment
    to leave old results out is when the cache is gone anyway.
    """
    return expected * share * (tier.cache_write - tier.cache_read) > tier.cache_write_long - tier.cache_write


# --- what to leave out ------------------------------------------------------------------------------------------------


def turns_left(turns: int, most: int) -> int:
    """How many requests a build of `turns` so far is expected to still need, of at most `most`."""
    return max(0, min(most, max(EXPECTED_TURNS, 3 * turns // 2)) - turns)


def masked(
    conversation: Conversation, rates: Rates, *, before: int, max_turns: int, expiring: int = 0, suite_known: bool = False
) -> Conversation:
    """`conversation` with old tool results left out: rarely and in big bites, because every bite rewrites a cached prefix.

    `before` is how many characters stand in front of it in the request, `expiring` the gaps that are expected to outlast the
    cache, `suite_known` whether the suite of the unchanged files is not run a second time. Walks through the requests as they
    were sent and decides at each as it was decided then, so the same conversation always gives the same bytes, and between two
    bites every request begins with the one before it. A bite is taken

    - where reading what it removes would cost more until the cache is next expected to be gone than writing again what stands
      behind it (`r X T > w (L - p - X)`, X removed, T turns until then, L the context, p untouched in front);
    - after tests that outlasted the cache: all of it is written again either way;
    - where the prompt would pass into a dearer price tier and the bite keeps it out.
    """
    bitten, turns, met, size, known = 0, 0, 0, before, suite_known
    with_results: list[int] = []
    for at, message in enumerate(conversation):
        if message.role == "assistant":
            turns += 1
            known = known and all(map(_leaves_files, message.blocks))
        newest = _size(message)
        size += newest
        if not any(isinstance(block, ToolResult) for block in message.blocks):
            continue
        with_results.append(at)
        expired = expiring > 0 and not known and _ran_tests(conversation[at - 1], selected=expiring == CHECKS_IN_A_BUILD)
        met += expired
        upto = with_results[-KEPT_RESULTS] if len(with_results) >= KEPT_RESULTS else 0
        removed = sum(_removable(old) for old in conversation[bitten:upto])
        if not removed:
            continue
        left = turns_left(turns, max_turns) // (1 + max(0, expiring - met))
        if expired or _pays(conversation, rates, (bitten, upto), size, newest, before, left):
            bitten, size = upto, size - removed
    return (*(_mask(message) for message in conversation[:bitten]), *conversation[bitten:])


def _pays(
    conversation: Conversation, rates: Rates, bite: tuple[int, int], size: int, newest: int, before: int, left: int
) -> bool:
    """Whether masking the messages from `bite[0]` to `bite[1]` is worth it now, with `size` characters in the request."""
    removed = sum(_removable(old) for old in conversation[bite[0] : bite[1]])
    if any(size > limit >= size - removed for limit in _limits(rates)):
        return True
    first = next(at for at in range(*bite) if _removable(conversation[at]))
    untouched = before + sum(_size(_mask(old)) for old in conversation[: bite[0]])
    untouched += sum(_size(old) for old in conversation[bite[0] : first])
    tier = rates.tier(size // SAFE_CHARACTERS_PER_TOKEN)
    return tier.cache_read * removed * left > tier.cache_write * (size - newest - untouched - removed)


def _limits(rates: Rates) -> tuple[int, ...]:
    """Prompt sizes in characters beyond which every token is dearer, or nothing fits."""
    above = (*(tier.above for tier in rates.tiers if tier.above), SMALLEST_WINDOW)
    return tuple(tokens * SAFE_CHARACTERS_PER_TOKEN for tokens in above)


def _ran_tests(message: Message, *, selected: bool) -> bool:
    """Whether the whole suite was run, or, with `selected`, any tests."""
    uses = (block for block in message.blocks if isinstance(block, ToolUse) and block.name == "run_checks")
    return any(selected or '"tests"' not in use.arguments for use in uses)


def _leaves_files(block: Block) -> bool:
    """Whether `block` is no use of a tool that may change files."""
    if not isinstance(block, ToolUse) or block.name in LOOKING:
        return True
    return block.name == "str_replace_based_edit_tool" and bool(re.search(r'"command":\s*"view"', block.arguments))


def _note(result: ToolResult) -> str:
    return f"[{len(result.text)} characters, left out to save space]"


def _mask(message: Message) -> Message:
    """Short results stay: a note in their place would be as long. So do failures of a tool, which are short and worth having."""
    return replace(message, blocks=tuple(replace(b, text=_note(b)) if _is_long(b) else b for b in message.blocks))


def _is_long(block: Block) -> TypeGuard[ToolResult]:
    return isinstance(block, ToolResult) and not block.is_error and len(block.text) > 2 * len(_note(block))


def _removable(message: Message) -> int:
    return sum(len(b.text) - len(_note(b)) for b in message.blocks if isinstance(b, ToolResult) and _is_long(b))


def _size(message: Message) -> int:
    return sum(_characters(block) for block in message.blocks)


def _characters(block: Block) -> int:
    match block:
        case Text(text) | ToolResult(_, text):
            return len(text)
        case ToolUse(_, name, arguments):
            return len(name) + len(arguments)
        case Opaque(_, _, json):
            return len(json)
