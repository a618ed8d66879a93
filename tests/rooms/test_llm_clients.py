"""Both clients through their real SDKs against the stand-in: what goes out is accepted, what comes back is understood."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from bot.core.budget import Usage, cost
from bot.core.conversation import Block, Message, Opaque, Text, ToolResult, ToolUse
from bot.core.errors import BadInput, BugError
from bot.demo import play_anthropic, play_openai
from bot.demo.vendors import Vendors, serve
from bot.llm.anthropic import AnthropicModel
from bot.llm.model import Model, Reply, Request, Tool
from bot.llm.openai import OpenAIModel, qualifies
from bot.llm.prices import rates
from bot.llm.tools import tools_for

KEY = "sk-test-0123456789abcdef"
IDS = {"anthropic": "claude-haiku-5-5", "openai": "gpt-6-luna"}
BOTH = pytest.mark.parametrize("vendor", ["anthropic", "openai"])
STREAMING = pytest.mark.parametrize("streaming", [True, False], ids=["streamed", "at_once"])
SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string"}, "score": {"type": "integer"}},
    "required": ["verdict", "score"],
    "additionalProperties": False,
}
Rules = Sequence[Mapping[str, Any]]


def model_of(vendor: str, vendors: Vendors, *, streaming: bool = True) -> Model:
    if vendor == "anthropic":
        return AnthropicModel(KEY, vendors.anthropic_url, streaming=streaming)
    return OpenAIModel(KEY, vendors.openai_url, streaming=streaming)


def ask(vendor: str, *messages: Message, **more: Any) -> Request:
    asked = messages or (Message("user", (Text("Mend the parser."),)),)
    return Request(
        **{"model": IDS[vendor], "system": ("You mend code.", "The repository."), "max_output": 4000, **more}, messages=asked
    )


def answered(request: Request, reply: Reply, *results: str, **more: Any) -> Request:
    """The next request: the reply, and a result for each tool it asked for."""
    uses = [block for block in reply.blocks if isinstance(block, ToolUse)]
    back = tuple(ToolResult(use.id, result) for use, result in zip(uses, results, strict=True))
    said = Message("user", (*back, *(() if back else (Text("Go on."),))))
    return replace(request, messages=(*request.messages, Message("assistant", reply.blocks), said), **more)


def talk(vendor: str, rules: Rules, steps: Callable[[Model], list[Reply]], *, streaming: bool) -> tuple[list[Reply], Vendors]:
    with serve(rules) as vendors:
        return steps(model_of(vendor, vendors, streaming=streaming)), vendors


def words(blocks: Sequence[Block]) -> list[str]:
    return [block.text for block in blocks if isinstance(block, Text)]


@BOTH
@STREAMING
def test_text(vendor: str, streaming: bool) -> None:
    text = 'Grüße: 1 < 2 & "three"\n' * 5
    with serve([{"reply": {"text": text}}]) as vendors:
        reply = model_of(vendor, vendors, streaming=streaming).send(ask(vendor))
        assert (reply.model, reply.stop, words(reply.blocks)) == (IDS[vendor], "done", [text])
        [line] = vendors.journal()
        assert (reply.usage.prompt, reply.usage.output) == (line["input_tokens"], line["output_tokens"])
        assert not reply.usage.estimated


EVERYTHING = [
    {"when": {"turn": 0}, "reply": {"thinking": "Where is it?", "text": "I look.", "tools": [
        {"name": "search", "arguments": {"pattern": "def parse", "path": "src"}}, {"name": "run_checks", "arguments": {}}]}},
    {"when": {"turn": 1}, "reply": {"thinking": "There.", "tools": [{"name": "search", "arguments": {"pattern": "ü"}}]}},
    {"when": {"turn": 2}, "reply": {"text": "Done."}},
]  # fmt: skip


def everything(vendor: str, model: Model) -> list[Reply]:
    request = ask(vendor, tools=tools_for(vendor, True), tail="5 calls left", thinking=2000)
    first = model.send(request)
    request = answered(request, first, "src/p.py:3", "all pass", tail="4 calls left")
    second = model.send(request)
    return [first, second, model.send(answered(request, second, "nothing", tail="3 calls left"))]


@BOTH
def test_streamed_and_at_once_give_the_same_replies(vendor: str) -> None:
    streamed, one = talk(vendor, EVERYTHING, lambda model: everything(vendor, model), streaming=True)
    at_once, two = talk(vendor, EVERYTHING, lambda model: everything(vendor, model), streaming=False)
    assert streamed == at_once
    assert [use.name for use in streamed[0].blocks if isinstance(use, ToolUse)] == ["search", "run_checks"]
    assert [reply.stop for reply in streamed] == ["tool_use", "tool_use", "done"]
    assert [line["status"] for line in one.journal()] == [200, 200, 200]
    assert one.totals() == two.totals()


@BOTH
def test_thinking_stays_valid_although_the_tail_changes(vendor: str) -> None:
    replies, vendors = talk(vendor, EVERYTHING, lambda model: everything(vendor, model), streaming=True)
    sealed = [block for reply in replies for block in reply.blocks if isinstance(block, Opaque) and "tokens" in block.json]
    assert len(sealed) == 2
    assert [line["dropped"] for line in vendors.journal()] == [0, 0, 0]


@BOTH
def test_a_changed_system_block_costs_the_thinking_and_not_the_run(vendor: str) -> None:
    with serve(EVERYTHING) as vendors:
        model = model_of(vendor, vendors)
        request = ask(vendor, tools=tools_for(vendor, True), thinking=2000)
        after = answered(request, model.send(request), "a", "b", system=("You review code.",))
        assert model.send(after).stop == "tool_use"
        assert [line["dropped"] for line in vendors.journal()] == [0, 1]


@BOTH
def test_altered_thinking_is_refused(vendor: str) -> None:
    with serve(EVERYTHING) as vendors:
        model = model_of(vendor, vendors)
        request = ask(vendor, tools=tools_for(vendor, True), thinking=2000)
        reply = model.send(request)
        seal = reply.blocks[0]
        assert isinstance(seal, Opaque)
        forged = replace(seal, json=seal.json.replace("Where is it?", "It is here."))
        with pytest.raises(BadInput):
            model.send(answered(request, replace(reply, blocks=(forged, *reply.blocks[1:])), "a", "b"))


@pytest.mark.parametrize(("vendor", "other"), [("anthropic", "claude-sonnet-5-5"), ("openai", "gpt-6.1-terra")])
def test_another_model_of_the_vendor_goes_on_without_the_thinking(vendor: str, other: str) -> None:
    with serve(EVERYTHING) as vendors:
        model = model_of(vendor, vendors)
        request = ask(vendor, tools=tools_for(vendor, True), thinking=2000)
        after = answered(request, model.send(request), "a", "b", model=other)
        assert model.send(after).model == other  # the stand-in refuses another model's thinking
        assert [line["status"] for line in vendors.journal()] == [200, 200]


@BOTH
def test_a_conversation_moves_to_the_other_vendor(vendor: str) -> None:
    other = {"anthropic": "openai", "openai": "anthropic"}[vendor]
    with serve(EVERYTHING) as vendors:
        request = ask(vendor, tools=tools_for(vendor, True), thinking=2000)
        reply = model_of(vendor, vendors).send(request)
        after = answered(request, reply, "a", "b", model=IDS[other], tools=tools_for(other, True))
        assert model_of(other, vendors).send(after).model == IDS[other]


NATIVE: dict[str, list[tuple[str, dict[str, object]]]] = {
    "anthropic": [
        ("str_replace_based_edit_tool", {"command": "view", "path": "a.py"}),
        ("bash", {"command": "pytest -q"}),
    ],
    "openai": [
        ("apply_patch", {"type": "update_file", "path": "a.py", "diff": "@@\n-a\n+b\n"}),
        ("apply_patch", {"type": "delete_file", "path": "b.py"}),
        ("shell", {"commands": ["pytest -q", "git status"], "timeout_ms": 1000}),
    ],
}


@BOTH
@STREAMING
def test_native_tools_there_and_back(vendor: str, streaming: bool) -> None:
    calls = [{"name": name, "arguments": arguments} for name, arguments in NATIVE[vendor]]
    rules = [{"when": {"turn": 0}, "reply": {"tools": calls}}, {"when": {"turn": 1}, "reply": {"text": "ok"}}]
    with serve(rules) as vendors:
        model = model_of(vendor, vendors, streaming=streaming)
        request = ask(vendor, tools=tools_for(vendor, True))
        reply = model.send(request)
        uses = [block for block in reply.blocks if isinstance(block, ToolUse)]
        assert [(use.name, json.loads(use.arguments)) for use in uses] == NATIVE[vendor]
        after = answered(request, reply, *("fine" for _ in uses))
        *fine, last = (block for block in after.messages[-1].blocks if isinstance(block, ToolResult))
        said = Message("user", (*fine, replace(last, is_error=True)))
        assert words(model.send(replace(after, messages=(*after.messages[:-1], said))).blocks) == ["ok"]


@BOTH
def test_arguments_that_are_no_json_can_go_back(vendor: str) -> None:
    messages = (
        Message("user", (Text("Go."),)),
        Message("assistant", (Text(" "), ToolUse("call_1", "search", '{"pattern": "x'), ToolUse("call_2", "shell", "[]"))),
        Message("user", (Text("And now?"), ToolResult("call_1", "not JSON", is_error=True), ToolResult("call_2", "\udcff lone"))),
    )
    with serve([{"when": {"turn": 1}, "reply": {"text": "ok"}}]) as vendors:
        reply = model_of(vendor, vendors).send(ask(vendor, *messages, tools=tools_for(vendor, True)))
        assert words(reply.blocks) == ["ok"]


@BOTH
@STREAMING
def test_structured_output(vendor: str, streaming: bool) -> None:
    with serve([{"reply": {"json": {"verdict": "good", "score": 3}}}]) as vendors:
        reply = model_of(vendor, vendors, streaming=streaming).send(ask(vendor, schema=SCHEMA, schema_name="verdict"))
        assert json.loads("".join(words(reply.blocks))) == {"verdict": "good", "score": 3}


def test_openai_gets_an_open_schema_without_strictness() -> None:
    loose = {**SCHEMA, "required": ["verdict"]}
    assert qualifies(SCHEMA)
    assert not qualifies(loose)
    assert not qualifies({"type": "array", "items": SCHEMA})
    with serve([{"reply": {"json": {"verdict": "good"}}}]) as vendors:
        assert model_of("openai", vendors).send(ask("openai", schema=loose)).stop == "done"


@pytest.mark.parametrize("thinking", [0, 1000, 2000, 10_000, 30_000, 100_000])
@pytest.mark.parametrize("model", [*play_anthropic.MODELS, *sorted(play_openai.MODELS)])
def test_every_model_accepts_every_depth_of_thinking(stand_in: Vendors, model: str, thinking: int) -> None:
    vendor = "anthropic" if model.startswith("claude") else "openai"
    request = ask(vendor, model=model, thinking=thinking, long_cache=True, cache_key="run-1", max_output=120_000, tail="now")
    assert model_of(vendor, stand_in).send(request).stop == "done"


@pytest.fixture(scope="module")
def stand_in() -> Any:
    with serve([{"reply": {"text": "ok"}}]) as vendors:
        yield vendors


def test_an_old_model_takes_over_a_tool_round_without_thinking() -> None:
    with serve(EVERYTHING) as vendors:
        model = model_of("anthropic", vendors)
        request = ask("anthropic", tools=tools_for("anthropic", True), thinking=2000)
        after = answered(request, model.send(request), "a", "b", model="claude-haiku-4-5")
        assert model.send(after).model == "claude-haiku-4-5"


STOPS = ["done", "refusal", "max_output"]


@pytest.mark.parametrize(("vendor", "stop"), [*itertools.product(["anthropic", "openai"], STOPS), ("anthropic", "context_full")])
@STREAMING
def test_why_it_stopped(vendor: str, stop: str, streaming: bool) -> None:
    with serve([{"reply": {"text": "word", "stop": stop}}]) as vendors:
        assert model_of(vendor, vendors, streaming=streaming).send(ask(vendor)).stop == stop


@BOTH
def test_max_output_bounds_what_is_billed(vendor: str) -> None:
    with serve([{"reply": {"text": "word " * 1000}}]) as vendors:
        reply = model_of(vendor, vendors).send(ask(vendor, max_output=20))
        assert (reply.stop, reply.usage.output) == ("max_output", 20)


@BOTH
@STREAMING
def test_an_answer_without_usage_is_estimated(vendor: str, streaming: bool) -> None:
    with serve([{"reply": {"text": "twelve chars", "usage": False}}]) as vendors:
        usage = model_of(vendor, vendors, streaming=streaming).send(ask(vendor)).usage
        assert usage.estimated
        assert usage.output == 3
        assert usage.input > 20


LONG_SYSTEM = ("Rules. " * 600, "Conventions. " * 600, "Issue. " * 600)


@BOTH
@pytest.mark.parametrize("long_cache", [False, True], ids=["short", "long"])
def test_the_next_call_reads_what_the_last_one_wrote(vendor: str, long_cache: bool) -> None:
    with serve([{"when": {"turn": n}, "reply": {"text": f"answer {n}"}} for n in range(3)]) as vendors:
        model = model_of(vendor, vendors)
        request = ask(vendor, system=LONG_SYSTEM, long_cache=long_cache, tail="call 1")
        first = model.send(request)
        second = model.send(answered(request, first, tail="call 2"))
        written = first.usage.cache_write_long if long_cache else first.usage.cache_write
        assert written > 3000
        assert first.usage.cache_write + first.usage.cache_write_long == written
        assert first.usage.cache_read == 0
        assert second.usage.cache_read >= 3000
        assert second.usage.prompt - second.usage.cache_read < 200
        assert sum((reply.usage for reply in (first, second)), Usage()) == billed(vendors, IDS[vendor])


def billed(vendors: Vendors, model: str) -> Usage:
    total = vendors.totals()[model]
    return Usage(total["input"], total["output"], total["cache_read"], total["cache_write"], total["cache_write_long"])


def test_the_tail_is_never_written_to_anthropics_cache() -> None:
    with serve([{"reply": {"text": "ok"}}]) as vendors:
        model = model_of("anthropic", vendors)
        plain = model.send(ask("anthropic", system=LONG_SYSTEM)).usage
        tailed = model.send(ask("anthropic", system=LONG_SYSTEM, tail="budget " * 100)).usage
        assert plain.input == 0
        assert (tailed.cache_read, tailed.cache_write) == (plain.cache_write, 0)
        assert tailed.input > 150


def test_more_system_blocks_than_breakpoints() -> None:
    with serve([{"reply": {"text": "ok"}}]) as vendors:
        assert model_of("anthropic", vendors).send(ask("anthropic", system=tuple("abcdef"))).stop == "done"


@BOTH
def test_cost_of_what_was_billed(vendor: str) -> None:
    with serve([{"reply": {"text": "ok"}}]) as vendors:
        usage = model_of(vendor, vendors).send(ask(vendor, system=LONG_SYSTEM)).usage
        price = rates(vendor, IDS[vendor])
        dollars = (usage.input * 0.10 + usage.cache_write * 0.125 + usage.output * 0.50) / 1_000_000
        assert cost(price, usage) == pytest.approx(dollars * 1_000_000, abs=1)


@BOTH
@pytest.mark.parametrize("text", ["a", "ü漢字🙂" * 300, "\x00\x01" * 200, "    \n" * 2000, "{}[]()<>" * 500])
def test_input_bound_holds(vendor: str, text: str) -> None:
    with serve(EVERYTHING) as vendors:
        model = model_of(vendor, vendors)
        request = ask(
            vendor, system=(text, text + "!"), tools=tools_for(vendor, True), tail="tail " + text, schema=SCHEMA, thinking=2000
        )
        reply = model.send(request)
        assert model.input_bound(request) >= reply.usage.prompt
        after = answered(request, reply, text, "b")
        assert model.input_bound(after) >= model.send(after).usage.prompt
        assert len(vendors.journal()) == 2  # a bound costs no request


@BOTH
def test_replayed_thinking_counts_for_the_bound_even_where_its_text_is_hidden(vendor: str) -> None:
    with serve(EVERYTHING) as vendors:
        model = model_of(vendor, vendors)
        request = ask(vendor, tools=tools_for(vendor, True), thinking=2000)
        after = answered(request, model.send(request), "a", "b")
        seal = after.messages[1].blocks[0]
        assert isinstance(seal, Opaque)
        long = replace(seal, json=json.dumps({**json.loads(seal.json), "tokens": 50_000}))
        heavy = Message("assistant", (long, *after.messages[1].blocks[1:]))
        heavier = replace(after, messages=(after.messages[0], heavy, after.messages[2]))
        assert model.input_bound(heavier) - model.input_bound(after) > 49_000


@BOTH
def test_a_conversation_that_the_model_ended_is_not_sent(vendor: str) -> None:
    with serve([{"reply": {"text": "ok"}}]) as vendors:
        with pytest.raises(BugError):
            model_of(vendor, vendors).send(ask(vendor, Message("user", (Text("a"),)), Message("assistant", (Text("b"),))))
        assert vendors.journal() == []


@BOTH
def test_every_offered_tool_is_accepted_as_a_function_too(vendor: str) -> None:
    other = {"anthropic": "openai", "openai": "anthropic"}[vendor]
    tools: tuple[Tool, ...] = tools_for(other, True)  # foreign native tools go out as functions
    calls = [{"name": "search", "arguments": {"pattern": "x"}}]
    with serve([{"reply": {"tools": calls}}]) as vendors:
        assert model_of(vendor, vendors).send(ask(vendor, tools=tools)).stop == "tool_use"


@BOTH
def test_without_a_full_sandbox_only_the_shell_is_missing(vendor: str) -> None:
    full, without = tools_for(vendor, True), tools_for(vendor, False)
    assert [tool for tool in full if tool.native not in ("bash", "shell")] == list(without)
    assert len(full) == len(without) + 1


def test_whoever_patches_can_read_too() -> None:
    assert {"apply_patch", "view"} <= {tool.name for tool in tools_for("openai", False)}
    with pytest.raises(BugError):
        tools_for("nobody", True)
