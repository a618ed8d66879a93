"""The stand-in itself: strict where the vendors are, the same answers to whoever comes back, faults on request."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bot.core.errors import BadInput
from bot.demo.vendors import Vendors, serve

ROOT = Path(__file__).parents[2]
CLAUDE: dict[str, Any] = {
    "model": "claude-haiku-5-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}
GPT: dict[str, Any] = {
    "model": "gpt-6-luna",
    "store": False,
    "input": [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}],
}
USE = {"type": "tool_use", "id": "t1", "name": "search", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "x"}
USER = {"role": "user", "content": "hello"}
CALL = {"type": "function_call", "call_id": "c1", "name": "search", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "x"}
PATCH = {"type": "apply_patch_call", "call_id": "c1", "status": "completed", "operation": {"type": "delete_file", "path": "a"}}
SAID = GPT["input"][0]


@pytest.fixture(scope="module")
def vendors() -> Iterator[Vendors]:
    with serve([{"reply": {"text": "ok"}}]) as running:
        yield running


def post(vendors: Vendors, body: dict[str, Any], **headers: str) -> httpx2.Response:
    openai = "input" in body or str(body.get("model", "")).startswith("gpt")
    url = f"{vendors.openai_url}/responses" if openai else f"{vendors.anthropic_url}/v1/messages"
    sent = {"authorization": "Bearer sk-x", "anthropic-version": "2026-10-21", **headers}
    with httpx2.Client(trust_env=False) as client:
        return client.post(url, json=body, headers={name: value for name, value in sent.items() if value})


def chat(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"messages": list(messages)}


@pytest.mark.parametrize("body", [CLAUDE, GPT], ids=["anthropic", "openai"])
def test_what_a_plain_request_gets(vendors: Vendors, body: dict[str, Any]) -> None:
    response = post(vendors, body)
    assert (response.status_code, response.headers["x-scripted"]) == (200, "true")
    assert post(vendors, body).json() == response.json()
    assert post(vendors, body, authorization="").status_code == 401
    assert post(vendors, {**body, "model": body["model"] + "-9"}).status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.2},
        {"tool_choice": {"type": "any"}},
        {"tool_choice": {"type": "tool", "name": "search"}},
        {"max_tokens": None},
        {"surprise": 1},
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        {"thinking": {"type": "between_tools"}},
        {"thinking": {"type": "adaptive", "block_binding": {}}},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object", "properties": {}}}}},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "string", "maxLength": 3}}}},
        {"tools": [{"type": "bash_20250124", "name": "shell"}]},
        {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5},
        chat(),
        chat({"role": "assistant", "content": "hi"}),
        chat(USER, {"role": "assistant", "content": "prefill"}),
        chat(USER, {"role": "system", "content": "hi"}),
        chat({"role": "user", "content": [{"type": "text", "text": " "}]}),
        chat(USER, {"role": "assistant", "content": [USE]}, USER),
        chat(USER, {"role": "assistant", "content": "a"}, {"role": "user", "content": [RESULT]}),
        chat(USER, {"role": "assistant", "content": [USE]}, {"role": "user", "content": [{"type": "text", "text": "a"}, RESULT]}),
        chat(USER, {"role": "assistant", "content": [{**USE, "input": "{}"}]}, {"role": "user", "content": [RESULT]}),
    ],
)
def test_what_anthropic_refuses(vendors: Vendors, change: dict[str, Any]) -> None:
    response = post(vendors, {**CLAUDE, **change})
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def asked(*items: dict[str, Any]) -> dict[str, Any]:
    return {"input": list(items)}


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.2},
        {"store": True},
        {"surprise": 1},
        {"max_output_tokens": 3},
        {"reasoning": {"effort": "enormous"}},
        {"tools": [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}]},
        {"tools": [{"type": "function", "name": "f", "strict": True, "parameters": {"type": "object", "properties": {}}}]},
        {"text": {"format": {"type": "json_schema", "name": "a b", "schema": {}, "strict": False}}},
        {"model": "gpt-5.5", "prompt_cache_options": {"ttl": "30m"}},
        asked(),
        asked(SAID, CALL),
        asked(SAID, CALL, SAID),
        asked(SAID, OUTPUT),
        asked(SAID, PATCH, OUTPUT),
        asked(
            SAID,
            {**PATCH, "operation": {"type": "delete_file"}},
            {**OUTPUT, "type": "apply_patch_call_output", "status": "failed"},
        ),
        asked(SAID, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "made up"}, SAID),
        asked({"role": "user", "content": [{"type": "output_text", "text": "x"}]}),
    ],
)
def test_what_openai_refuses(vendors: Vendors, change: dict[str, Any]) -> None:
    response = post(vendors, {**GPT, **change})
    assert response.status_code == 400
    assert response.json()["error"]["message"]


def test_the_first_rule_that_fits_answers_whoever_asks_and_whenever() -> None:
    rules: list[dict[str, Any]] = [
        {"when": {"contains": ["hello", "rules"], "turn": 0}, "reply": {"text": "both words"}},
        {"when": {"vendor": "openai"}, "reply": {"text": "for openai"}},
        {"when": {"turn": 1}, "repeat": True, "reply": {"text": "later"}},
    ]
    turn = [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]
    with serve(rules) as vendors:
        for _ in range(2):
            assert post(vendors, GPT).json()["output"][0]["content"][0]["text"] == "for openai"
            assert said(vendors, system="rules") == "both words"
            for turns in (1, 3):
                assert said(vendors, messages=[USER, *turn * turns]) == "later"
        unmatched = post(vendors, CLAUDE)
        assert unmatched.status_code == 400
        assert "no rule matches" in unmatched.text
        assert "hello" in unmatched.text


def said(vendors: Vendors, **change: Any) -> str:
    text: str = post(vendors, {**CLAUDE, **change}).json()["content"][0]["text"]
    return text


def test_a_script_with_a_mistyped_key_is_refused() -> None:
    with pytest.raises(BadInput, match=r"rule 2.*turns"), serve([{"reply": {"text": "a"}}, {"when": {"turns": 1}}]):
        pass


def test_an_answer_with_a_tool_that_was_not_offered_is_refused() -> None:
    with serve([{"reply": {"tools": [{"name": "rm", "arguments": {}}]}}]) as vendors:
        assert "doesn't offer" in post(vendors, CLAUDE).json()["error"]["message"]


def test_the_journal_is_served_too(vendors: Vendors) -> None:
    post(vendors, CLAUDE)
    with httpx2.Client(trust_env=False) as client:
        lines = client.get(f"{vendors.anthropic_url}/journal").json()
        assert client.get(f"{vendors.anthropic_url}/totals").json() == vendors.totals()
    assert lines == vendors.journal()
    assert {"vendor", "model", "bytes", "input_tokens", "output_tokens", "status"} <= set(lines[-1])


def test_as_a_program(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"reply": {"text": "from a file"}}]), "utf-8")
    command = [sys.executable, "-B", "-m", "bot.demo.vendors", str(script), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            urls = json.loads(process.stdout.readline())
            with httpx2.Client(trust_env=False, headers={"x-api-key": "k", "anthropic-version": "1"}) as client:
                body = client.post(f"{urls['anthropic']}/v1/messages", json=CLAUDE).json()
            assert body["content"][0]["text"] == "from a file"
        finally:
            process.terminate()
