"""Load on a server of webhooks, from a process of its own: so many connections, each with one delivery under way at a time.

Reads a plan as JSON from standard input, writes what it saw as JSON to standard output. Deliveries are made and signed before the
clock starts; only their id is new each time.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import count, cycle
from typing import Any, cast

import uvloop

END = b"\r\n\r\n"
LENGTH = b"content-length:"
PATIENCE = 30.0
"""Seconds after the end in which what is under way has to be answered."""


class Load:
    """All connections together. Times are seconds."""

    def __init__(self, deliveries: Sequence[tuple[bytes, bytes]], series: str, seconds: float) -> None:
        self._deliveries, self._numbers, self._series = cycle(deliveries), count(), series.encode()
        self.until = time.perf_counter() + seconds
        self.took: list[float] = []
        self.statuses: Counter[int] = Counter()

    def next(self) -> bytes:
        head, rest = next(self._deliveries)
        return b"%b%b-%d%b" % (head, self._series, next(self._numbers), rest)


class Sender(asyncio.Protocol):
    """One connection, kept open."""

    def __init__(self, load: Load, over: asyncio.Future[None]) -> None:
        self._load, self._over, self._heard = load, over, b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(self._load.next())

    def data_received(self, data: bytes) -> None:
        self._heard += data
        end = self._heard.find(END)
        if end < 0 or len(self._heard) < end + len(END) + self._announced(end):
            return
        now = time.perf_counter()
        self._load.took.append(now - self._sent_at)
        self._load.statuses[int(self._heard[9:12])] += 1
        self._heard = b""
        if now < self._load.until:
            self._send()
        else:
            self._transport.close()

    def _announced(self, end: int) -> int:
        """The length of the answer's body; an answer without one has none."""
        head = self._heard[:end].lower()
        at = head.find(LENGTH)
        return int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None or time.perf_counter() < self._load.until:
            self._over.set_exception(ConnectionError(f"the server hung up: {error}"))
        else:
            self._over.set_result(None)


def written(path: str, secret: str, event: str, content: str) -> tuple[bytes, bytes]:
    """A request as GitHub sends it, before and after the delivery's id."""
    body = content.encode()
    digest = hmac.digest(secret.encode(), body, hashlib.sha256).hex()
    lines = (
        f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: GitHub-Hookshot/0000000", "Accept: */*",
        "Content-Type: application/json", f"Content-Length: {len(body)}", "X-GitHub-Hook-ID: 1", f"X-GitHub-Event: {event}",
        f"X-Hub-Signature-256: sha256={digest}", "X-GitHub-Delivery: ",
    )  # fmt: skip
    return "\r\n".join(lines).encode(), END + body


async def load(plan: dict[str, Any]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    deliveries = [written(plan["path"], plan["secret"], event, content) for event, content in plan["deliveries"]]
    made = Load(deliveries, plan["series"], plan["seconds"])
    overs = [loop.create_future() for _ in range(plan["connections"])]
    began = time.perf_counter()
    for over in overs:
        await loop.create_connection(partial(Sender, made, over), "127.0.0.1", plan["port"])
    await asyncio.wait_for(asyncio.gather(*overs), plan["seconds"] + PATIENCE)
    seconds = time.perf_counter() - began
    took = sorted(made.took)
    return {
        "rps": len(took) / seconds,
        "p99_ms": took[len(took) * 99 // 100] * 1000,
        "statuses": dict(made.statuses),
    }


if __name__ == "__main__":
    json.dump(uvloop.run(load(json.load(sys.stdin))), sys.stdout)
