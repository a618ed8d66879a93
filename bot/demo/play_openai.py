"""OpenAI's Responses API, played: what it demands of a request, and the shape of what it answers.

Stricter than the real thing where that finds mistakes sooner: any key nobody knows is refused, nothing may be stored, and a
reasoning item that another model made is refused (the API would leave it out).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from bot.demo.playbook import Answer, Asked, Bill, Caching, Part, Refused, canonical, digest, need

VENDOR = "openai"
MODELS = frozenset(
    ("gpt-6-luna", "gpt-6.1-terra", "gpt-6.1-sol", "gpt-6-sol", "gpt-6-astra", "gpt-5.6-luna", "gpt-5.6-terra", "gpt-5.6-sol")
) | {"gpt-5.5", "gpt-5.4-mini", "gpt-5.4-nano"}

_KEYS = frozenset(
    ("include", "input", "instructions", "max_output_tokens", "metadata", "model", "parallel_tool_calls", "prompt_cache_key")
) | {"prompt_cache_options", "reasoning", "service_tier", "store", "stream", "text", "tool_choice", "tools", "truncation"}
_EFFORTS = frozenset(("none", "minimal", "low", "medium", "high", "xhigh", "max"))
_NATIVE = frozenset(("apply_patch", "shell"))
_RESULT_OF = {
    "function_call": "function_call_output",
    "apply_patch_call": "apply_patch_call_output",
    "shell_call": "shell_call_output",
}
_BY_MODEL = frozenset(("reasoning", *_RESULT_OF))


def caching(_: str) -> Caching:
    """What is cached of a prompt; a kept prefix is looked for in the whole of it."""
    return Caching(1024, 1_000_000, {"short": 1800.0, "long": 12 * 3600.0})


# --- reading ----------------------------------------------------------------------------------------------------------


def read(headers: Mapping[str, str], body: dict[str, Any]) -> Asked:
    """Check a request as the API would. Refused where it would answer with an error."""
    for name in ("temperature", "top_p"):
        need(name not in body, f"Unsupported parameter: '{name}' is not supported with this model.")
    need(set(body) <= _KEYS, f"Unknown parameter: '{', '.join(sorted(set(body) - _KEYS))}'.")
    model: Any = body.get("model")
    limit: Any = body.get("max_output_tokens", 128_000)
    need(isinstance(model, str), "Missing required parameter: 'model'.")
    if model not in MODELS:
        raise Refused(404, "model_not_found", f"The model `{model}` does not exist or you do not have access to it.")
    need(isinstance(limit, int) and limit >= 16, "Invalid 'max_output_tokens': expected a value >= 16.")
    need(body.get("store") is False, "This stand-in stores nothing: set 'store' to false.")
    effort = (body.get("reasoning") or {}).get("effort", "medium")
    need(effort in _EFFORTS, f"Invalid value: '{effort}' for 'reasoning.effort'.")
    tools = _read_tools(body.get("tools", []))
    _read_format(body)
    _read_cache_options(body)
    items: Any = body.get("input")
    need(isinstance(items, list) and items, "Missing required parameter: 'input'.")
    _read_items(items, tools)
    dropped = _read_seals(body)
    system = "\n".join(
        [body.get("instructions") or "", *(_text(item) for item in items if _role(item) in ("developer", "system"))]
    )
    first = next((_text(item) for item in items if _role(item) == "user"), "")
    turns = sum(by_model for by_model, _ in itertools.groupby(items, key=_is_by_model))
    name = digest(model, body.get("instructions"), body.get("tools", []), items)
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


def _role(item: Mapping[str, Any]) -> str:
    return str(item.get("role", "")) if item.get("type", "message") == "message" else ""


def _is_by_model(item: Mapping[str, Any]) -> bool:
    return item.get("type") in _BY_MODEL or _role(item) == "assistant"


def _text(item: Mapping[str, Any]) -> str:
    content = item["content"]
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


def _read_tools(tools: list[dict[str, Any]]) -> frozenset[str]:
    names = []
    for tool in tools:
        kind = tool.get("type")
        if kind == "function":
            need(tool.get("name") and isinstance(tool.get("parameters"), dict), "tools: name and parameters are required")
            need(isinstance(tool.get("strict"), bool), "tools: strict is required")
            if tool["strict"]:
                _read_strict(tool["parameters"], "tools.parameters")
        else:
            need(kind in _NATIVE, f"Invalid value: '{kind}' for 'tools.type'.")
            local = (tool.get("environment") or {}).get("type") == "local"
            need(kind != "shell" or local, "tools: a shell of this stand-in must have a local environment")
        names.append(str(tool["name"] if kind == "function" else kind))
    need(len(set(names)) == len(names), "tools: names must be unique")
    return frozenset(names)


def _read_format(body: Mapping[str, Any]) -> None:
    wanted = (body.get("text") or {}).get("format") or {"type": "text"}
    need(wanted.get("type") in ("text", "json_schema"), "Invalid value for 'text.format.type'.")
    if wanted["type"] == "json_schema":
        name = str(wanted.get("name", ""))
        need(name and name.replace("_", "").replace("-", "").isalnum() and len(name) <= 64, "Invalid 'text.format.name'.")
        need(isinstance(wanted.get("schema"), dict), "Missing required parameter: 'text.format.schema'.")
        if wanted.get("strict"):
            _read_strict(wanted["schema"], "text.format.schema")


def _read_strict(schema: Any, where: str) -> None:
    if isinstance(schema, list):
        for inner in schema:
            _read_strict(inner, where)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object":
        need(schema.get("additionalProperties") is False, f"Invalid schema for {where}: 'additionalProperties' must be false.")
        whole = set(schema.get("required", ())) == set(schema.get("properties", {}))
        need(whole, f"Invalid schema for {where}: 'required' must name every property.")
    need(not {"allOf", "not", "if", "patternProperties"} & set(schema), f"Invalid schema for {where}: a word is not permitted.")
    for inner in schema.values():
        _read_strict(inner, where)


def _read_cache_options(body: Mapping[str, Any]) -> None:
    options = body.get("prompt_cache_options")
    if options is not None:
        need(_breakpoints(body["model"]), "Unsupported parameter: 'prompt_cache_options' is not supported with this model.")
        need(
            options.get("ttl", "30m") in (("30m", "12h") if body["model"].startswith("gpt-6") else ("30m",)), "Invalid cache ttl."
        )


def _breakpoints(model: str) -> bool:
    return model.startswith(("gpt-5.6", "gpt-6"))


def _read_items(items: list[dict[str, Any]], tools: frozenset[str]) -> None:
    """Every call has its result, of the call's own type, before anybody else speaks."""
    open_calls: dict[str, str] = {}
    reasoned = False
    for item in items:
        kind = item.get("type", "message")
        need(not reasoned or _is_by_model(item), "Item of type 'reasoning' was provided without its required following item.")
        reasoned = kind == "reasoning"
        if kind in _RESULT_OF:
            _read_call(item, kind)
            open_calls[item["call_id"]] = kind
        elif kind in _RESULT_OF.values():
            need(_RESULT_OF.get(open_calls.pop(str(item.get("call_id")), "")) == kind, f"No tool call found for {kind}.")
            _read_result(item, kind)
        else:
            need(kind in ("message", "reasoning"), f"Invalid value: '{kind}' for 'input.type'.")
            need(_is_by_model(item) or not open_calls, f"No tool output found for function call {', '.join(open_calls)}.")
        if kind == "message":
            _read_message(item)
    need(not open_calls, f"No tool output found for function call {', '.join(open_calls)}.")
    need(not reasoned, "Item of type 'reasoning' was provided without its required following item.")


