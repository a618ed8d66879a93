"""What is said between Ostler and a model, in no vendor's dialect.

A conversation is a tuple of messages that only grows: the vendors' prompt caches match exact prefixes, so nothing that was
sent may change later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Text:
    """Words, from either side."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A model asks for a tool. `arguments` is the JSON text as the model sent it: untrusted, maybe not even JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The answer to one `ToolUse`, by its id."""

    id: str
    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Opaque:
    """A block only `model` of `vendor` understands (thinking, reasoning), as JSON text.

    It must go back unchanged to that model and is dropped for every other one.
    """

    vendor: str
    model: str
    json: str


Block = Text | ToolUse | ToolResult | Opaque


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. Tool results travel in user messages."""

    role: Literal["user", "assistant"]
    blocks: tuple[Block, ...]


Conversation = tuple[Message, ...]


def shortened(text: str, most: int) -> str:
    """`text`, or the head and tail of one of more than `most` characters."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
