"""Anthropic's Messages API, played: what it demands of a request, and the shape of what it answers.

Stricter than the real thing where that finds mistakes sooner: any key nobody knows is refused, and so is a thinking block
that another model made (the API would leave it out without a word).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from bot.demo.playbook import Answer, Asked, Bill, Caching, Part, Refused, canonical, digest, malformed, need

VENDOR = "anthropic"
_LIVES = {"5m": "short", "1h": "long"}

_ADAPTIVE = frozenset(("adaptive",))
MODELS: dict[str, tuple[frozenset[str], bool]] = {
    "claude-haiku-4-5": (frozenset(("enabled", "disabled")), False),
    "claude-haiku-5-5": (_ADAPTIVE | {"disabled"}, True),
    "claude-sonnet-5": (_ADAPTIVE | {"disabled"}, False),
    "claude-sonnet-5-5": (_ADAPTIVE | {"between_tools"}, True),
    "claude-opus-4-8": (_ADAPTIVE | {"disabled"}, False),
    "claude-opus-5": (_ADAPTIVE | {"disabled"}, False),
    "claude-opus-5-5": (_ADAPTIVE, True),
    "claude-fable-5-1": (_ADAPTIVE, True),
    "claude-fable-5-2": (_ADAPTIVE, True),
    "claude-mythos-5-2": (_ADAPTIVE, True),
}
"""The `thinking.type` values a model takes, and whether its thinking blocks are bound to what stood before them."""

_SMALLEST = {"claude-haiku-4-5": 4096, "claude-sonnet-5": 1024, "claude-opus-4-8": 1024}
"""The fewest tokens a prefix is cached from, where that is not 512."""

_KEYS = frozenset(
    ("max_tokens", "messages", "metadata", "model", "output_config", "stop_sequences", "stream", "system", "thinking", "tools")
) | {"cache_control", "service_tier", "tool_choice"}
_NATIVE = {"text_editor_20250728": "str_replace_based_edit_tool", "bash_20250124": "bash"}
_BINDING_BETA = "thinking-binding-controls-2026-08-01"
_STOPS = {
    "done": "end_turn",
    "tool_use": "tool_use",
    "max_output": "max_tokens",
    "refusal": "refusal",
    "context_full": "model_context_window_exceeded",
}
_UNSUPPORTED_WORDS = frozenset(
    ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "maxItems")
)


def caching(model: str) -> Caching:
    """What is cached of a prompt to `model`; a breakpoint looks 20 blocks back for a kept prefix."""
    return Caching(_SMALLEST.get(model, 512), 20, {"short": 300.0, "long": 3600.0})


# --- reading ----------------------------------------------------------------------------------------------------------


def read(headers: Mapping[str, str], body: dict[str, Any]) -> Asked:
    """Check a request as the API would. Refused where it would answer with an error."""
    need(headers.get("anthropic-version"), "anthropic-version: header is required")
    for name in ("temperature", "top_p", "top_k"):
        need(name not in body, f"`{name}` is not supported for this model.")
    need(set(body) <= _KEYS, f"{', '.join(sorted(set(body) - _KEYS))}: Extra inputs are not permitted")
    model: Any = body.get("model")
    limit: Any = body.get("max_tokens")
    need(isinstance(model, str), "model: Field required")
    if model not in MODELS:
        raise Refused(404, "not_found_error", f"model: {model}")
    need(isinstance(limit, int) and limit >= 1, "max_tokens: Field required, at least 1")
    need(body.get("tool_choice", {}).get("type", "auto") in ("auto", "none"), "tool_choice: forced tool use is not supported")
    tools = _read_tools(body.get("tools", []))
    _read_thinking(headers, body)
    _read_format(body)
    messages: Any = body.get("messages")
    need(isinstance(messages, list) and messages, "messages: at least one message is required")
    _read_messages(messages)
    _read_marks(body)
    dropped = _read_seals(body)
    first = "\n".join(block.get("text", "") for block in _blocks(messages[0]))
    system = "\n".join(block["text"] for block in _system(body))
    turns = sum(message["role"] == "assistant" for message in messages)
    name = digest(model, _system(body), body.get("tools", []), messages)
    return Asked(
        vendor=VENDOR,
        model=str(model),
        opening=f"{system}\n{first}",
        first_user=first,
        turn=turns,
        parts=_parts(body, dropped),
        limit=limit,
        stream=bool(body.get("stream")),
        tools=tools,
        digest=name,
        body=body,
        dropped=len(dropped),
    )


def _system(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    system = body.get("system", [])
    return [{"type": "text", "text": system}] if isinstance(system, str) else system


def _blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _read_tools(tools: list[dict[str, Any]]) -> frozenset[str]:
    names = []
    for tool in tools:
        kind = tool.get("type", "custom")
        if kind == "custom":
            need(isinstance(tool.get("input_schema"), dict), "tools: input_schema: Field required")
            need(tool["input_schema"].get("type") == "object", "tools: input_schema.type must be object")
        else:
            need(kind in _NATIVE, f"tools: type {kind} is not known")
            need(tool.get("name") == _NATIVE[kind], f"tools: {kind} must be named {_NATIVE[kind]}")
        names.append(str(tool.get("name", "")))
    need(len(set(names)) == len(names), "tools: Tool names must be unique.")
    return frozenset(names)


def _read_thinking(headers: Mapping[str, str], body: Mapping[str, Any]) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = thinking.get("type")
    need(kind in MODELS[body["model"]][0], f'"thinking.type.{kind}" is not supported for this model.')
    if kind == "enabled":
        budget = thinking.get("budget_tokens", 0)
        need(1024 <= budget < body["max_tokens"], "thinking.budget_tokens: at least 1024 and less than max_tokens")
    if "block_binding" in thinking:
        beta = headers.get("anthropic-beta", "")
        need(_BINDING_BETA in beta and kind in ("adaptive", "enabled"), "thinking.block_binding: Extra inputs are not permitted")


def _read_format(body: Mapping[str, Any]) -> None:
    config = body.get("output_config", {})
    need(set(config) <= {"effort", "format"}, "output_config: Extra inputs are not permitted")
    need(config.get("effort", "high") in ("low", "medium", "high", "xhigh", "max"), "output_config.effort: unknown value")
    if config.get("format"):
        need(config["format"].get("type") == "json_schema", "output_config.format.type: must be json_schema")
        _read_schema(config["format"].get("schema"))


def _read_schema(schema: Any) -> None:
    """The subset of JSON schema that structured outputs take."""
    if isinstance(schema, list):
        for inner in schema:
            _read_schema(inner)
    if not isinstance(schema, dict):
        return
    words = _UNSUPPORTED_WORDS & set(schema) if "type" in schema else ()
    need(not words, f"output_config.format.schema: not supported: {', '.join(sorted(words))}")
    if schema.get("type") == "object":
        need(schema.get("additionalProperties") is False, "output_config.format.schema: objects need additionalProperties: false")
    for inner in schema.values():
        _read_schema(inner)


def _read_messages(messages: list[dict[str, Any]]) -> None:
    for message in messages:
        need(message.get("role") in ("user", "assistant"), "messages: role must be user or assistant")
        need(_blocks(message), "messages: content must not be empty")
        for block in _blocks(message):
            _read_block(message["role"], block)
    need(messages[0]["role"] == "user", "messages: first message must use the user role")
    need(messages[-1]["role"] == "user", "This model does not support assistant message prefill.")
    merged = [
        (role, [block for message in group for block in _blocks(message)])
        for role, group in itertools.groupby(messages, key=lambda message: message["role"])
    ]
    open_calls: list[str] = []
    for role, blocks in merged:
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        need(
            sorted(results) == sorted(open_calls), "messages: each `tool_use` block must have a `tool_result` in the next message"
        )
        kinds = [block["type"] == "tool_result" for block in blocks]
        need(kinds == sorted(kinds, reverse=True), "messages: `tool_result` blocks must come first in the content")
        open_calls = [block["id"] for block in blocks if block["type"] == "tool_use"] if role == "assistant" else []


def _read_block(role: str, block: dict[str, Any]) -> None:
    kind = block.get("type")
    if kind == "text":
        need(block.get("text", "").strip(), "messages: text content blocks must contain non-whitespace text")
    elif kind == "tool_result":
        need(role == "user", "messages: `tool_result` blocks can only be in `user` messages")
        need(isinstance(block.get("content", ""), str | list), "messages: tool_result content must be text or blocks")
    elif kind == "tool_use":
        need(role == "assistant" and isinstance(block.get("input"), dict), "messages: tool_use.input: must be a dictionary")
    else:
        need(kind in ("thinking", "redacted_thinking") and role == "assistant", f"messages: unexpected block type {kind}")


def _marked(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Everything that can carry a breakpoint, in the order in which the cache sees it."""
    return [*body.get("tools", []), *_system(body), *(block for message in body["messages"] for block in _blocks(message))]


