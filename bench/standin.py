"""A stand-in for Anthropic's Messages API on loopback, and a trap for whatever would go elsewhere.

One server and one wire format for all harnesses, so that what is measured is the harness. It answers from a script, at once,
and notes of every request when it came, when its answer was out and how many bytes its body had.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Block = Mapping[str, Any]
Script = Callable[[Mapping[str, Any]], Sequence[Block]]
"""From the body of a request to the content blocks of its answer; LookupError where the script has none."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. Times are of the monotonic clock: headers read, last byte of the answer written."""

    began: float
    ended: float
    size: int


@dataclass(slots=True)
class Books:
    """What one harness asked. `strange` are requests that the script has no answer for."""

    script: Script
    asked: list[Asked] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)

    @property
    def input_bytes(self) -> int:
        return sum(asked.size for asked in self.asked)

    @property
    def model_time(self) -> float:
        return sum(asked.ended - asked.began for asked in self.asked)


class StandIn:
    """A running server; `play` opens the books for one harness after the other."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.books = Books(_silent)

    def play(self, script: Script) -> Books:
        self.books = Books(script)
        return self.books


def _silent(body: Mapping[str, Any]) -> Sequence[Block]:
    raise LookupError("nobody is being measured")


def turn(body: Mapping[str, Any]) -> int:
    """How many answers the conversation already holds."""
    return sum(message.get("role") == "assistant" for message in body["messages"])


def opening(body: Mapping[str, Any]) -> str:
    """The text of the first user message."""
    content = body["messages"][0]["content"]
    return content if isinstance(content, str) else "\n".join(block.get("text", "") for block in content)


@contextmanager
def serve() -> Iterator[StandIn]:
    """Serve on a free port of 127.0.0.1."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    stand_in = StandIn(f"http://127.0.0.1:{server.server_address[1]}")
    server.stand_in = stand_in  # type: ignore[attr-defined]  # http.server has no other way to reach a handler
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        began = time.monotonic()
        books: Books = self.server.stand_in.books  # type: ignore[attr-defined]  # as above
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        kind, answer, status = "application/json", b"", 200
        try:
            message = _message(body := json.loads(raw), self._blocks(books, body), len(raw))
        except (LookupError, ValueError) as error:
            books.strange.append(f"{self.path}: {error}")
            refusal = {"type": "error", "error": {"type": "invalid_request_error", "message": str(error)}}
            status, answer = 400, json.dumps(refusal).encode()
        else:
            kind, answer = ("text/event-stream", _events(message)) if body.get("stream") else (kind, json.dumps(message).encode())
        self._answer(status, kind, answer)
        books.asked.append(Asked(began, time.monotonic(), len(raw)))

    def _blocks(self, books: Books, body: Mapping[str, Any]) -> Sequence[Block]:
        if self.path.partition("?")[0] != "/v1/messages":
            raise LookupError(f"POST {self.path}")
        return books.script(body)

    def do_GET(self) -> None:
        self.server.stand_in.books.strange.append(f"GET {self.path}")  # type: ignore[attr-defined]  # as above
        self._answer(404, "application/json", b"{}")

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-scripted", "true")
        self._headers_buffer.append(b"\r\n" + body)  # type: ignore[attr-defined]  # headers and body in one packet
        self.flush_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


def _message(body: Mapping[str, Any], blocks: Sequence[Block], size: int) -> dict[str, Any]:
    number = turn(body)
    content = [_named(block, f"toolu_{number:02}_{at}") for at, block in enumerate(blocks)]
    written = len(json.dumps(content)) // 4 + 1
    return {
        "id": f"msg_{number:04}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": "tool_use" if any(block["type"] == "tool_use" for block in content) else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": size // 4,
            "output_tokens": written,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        },
    }


def _named(block: Block, name: str) -> dict[str, Any]:
    """Every use of a tool has an id."""
    return {**block, "id": name} if block["type"] == "tool_use" else dict(block)


def _events(message: Mapping[str, Any]) -> bytes:
    """The same message as a stream of server-sent events."""
    begun = {**message, "content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(message["content"]):
        empty, delta = _parts(block)
        events += [
            {"type": "content_block_start", "index": index, "content_block": empty},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]
    usage = {"output_tokens": message["usage"]["output_tokens"]}
    last = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    events += [{"type": "message_delta", "delta": last, "usage": usage}, {"type": "message_stop"}]
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def _parts(block: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    if block["type"] == "tool_use":
        return {**block, "input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    return {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}


@contextmanager
def trap() -> Iterator[tuple[str, list[str]]]:
    """A proxy that lets nothing through: its address, and what was asked of it."""
    caught: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_spring, args=(listener, caught), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", caught


def _spring(listener: socket.socket, caught: list[str]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(2)
            try:
                caught.append(connection.recv(4096).partition(b"\r\n")[0].decode("utf-8", "replace"))
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            except OSError:
                caught.append("a connection that said nothing")
