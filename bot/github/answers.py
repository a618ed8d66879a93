"""GitHub's answers, read: what it said, what kind of no it is, and GraphQL's errors, which come with status 200."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.core.errors import OstlerError, SetupError, TransientError
from bot.github.errors import Conflict, NotFound, UnknownOutcome

if TYPE_CHECKING:
    import httpx

REDIRECTS = (301, 302, 303, 307, 308)


def read_json(answer: httpx.Response) -> Any:
    """The decoded body. Raises UnknownOutcome after a change, TransientError after a read."""
    try:
        return answer.json()
    except ValueError:
        what = f"{answer.request.method} {answer.request.url.path}"
        if answer.request.method in ("GET", "HEAD"):
            raise TransientError(f"GitHub's answer to {what} is not JSON.", billed=False) from None
        raise UnknownOutcome(f"GitHub's answer to {what} is not JSON.", billed=None) from None


def _body(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return answer.text


def said_in(answer: httpx.Response) -> str:
    """The message of an error, on one line, with the fields it names."""
    body = _body(answer)
    if not isinstance(body, dict):
        return f"HTTP {answer.status_code}"
    errors = body.get("errors")
    named = [
        error if isinstance(error, str) else str(error.get("message") or f"{error.get('field')} {error.get('code')}")
        for error in (errors if isinstance(errors, list) else [])
        if isinstance(error, str | dict)
    ]
    text = " ".join(" ".join([str(body.get("message") or f"HTTP {answer.status_code}"), *named]).split())
    return text if len(text) <= 300 else text[:300] + "…"


def refusal(answer: httpx.Response, what: str, said: str) -> OstlerError:
    """The error of an answer that will not be another later. `what` was asked, `said` is its message."""
    status = answer.status_code
    if status == 401:
        return SetupError(f"GitHub refuses the token ({what}: {said}); it is wrong or has ended.")
    if status in (403, 451):
        needs = answer.headers.get("x-accepted-github-permissions", "")
        missing = f"the token needs {needs}" if needs else "the token lacks a permission for this"
        return SetupError(f"GitHub does not allow {what} ({said}); {missing}.")
    if status in (404, 410):
        return NotFound(f"GitHub has nothing at {what}, or the token may not see it ({said}).")
    if status in REDIRECTS:
        return SetupError(f"GitHub redirects {what}; was the repository renamed?")
    return Conflict(f"GitHub refuses {what} (HTTP {status}: {said}).", status, _body(answer))


def read_data(body: Any) -> Any:
    """The data of a GraphQL answer, whose errors come with status 200."""
    errors = body.get("errors") if isinstance(body, dict) else [{"message": "not an object"}]
    if not errors:
        return body.get("data")
    kinds = {error.get("type") for error in errors if isinstance(error, dict)}
    text = "; ".join(str(error.get("message", "")) for error in errors if isinstance(error, dict))[:300]
    if kinds & {"RATE_LIMIT", "RATE_LIMITED"}:
        raise TransientError(f"GitHub's GraphQL limit is used up ({text}).", retry_after=60.0, billed=False)
    if "NOT_FOUND" in kinds:
        raise NotFound(f"GitHub's GraphQL has no such thing ({text}).")
    if kinds & {"FORBIDDEN", "INSUFFICIENT_SCOPES"}:
        raise SetupError(f"GitHub does not allow the query ({text}); the token lacks a permission for it.")
    raise Conflict(f"GitHub refuses the query ({text}).", 200, errors)
