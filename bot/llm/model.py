"""The one way to ask a model: `Model.send(Request) -> Reply`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bot.core.budget import Usage
from bot.core.conversation import Block, Conversation


@dataclass(frozen=True, slots=True)
class Tool:
    """A function tool: its name, one paragraph for the model, and the JSON schema of its arguments.

    `native` names the vendor's own trained tool where there is one: `text_editor`, `bash` (Anthropic), `apply_patch`,
    `shell` (OpenAI). A client that has no such native tool offers the function instead.
    """

    name: str
    description: str
    schema: Mapping[str, Any]
    native: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One model call.

    `system` holds the stable blocks, most stable first; each is a cache breakpoint. `tail` is what changes from call to
    call (budget left, attempt): it goes last and outside every cached prefix. `schema`, where given, is the JSON schema
    the answer's text must follow. `max_output` bounds everything the model writes, thinking included. `thinking` is the
    token allowance for reasoning; 0 asks for none.
    """

    model: str
    system: tuple[str, ...]
    messages: Conversation
    max_output: int
    tools: tuple[Tool, ...] = ()
    tail: str = ""
    schema: Mapping[str, Any] | None = None
    schema_name: str = "answer"
    thinking: int = 0
    cache_key: str = ""
    long_cache: bool = False
    timeout_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `model` is the one that answered; `stop` is one of
    `done | tool_use | max_output | refusal | context_full`."""

    model: str
    blocks: tuple[Block, ...]
    stop: str
    usage: Usage


class Model(Protocol):
    """One vendor's client.

    `send` raises `TransientError` (408, 409, 425, 429, 5xx, connection, time-out; `billed` None where a response may
    have been produced), `SetupError` (401, 403, 404: key or model id) or `BadInput` (400 and the like). It never retries.
    `input_bound` gives the most input tokens the vendor can bill for the request: no network, a bound and not an estimate.
    """

    vendor: str

    def send(self, request: Request) -> Reply: ...

    def input_bound(self, request: Request) -> int: ...
