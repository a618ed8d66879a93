"""door: the App. HTTP in one thread, the work in another; what must not be lost is in the database between them."""

from __future__ import annotations

import gc
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.core.errors import OstlerError, SetupError, TransientError
from bot.github.manifest import WEBHOOK
from bot.store.database import Database
from bot.store.runs import LANES
from bot.telemetry import JobAnswered, Log, Metrics, Telemetry, Trouble
from bot.web import figures, jobs, pages, queue
from bot.web.intake import Intake, Unreadable, body
from bot.web.office import Office
from bot.web.settings import AppSettings
from bot.web.worker import Worker

GRACE = 15
"""Seconds that requests and the worker have to finish when the App is told to stop. What they don't is found again."""
SILENT = 900.0
"""Seconds without a sign of the worker after which it counts as stuck; a limit of GitHub may hold it for 300."""


class Door:
    """The App's answers over HTTP."""

    def __init__(self, office: Office, worker: Worker, registry: CollectorRegistry, desk: jobs.Desk | None = None) -> None:
        self._office, self._worker, self._registry = office, worker, registry
        self._intake = Intake(office)
        self._desk = desk or jobs.Desk(office)
        self._lanes = Gauge("ostler_sessions", "Sessions by what is next for them", ["lane"], registry=registry)
        self._waiting = Gauge("ostler_deliveries_waiting", "Stored deliveries that wait for their work", registry=registry)

    def asgi(self) -> ASGIApp:
        """All of them; deliveries come past Starlette's wrappings, which take as long as most of their answers."""
        others = Starlette(
            routes=[
                Route(WEBHOOK, self.webhook, methods=["POST"]),
                Route("/api/jobs/{endpoint}", self.job, methods=["POST"]),
                Route("/health", self.live),
                Route("/api/health", self.ready),
                Route("/metrics", self.metrics),
                Route("/runs/{session}", self.run),
                *(Route(path, self.figures) for path in figures.ANSWERS),
                Route("/api/queue/reset-stale", self.reset_stale, methods=["POST"]),
                Route("/api/queue/{session}/position", self.place, methods=["POST"]),
            ]
        )

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"] == WEBHOOK and scope["method"] == "POST":
                response = await self.webhook(Request(scope, receive))
                await response(scope, receive, send)
            else:
                await others(scope, receive, send)

        return app

    async def webhook(self, request: Request) -> Response:
        try:
            return await self._intake.answer(request)
        except Exception as error:  # noqa: BLE001 - GitHub is told to try again, and nobody a traceback
            return self._failed("webhook", error)

    async def job(self, request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        if endpoint not in jobs.ENDPOINTS:
            return PlainTextResponse("Not found.\n", 404)
        try:
            raw = await body(request, jobs.MAX_BYTES)
            given = request.headers.getlist("authorization")
            said = await run_in_threadpool(self._desk.answer, endpoint, given[0] if len(given) == 1 else "", raw)
        except (jobs.Refused, Unreadable) as error:
            return self._refused(endpoint, error.status, str(error))
        except TransientError as error:
            return self._refused(endpoint, 503, str(error))
        except SetupError as error:
            return self._refused(endpoint, 409, str(error))
        except Exception as error:  # noqa: BLE001 - as above
            return self._failed(endpoint, error)
        self._office.telemetry.tell(JobAnswered(endpoint, 200, str(said.get("why", ""))))
        return JSONResponse(said)

    def _refused(self, endpoint: str, status: int, why: str) -> Response:
        self._office.telemetry.tell(JobAnswered(endpoint, status, why))
        return JSONResponse({"error": why}, status)

    def _failed(self, where: str, error: Exception) -> Response:
        self._office.telemetry.tell(Trouble(where, type(error).__name__, str(error)))
        return PlainTextResponse("Something went wrong here; try again later.\n", 503)

    async def live(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(self, _: Request) -> Response:
        """Whether work gets done: the database answers and the worker is at it."""
        office, worker = self._office, self._worker
        database = await run_in_threadpool(office.database.answers)
        at_work = worker.alive and office.clock() - worker.beat < SILENT
        fine = database and at_work
        return JSONResponse({"ok": fine, "database": database, "worker": at_work}, 200 if fine else 503)

    async def metrics(self, _: Request) -> Response:
        return await run_in_threadpool(self._measured)

    def _measured(self) -> Response:
        lanes = self._office.queue.lanes()
        for lane in LANES:
            self._lanes.labels(lane).set(lanes.get(lane, 0))
        self._waiting.set(self._office.inbox.waiting())
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def figures(self, request: Request) -> Response:
        """What sessions cost and who waits."""
        query, ask = request.query_params.multi_items(), figures.ANSWERS[request.url.path]
        return await self._with_token(request, lambda _: ask(self._office, query))

    async def reset_stale(self, request: Request) -> Response:
        return await self._with_token(request, lambda raw: queue.reset_stale(self._office, raw))

    async def place(self, request: Request) -> Response:
        session = request.path_params["session"]
        return await self._with_token(request, lambda raw: queue.place(self._office, session, raw))

    async def _with_token(self, request: Request, answer: Callable[[bytes], Mapping[str, Any]]) -> Response:
        """For whoever has the App's token; of nobody else a body is read."""
        try:
            figures.admit(self._office, request.headers.getlist("authorization"))
            said = await run_in_threadpool(answer, await body(request, queue.MAX_BYTES))
        except (jobs.Refused, Unreadable) as error:
            return JSONResponse({"error": str(error)}, error.status, pages.HEADERS)
        except Exception as error:  # noqa: BLE001 - as above
            return self._failed("figures", error)
        return JSONResponse(said, headers=pages.HEADERS)

    async def run(self, request: Request) -> Response:
        key = request.query_params.get("key", "")
        try:
            page = await run_in_threadpool(pages.run_page, self._office, request.path_params["session"], key)
        except Exception as error:  # noqa: BLE001 - as above
            return self._failed("page", error)
        if page is None:
            return PlainTextResponse("Not found.\n", 404, pages.HEADERS)
        return HTMLResponse(page, headers=pages.HEADERS)


def serve(settings: AppSettings) -> int:
    """Run the App until it is told to stop (SIGTERM, SIGINT); the exit code.

    Raises:
        SetupError: a setting, the database or the port is wrong; one sentence says which.
    """
    registry = CollectorRegistry()
    telemetry = Telemetry([Log(), Metrics(registry)])
    database = Database.open(settings.database_url)
    try:
        office = Office(settings, database, telemetry)
        _ = office.access.app  # a key that is none is said now
        if database.hold():
            office.inbox.release()
            office.queue.release()
        worker = Worker(office)
        gc.collect()
        gc.freeze()  # what starting made stays: nobody waits while the collector looks at it again
        with _listener(settings) as listener:
            return _listen(settings, office, worker, Door(office, worker, registry), listener)
    finally:
        database.close()


def _listener(settings: AppSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=256)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise SetupError(f"The App cannot listen on {where} ({error.strerror}): see OSTLER_HOST and OSTLER_PORT.") from error


def _listen(settings: AppSettings, office: Office, worker: Worker, door: Door, listener: socket.socket) -> int:
    config = uvicorn.Config(
        door.asgi(),
        loop="uvloop",
        http="httptools",
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=256,
        timeout_graceful_shutdown=GRACE,
    )
    server = uvicorn.Server(config)
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn stops, then raises the signal again for whoever listened before: nobody, so that what follows is done.
            signal.signal(number, lambda *_: None)
    host, port = listener.getsockname()[:2]
    print(f"The App listens on http://{f'[{host}]' if ':' in host else host}:{port}.", flush=True)
    worker.start()
    try:
        server.run(sockets=[listener])
    finally:
        worker.stop(GRACE)
        try:
            office.access.close()
        except OstlerError as error:
            print(f"ostler: {error}", file=sys.stderr)
    return 0
