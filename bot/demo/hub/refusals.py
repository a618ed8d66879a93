"""How the stand-in says no, in GitHub's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Refusal(Exception):
    """The answer is no: status, message, and GitHub's list of `errors` for a 422."""

    def __init__(
        self, status: int, message: str, errors: list[Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors
        self.headers = dict(headers or {})


def not_found() -> Refusal:
    return Refusal(404, "Not Found")


def invalid(resource: str, field: str, code: str = "invalid", message: str = "") -> Refusal:
    """422 as GitHub words it for one field."""
    error = {"resource": resource, "field": field, "code": code} | ({"message": message} if message else {})
    return Refusal(422, "Validation Failed", [error])