def _read_marks(body: Mapping[str, Any]) -> None:
    marks = [block["cache_control"] for block in _marked(body) if block.get("cache_control")]
    need(len(marks) <= 4, f"A maximum of 4 blocks with cache_control may be provided. Found {len(marks)}.")
    lives = [mark.get("ttl", "5m") for mark in marks]
    need(all(mark.get("type") == "ephemeral" for mark in marks), "cache_control.type: must be ephemeral")
    need(set(lives) <= {"5m", "1h"}, "cache_control.ttl: must be 5m or 1h")
    need(lives == sorted(lives), "cache_control: a ttl of 1h must not come after one of 5m")


def _parts(body: Mapping[str, Any], dropped: list[dict[str, Any]]) -> tuple[Part, ...]:
    """Tools, what the vendor says about the answer's format, system, messages without the blocks that are left out."""
    parts = []
    for block in _marked(body):
        if any(block is one for one in dropped):
            continue
        mark = block.get("cache_control")
        parts.append(Part(canonical(block), _LIVES[mark.get("ttl", "5m")] if mark else ""))
    said = body.get("output_config", {}).get("format")
    at = len(body.get("tools", []))
    return (*parts[:at], *([Part(canonical(said))] if said else []), *parts[at:])


# --- thinking blocks --------------------------------------------------------------------------------------------------


