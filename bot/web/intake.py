"""Webhooks at the door: bytes, then the signature, then the shape, then one row on disk, then 202. No work, no network.

Sources: GitHub's "Best practices for using webhooks" (an answer within 10 s) and rows 9 to 12 of the threat model.
"""

from __future__ import annotations

import asyncio
import re

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from bot.core.board import BOARD_LABEL
from bot.core.errors import BadInput, PolicyError
from bot.core.session import LABEL, STOP_LABEL
from bot.core.triggers import command
from bot.github.webhook import MAX_BYTES, Delivery, parse, verify
from bot.telemetry import Delivered
from bot.web.office import Office

SECONDS = 10.0
_GUID = re.compile(r"[A-Za-z0-9-]{1,100}")
_EVENT = re.compile(r"[a-z_]{1,60}")


class Unreadable(Exception):
    """The body did not come, or not in time, or there is too much of it; `status` is HTTP's."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


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
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise Unreadable(413, f"More than {most:,} bytes.")
                parts.append(part)
    except TimeoutError:
        raise Unreadable(408, "The body did not come in time.") from None
    except ClientDisconnect:
        raise Unreadable(400, "The body ended early.") from None
    return b"".join(parts)


async def webhook(office: Office, request: Request) -> Response:
    """202 for what is kept, 204 for what is not for us, 401 without a good signature, 400 for what is no delivery."""
    try:
        raw = await body(request, MAX_BYTES)
    except Unreadable as error:
        return _refuse(office, "", error.status, str(error))
    return await run_in_threadpool(_taken, office, request, raw)


def _taken(office: Office, request: Request, raw: bytes) -> Response:
    try:
        verify(office.settings.webhook_secrets, raw, request.headers)
    except PolicyError as error:
        return _refuse(office, "", 401, str(error))
    events, guids = request.headers.getlist("x-github-event"), request.headers.getlist("x-github-delivery")
    if len(events) != 1 or len(guids) != 1 or not _EVENT.fullmatch(events[0]) or not _GUID.fullmatch(guids[0]):
        return _refuse(office, "", 400, "The delivery has no event or no id.")
    event, guid = events[0], guids[0]
    try:
        delivery = parse(event, raw)
    except BadInput as error:
        return _refuse(office, event, 400, str(error))
    if delivery is None or not wanted(delivery, office.access.app_id):
        office.telemetry.tell(Delivered(event if delivery else "other", "ignored"))
        return Response(status_code=204)
    new = office.inbox.put(guid, event, raw, office.clock())
    office.wake.set()
    office.telemetry.tell(Delivered(event, "stored" if new else "repeated"))
    return PlainTextResponse("Accepted.\n", 202)


def wanted(delivery: Delivery, app_id: int) -> bool:
    """Whether there may be something to do. Only people ask for something, so that Ostler never answers itself."""
    if not delivery.installation_id:
        return False
    person = delivery.sender.type == "User"
    match delivery.event, delivery.action:
        case "issues", "labeled":
            return person and delivery.label in (LABEL, STOP_LABEL, BOARD_LABEL)
        case "issues", "unlabeled":
            return delivery.label == BOARD_LABEL
        case "issues", "edited":
            return person and bool(delivery.ticks)
        case "issue_comment", "created":
            said = delivery.comment.body if delivery.comment else ""
            return person and not delivery.is_pull and command(said) is not None
        case "check_run", "requested_action":
            return person and delivery.check_run is not None and delivery.check_run.app_id == app_id
        case "workflow_run", "completed":
            return True
        case ("installation", "created" | "unsuspend") | ("installation_repositories", "added"):
            return True
    return False


def _refuse(office: Office, event: str, status: int, why: str) -> Response:
    office.telemetry.tell(Delivered(event, "refused", why))
    return PlainTextResponse(f"{why}\n", status)
