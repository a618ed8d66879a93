"""Addresses, and HTTP without GitHub's token: where GitHub's downloads are stored, and where identity tokens come from."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

from bot.core.errors import PolicyError, SetupError, TransientError
from bot.github.answers import REDIRECTS
from bot.github.limits import Clock, backoff

SECONDS = 30.0
TRIES = 4
MOSTREDIRECTS = 3


def fetch(
    url: str, max_bytes: int, clock: Clock | None = None, *, loopback: bool = False, headers: Mapping[str, str] | None = None
) -> bytes:
    """What is at `url`, at most `max_bytes`; nothing is taken from the environment, and no cookie or token is kept.

    `loopback` allows plain http on this machine. With `headers` redirects are refused: they are for this place only.

    Raises:
        PolicyError: it is larger than allowed.
        SetupError: the place refuses, redirects too often, or is not https.
        TransientError: it stays in trouble.
    """
    clock = clock or Clock()
    for tried in range(1, TRIES + 1):
        try:
            return _follow(url, max_bytes, loopback=loopback, headers=headers)
        except TransientError:
            if tried == TRIES:
                raise
            clock.sleep(backoff(tried, clock))
    raise TransientError(f"{url} did not answer")


def _follow(url: str, max_bytes: int, *, loopback: bool, headers: Mapping[str, str] | None) -> bytes:
    for _ in range(MOSTREDIRECTS + 1):
        content, target = _once(checked(url, loopback=loopback), max_bytes, headers)
        if target is None:
            return content
        if headers:
            raise SetupError(f"{_place(url)} redirects; what is sent there may go nowhere else.")
        url = urljoin(url, target)
    raise SetupError(f"{_place(url)} redirects in circles.")


def _once(url: str, max_bytes: int, headers: Mapping[str, str] | None) -> tuple[bytes, str | None]:
    """The bytes, or the address that a redirect points to."""
    import httpx  # noqa: PLC0415 - a sixth of a second that most commands don't need

    parts: list[bytes] = []
    size = 0
    try:
        with (
            httpx.Client(trust_env=False, follow_redirects=False, timeout=SECONDS) as http,
            http.stream("GET", url, headers=dict(headers or {})) as answer,
        ):
            if answer.status_code in REDIRECTS:
                return b"", answer.headers.get("location", "")
            _check(answer.status_code, url)
            for part in answer.iter_bytes(65_536):
                size += len(part)
                if size > max_bytes:
                    raise PolicyError(f"What is at {_place(url)} is larger than {max_bytes:,} bytes.")
                parts.append(part)
    except httpx.HTTPError as error:
        raise TransientError(f"{_place(url)} did not answer ({type(error).__name__}).", billed=False) from None
    return b"".join(parts), None


def _check(status: int, url: str) -> None:
    if status in (408, 429) or status >= 500:
        raise TransientError(f"{_place(url)} is in trouble (HTTP {status}).", status=status, billed=False)
    if status >= 300:
        raise SetupError(f"{_place(url)} refuses (HTTP {status}).")


def checked(url: str, *, loopback: bool) -> str:
    """`url` where it is https, or with `loopback` http on this machine; else SetupError."""
    if url.startswith("https://") or (loopback and url.startswith("http://") and is_loopback(url)):
        return url
    raise SetupError(f"{_place(url)} is no https address.")


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port."""
    parts = urlsplit(url)
    standing = {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", parts.port or standing


def is_loopback(url: str) -> bool:
    return (urlsplit(url).hostname or "") in ("127.0.0.1", "::1", "localhost")


def checked_address(url: str) -> str:
    """`url` without a slash at its end. SetupError where a token could be read on its way there."""
    parts = urlsplit(url)
    if (parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(url))) or not parts.hostname or parts.username:
        raise SetupError(f"The address {url!r} is no https address; GitHub's API is at https://api.github.com.")
    return url.rstrip("/")


def api_of(site: str) -> str:
    """The API of the GitHub at `site`: a host beside github.com and its like at ghe.com, a path of an Enterprise Server's own.

    Source: GitHub's "Getting started with the REST API", for each of its products.
    """
    scheme, host, _ = origin(site)
    return f"{scheme}://api.{host}" if is_hosted(host) else f"{site}/api/v3"


def site_of(api_url: str) -> str:
    """Where the pages are of the GitHub whose API is at `api_url`."""
    parts = urlsplit(api_url)
    host = parts.netloc.removeprefix("api.")
    return f"{parts.scheme}://{host if is_hosted(host) else parts.netloc}"


def is_hosted(host: str) -> bool:
    """Whether GitHub runs it: then its API and identity tokens have hosts of their own."""
    return host == "github.com" or host.endswith(".ghe.com")


def _place(url: str) -> str:
    """Where, without the query: it may hold a signature."""
    return url.partition("?")[0]