def _read_call(item: Mapping[str, Any], kind: str) -> None:
    need(item.get("call_id"), "Missing required parameter: 'input.call_id'.")
    if kind == "function_call":
        need(isinstance(item.get("arguments"), str) and item.get("name"), "Missing required parameter: 'input.arguments'.")
    elif kind == "apply_patch_call":
        need(item.get("status") in ("in_progress", "completed"), "Missing required parameter: 'input.status'.")
        operation = item.get("operation") or {}
        kinds = {"create_file": {"path", "diff"}, "update_file": {"path", "diff"}, "delete_file": {"path"}}
        wanted = kinds.get(operation.get("type", ""), {"?"}) | {"type"}
        need(set(operation) == wanted, "Invalid value for 'input.operation'.")
    else:
        need(isinstance((item.get("action") or {}).get("commands"), list), "Missing required parameter: 'input.action.commands'.")


def _read_result(item: Mapping[str, Any], kind: str) -> None:
    if kind == "apply_patch_call_output":
        need(item.get("status") in ("completed", "failed"), "Missing required parameter: 'input.status'.")
    elif kind == "shell_call_output":
        for part in item.get("output") or [{}]:
            need({"stdout", "stderr", "outcome"} <= set(part), "Missing required parameter: 'input.output.outcome'.")
    else:
        need(isinstance(item.get("output"), str | list), "Missing required parameter: 'input.output'.")