def _signature(body: Mapping[str, Any], before: list[dict[str, Any]], text: str) -> str:
    prefix = digest(_system(body), body.get("tools", []), before)
    return f"{body['model']}.{prefix[:20]}.{digest(text)[:20]}"


def _read_seals(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Check thinking blocks that come back. Returns those left out because the prompt before them changed."""
    dropped: list[dict[str, Any]] = []
    drop = body.get("thinking", {}).get("block_binding", {}).get("prefix_mismatch_behavior") == "drop_block"
    bound = MODELS[body["model"]][1]
    for index, message in enumerate(body["messages"]):
        for place, block in enumerate(_blocks(message)):
            if block["type"] != "thinking":
                continue
            where = f"messages.{index}.content.{place}"
            maker, prefix, text = [*str(block.get("signature", "")).split("."), "", ""][:3]
            _, now_prefix, now_text = _signature(body, body["messages"][:index], block.get("thinking", "")).split(".")
            need(text == now_text, f"{where}: `thinking` blocks cannot be modified.")
            need(maker == body["model"], f"{where}: Invalid `signature`: the block was made by another model.")
            if bound and prefix != now_prefix:
                if not drop:
                    raise malformed(
                        f"{where}: Invalid `signature` in `thinking` block. The block is bound to a different conversation."
                    )
                dropped.append(block)
    return dropped


# --- answering --------------------------------------------------------------------------------------------------------


def message(asked: Asked, said: Answer, bill: Bill, *, usage: bool) -> dict[str, Any]:
    """The answer as one JSON object."""
    content: list[dict[str, Any]] = []
    if said.thinking:
        seal = _signature(asked.body, asked.body["messages"], said.thinking)
        content.append({"type": "thinking", "thinking": said.thinking, "signature": seal})
    if said.text:
        content.append({"type": "text", "text": said.text})
    for number, (name, arguments) in enumerate(said.calls):
        use = {"type": "tool_use", "id": f"toolu_{asked.digest[:20]}{number:02d}", "name": name, "input": dict(arguments)}
        content.append(use)
    body: dict[str, Any] = {
        "id": f"msg_{asked.digest[:24]}",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": content,
        "stop_reason": _STOPS[said.stop],
        "stop_sequence": None,
    }
    return {**body, "usage": _usage(bill)} if usage else body


def _usage(bill: Bill) -> dict[str, Any]:
    return {
        "input_tokens": bill.input,
        "output_tokens": bill.output,
        "cache_read_input_tokens": bill.cache_read,
        "cache_creation_input_tokens": bill.cache_write + bill.cache_write_long,
        "cache_creation": {"ephemeral_5m_input_tokens": bill.cache_write, "ephemeral_1h_input_tokens": bill.cache_write_long},
        "service_tier": "standard",
    }


def events(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same answer as a stream."""
    head = {**whole, "content": [], "stop_reason": None}
    if "usage" in whole:
        head["usage"] = {**whole["usage"], "output_tokens": 1}
    yield {"type": "message_start", "message": head}
    yield {"type": "ping"}
    for index, block in enumerate(whole["content"]):
        yield from _block_events(index, block)
    end: dict[str, Any] = {"type": "message_delta", "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None}}
    if "usage" in whole:
        end["usage"] = {"output_tokens": whole["usage"]["output_tokens"]}
    yield end
    yield {"type": "message_stop"}


def _block_events(index: int, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    empty: dict[str, Any] = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}, "tool_use": {"input": {}}}
    yield {"type": "content_block_start", "index": index, "content_block": {**block, **empty[block["type"]]}}
    deltas: list[dict[str, Any]]
    if block["type"] == "text":
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
    elif block["type"] == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    else:
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces(json.dumps(block["input"]))]
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def pieces(text: str, size: int = 16) -> Iterator[str]:
    """`text` in the small bites in which models speak."""
    return (text[start : start + size] for start in range(0, len(text), size))


def refusal(refused: Refused) -> dict[str, Any]:
    return {"type": "error", "error": {"type": refused.kind, "message": refused.message}, "request_id": "req_scripted"}
