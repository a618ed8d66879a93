"""What both vendors' clients share: an HTTP client that trusts no environment, one reading of errors, and token bounds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bot.core.budget import Usage
from bot.core.conversation import Block, Text, ToolUse
from bot.core.errors import BadInput, OstlerError, SetupError, TransientError

if TYPE_CHECKING:
    import ssl

    import httpx2

CONNECT_SECONDS = 10.0
CHARACTERS_PER_TOKEN = 4
OVERHEAD = 2_000
"""Tokens a vendor adds to every request for its own tool and format instructions (Anthropic documents up to 804)."""
OVERHEAD_PER_NATIVE = 1_000
"""Tokens of a native tool's hidden description (Anthropic documents 245 for bash and 700 for the text editor)."""

_HEADERS_KEPT = frozenset(
    ("accept", "accept-encoding", "anthropic-version", "connection", "content-length", "content-type", "user-agent")
)
_NEVER_ACCEPTED = frozenset((409, 425, 429, 503, 529))
_OUT_OF_CREDIT = frozenset(("insufficient_quota", "billing_error"))


def checked_key(vendor: str, key: str) -> str:
    """`key` without surrounding space. SetupError, which doesn't quote it, where it can't be sent as a header."""
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise SetupError(f"the {vendor} API key is empty or has characters that no key has; set it again")
    return key


def http_client(timeout_seconds: float, headers: Mapping[str, str]) -> httpx2.Client:
    """A client for one request that takes proxies, certificates and credentials from no environment variable.

    Both SDKs add headers that `ANTHROPIC_CUSTOM_HEADERS`, `OPENAI_CUSTOM_HEADERS` or `OPENAI_ORG_ID` name, `Host` and
    `Authorization` included. So only known headers leave, and `headers` are set last.
    """
    import httpx2  # noqa: PLC0415 - a third of a second that most commands don't need

    def only_ours(request: httpx2.Request) -> None:
        for name in list(request.headers):
            if name.lower() not in _HEADERS_KEPT and not name.lower().startswith("x-stainless-"):
                del request.headers[name]
        request.headers.update({"host": request.url.netloc.decode("ascii"), **headers})

    timeout = httpx2.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds))
    return httpx2.Client(
        verify=_tls(), trust_env=False, follow_redirects=False, timeout=timeout, event_hooks={"request": [only_ours]}
    )