def _read_message(item: Mapping[str, Any]) -> None:
    need(item.get("role") in ("user", "assistant", "system", "developer"), "Invalid value for 'input.role'.")
    need(isinstance(item.get("content"), str | list), "Missing required parameter: 'input.content'.")
    if isinstance(item["content"], list):
        kinds = {part.get("type") for part in item["content"]}
        need(kinds <= ({"output_text", "refusal"} if item["role"] == "assistant" else {"input_text"}), "Invalid content type.")


def _parts(body: Mapping[str, Any], dropped: list[dict[str, Any]]) -> tuple[Part, ...]:
    """Tools, the schema of the answer, items but those left out. The end is always a breakpoint, which OpenAI sets by itself."""
    model = body["model"]
    wanted = (body.get("text") or {}).get("format") or {}
    long = "long" if (body.get("prompt_cache_options") or {}).get("ttl") == "12h" else "short"
    parts = [Part(canonical(block)) for block in (*body.get("tools", []), *([wanted] if "schema" in wanted else []))]
    for item in body["input"]:
        if not any(item is one for one in dropped):
            parts += _stretches(item, long, _breakpoints(model))
    return (*parts[:-1], Part(parts[-1].text, long))


def _stretches(item: dict[str, Any], long: str, breakpoints: bool) -> list[Part]:
    """An item, cut behind each part of its content that ends in a breakpoint."""
    name = "content" if item.get("type", "message") == "message" else "output"
    given = item.get(name)
    if not isinstance(given, list):
        return [Part(canonical(item))]
    marks = ["prompt_cache_breakpoint" in part for part in given]
    need(breakpoints or not any(marks), "Unsupported parameter: 'prompt_cache_breakpoint'.")
    head = {key: value for key, value in item.items() if key != name}
    return [Part(canonical([head, part]), long if mark else "") for part, mark in zip(given, marks, strict=True)]


# --- reasoning --------------------------------------------------------------------------------------------------------


def _seal(body: Mapping[str, Any], before: list[dict[str, Any]], item: Mapping[str, Any]) -> str:
    prefix = digest(body.get("instructions"), body.get("tools", []), before)
    return f"{body['model']}|{prefix[:20]}|{digest(item.get('id'), item.get('summary'))[:20]}"


