"""What a conversation costs to go on with: on the same model, on another, or from a note. Caches and price tiers are counted in.

A vendor's cache holds a prefix per model: what is warm is read cheaply, all else is written. Counted is turn by turn, for a tier
may bill a whole prompt at another price once it is longer. Money is micro-dollars, amounts of text are tokens of that model.
"""

from __future__ import annotations

from collections.abc import Iterator

from bot.core.budget import Rates, Usage, cost

HORIZON = 200
"""Turns that are looked ahead: more than any phase takes."""


def _turns(rates: Rates, context: int, per_turn: int, output: int, warm: int) -> Iterator[int]:
    """The cost of each turn from now on, without end."""
    read = min(warm, context)
    while True:
        yield cost(rates, Usage(cache_read=read, cache_write=context - read, output=output))
        read, context = context, context + per_turn


def continue_cost(rates: Rates, *, context: int, per_turn: int, output: int, turns: int, warm: int = 0) -> int:
    """What `turns` turns cost that begin with `context` tokens, of which the model's cache still holds the first `warm`.

    Each turn answers with `output` tokens, and the next has `per_turn` tokens more (answer and tool output). All but these it
    reads from the cache.
    """
    ahead = _turns(rates, context, per_turn, output, warm)
    return sum(next(ahead) for _ in range(turns))


def switch_turns(
    current: Rates, other: Rates, *, context: int, per_turn: int, output: int, warm: int = 0, horizon: int = HORIZON
) -> int | None:
    """The fewest turns to come from which on it is cheaper to go on with `other`, where the cache holds the first `warm` tokens,
    than with `current`, where it holds everything. None if that is not so within `horizon` turns.

    A phase goes back to a cheaper model in its middle only if at least so many turns are expected.
    """
    staying, leaving = _turns(current, context, per_turn, output, context), _turns(other, context, per_turn, output, warm)
    ahead, found = 0, None
    for turn in range(1, horizon + 1):
        ahead += next(staying) - next(leaving)
        found = None if ahead <= 0 else found or turn
    return found


def hand_over(
    rates: Rates, *, context: int, note: int, reread: int, per_turn: int, output: int, turns: int, writing: int = 0
) -> bool:
    """Whether the next model gets a note of `note` tokens and reads `reread` tokens again, instead of the whole transcript.

    `writing` is what the note costs to write, in micro-dollars. By tokens alone it pays above note + reread.
    """
    whole = continue_cost(rates, context=context, per_turn=per_turn, output=output, turns=turns)
    brief = continue_cost(rates, context=note + reread, per_turn=per_turn, output=output, turns=turns)
    return brief + writing < whole
