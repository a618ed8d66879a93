"""The plain loop that B9 measures Ostler beside: append everything, mask nothing, cap nothing.

What it sends: two sentences of system prompt, one tool (`bash`), the ticket, and then, turn after turn, what the model said,
word for word, and the whole output of the command it asked for. Cached as a careful plain loop is: the system prompt and the
last block of the last message are breakpoints, the latter moving, with the vendor's default life of five minutes. This is the
loop of mini-swe-agent (`agents/default.py`: ask, run, append), without its cut of long outputs.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

MARK = "You are given a repository and a ticket."
SYSTEM = (
    f"{MARK} Solve the ticket by running commands with the tool bash, one at a time: read what you need, change the files, run "
    "the tests. Your commands run in the root of the repository; each starts in a fresh shell. Answer without a command when "
    "you are done."
)
BASH = {
    "name": "bash",
    "description": "Run a shell command in the root of the repository and get its output.",
    "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
}
CACHED = {"cache_control": {"type": "ephemeral"}}
SECONDS = 300


def solve(url: str, model: str, ticket: str, repository: Path, env: Mapping[str, str]) -> None:
    """Work on `ticket` in `repository` until the model asks for no command.

    Raises:
        RuntimeError: the vendor refused a request.
    """
    messages: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": ticket}]}]
    while True:
        said = _ask(url, model, messages)
        messages.append({"role": "assistant", "content": said})
        results = [
            {"type": "tool_result", "tool_use_id": use["id"], "content": _run(use["input"]["command"], repository, env)}
            for use in said
            if use["type"] == "tool_use"
        ]
        if not results:
            return
        messages.append({"role": "user", "content": results})


def _run(command: str, repository: Path, env: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["/bin/bash", "-c", command], cwd=repository, env=dict(env), check=False, timeout=SECONDS,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.stdout.decode("utf-8", "replace") or "(no output)"


def _ask(url: str, model: str, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    *before, last = messages
    marked = {**last, "content": [*last["content"][:-1], {**last["content"][-1], **CACHED}]}
    body = {
        "model": model,
        "max_tokens": 16_000,
        "system": [{"type": "text", "text": SYSTEM, **CACHED}],
        "tools": [BASH],
        "thinking": {"type": "adaptive"},
        "messages": [*before, marked],
    }
    headers = {"anthropic-version": "2026-10-21", "x-api-key": "scripted"}
    with httpx2.Client(trust_env=False, timeout=SECONDS) as client:
        answer = client.post(f"{url}/v1/messages", json=body, headers=headers)
    if answer.status_code != 200:
        raise RuntimeError(f"the stand-in refused the plain loop: {answer.text[:300]}")
    content: list[dict[str, Any]] = answer.json()["content"]
    return content