def _read_seals(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Check reasoning that comes back. Returns the items left out because the prompt before them changed."""
    dropped: list[dict[str, Any]] = []
    for index, item in enumerate(body["input"]):
        if item.get("type") != "reasoning":
            continue
        maker, prefix, own = [*str(item.get("encrypted_content", "")).split("|"), "", ""][:3]
        _, now_prefix, now_own = _seal(body, body["input"][:index], item).split("|")
        need(own == now_own, f"The encrypted content of input[{index}] could not be verified.")
        need(maker == body["model"], f"The encrypted content of input[{index}] was made by another model.")
        if prefix != now_prefix:
            dropped.append(item)
    return dropped


# --- answering --------------------------------------------------------------------------------------------------------


def message(asked: Asked, said: Answer, bill: Bill, *, usage: bool) -> dict[str, Any]:
    """The answer as one JSON object."""
    output = [
        *_reasoning(asked, said),
        *_spoken(asked, said),
        *(_call(asked, number, *call) for number, call in enumerate(said.calls)),
    ]
    incomplete = {"max_output": "max_output_tokens", "context_full": "max_output_tokens"}.get(said.stop)
    body: dict[str, Any] = {
        "id": f"resp_{asked.digest[:24]}",
        "object": "response",
        "created_at": 1_794_000_000,
        "model": asked.model,
        "status": "incomplete" if incomplete else "completed",
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "error": None,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": asked.body.get("tools", []),
        "store": False,
    }
    return {**body, "usage": _usage(asked, said, bill)} if usage else body


def _reasoning(asked: Asked, said: Answer) -> list[dict[str, Any]]:
    if not said.thinking:
        return []
    summary = [{"type": "summary_text", "text": said.thinking}]
    item: dict[str, Any] = {"id": f"rs_{asked.digest[:24]}", "type": "reasoning", "summary": summary}
    if "reasoning.encrypted_content" in asked.body.get("include", ()):
        item["encrypted_content"] = _seal(asked.body, asked.body["input"], item)
    return [item]


def _spoken(asked: Asked, said: Answer) -> list[dict[str, Any]]:
    if not said.text:
        return []
    refused = said.stop == "refusal"
    part = {"type": "refusal", "refusal": said.text} if refused else {"type": "output_text", "text": said.text, "annotations": []}
    phase = "commentary" if said.calls else "final_answer"
    item = {"id": f"msg_{asked.digest[:24]}", "type": "message", "role": "assistant", "status": "completed", "phase": phase}
    return [{**item, "content": [part]}]


def _call(asked: Asked, number: int, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    native = {tool["type"] for tool in asked.body.get("tools", [])} & _NATIVE
    ids = {"call_id": f"call_{asked.digest[:20]}{number:02d}", "status": "completed"}
    if name == "apply_patch" and name in native:
        return {"id": f"apc_{asked.digest[:20]}{number:02d}", "type": "apply_patch_call", "operation": dict(arguments), **ids}
    if name == "shell" and name in native:
        return {"id": f"sh_{asked.digest[:20]}{number:02d}", "type": "shell_call", "action": dict(arguments), **ids}
    given = json.dumps(arguments)
    return {"id": f"fc_{asked.digest[:20]}{number:02d}", "type": "function_call", "name": name, "arguments": given, **ids}


def _usage(asked: Asked, said: Answer, bill: Bill) -> dict[str, Any]:
    counted = _breakpoints(asked.model)  # older models bill writes as input and don't name them
    written = bill.cache_write + bill.cache_write_long if counted else 0
    split = {"ttl_30m_tokens": bill.cache_write, "ttl_12h_tokens": bill.cache_write_long}
    details = {"cached_tokens": bill.cache_read, "cache_write_tokens": written}
    return {
        "input_tokens": bill.prompt,
        "input_tokens_details": {**details, "cache_write_tokens_details": split} if counted else details,
        "output_tokens": bill.output,
        "output_tokens_details": {"reasoning_tokens": -(-len(said.thinking) // 4)},
        "total_tokens": bill.prompt + bill.output,
    }


def events(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same answer as a stream."""
    for number, event in enumerate(_events(whole)):
        yield {**event, "sequence_number": number}


def _events(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    begun = {**whole, "status": "in_progress", "incomplete_details": None, "output": []}
    begun.pop("usage", None)
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(whole["output"]):
        yield {"type": "response.output_item.added", "output_index": index, "item": {**item, "status": "in_progress"}}
        yield from _item_events(index, item)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{whole['status']}", "response": whole}


def _item_events(index: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    place = {"item_id": item["id"], "output_index": index}
    if item["type"] == "message":
        part = item["content"][0]
        kind, field = ("refusal", "refusal") if part["type"] == "refusal" else ("output_text", "text")
        yield {"type": "response.content_part.added", **place, "content_index": 0, "part": {**part, field: ""}}
        for piece in _pieces(part[field]):
            yield {"type": f"response.{kind}.delta", **place, "content_index": 0, "delta": piece, "logprobs": []}
        yield {"type": f"response.{kind}.done", **place, "content_index": 0, field: part[field], "logprobs": []}
        yield {"type": "response.content_part.done", **place, "content_index": 0, "part": part}
    elif item["type"] == "function_call":
        for piece in _pieces(item["arguments"]):
            yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
        yield {"type": "response.function_call_arguments.done", **place, "name": item["name"], "arguments": item["arguments"]}
    elif item["type"] == "shell_call":
        for number, command in enumerate(item["action"]["commands"]):
            where = {"output_index": index, "command_index": number}
            yield {"type": "response.shell_call_command.added", **where, "command": ""}
            yield {"type": "response.shell_call_command.delta", **where, "delta": command}
            yield {"type": "response.shell_call_command.done", **where, "command": command}
    elif item["type"] == "reasoning":
        text = item["summary"][0]["text"]
        yield {"type": "response.reasoning_summary_text.delta", **place, "summary_index": 0, "delta": text}
        yield {"type": "response.reasoning_summary_text.done", **place, "summary_index": 0, "text": text}


def _pieces(text: str, size: int = 16) -> Iterator[str]:
    return (text[start : start + size] for start in range(0, len(text), size))


def refusal(refused: Refused) -> dict[str, Any]:
    kind = "invalid_request_error" if refused.status < 500 else "server_error"
    return {"error": {"message": refused.message, "type": kind, "param": None, "code": refused.kind}}
