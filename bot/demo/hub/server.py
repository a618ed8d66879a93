"""The stand-in's front: finds the route, asks who it is, lets faults happen, and answers with GitHub's headers.

Order for one request: who asks, fault before, route, permission, query and body, handler, fault after, log.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio.to_thread
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from bot.core.errors import BugError
from bot.demo.hub import auth
from bot.demo.hub.faults import Fault, take
from bot.demo.hub.hub import Hub
from bot.demo.hub.refusals import Refusal, not_found
from bot.demo.hub.routing import Answer, Call, Page, Route, checked_body, checked_query, pattern
from bot.demo.hub.state import ACTIONS_LOGIN, LogEntry, Repository, Token

API = "/api/v3"
MOST_PER_PAGE = 100
LARGEST_BODY = 64 * 2**20
START_SECONDS = 10.0
DOCS = "https://docs.github.com/rest"


@dataclass(frozen=True, slots=True)
class Asker:
    """Who a request comes from, as far as its headers say. `refused` is what a token route answers."""

    who: str = "nobody"
    token: Token | None = None
    app_id: int | None = None
    refused: Refusal | None = None


class Front:
    """The ASGI application. Our routes are tried in order, then Starlette's own."""

    def __init__(self, hub: Hub, routes: Sequence[Route | BaseRoute]) -> None:
        self._hub = hub
        self._ours = [(*pattern(route.base + route.path), route) for route in routes if isinstance(route, Route)]
        self._others = [route for route in routes if isinstance(route, BaseRoute)]
        self._used: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = _path(request).removeprefix(API)
        asker = self._asker(request)
        with self._hub.state.lock:
            fault = take(self._hub.faults, request.method, path, asker.who)
        sent = _Sent(send, lambda status: self._note(request, path, asker, fault, status))
        with suppress(ClientDisconnect):
            if fault is None:
                await self._serve(request, asker, sent, None)
            else:
                await self._with_fault(request, asker, sent, fault)
        sent.note(0)

    def _note(self, request: Request, path: str, asker: Asker, fault: Fault | None, status: int) -> None:
        permissions = asker.token.permissions if asker.token else None
        kind = fault.kind if fault else None
        with self._hub.state.lock:
            at = self._hub.now()
            self._hub.log.append(LogEntry(request.method, path, request.url.query, status, asker.who, permissions, at, kind))

    def _asker(self, request: Request) -> Asker:
        hub = self._hub
        try:
            value = auth.credential(request.headers.get("authorization", ""))
            if value is None:
                return Asker()
            with hub.state.lock:
                if auth.is_jwt(value):
                    app = auth.app(hub.state, value, hub.now())
                    return Asker(app.slug, app_id=app.id)
                token = auth.token(hub.state, value, hub.now())
                return Asker(token.who, token, token.app_id)
        except Refusal as refused:
            return Asker(refused=refused)

    async def _with_fault(self, request: Request, asker: Asker, sent: _Sent, fault: Fault) -> None:
        if fault.after:
            sent.held = fault.kind != "stale"
            await self._serve(request, asker, sent, fault)
        sent.held = False
        if fault.kind.startswith("kill"):
            sent.note(0)
            self._hub.kill(asker.token, asker.app_id)
        if fault.kind.startswith(("kill", "drop")):
            await sent.drop(request)
        elif fault.status is not None:
            await sent.answer(request, _trouble(fault))

    async def _serve(self, request: Request, asker: Asker, sent: _Sent, fault: Fault | None) -> None:
        path = _path(request)
        for expression, numbers, route in self._ours:
            if (route.method == request.method or (route.method, request.method) == ("GET", "HEAD")) and (
                match := expression.match(path)
            ):
                values = {name: int(text) if name in numbers else text for name, text in match.groupdict().items()}
                await sent.answer(request, await self._answer(request, asker, route, values, fault))
                return
        for other in self._others:
            matched, child = other.matches(request.scope)
            if matched is Match.FULL:
                await other.handle({**request.scope, **child}, request.receive, sent)
                return
        self._hub.errors.append(f"no route: {request.method} {path}")
        await sent.answer(request, _refused(not_found()))

    async def _answer(
        self, request: Request, asker: Asker, route: Route, values: dict[str, Any], fault: Fault | None
    ) -> Response:
        try:
            raw = await _body(request)
            hide = fault.hide if fault is not None and fault.kind == "stale" else 0
            answer = await anyio.to_thread.run_sync(self._handled, request, asker, route, values, raw, hide)
        except Refusal as refused:
            answer = _refused(refused)
        except Exception:  # noqa: BLE001 a mistake of the stand-in is a 500, and the test gets to read it
            self._hub.errors.append(f"{request.method} {_path(request)}: {traceback.format_exc()}")
            answer = _refused(Refusal(500, "Server Error"))
        answer.headers.update(self._limits(asker))
        if route.needs:
            answer.headers["x-accepted-github-permissions"] = route.needs.replace(":", "=").replace("|", "; ")
        return answer

    def _handled(
        self, request: Request, asker: Asker, route: Route, values: dict[str, Any], raw: bytes, hide: int
    ) -> Response:  # fmt: skip
        hub = self._hub
        with hub.state.lock:
            self._count(asker)
            found = self._allowed(asker, route, values)
            query = checked_query(route.query, request.query_params.multi_items())
            body = {} if request.method in ("GET", "HEAD") else checked_body(route.body, raw)
            call = Call(hub, request, values, query, body, asker.token, asker.app_id, found, raw)
            if route.locked:
                return _response(call, route.handler(call), hide)
        return _response(call, route.handler(call), hide)

    def _allowed(self, asker: Asker, route: Route, values: Mapping[str, Any]) -> Repository | None:
        """The repository the route is about, when who asks may; else a Refusal."""
        within = "owner" in values and "repo" in values
        _admit(asker, route, within)
        if not within:
            return None
        found = self._hub.state.repository(f"{values['owner']}/{values['repo']}")
        if found is None:
            raise not_found()
        if route.door in ("token", "person"):
            by_person = asker.token is not None and asker.token.permissions is None
            auth.demand(asker.token, found, "" if route.anyone and by_person else route.needs)
        return found

    def _count(self, asker: Asker) -> None:
        key = asker.token.value if asker.token else asker.who
        self._used[key] = self._used.get(key, 0) + 1
        if self._used[key] > self._most(asker):
            raise Refusal(403, f"API rate limit exceeded for {asker.who}.", headers={"retry-after": "60"})

    def _most(self, asker: Asker) -> int:
        job = asker.token is not None and asker.token.user.login == ACTIONS_LOGIN
        return min(1000, self._hub.rate_limit) if job else self._hub.rate_limit

    def _limits(self, asker: Asker) -> dict[str, str]:
        used, most = self._used.get(asker.token.value if asker.token else asker.who, 0), self._most(asker)
        return {
            "x-ratelimit-limit": str(most),
            "x-ratelimit-remaining": str(max(0, most - used)),
            "x-ratelimit-used": str(used),
            "x-ratelimit-reset": str(int(self._hub.now().timestamp()) + 3600),
            "x-ratelimit-resource": "core",
        }


