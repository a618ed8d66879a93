"""Claude through Anthropic's Messages API.

Sources: the installed SDK (2.11.0) and platform.claude.com of October 2026. What shapes this file: no prefill, no forced
tool, no temperature; thinking can't be switched off on every model; and since 5.1 a thinking block is only valid behind
exactly what stood before it when it was made. So what was sent once must be sent again, the tail of a call included:
the thinking blocks of a reply carry it along (see `_sealed`).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

from bot.core.budget import Usage
from bot.core.conversation import Block, Message, Opaque, Text, ToolResult, ToolUse
from bot.core.errors import BugError
from bot.llm import lean, wire
from bot.llm.model import Reply, Request, Tool

PUBLIC_URL = "https://api.anthropic.com"

_PATH = "/v1/messages"
_BREAKPOINTS = 4
_BETA = "thinking-binding-controls-2026-08-01"
"""Lets `block_binding` say that a thinking block behind changed words is dropped instead of failing the request."""

_NATIVE = {
    "text_editor": {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
    "bash": {"type": "bash_20250124", "name": "bash"},
}
_STOPS = {
    "end_turn": "done",
    "stop_sequence": "done",
    "pause_turn": "done",
    "tool_use": "tool_use",
    "max_tokens": "max_output",
    "refusal": "refusal",
    "model_context_window_exceeded": "context_full",
}
_MODEL = re.compile(r"claude-([a-z]+)-(\d+)(?:-(\d{1,2}))?(?![\d])")
_NEWEST = ("", (99, 0))


class AnthropicModel:
    """A `Model` for Claude. `base_url` is used as given; nothing is read from the environment.

    Every call opens a connection of its own: an old one that the vendor has dropped would look like a lost answer, and a
    lost answer counts as paid.
    """

    vendor = "anthropic"

    def __init__(self, api_key: str, base_url: str, *, streaming: bool) -> None:
        self._key = wire.checked_key(self.vendor, api_key)
        self._base_url = base_url
        self._streaming = streaming

    def send(self, request: Request) -> Reply:
        """One HTTP request, never repeated; errors as `Model` says. `timeout_seconds` bounds each read, and all of a stream."""
        anthropic = lean.load(self.vendor)
        payload = _payload(request)
        headers = {"authorization": f"Bearer {self._key}", "anthropic-beta": _BETA}
        with wire.errors_of(anthropic, self.vendor, self._key), wire.http_client(request.timeout_seconds, headers) as http:
            client = anthropic.Anthropic(
                api_key=self._key, auth_token=None, base_url=self._base_url, max_retries=0, http_client=http, open_telemetry=False
            )
            asked = {"body": {**payload, "stream": self._streaming}, "options": {"timeout": http.timeout}}
            if self._streaming:
                with client.post(_PATH, cast_to=object, stream=True, stream_cls=anthropic.Stream[object], **asked) as events:
                    message = _assembled(events, time.monotonic() + request.timeout_seconds)
            else:
                message = wire.answered(self.vendor, client, _PATH, asked)
        return _reply(message, request, payload)

    def input_bound(self, request: Request) -> int:
        """Bytes of the payload, and what the vendor adds to it; see `wire.bound`."""
        native = sum(tool.native in _NATIVE for tool in request.tools)
        return wire.bound(_payload(request), native_tools=native, replayed=_replayed(request))


# --- the request ------------------------------------------------------------------------------------------------------


def _payload(request: Request) -> dict[str, Any]:
    depth, effort = _depth(request)
    cache = {"type": "ephemeral", "ttl": "1h" if request.long_cache else "5m"}
    format_ = {"format": {"type": "json_schema", "schema": request.schema}} if request.schema is not None else {}
    output = {**({"effort": effort} if effort else {}), **format_}
    payload: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_output,
        "system": _system(request.system, cache),
        "messages": _messages(request, cache, sealed=depth.get("type") != "disabled"),
    }
    if request.tools:
        payload["tools"] = [_tool(tool) for tool in request.tools]
    if depth:
        payload["thinking"] = depth
    if output:
        payload["output_config"] = output
    cleaned: dict[str, Any] = wire.sendable(payload)
    return cleaned


def _system(blocks: Sequence[str], cache: dict[str, str]) -> list[dict[str, Any]]:
    """Each block a breakpoint. The last of the four allowed is the transcript's: of more than three the first go without."""
    texts = [{"type": "text", "text": block} for block in blocks if block.strip()]
    plain = max(0, len(texts) - (_BREAKPOINTS - 1))
    return [*texts[:plain], *({**text, "cache_control": cache} for text in texts[plain:])]


