"""A vendor on loopback that bills what it is sent, in books of its own, and is as unreliable as real ones.

A call is `POST /v1/messages` with an Anthropic body and the header `x-call: run/worker/phase/number`. Which trouble it meets and
how many tokens it comes to is drawn from that name alone, so that the same traffic meets the same trouble. A time-out is played
as a connection that is dropped without an answer: to the caller it is the same, and nobody has to wait for it.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

from bot.core.budget import Rates, Usage, cost
from bot.llm.prices import rates

BUSY, DOWN, DROPPED, DROPPED_UNBILLED, BROKEN = 0.05, 0.03, 0.025, 0.015, 0.02
"""How many of the calls get a 429, a 503, no answer though billed, no answer and no bill, an answer that cannot be read."""


@dataclass(frozen=True, slots=True)
class Bill:
    """Micro-dollars and tokens of one call."""

    call: str
    money: int
    tokens: int


@dataclass(slots=True)
class Till:
    port: int
    bills: list[Bill] = field(default_factory=list)

    def of(self, run: str) -> list[Bill]:
        """What a run was billed; whole once the till is closed."""
        return [bill for bill in self.bills if bill.call.startswith(f"{run}/")]


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # closing waits for what is still being billed
    request_queue_size = 64
    till: Till

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that was killed hangs up. All else is a defect of the till."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve() -> Iterator[Till]:
    """Open on a free port of 127.0.0.1; afterwards all bills are written. Callers have to have hung up by then."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.till = Till(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.till
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@cache
def price(model: str) -> Rates:
    return rates("anthropic", model)


def usage(chance: Random, size: int, max_tokens: int) -> Usage:
    """What a prompt of `size` bytes and its answer come to: about 4 bytes a token, seldom fewer; cached or not."""
    prompt = int(size / (chance.uniform(3.3, 4.8) if chance.random() < 0.97 else chance.uniform(1.2, 3)))
    wanted = int(chance.lognormvariate(6.3, 0.9)) if chance.random() < 0.97 else max_tokens
    output, kind = max(1, min(wanted, max_tokens)), chance.random()
    if kind < 0.7:
        return Usage(input=prompt, output=output)
    return Usage(cache_write=prompt, output=output) if kind < 0.9 else Usage(cache_write_long=prompt, output=output)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        if len(raw := self.rfile.read(length)) < length:
            raise ConnectionResetError("the caller was killed while it asked")
        call, body = self.headers["x-call"], json.loads(raw)
        chance = Random(f"till {call}")
        trouble = chance.random()
        for status, share in ((429, BUSY), (503, DOWN)):
            if trouble < share:
                return self._answer(status, b'{"type":"error"}')
            trouble -= share
        if trouble < DROPPED_UNBILLED:
            self.close_connection = True
            return None
        used = usage(chance, len(raw), body["max_tokens"])
        self.server.till.bills.append(Bill(call, cost(price(body["model"]), used), used.prompt + used.output))
        trouble -= DROPPED_UNBILLED
        if trouble < DROPPED:
            self.close_connection = True
            return None
        fields = ("input", "output", "cache_write", "cache_write_long")
        answer = json.dumps({"usage": {name: getattr(used, name) for name in fields}}).encode()
        return self._answer(200, answer[: len(answer) // 2] if trouble - DROPPED < BROKEN else answer)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self._headers_buffer.append(b"\r\n" + body)  # type: ignore[attr-defined]  # headers and body in one packet
        self.flush_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""