def answered(vendor: str, client: Any, path: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object that comes back at once; `client` is the SDK's, `asked` what its `post` takes."""
    import httpx2  # noqa: PLC0415 - as above

    message = client.post(path, cast_to=httpx2.Response, **asked).json()
    if not isinstance(message, dict):
        raise unreadable(vendor)
    return message


@cache
def _tls() -> ssl.SSLContext:
    """The trusted certificates, read once: each client would read them again, 17 ms a call."""
    import httpx2  # noqa: PLC0415 - as above

    context: ssl.SSLContext = httpx2.create_ssl_context(trust_env=False)
    return context


@contextmanager
def errors_of(sdk: ModuleType, vendor: str, key: str) -> Iterator[None]:
    """Turn what the SDK of `vendor` raises into Ostler's errors; `sdk` is the imported `anthropic` or `openai`.

    `from None` everywhere: the SDK's own texts may quote request headers, and with them the key.
    """
    import httpx2  # noqa: PLC0415 - as above

    try:
        yield
    except sdk.APIStatusError as error:
        raise status_error(vendor, key, error) from None
    except sdk.APIConnectionError as error:
        raise _connection_error(vendor, error.__cause__ or error) from None
    except httpx2.HTTPError as error:
        raise _connection_error(vendor, error) from None
    except sdk.APIError as error:
        text = redacted(str(error), key)
        raise TransientError(f"{vendor} broke off its answer: {text}", billed=None) from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise unreadable(vendor) from None


def unreadable(vendor: str) -> TransientError:
    """The answer came, and made no sense: it may well have been billed."""
    return TransientError(f"{vendor} answered with something that is not its format", billed=None)


def cut_off(vendor: str) -> TransientError:
    """The answer ended before the vendor said how much it cost."""
    return TransientError(f"the answer of {vendor} was cut off before its end", billed=None)


def _connection_error(vendor: str, cause: BaseException) -> TransientError:
    """Only a connection that never stood is certainly free."""
    kind = type(cause).__name__
    free = kind in ("ConnectError", "ConnectTimeout", "UnsupportedProtocol", "LocalProtocolError")
    return TransientError(f"the connection to {vendor} failed ({kind})", billed=False if free else None)


def status_error(vendor: str, key: str, error: Any) -> OstlerError:
    """Read an SDK's APIStatusError: `status_code`, `response`, `body`."""
    status = int(error.status_code)
    code, said = _said(error.body)
    said = redacted(said, key)
    if status in (401, 403):
        return SetupError(f"{vendor} refuses the API key (HTTP {status}); check the key and what it is allowed to do")
    if status == 402 or code in _OUT_OF_CREDIT:
        return SetupError(f"the {vendor} account has no credit left; add some, or use another key")
    if status == 404:
        return SetupError(f"{vendor} knows no such model or address; check the model id and the base URL: {said}")
    if 300 <= status < 400:
        return SetupError(f"the base URL of {vendor} answers with a redirect (HTTP {status}); set the final address")
    if status < 300:  # an error event in a stream that had begun
        return TransientError(f"{vendor} broke off its answer ({code or 'error'}): {said}", status=status, billed=None)
    if status in (408, 409, 425, 429) or status >= 500:
        billed = False if status in _NEVER_ACCEPTED else None
        wait = retry_after(error.response.headers)
        return TransientError(f"{vendor} answered HTTP {status}: {said}", status=status, retry_after=wait, billed=billed)
    return BadInput(f"{vendor} refuses the request (HTTP {status}): {said}")


def _said(body: object) -> tuple[str, str]:
    """Code and message of an error body: `{"error": {...}}`, the inner object alone, or text."""
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    if not isinstance(inner, Mapping):
        return "", str(inner or "no reason given")
    code = inner.get("code") or inner.get("type") or ""
    return str(code), str(inner.get("message") or "no reason given")


def redacted(text: str, key: str, limit: int = 300) -> str:
    """`text`, shortened, or a note in its place where it quotes eight or more characters of `key`."""
    width = min(8, len(key))
    if any(key[start : start + width] in text for start in range(len(key) - width + 1)):
        return "(not shown: the text quotes the key)"
    return text if len(text) <= limit else text[:limit] + "…"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` (seconds or an HTTP date); None where nothing usable is said."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        return max(0.0, float(headers["retry-after"]))
    except KeyError:
        return None
    except ValueError:
        return _seconds_until(headers.get("retry-after", ""))


def _seconds_until(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def sendable(value: Any) -> Any:
    """`value` with lone surrogates replaced: tool output may hold bytes that are no text, and JSON can't carry those."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {sendable(name): sendable(inner) for name, inner in value.items()}
    if isinstance(value, Sequence):
        return [sendable(inner) for inner in value]
    return value


def compact(value: Any) -> str:
    """JSON without spaces, non-ASCII as itself."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def bound(payload: Mapping[str, Any], *, native_tools: int, replayed: int) -> int:
    """The most input tokens `payload` can be billed for.

    A token stands for at least one byte, and JSON never shortens text, so the payload's bytes bound what we wrote.
    Hidden instructions come on top, and `replayed`: the output tokens of earlier replies whose sealed reasoning goes back.
    """
    return len(compact(payload).encode()) + OVERHEAD + native_tools * OVERHEAD_PER_NATIVE + replayed


def estimate(payload: Mapping[str, Any], blocks: Sequence[Block]) -> Usage:
    """Characters / 4, for an answer that came without usage."""
    written = sum(len(b.text) if isinstance(b, Text) else len(b.arguments) if isinstance(b, ToolUse) else 0 for b in blocks)
    return Usage(
        input=-(-len(compact(payload)) // CHARACTERS_PER_TOKEN), output=-(-written // CHARACTERS_PER_TOKEN), estimated=True
    )


def parsed_object(text: str) -> dict[str, Any] | None:
    """The JSON object in `text`, or None where there is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