def _messages(request: Request, cache: dict[str, str], *, sealed: bool) -> list[dict[str, Any]]:
    """The transcript with its moving breakpoint, then the tail, which no later call is to find in the cache."""
    turns: list[dict[str, Any]] = []
    for message in request.messages:
        own = _own(message, request.model) if sealed else ()
        tail = next((seal["tail"] for seal in own if seal.get("tail")), "")
        if tail and turns:
            turns[-1]["content"].append({"type": "text", "text": tail})
        content = _content(message, request.model, sealed=sealed)
        if content:
            turns.append({"role": message.role, "content": content})
    if not turns or turns[-1]["role"] != "user":
        raise BugError("a conversation must end with something that the user said before a model is asked")
    turns[-1]["content"][-1]["cache_control"] = cache
    if request.tail.strip():
        turns[-1]["content"].append({"type": "text", "text": request.tail})
    return turns


def _content(message: Message, model: str, *, sealed: bool) -> list[dict[str, Any]]:
    """Tool results first, as the API demands. Blank text is left out: the API refuses it."""
    blocks = (
        sorted(message.blocks, key=lambda block: not isinstance(block, ToolResult)) if message.role == "user" else message.blocks
    )
    content: list[dict[str, Any]] = []
    for block in blocks:
        if isinstance(block, Text):
            content += [{"type": "text", "text": block.text}] if block.text.strip() else []
        elif isinstance(block, ToolUse):
            # What is no JSON object can't be sent as one; the vendor's advice is to send it under this name.
            given = wire.parsed_object(block.arguments)
            arguments = {"INVALID_JSON": block.arguments} if given is None else given
            content.append({"type": "tool_use", "id": block.id, "name": block.name, "input": arguments})
        elif isinstance(block, ToolResult):
            content.append({"type": "tool_result", "tool_use_id": block.id, "content": block.text, "is_error": block.is_error})
        elif sealed and _is_own(block, model):
            content.append(json.loads(block.json)["block"])
    return content


def _tool(tool: Tool) -> dict[str, Any]:
    if tool.native in _NATIVE:
        return dict(_NATIVE[tool.native])
    return {"name": tool.name, "description": tool.description, "input_schema": tool.schema}


def _depth(request: Request) -> tuple[dict[str, Any], str]:
    """`thinking` and effort for the request; empty where the model is to be left to itself.

    Up to 4.5 a budget in tokens counts; since 4.6 the model decides (`adaptive`) and `effort` leans on it. Opus since 5.5,
    Fable and Mythos can't stop thinking, Sonnet since 5.5 only in front of its answer.
    """
    family, version = _family(request.model)
    if version < (4, 6):
        budget = min(request.thinking, request.max_output - 1)
        fits = budget >= 1024 and not _resumes_without_thinking(request)
        return ({"type": "enabled", "budget_tokens": budget} if fits else {}), ""
    always = family in ("fable", "mythos", "") or (family == "opus" and version >= (5, 5))
    if request.thinking == 0 and not always:
        return {"type": "between_tools" if family == "sonnet" and version >= (5, 5) else "disabled"}, ""
    binding = {"block_binding": {"prefix_mismatch_behavior": "drop_block"}} if version >= (5, 1) else {}
    return {"type": "adaptive", **binding}, _effort(request.thinking)


def _family(model: str) -> tuple[str, tuple[int, int]]:
    """`claude-haiku-5-5` is ("haiku", (5, 5)); an id of another shape counts as a newest model without a family."""
    match = _MODEL.match(model)
    return (match[1], (int(match[2]), int(match[3] or 0))) if match else _NEWEST


def _effort(thinking: int) -> str:
    """A token allowance as one of the vendor's words."""
    for most, word in ((4_096, "low"), (16_384, "medium"), (32_768, "high")):
        if thinking <= most:
            return word
    return "xhigh"


def _resumes_without_thinking(request: Request) -> bool:
    """Old models refuse to think in the middle of a tool round that began without their own thinking (another model's, say)."""
    last = next((m for m in reversed(request.messages) if m.role == "assistant"), None)
    if last is None or not any(isinstance(block, ToolUse) for block in last.blocks):
        return False
    return not _own(last, request.model)


# --- sealed blocks ----------------------------------------------------------------------------------------------------