def _admit(asker: Asker, route: Route, within: bool) -> None:
    """A Refusal for whoever doesn't get through the route's door. `within` a repository, one may come without a token to read."""
    if asker.refused is not None:
        raise asker.refused
    by_jwt = asker.app_id is not None and asker.token is None
    if route.door == "app" and not by_jwt:
        raise Refusal(401, "A JSON web token could not be decoded")
    if asker.token is None and route.door in ("token", "person"):
        if by_jwt:
            raise auth.not_accessible()
        if route.door == "person" or not within:
            raise Refusal(401, "Requires authentication")
    if route.door == "person" and asker.token is not None and asker.token.kind != "person":
        raise auth.not_accessible()


class _Sent:
    """What goes out: notes the status before anybody knows it, can hold everything back, and can cut the connection instead."""

    def __init__(self, send: Send, tell: Callable[[int], None]) -> None:
        self._send = send
        self._tell = tell
        self._noted = False
        self.held = False

    def note(self, status: int) -> None:
        """Into the log; only the first word counts. 0: no answer."""
        if not self._noted:
            self._noted = True
            self._tell(status)

    async def __call__(self, message: Message) -> None:
        if self.held:
            return
        if message["type"] == "http.response.start":
            self.note(message["status"])
        await self._send(message)

    async def answer(self, request: Request, response: Response) -> None:
        response.headers["x-github-request-id"] = uuid.uuid4().hex[:24].upper()
        response.headers["server"] = "github.com"
        await response(request.scope, request.receive, self)

    async def drop(self, request: Request) -> None:
        """Close the connection. Only uvicorn's own cycle knows it, and it is the `self` of the `send` it gave us."""
        cycle = getattr(self._send, "__self__", None)
        if not isinstance(cycle, RequestResponseCycle):
            raise BugError("only a request over a socket can be dropped")
        self.note(0)
        cycle.transport.abort()
        while (await request.receive())["type"] != "http.disconnect":
            pass


def _path(request: Request) -> str:
    """Percent signs are gone; `request.url.path` would end at a question mark that was one of them."""
    return str(request.scope["path"])


