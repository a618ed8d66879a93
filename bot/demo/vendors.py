"""Both model vendors, played on loopback from a script, for the demo and for tests that need real HTTP and real SDKs.

    python -m bot.demo.vendors SCRIPT.json --port 8123      prints {"anthropic": url, "openai": url} and serves until stopped

`GET /journal` lists the requests so far, `GET /totals` what each model was billed for; `POST /clock {"seconds": 420}` lets time
pass for what the vendors keep. Every response says `x-scripted: true`,
so that nobody takes it for a model's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.core.errors import BugError
from bot.demo import play_anthropic, play_openai, playbook

Script = Sequence[Mapping[str, Any]]

_ERROR_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}
START_SECONDS = 10.0


class CutOff(Exception):
    """Raised inside a response, so that the server drops the connection."""


class Scripted:
    """ASGI middleware: marks every response as played."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-scripted"] = "true"
            await send(message)

        await self._app(scope, receive, marked)


def app(books: playbook.Books) -> ASGIApp:
    """The stand-in as an ASGI application."""

    def player(play: ModuleType) -> Any:
        async def endpoint(request: Request) -> Response:
            return await _respond(books, play, request)

        return endpoint

    async def journal(_: Request) -> Response:
        return JSONResponse(books.journal)

    async def totals(_: Request) -> Response:
        return JSONResponse(books.totals())

    async def clock(request: Request) -> Response:
        books.now += float((await request.json())["seconds"])
        return JSONResponse(books.now)

    routes = [
        Route("/v1/messages", player(play_anthropic), methods=["POST"]),
        Route("/v1/responses", player(play_openai), methods=["POST"]),
        Route("/journal", journal),
        Route("/clock", clock, methods=["POST"]),
        Route("/totals", totals),
    ]
    return Scripted(Starlette(routes=routes))


async def _respond(books: playbook.Books, play: ModuleType, request: Request) -> Response:
    raw = await request.body()
    model, bill, dropped = "", playbook.Bill(), 0
    try:
        body = _body(request.headers, raw)
        model = str(body.get("model", ""))
        asked: playbook.Asked = play.read(request.headers, body)
        books.asked.append(asked)
        dropped = asked.dropped
        reply = books.rule_for(asked).reply
        passing = float(reply.get("after", 0))
        status = int(reply.get("status", 200))
        if status == 200:
            said = playbook.answer(reply, asked)
            bill = books.bill(asked, said.tokens, play.caching(asked.model))
    except playbook.Refused as refused:
        books.note(play.VENDOR, model, len(raw), refused.status, bill, dropped)
        return JSONResponse(play.refusal(refused), refused.status, refused.headers)
    books.note(play.VENDOR, model, len(raw), status, bill, dropped)  # before the delay: who hangs up pays all the same
    books.now += passing
    await asyncio.sleep(float(reply.get("delay", 0)))
    if status != 200:
        return _fault(play, reply)
    whole = play.message(asked, said, bill, usage=reply.get("usage", True))
    return _streamed(play, reply, whole) if asked.stream else _at_once(reply, whole)


def _body(headers: Mapping[str, str], raw: bytes) -> dict[str, Any]:
    given = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ").strip()
    if not given:
        raise playbook.Refused(401, "authentication_error", "no API key: send it in x-api-key or as Authorization: Bearer")
    try:
        body = json.loads(raw)
    except ValueError:
        raise playbook.malformed("the request body is not valid JSON") from None
    playbook.need(isinstance(body, dict), "the request body must be a JSON object")
    checked: dict[str, Any] = body
    return checked


def _fault(play: ModuleType, reply: Mapping[str, Any]) -> Response:
    status = int(reply["status"])
    headers = {str(name): str(value) for name, value in reply.get("headers", {}).items()}
    body = reply.get("body", "scripted fault")
    if not isinstance(body, str):
        return JSONResponse(body, status, headers)
    refused = playbook.Refused(status, _ERROR_KINDS.get(status, "api_error"), body)
    return JSONResponse(play.refusal(refused), status, headers)


def _at_once(reply: Mapping[str, Any], whole: dict[str, Any]) -> Response:
    if reply.get("garbage"):
        return Response(b"\xff<html>not what you asked for", media_type="application/json")
    if not reply.get("cut"):
        return JSONResponse(whole)

    async def half() -> AsyncIterator[bytes]:
        text = json.dumps(whole).encode()
        yield text[: len(text) // 2]
        raise CutOff

    return StreamingResponse(half(), media_type="application/json")


def _streamed(play: ModuleType, reply: Mapping[str, Any], whole: dict[str, Any]) -> Response:
    if reply.get("garbage"):
        return Response(b"\xff<html>not what you asked for", media_type="text/event-stream")

    async def lines() -> AsyncIterator[bytes]:
        events = list(play.events(whole))
        for event in events[: len(events) // 2] if reply.get("cut") else events:
            yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
        if reply.get("cut"):
            raise CutOff

    return StreamingResponse(lines(), media_type="text/event-stream")


@dataclass(frozen=True, slots=True)
class Vendors:
    """A stand-in that is running. The URLs are what the clients take as `base_url`."""

    anthropic_url: str
    openai_url: str
    books: playbook.Books

    def journal(self) -> list[dict[str, Any]]:
        """Each request so far: vendor, model, bytes, input_tokens (all of them), output_tokens, status, cache_*, dropped."""
        return list(self.books.journal)

    def bodies(self) -> list[Mapping[str, Any]]:
        """The body of each request that passed the vendor's checks."""
        return [asked.body for asked in self.books.asked]

    def totals(self) -> dict[str, dict[str, int]]:
        """What each model was billed for: requests, input, output, cache_read, cache_write, cache_write_long."""
        return self.books.totals()


@contextmanager
def serve(rules: Script, port: int = 0) -> Iterator[Vendors]:
    """Run the stand-in on 127.0.0.1 in a thread of its own; port 0 takes a free one.

    BadInput where the script has keys nobody knows, OSError where the port is taken.
    """
    books = playbook.Books(playbook.read(rules))
    # A connection that `cut` drops is an error in uvicorn's eyes; on purpose, so nobody is to read about it.
    config = uvicorn.Config(app(books), log_config=None, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="vendors", daemon=True)
        thread.start()
        try:
            _wait_until_started(server, thread)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            yield Vendors(anthropic_url=url, openai_url=f"{url}/v1", books=books)
        finally:
            server.should_exit = True
            thread.join(START_SECONDS)


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise BugError("the stand-in for the model vendors did not start")
        time.sleep(0.005)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve a script from a JSON file until interrupted. The first line of output holds the URLs as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bot.demo.vendors", description="Play both model vendors on loopback.")
    parser.add_argument("script", type=Path, help="JSON file with a list of rules")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; a free one by default")
    options = parser.parse_args(arguments)
    rules = json.loads(options.script.read_text("utf-8"))
    with serve(rules, options.port) as vendors:
        print(json.dumps({"anthropic": vendors.anthropic_url, "openai": vendors.openai_url}), flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
