"""Webhooks at the door: bytes, then the signature, then the shape, then a row on disk, then 202. No work, no network.

Most deliveries ask nothing of Ostler and are answered after the signature and a look. Sources: GitHub's "Best practices for using
webhooks" (an answer within 10 s) and rows 9 to 12 of the threat model.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from functools import lru_cache, partial
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from bot.core.board import BOARD_LABEL
from bot.core.errors import BadInput, PolicyError
from bot.core.session import LABEL, STOP_LABEL
from bot.core.triggers import command
from bot.github.webhook import MAX_BYTES, NO_ACTION, CheckRun, Delivery, ignored, parse, slim, verify
from bot.store.inbox import MOST, Arrived
from bot.telemetry import Delivered
from bot.web.office import Office

SECONDS = 10.0
LARGE = 100_000
"""Bytes from which a body is read in a thread: others wait no longer than a few milliseconds for it."""
WHY = "x-ostler-why"
"""GitHub shows it under the App's recent deliveries."""
_GUID = re.compile(r"[A-Za-z0-9-]{1,100}")
_EVENT = re.compile(r"[a-z0-9_]{1,60}")


class Unreadable(Exception):
    """The body did not come, or not in time, or there is too much of it; `status` is HTTP's."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Verdict(NamedTuple):
    """What is to become of a delivery: kept, unless `why` says why not; `status` is HTTP's answer."""

    status: int
    event: str
    why: str = ""
    guid: str = ""
    kept: bytes = b""


async def body(request: Request, most: int, seconds: float = SECONDS) -> bytes:
    """The body, counted as it comes: a length that is announced is only believed where it is too large.

    Raises:
        Unreadable: more than `most` bytes, or not there after `seconds`.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > 12 or int(announced) > most):
        raise Unreadable(413, f"More than {most:,} bytes.")
    parts, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            more = True
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Unreadable(400, "The body ended early.")
                part, more = message.get("body", b""), message.get("more_body", False)
                size += len(part)
                if size > most:
                    raise Unreadable(413, f"More than {most:,} bytes.")
                parts.append(part)
    except TimeoutError:
        raise Unreadable(408, "The body did not come in time.") from None
    return b"".join(parts)


class Intake:
    """Deliveries from their bytes to the disk. Those that come while one sync is under way share the next."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._waiting: list[tuple[Arrived, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def answer(self, request: Request) -> Response:
        """202 for what is kept, 204 for what is not for us, 401 without a good signature, 400 for what is no delivery."""
        try:
            raw = await body(request, MAX_BYTES)
        except Unreadable as error:
            return self._refused(Verdict(error.status, "", str(error)))
        judge = partial(_judged, self._office, request.scope["headers"], raw)
        judged = judge() if len(raw) < LARGE else await run_in_threadpool(judge)
        if judged.status == 204:
            self._office.telemetry.tell(Delivered(judged.event, "ignored", judged.why))
            return _nothing(judged.why)
        if judged.status != 202:
            return self._refused(judged)
        await self._keep(Arrived(judged.guid, judged.event, judged.kept, self._office.clock()))
        return PlainTextResponse("Accepted.\n", 202)

    def _refused(self, judged: Verdict) -> Response:
        self._office.telemetry.tell(Delivered(judged.event, "refused", judged.why))
        return PlainTextResponse(f"{judged.why}\n", judged.status)

    async def _keep(self, arrived: Arrived) -> None:
        """It is on disk when this returns."""
        kept = asyncio.get_running_loop().create_future()
        self._waiting.append((arrived, kept))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await kept

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            try:
                await run_in_threadpool(self._put, [arrived for arrived, _ in batch])
            except Exception as error:  # noqa: BLE001 - whoever waits for it raises it
                for _, kept in batch:
                    kept.set_exception(error)
            else:
                for _, kept in batch:
                    kept.set_result(None)

    def _put(self, batch: list[Arrived]) -> None:
        new = self._office.inbox.put(batch)
        self._office.wake.set()
        for arrived, is_new in zip(batch, new, strict=True):
            self._office.telemetry.tell(Delivered(arrived.event, "stored" if is_new else "repeated"))


@lru_cache(64)
def _nothing(why: str) -> Response:
    return Response(status_code=204, headers={WHY: why})


def _judged(office: Office, headers: Iterable[tuple[bytes, bytes]], raw: bytes) -> Verdict:
    told: dict[bytes, list[str]] = {b"x-hub-signature-256": [], b"x-github-event": [], b"x-github-delivery": []}
    for name, value in headers:
        if name in told:
            told[name].append(value.decode("latin-1"))
    signatures, events, guids = told.values()
    try:
        verify(office.settings.webhook_secrets, raw, signatures)
    except PolicyError as error:
        return Verdict(401, "", str(error))
    if len(events) != 1 or len(guids) != 1 or not _EVENT.fullmatch(events[0]) or not _GUID.fullmatch(guids[0]):
        return Verdict(400, "", "The delivery has no event or no id.")
    event = events[0]
    if why := ignored(event, raw):
        return Verdict(204, event, why)
    try:
        delivery = parse(event, raw)
    except BadInput as error:
        return Verdict(400, event, str(error))
    if why := unasked(delivery, office.access.app_id):
        return Verdict(204, event, why)
    return Verdict(202, event, "", guids[0], slim(delivery))


def unasked(delivery: Delivery, app_id: int) -> str:
    """Why there is nothing to do; empty where there may be something. Only people ask, so that Ostler never answers itself."""
    if not delivery.installation_id:
        return "it is of no installation"
    match delivery.event, delivery.action:
        case "issues", "labeled":
            fits, other = delivery.label in (LABEL, STOP_LABEL, BOARD_LABEL), "the label is another one"
        case "issues", "unlabeled":
            return "" if delivery.label == BOARD_LABEL else "the label is another one"
        case "issues", "edited":
            fits, other = bool(delivery.ticks), "no box of a dashboard was ticked"
        case "issue_comment", "created":
            said = delivery.comment.body if delivery.comment else ""
            fits, other = command(said) is not None, "it is no command"
        case "pull_request_review", "submitted":
            fits, other = True, ""
        case "check_run", "completed":
            return "" if _on_pull(delivery.check_run, app_id) else "it is on no pull request, or Ostler's own"
        case "check_run", "requested_action":
            fits, other = delivery.check_run is not None and delivery.check_run.app_id == app_id, "the check run is another App's"
        case "workflow_run", "completed":
            return ""
        case ("installation", "created" | "deleted" | "suspend" | "unsuspend") | (
            "installation_repositories",
            "added" | "removed",
        ):
            return ""
        case _:
            return NO_ACTION
    if not fits:
        return other
    return "" if delivery.sender.type == "User" else "only people ask for something"


def _on_pull(check: CheckRun | None, app_id: int) -> bool:
    """Whether it is somebody else's word about a pull request."""
    return check is not None and bool(check.pulls) and check.app_id != app_id
