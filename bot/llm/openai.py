"""GPT through OpenAI's Responses API, with nothing kept on the vendor's server.

Sources: the installed SDK (3.52.0) and developers.openai.com of October 2026. Reasoning goes back sealed
(`encrypted_content`); it too is only valid behind what stood before it, so it carries the tail of its call along.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from bot.core.budget import Usage
from bot.core.conversation import Block, Message, Opaque, Text, ToolResult, ToolUse
from bot.core.errors import BadInput, BugError, TransientError
from bot.llm import lean, wire
from bot.llm.model import Reply, Request, Tool
from bot.llm.prices import keeps_12_hours

PUBLIC_URL = "https://api.openai.com/v1"

_PATH = "/responses"
_NATIVE: dict[str, dict[str, Any]] = {
    "apply_patch": {"type": "apply_patch"},
    "shell": {"type": "shell", "environment": {"type": "local"}},
}
_BREAKPOINT = {"prompt_cache_breakpoint": {"mode": "explicit"}}
_HAS_BREAKPOINTS = re.compile(r"gpt-(5\.[6-9]|[6-9]|\d\d)")
_PATCHES = frozenset(("create_file", "update_file", "delete_file"))
_LAST_EVENTS = frozenset(("response.completed", "response.incomplete", "response.failed"))
_REFUSALS = frozenset(("bio_policy", "misalignment_policy_violation"))
_PASSING = frozenset(("server_error", "rate_limit_exceeded", "vector_store_timeout"))
_CLOSED_WORDS = frozenset(
    ("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "description", "title")
) | frozenset(("$ref", "$defs", "pattern", "format", "minimum", "maximum", "multipleOf", "minItems", "maxItems"))
"""The words of JSON schema that strict mode knows."""


class OpenAIModel:
    """A `Model` for GPT. `base_url` ends in `/v1` and is used as given; nothing is read from the environment.

    A call of `apply_patch` arrives as ToolUse with the operation as arguments (`{"type", "path", "diff"}`), one of `shell` with
    the action (`{"commands", "timeout_ms", "max_output_length"}`). Every call opens a connection of its own: an old one that
    the vendor has dropped would look like a lost answer, and a lost answer counts as paid.
    """

    vendor = "openai"

    def __init__(self, api_key: str, base_url: str, *, streaming: bool) -> None:
        self._key = wire.checked_key(self.vendor, api_key)
        self._base_url = base_url
        self._streaming = streaming

    def send(self, request: Request) -> Reply:
        """One HTTP request, never repeated; errors as `Model` says. `timeout_seconds` bounds each read, and all of a stream."""
        openai = lean.load(self.vendor)
        payload = _payload(request)
        headers = {"authorization": f"Bearer {self._key}"}
        with wire.errors_of(openai, self.vendor, self._key), wire.http_client(request.timeout_seconds, headers) as http:
            client = openai.OpenAI(api_key=self._key, base_url=self._base_url, max_retries=0, http_client=http)
            options = {"timeout": http.timeout, "security": {"bearer_auth": True}}
            asked = {"body": {**payload, "stream": self._streaming}, "options": options}
            if self._streaming:
                with client.post(_PATH, cast_to=object, stream=True, stream_cls=openai.Stream[object], **asked) as events:
                    response = _last(events, time.monotonic() + request.timeout_seconds)
            else:
                response = wire.answered(self.vendor, client, _PATH, asked)
        return _reply(response, request, payload)

    def input_bound(self, request: Request) -> int:
        """Bytes of the payload, and what the vendor adds to it; see `wire.bound`."""
        native = sum(tool.native in _NATIVE for tool in request.tools)
        return wire.bound(_payload(request), native_tools=native, replayed=_replayed(request))


# --- the request ------------------------------------------------------------------------------------------------------


def _payload(request: Request) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "model": request.model,
        "input": _input(request),
        "max_output_tokens": request.max_output,
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    if request.tools:
        payload["tools"] = [_tool(tool) for tool in request.tools]
    if request.cache_key:
        payload["prompt_cache_key"] = request.cache_key
    if request.long_cache and keeps_12_hours(request.model):
        payload["prompt_cache_options"] = {"ttl": "12h"}
    effort = _effort(request.model, request.thinking)
    if effort:
        payload["reasoning"] = {"effort": effort}
    if request.schema is not None:
        payload["text"] = {
            "format": {
                "type": "json_schema",
                "name": request.schema_name,
                "schema": request.schema,
                "strict": qualifies(request.schema),
            }
        }
    cleaned: dict[str, Any] = wire.sendable(payload)
    return cleaned


def _input(request: Request) -> list[dict[str, Any]]:
    """System blocks, transcript, tail.

    A breakpoint is only found again where it stands in the later request too, so every one that was set stays. Results of
    native tools can't carry any; the breakpoint OpenAI sets by itself covers those.
    """
    mark = _BREAKPOINT if _HAS_BREAKPOINTS.match(request.model) else {}
    items: list[dict[str, Any]] = []
    system = [{"type": "input_text", "text": block, **mark} for block in request.system if block.strip()]
    if system:
        items.append({"type": "message", "role": "developer", "content": system})
    native = {tool.native for tool in request.tools} & set(_NATIVE)
    sealed_calls: dict[str, str] = {}
    for message in request.messages:
        if message.role == "assistant":
            items += _said_by_model(message, request.model, native, sealed_calls)
        else:
            items += _said_by_user(message, sealed_calls, mark)
    if not request.messages or request.messages[-1].role != "user":
        raise BugError("a conversation must end with something that the user said before a model is asked")
    if request.tail.strip():
        items.append(_user_text(request.tail))
    return items


def _said_by_model(message: Message, model: str, native: set[str | None], calls: dict[str, str]) -> list[dict[str, Any]]:
    """The items of one assistant turn. `calls` collects which call ids are native: their results have a type of their own."""
    items: list[dict[str, Any]] = []
    phase: dict[str, str] = {}
    for block in message.blocks:
        if isinstance(block, Text):
            items += [{"type": "message", "role": "assistant", "content": block.text, **phase}] if block.text.strip() else []
            phase = {}
        elif isinstance(block, ToolUse):
            call = _native_call(block, native)
            if call:
                calls[block.id] = call["type"]
            items.append(call or {"type": "function_call", "call_id": block.id, "name": block.name, "arguments": block.arguments})
        elif isinstance(block, Opaque) and (block.vendor, block.model) == (OpenAIModel.vendor, model):
            seal = json.loads(block.json)
            if seal.get("tail"):
                items.append(_user_text(seal["tail"]))
            items += [seal["item"]] if "item" in seal else []
            phase = {"phase": seal["phase"]} if "phase" in seal else phase
    return items


def _native_call(use: ToolUse, native: set[str | None]) -> dict[str, Any] | None:
    """`use` as the vendor's own item; None where it isn't one or its arguments have another shape (it came from elsewhere)."""
    arguments = wire.parsed_object(use.arguments)
    if use.name not in native or arguments is None:
        return None
    if use.name == "apply_patch" and arguments.get("type") in _PATCHES:
        return {"type": "apply_patch_call", "call_id": use.id, "operation": arguments, "status": "completed"}
    if use.name == "shell" and isinstance(arguments.get("commands"), list):
        return {"type": "shell_call", "call_id": use.id, "action": arguments, "status": "completed"}
    return None


def _said_by_user(message: Message, calls: Mapping[str, str], mark: dict[str, Any]) -> list[dict[str, Any]]:
    results = [block for block in message.blocks if isinstance(block, ToolResult)]
    texts = [block.text for block in message.blocks if isinstance(block, Text) and block.text.strip()]
    items = [_result(result, calls.get(result.id, ""), {}) for result in results]
    if texts:
        parts = [{"type": "input_text", "text": text} for text in texts]
        items.append({"type": "message", "role": "user", "content": [*parts[:-1], {**parts[-1], **mark}]})
    elif results:
        items[-1] = _result(results[-1], calls.get(results[-1].id, ""), mark)
    return items


def _result(result: ToolResult, call: str, mark: dict[str, Any]) -> dict[str, Any]:
    if call == "apply_patch_call":
        status = "failed" if result.is_error else "completed"
        return {"type": "apply_patch_call_output", "call_id": result.id, "status": status, "output": result.text}
    if call == "shell_call":
        outcome = {"type": "exit", "exit_code": 1 if result.is_error else 0}
        part = {"stdout": result.text, "stderr": "", "outcome": outcome}
        return {"type": "shell_call_output", "call_id": result.id, "output": [part]}
    output = [{"type": "input_text", "text": result.text, **mark}]
    return {"type": "function_call_output", "call_id": result.id, "output": output}


def _user_text(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def _tool(tool: Tool) -> dict[str, Any]:
    if tool.native in _NATIVE:
        return dict(_NATIVE[tool.native])
    strict = qualifies(tool.schema)
    return {"type": "function", "name": tool.name, "description": tool.description, "parameters": tool.schema, "strict": strict}


def qualifies(schema: Mapping[str, Any]) -> bool:
    """Whether OpenAI's strict mode takes `schema`: an object at the root, every object closed, every property required."""
    return schema.get("type") == "object" and _closed(schema)


