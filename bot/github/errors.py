"""What GitHub's refusals mean to a caller: look again, look and compare, or give up."""

from __future__ import annotations

from typing import Any

from bot.core.errors import SetupError, TransientError


class UnknownOutcome(TransientError):
    """A change may or may not have been made: find it before making it again."""


class NotFound(SetupError):
    """GitHub has no such thing, or the token may not see it."""


class Conflict(SetupError):
    """GitHub refuses a change because of what is there already, or does not take its values (409, 422).

    `status` is the answer's, `body` its decoded JSON, or its text.
    """

    def __init__(self, message: str, status: int, body: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = body
