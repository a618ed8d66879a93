"""The stand-ins' prompt caches: what is found again, for how long, for which model, and what is charged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bot.core.conversation import Message, Text
from bot.demo import play_anthropic, play_openai
from bot.demo.vendors import serve
from bot.llm.anthropic import AnthropicModel
from bot.llm.model import Model, Request
from bot.llm.openai import OpenAIModel

LONG = "Rules that hold. " * 1200  # 5,100 tokens as the stand-ins count
LIVES = {"anthropic": (300, 3600), "openai": (1800, 12 * 3600)}
IDS = {"anthropic": "claude-haiku-5-5", "openai": "gpt-6-luna"}
BOTH = pytest.mark.parametrize("vendor", ["anthropic", "openai"])


def request(vendor: str, text: str = "Mend the parser.", **more: Any) -> Request:
    return Request(**{"model": IDS[vendor], "system": (LONG,), "max_output": 4000, **more}, messages=(said(text),))


def said(text: str) -> Message:
    return Message("user", (Text(text),))


def reads(requests: list[Request], *pauses: float) -> list[int]:
    """Tokens that each request reads from the cache. `pauses` pass on the stand-in's clock, one after each request."""
    passing = [*pauses, *[0.0] * len(requests)][: len(requests)]
    rules = [{"reply": {"text": "ok", "after": pause}, "times": 1} for pause in passing]
    with serve(rules) as vendors:
        models: dict[bool, Model] = {
            True: AnthropicModel("sk-test-0123456789", vendors.anthropic_url, streaming=False),
            False: OpenAIModel("sk-test-0123456789", vendors.openai_url, streaming=False),
        }
        return [models[one.model.startswith("claude")].send(one).usage.cache_read for one in requests]


@BOTH
@pytest.mark.parametrize("long", [False, True], ids=["short", "long"])
def test_a_prefix_lives_as_long_as_it_was_paid_for(vendor: str, long: bool) -> None:
    life = LIVES[vendor][long]
    first, second = request(vendor, "one", long_cache=long), request(vendor, "two", long_cache=long)
    assert reads([first, second], life - 1)[1] > 5000
    assert reads([first, second], life) == [0, 0]


@BOTH
def test_a_hit_begins_the_time_anew(vendor: str) -> None:
    pause = LIVES[vendor][0] * 0.8
    assert all(reads([request(vendor, name) for name in "abcd"], *[pause] * 3)[1:])


@BOTH
def test_what_stands_on_a_short_prefix_goes_with_it(vendor: str) -> None:
    """A long mark behind a prefix that was written for a short time buys nothing."""
    first, second, third = request(vendor, "a"), request(vendor, "b", long_cache=True), request(vendor, "b", long_cache=True)
    assert reads([first, second, third], 0, LIVES[vendor][0])[2] == 0


@BOTH
def test_one_byte_more_in_front_finds_nothing(vendor: str) -> None:
    first = request(vendor, "one", system=(LONG, "The repository. " * 400))
    assert reads([first, replace(first, messages=(said("two"),))])[1] > 6000
    assert reads([first, replace(first, messages=(said("two"),), system=("x" + LONG, first.system[1]))]) == [0, 0]


@BOTH
def test_an_answers_schema_stands_in_front(vendor: str) -> None:
    """Both vendors put what they tell the model about the format before the system prompt, so another schema finds nothing."""
    shape = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
    other = {**shape, "properties": {"b": {"type": "string"}}, "required": ["b"]}
    first = request(vendor, "one", schema=shape)
    assert reads([first, request(vendor, "two", schema=shape)])[1] > 5000
    assert reads([first, request(vendor, "two", schema=other)]) == [0, 0]


def test_each_model_has_a_cache_of_its_own() -> None:
    first = request("anthropic", "one")
    assert reads([first, replace(first, messages=(said("two"),), model="claude-sonnet-5-5")]) == [0, 0]


@pytest.mark.parametrize("model", [*sorted(play_anthropic.MODELS), *sorted(play_openai.MODELS)])
def test_a_prefix_below_the_models_minimum_is_not_kept(model: str) -> None:
    """Minimum prefixes: platform.claude.com and developers.openai.com, prompt caching, October 2026."""
    small = {"claude-haiku-4-5": 4096, "claude-sonnet-5": 1024, "claude-opus-4-8": 1024}
    least = small.get(model, 512 if model.startswith("claude") else 1024)
    vendor = "anthropic" if model.startswith("claude") else "openai"
    below, above = ("x" * 4 * (least + margin) for margin in (-200, 20))
    for system, hit in ((below, False), (above, True)):
        first, second = (request(vendor, name, model=model, system=(system,)) for name in "ab")
        assert (reads([first, second])[1] > 0) is (hit and model not in UNMARKED), model


UNMARKED = {"gpt-5.5", "gpt-5.4-mini", "gpt-5.4-nano"}
"""Models without explicit breakpoints: the one that OpenAI sets by itself stands at the end, where these two requests differ."""