def _closed(schema: Any) -> bool:
    if not isinstance(schema, Mapping) or not set(schema) <= _CLOSED_WORDS:
        return False
    properties = schema.get("properties", {})
    closed = schema.get("additionalProperties") is False and set(schema.get("required", ())) == set(properties)
    if (schema.get("type") == "object" or properties) and not closed:
        return False
    inner = [*properties.values(), *schema.get("$defs", {}).values(), *schema.get("anyOf", ())]
    return all(_closed(one) for one in [*inner, *([schema["items"]] if "items" in schema else [])])


def _effort(model: str, thinking: int) -> str:
    """A token allowance as one of the vendor's words; empty for models that don't reason."""
    if not model.startswith(("gpt-", "o")) or model.startswith(("gpt-3", "gpt-4")):
        return ""
    if thinking == 0:
        return "low" if model.startswith("o") else "none" if re.match(r"gpt-(5\.\d|[6-9]|\d\d)", model) else "minimal"
    for most, word in ((4_096, "low"), (16_384, "medium"), (32_768, "high")):
        if thinking <= most:
            return word
    return "high" if model.startswith("o") else "xhigh"


def _replayed(request: Request) -> int:
    own = (b for m in request.messages for b in m.blocks if isinstance(b, Opaque))
    return sum(json.loads(b.json).get("tokens", 0) for b in own if (b.vendor, b.model) == (OpenAIModel.vendor, request.model))