async def _body(request: Request) -> bytes:
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > LARGEST_BODY:
            raise Refusal(413, "Payload too large")
        pieces.append(piece)
    return b"".join(pieces)


def _trouble(fault: Fault) -> Response:
    limits = {"retry-after": str(fault.retry_after)}
    if fault.kind == "429":
        return _refused(Refusal(429, "Too many requests", headers=limits))
    if fault.kind == "403-secondary":
        words = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
        return _refused(Refusal(403, words, headers=limits))
    return _refused(Refusal(fault.status or 502, "Server Error"))


def _refused(refusal: Refusal) -> Response:
    body: dict[str, Any] = {"message": refusal.message}
    if refusal.errors is not None:
        body["errors"] = refusal.errors
    body |= {"documentation_url": DOCS, "status": str(refusal.status)}
    return _json(body, refusal.status, refusal.headers)


def _json(value: Any, status: int, headers: Mapping[str, str]) -> Response:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Lone surrogates are legal in JSON's escapes, and GitHub hands them back replaced.
    return Response(text.encode("utf-8", "replace"), status, dict(headers), "application/json; charset=utf-8")


def _response(call: Call, value: Any, hide: int) -> Response:
    answer = value if isinstance(value, Answer) else Answer(value)
    headers = dict(answer.headers)
    body = answer.body
    if isinstance(body, Page):
        body = _cut(call, body, headers, hide)
    if body is None or isinstance(body, bytes):
        status = 204 if body is None and answer.status == 200 else answer.status
        return Response(body, status, headers)
    response = _json(body, answer.status, headers)
    if call.request.method == "GET" and answer.status == 200:
        tag = f'W/"{hashlib.sha256(response.body).hexdigest()}"'
        if tag in call.request.headers.get("if-none-match", ""):
            response = Response(None, 304, headers)
        response.headers["etag"] = tag
    return response


def _cut(call: Call, page: Page, headers: dict[str, str], hide: int) -> Any:
    """The part of a list that was asked for, and the Link header for the others."""
    items = _without_newest(page.items, hide) if hide else page.items
    size = min(max(call.query.get("per_page", 30), 1), MOST_PER_PAGE)
    number = max(call.query.get("page", 1), 1)
    last = max(1, -(-len(items) // size))
    links = {"prev": number - 1, "next": number + 1, "last": last, "first": 1}
    wanted = [name for name in links if (number > 1 if name in ("prev", "first") else number < last)]
    if wanted:
        headers["link"] = ", ".join(f'<{_page_url(call, links[name])}>; rel="{name}"' for name in wanted)
    shown = items[(number - 1) * size : number * size]
    return {"total_count": len(items), **page.extra, page.key: shown} if page.key else shown


def _page_url(call: Call, number: int) -> str:
    pairs = [(name, text) for name, text in call.request.query_params.multi_items() if name != "page"]
    return f"{call.hub.url}{call.request.url.path}?{urlencode([*pairs, ('page', str(number))])}"


def _without_newest(items: list[Any], hide: int) -> list[Any]:
    ids = [item.get("id") if isinstance(item, dict) else None for item in items]
    if not all(isinstance(one, int) for one in ids):
        return items[: max(0, len(items) - hide)]
    newest = set(sorted(one for one in ids if one is not None)[-hide:])
    return [item for item, one in zip(items, ids, strict=True) if one not in newest]


@contextmanager
def listening(folder: Path, port: int) -> Iterator[tuple[Hub, _Door]]:
    """A hub whose address is known and whose door isn't open yet: routes can still be made for it. OSError: the port is taken."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        hub = Hub(folder, f"http://127.0.0.1:{listener.getsockname()[1]}")
        yield hub, _Door(hub, listener)


class _Door:
    def __init__(self, hub: Hub, listener: socket.socket) -> None:
        self._hub = hub
        self._listener = listener

    @contextmanager
    def open(self, routes: Sequence[Route | BaseRoute]) -> Iterator[None]:
        """Answer requests in a thread of its own until the block ends."""
        config = uvicorn.Config(
            Front(self._hub, routes),
            http=H11Protocol,
            log_config=None,
            log_level="critical",
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [self._listener]}, name="hub", daemon=True)
        thread.start()
        self._hub.post.start()
        try:
            deadline = time.monotonic() + START_SECONDS
            while not server.started:
                if not thread.is_alive() or time.monotonic() > deadline:
                    raise BugError("the stand-in for GitHub did not start")
                time.sleep(0.005)
            yield
        finally:
            self._hub.post.stop()
            server.should_exit = True
            thread.join(START_SECONDS)