def _sealed(blocks: Iterable[dict[str, Any]], request: Request, output: int) -> list[Opaque]:
    """Blocks only their model can read, each as `{"block": ...}`.

    The first of a reply also keeps `tail`, which must stand before it again, and `tokens`: what it may count as input when
    it goes back, since its text may be hidden.
    """
    seals: list[dict[str, Any]] = [{"block": block} for block in blocks]
    if seals:
        seals[0] |= {"tail": request.tail if request.tail.strip() else "", "tokens": output}
    return [Opaque(AnthropicModel.vendor, request.model, wire.compact(seal)) for seal in seals]


def _is_own(block: Block, model: str) -> bool:
    return isinstance(block, Opaque) and (block.vendor, block.model) == (AnthropicModel.vendor, model)


def _own(message: Message, model: str) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(b.json) for b in message.blocks if isinstance(b, Opaque) and _is_own(b, model))


def _replayed(request: Request) -> int:
    return sum(seal.get("tokens", 0) for message in request.messages for seal in _own(message, request.model))


# --- the answer -------------------------------------------------------------------------------------------------------


def _assembled(events: Iterable[dict[str, Any]], deadline: float) -> dict[str, Any]:
    """The message that the events of a stream add up to, as the API would have sent it at once."""
    message: dict[str, Any] = {"content": []}
    for event in events:
        if time.monotonic() > deadline:
            break
        if event["type"] == "message_stop":
            return {**message, "content": [_settled(block) for block in message["content"]]}
        _add(message, event)
    raise wire.cut_off(AnthropicModel.vendor)


def _add(message: dict[str, Any], event: dict[str, Any]) -> None:
    kind = event["type"]
    if kind == "message_start":
        message |= {**event["message"], "content": []}
    elif kind == "content_block_start":
        message["content"].append({**event["content_block"], "_arguments": ""})
    elif kind == "content_block_delta":
        _grow(message["content"][event["index"]], event["delta"])
    elif kind == "message_delta":
        message |= _said(event["delta"])
        counted = _said(event.get("usage") or {})
        if counted:
            message["usage"] = {**message.get("usage", {}), **counted}


def _said(fields: dict[str, Any]) -> dict[str, Any]:
    """Without nulls: in a stream they mean "no news"."""
    return {name: value for name, value in fields.items() if value is not None}


def _grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    kind = delta["type"]
    if kind == "text_delta":
        block["text"] += delta["text"]
    elif kind == "thinking_delta":
        block["thinking"] += delta["thinking"]
    elif kind == "signature_delta":
        block["signature"] = delta["signature"]
    elif kind == "input_json_delta":
        block["_arguments"] += delta["partial_json"]


def _settled(block: dict[str, Any]) -> dict[str, Any]:
    """A block without our bookkeeping. Arguments that were cut off stay text."""
    arguments = block.pop("_arguments")
    if block["type"] == "tool_use" and arguments:
        given = wire.parsed_object(arguments)
        block["input"] = arguments if given is None else given
    return block


def _reply(message: dict[str, Any], request: Request, payload: dict[str, Any]) -> Reply:
    content = message.get("content")
    if not isinstance(content, list):
        raise wire.unreadable(AnthropicModel.vendor)
    usage = read_usage(message.get("usage"), request)
    sealed = [block for block in content if block["type"] not in ("text", "tool_use")]
    seals = iter(_sealed(sealed, request, usage.output if usage else 0))
    blocks = tuple(next(seals) if block in sealed else _block(block) for block in content)
    asks = any(isinstance(block, ToolUse) for block in blocks)
    stop = _STOPS.get(message.get("stop_reason") or "", "tool_use" if asks else "done")
    return Reply(message.get("model") or request.model, blocks, stop, usage or wire.estimate(payload, blocks))


def _block(block: dict[str, Any]) -> Block:
    if block["type"] == "text":
        return Text(block["text"])
    given = block["input"]
    return ToolUse(block["id"], block["name"], given if isinstance(given, str) else wire.compact(given))


def read_usage(said: dict[str, Any] | None, request: Request) -> Usage | None:
    """The `usage` of a response, or None where it says nothing.

    Anthropic's `input_tokens` leaves out what was cached, like ours.
    """
    if not said or "output_tokens" not in said:
        return None
    written = said.get("cache_creation_input_tokens") or 0
    split = said.get("cache_creation") or {}
    long = split.get("ephemeral_1h_input_tokens", written if request.long_cache else 0)
    return Usage(
        input=said.get("input_tokens") or 0,
        output=said["output_tokens"],
        cache_read=said.get("cache_read_input_tokens") or 0,
        cache_write=split.get("ephemeral_5m_input_tokens", written - long),
        cache_write_long=long,
    )