# --- the answer -------------------------------------------------------------------------------------------------------


def _last(events: Iterable[dict[str, Any]], deadline: float) -> dict[str, Any]:
    """The whole response, which the last event of a stream repeats. What comes after it is of no interest."""
    for event in events:
        if time.monotonic() > deadline:
            raise wire.cut_off(OpenAIModel.vendor)
        kind = event.get("type")
        if kind in _LAST_EVENTS:
            response: dict[str, Any] = event["response"]
            return response
        if kind == "error":
            raise TransientError(f"openai broke off its answer ({event.get('code') or 'error'})", billed=None)
    raise wire.cut_off(OpenAIModel.vendor)


def _reply(response: dict[str, Any], request: Request, payload: dict[str, Any]) -> Reply:
    if not isinstance(response.get("output"), list):
        raise wire.unreadable(OpenAIModel.vendor)
    usage = read_usage(response.get("usage"), request)
    blocks: list[Block] = []
    refused = _failure(response)
    keep = {"tail": request.tail if request.tail.strip() else "", "tokens": usage.output if usage else 0}
    for item in response["output"]:
        if item["type"] == "message":
            said, declined = _spoken(item, request.model)
            blocks += said
            refused = refused or declined
        elif item["type"] in ("function_call", "apply_patch_call", "shell_call"):
            blocks.append(_use(item))
        else:  # reasoning; `keep` goes with the first one only
            blocks.append(Opaque(OpenAIModel.vendor, request.model, wire.compact({"item": item, **keep})))
            keep = {}
    stop = "refusal" if refused else _stop(response, blocks)
    return Reply(response.get("model") or request.model, tuple(blocks), stop, usage or wire.estimate(payload, blocks))


def _failure(response: dict[str, Any]) -> bool:
    """True where the model's guards stopped it. Raises where the response failed for another reason."""
    error = response.get("error")
    if response.get("status") != "failed" and not error:
        return False
    code = (error or {}).get("code") or "server_error"
    if code in _REFUSALS:
        return True
    if code in _PASSING:
        raise TransientError(f"openai broke off its answer ({code})", billed=None)
    raise BadInput(f"openai refuses the request ({code})")


def _spoken(item: dict[str, Any], model: str) -> tuple[list[Block], bool]:
    """The text of a message item, and whether it is a refusal.

    `phase` (commentary or final answer) has no place in our Text and must go back; it travels in a sealed block before it.
    """
    parts = item.get("content") or []
    refused = any(part["type"] == "refusal" for part in parts)
    blocks: list[Block] = [Text(part.get("text") or part.get("refusal") or "") for part in parts]
    if item.get("phase"):
        blocks.insert(0, Opaque(OpenAIModel.vendor, model, wire.compact({"phase": item["phase"]})))
    return blocks, refused


def _use(item: dict[str, Any]) -> ToolUse:
    if item["type"] == "apply_patch_call":
        return ToolUse(item["call_id"], "apply_patch", wire.compact(item["operation"]))
    if item["type"] == "shell_call":
        return ToolUse(item["call_id"], "shell", wire.compact(item["action"]))
    return ToolUse(item["call_id"], item["name"], item["arguments"])


def _stop(response: dict[str, Any], blocks: list[Block]) -> str:
    if response.get("status") == "incomplete":
        reason = (response.get("incomplete_details") or {}).get("reason")
        return "refusal" if reason == "content_filter" else "max_output"
    return "tool_use" if any(isinstance(block, ToolUse) for block in blocks) else "done"


def read_usage(said: dict[str, Any] | None, request: Request) -> Usage | None:
    """The `usage` of a response, or None where there is none.

    OpenAI's `input_tokens` counts what was read from and written to the cache as well; ours doesn't.
    """
    if not said:
        return None
    details = said.get("input_tokens_details") or {}
    read, written = details.get("cached_tokens") or 0, details.get("cache_write_tokens") or 0
    split = details.get("cache_write_tokens_details") or {}
    asked_long = request.long_cache and keeps_12_hours(request.model)
    long = split.get("ttl_12h_tokens", written if asked_long else 0)
    return Usage(
        input=max(0, said["input_tokens"] - read - written),
        output=said["output_tokens"],
        cache_read=read,
        cache_write=written - long,
        cache_write_long=long,
    )
