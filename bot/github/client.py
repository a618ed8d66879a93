"""One connection to GitHub: reads that are patient, changes that are made once.

A read that fails is tried again. A change is sent again only where it certainly had no effect: a limit, or a connection that
never stood. After any other silence its fate is unknown, and `once` looks for it before making it again.

githubkit does the signing in (tokens, an App's JWT, installation tokens); what to make of an answer is decided here, because its
own retries would send a comment four times.
"""

from __future__ import annotations

import ssl
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cache, lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urljoin, urlsplit

from bot.core.errors import BugError, PolicyError, SetupError, TransientError
from bot.github.answers import REDIRECTS, read_data, read_json, refusal, said_in
from bot.github.errors import Conflict, NotFound, UnknownOutcome
from bot.github.limits import READS, TOTAL_WAIT, TRIES, Clock, Pace, backoff, is_limit, limit_wait
from bot.github.once import once, repeatable
from bot.github.plain import checked_address, fetch, is_loopback, origin

if TYPE_CHECKING:
    import httpx

__all__ = ["Client", "Clock", "Conflict", "NotFound", "Pace", "UnknownOutcome", "once", "quoted", "repeatable"]

API_VERSION = "2022-11-28"
"""The version whose dispatch knows `return_run_details`; GitHub's newer one is not on every Enterprise Server."""
USER_AGENT = "ostler"
SECONDS = 30.0
KEPT_SECONDS = 3600.0
"""How long an answer is kept to be confirmed by a 304, which the rate limit doesn't count."""
MOST_PAGES = 100
MOSTREDIRECTS = 3


class Client:
    """GitHub as one account sees it: at most one repository. Threads may share it; changes go one after the other.

    A path that begins with "/" is absolute ("/app"), any other is relative to the repository. Use it as a context or `close` it.
    """

    def __init__(
        self,
        auth: Any,
        api_url: str,
        repository: str,
        *,
        pause: float = 1.0,
        reads: int = READS,
        clock: Clock | None = None,
        pace: Pace | None = None,
    ) -> None:
        """`auth` is a strategy of githubkit, `repository` "owner/name" or empty. Use the class methods.

        Raises:
            SetupError: the address is neither https nor on this machine, or the name is no repository's.
        """
        from githubkit import GitHub
        from githubkit.cache import MemCacheStrategy  # the default one is shared by every client of the process

        self.api_url, self.repository = checked_address(api_url), _checked_name(repository)
        self.clock = clock or Clock()
        self._pace = pace or Pace(pause, self.clock, reads)
        self._sending = threading.Lock()
        self._open = ExitStack()
        cached = MemCacheStrategy()
        self._open.callback(cached.cleanup)
        github: Any = GitHub(
            auth,
            base_url=self.api_url,
            user_agent=USER_AGENT,
            timeout=SECONDS,
            trust_env=False,
            follow_redirects=False,
            auto_retry=False,
            ssl_verify=_certificates(tls=self.api_url.startswith("https:")),
            http_cache=True,
            cache_strategy=cached,
        )
        self._http: httpx.Client = self._open.enter_context(github.get_sync_client())
        weakref.finalize(self, self._open.close)

    @classmethod
    def token(
        cls,
        token: str,
        api_url: str,
        repository: str,
        *,
        pause: float = 1.0,
        reads: int = READS,
        clock: Clock | None = None,
    ) -> Self:
        """With a workflow's or a person's token."""
        from githubkit import TokenAuthStrategy

        token = token.strip()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise SetupError("the GitHub token is empty or has characters that no token has; set it again")
        return cls(TokenAuthStrategy(token), api_url, repository, pause=pause, reads=reads, clock=clock)

    @classmethod
    def app(cls, app_id: str, private_key: str, api_url: str, *, clock: Clock | None = None) -> Self:
        """As the App itself, for paths below /app."""
        from githubkit import AppAuthStrategy

        return cls(AppAuthStrategy(app_id, _checked_key(private_key)), api_url, "", clock=clock)

    @classmethod
    def installation(
        cls,
        app_id: str,
        private_key: str,
        installation_id: int,
        api_url: str,
        repository: str,
        *,
        pause: float = 1.0,
        permissions: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        pace: Pace | None = None,
    ) -> Self:
        """As the App in one repository: its tokens are for that one only, with `permissions` or all that the App has."""
        from githubkit import AppInstallationAuthStrategy
        from githubkit.utils import UNSET

        wanted: Any = dict(permissions) if permissions is not None else UNSET
        only = [repository.partition("/")[2]] if repository else UNSET
        auth = AppInstallationAuthStrategy(
            app_id, _checked_key(private_key), installation_id, repositories=only, permissions=wanted
        )
        return cls(auth, api_url, repository, pause=pause, clock=clock, pace=pace)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the client can't be used any more."""
        self._open.close()

    @property
    def owner(self) -> str:
        return self.repository.partition("/")[0]

    # --- reading ---

    def get(self, path: str, **params: Any) -> Any:
        """The decoded answer. Raises NotFound, SetupError (not allowed) or TransientError (GitHub stays in trouble)."""
        return read_json(self._read(self._url(path), params))

    def pages(self, path: str, key: str | None = None, **params: Any) -> Iterator[Any]:
        """The items of all pages of a list; `key` names the list where the answer is an object."""
        url, params = self._url(path), {"per_page": 100, **params}
        for _ in range(MOST_PAGES):
            answer = self._read(url, params)
            page = read_json(answer)
            if key is not None:
                page = page.get(key) if isinstance(page, dict) else None
            if not isinstance(page, list):
                raise TransientError(f"GitHub's answer to GET {path} is not a list.", billed=False)
            yield from page
            following = answer.links.get("next", {}).get("url")
            if not following:
                return
            url, params = self._same_place(url, following), {}
        raise SetupError(f"GitHub's list {path} has more than {MOST_PAGES} pages.")

    def raw(self, path: str, max_bytes: int) -> bytes:
        """The bytes behind `path`, at most `max_bytes`. A redirect is followed without the token.

        Raises:
            PolicyError: more bytes than allowed.
        """
        answer = self._try_read(lambda: self._send("GET", self._url(path), {}, None), f"GET {path}", also=REDIRECTS)
        if answer.status_code not in REDIRECTS:
            if len(answer.content) > max_bytes:
                raise PolicyError(f"What GitHub has at {path} is larger than {max_bytes:,} bytes.")
            return answer.content
        target = urljoin(str(answer.request.url), answer.headers.get("location", ""))
        return fetch(target, max_bytes, self.clock, loopback=is_loopback(self.api_url))

    def graphql(self, query: str, **variables: Any) -> Any:
        """The `data` of a query (not of a mutation). Raises NotFound, SetupError, Conflict with the errors as `body`."""
        if query.lstrip().startswith("mutation"):
            raise BugError("graphql() is for queries: they are sent again, a mutation must not be")
        url = self.graphql_url
        body = {"query": query, "variables": variables}
        answer = self._try_read(lambda: self._send("POST", url, {}, body), "POST /graphql")
        return read_data(read_json(answer))

    @property
    def graphql_url(self) -> str:
        """`https://api.github.com/graphql`, or on an Enterprise Server `/api/graphql` beside `/api/v3`."""
        if self.api_url.endswith("/api/v3"):
            return self.api_url.removesuffix("/v3") + "/graphql"
        return self.api_url + "/graphql"

    # --- changing ---

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Make a change; the decoded answer, None where it has no body.

        Raises:
            UnknownOutcome: it may have been made.
            NotFound, Conflict, SetupError, TransientError: it was not made.
        """
        return self._change("POST", self._url(path), body)

    def patch(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Like `post`."""
        return self._change("PATCH", self._url(path), body)

    def put(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Like `post`."""
        return self._change("PUT", self._url(path), body)

    def delete(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Like `post`."""
        return self._change("DELETE", self._url(path), body)

    def mutate(self, mutation: str, **variables: Any) -> Any:
        """The `data` of a GraphQL mutation. Raises as `post`, and with the errors that the answer tells."""
        return read_data(self._change("POST", self.graphql_url, {"query": mutation, "variables": variables}))

    # --- beneath ---

    def _url(self, path: str) -> str:
        if path.startswith("/"):
            return self.api_url + path
        if not self.repository:
            raise BugError(f"{path} is relative to a repository, and this client has none")
        return f"{self.api_url}/repos/{self.repository}/{path}".rstrip("/")

    def _same_place(self, url: str, target: str) -> str:
        """`target` where it is on the API's own host and below its path: no other gets the token."""
        target = urljoin(url, target)
        if origin(target) != origin(self.api_url) or not urlsplit(target).path.startswith(urlsplit(self.api_url).path):
            raise SetupError(f"GitHub points from its API to another place, {origin(target)}; nothing is sent there.")
        return target

    def _read(self, url: str, params: Mapping[str, Any]) -> httpx.Response:
        path = self._short(url)
        for _ in range(MOSTREDIRECTS + 1):
            answer = self._try_read(lambda: self._send("GET", url, params, None), f"GET {path}", also=REDIRECTS)  # noqa: B023
            if answer.status_code not in REDIRECTS:
                return answer
            url, params = self._same_place(url, answer.headers.get("location", "")), {}
        raise SetupError(f"GitHub redirects GET {path} in circles.")

    def _try_read(self, send: Callable[[], httpx.Response], what: str, also: tuple[int, ...] = ()) -> httpx.Response:
        """Try until there is an answer, or too long has been waited. `also` are statuses that count as one."""
        waited = 0.0
        for tried in range(1, TRIES + 1):
            self._pace.read()
            try:
                answer = send()
            except _Dropped as dropped:
                trouble, wait = TransientError(f"GitHub did not answer {what} ({dropped}).", billed=False), None
            else:
                if answer.is_success or answer.status_code in also:
                    return answer
                trouble, wait = self._trouble(answer, what, tried)
            wait = backoff(tried, self.clock) if wait is None else wait
            if tried == TRIES or waited + wait > TOTAL_WAIT:
                raise trouble
            self.clock.sleep(wait)
            waited += wait
        raise BugError("the last try neither answered nor raised")

    def _trouble(self, answer: httpx.Response, what: str, tried: int) -> tuple[TransientError, float | None]:
        """The error of an answer that may be another later, and the seconds to wait where it says them; else raises."""
        said = said_in(answer)
        if is_limit(answer.status_code, answer.headers, said):
            wait = limit_wait(answer.headers, tried, self.clock.now())
            text = f"GitHub's rate limit is used up ({what}: {said}); it says to wait {wait:.0f} s."
            return TransientError(text, status=answer.status_code, retry_after=wait, billed=False), wait
        if answer.status_code >= 500 or answer.status_code == 408:
            text = f"GitHub is in trouble ({what}: HTTP {answer.status_code})."
            return TransientError(text, status=answer.status_code, billed=None), None
        raise refusal(answer, what, said)

    def _change(self, method: str, url: str, body: Mapping[str, Any] | None) -> Any:
        what, waited = f"{method} {self._short(url)}", 0.0
        for tried in range(1, TRIES + 1):
            try:
                with self._pace:
                    answer = self._send(method, url, {}, body)
            except _Dropped as dropped:
                if dropped.sent:
                    raise UnknownOutcome(f"GitHub did not answer {what} ({dropped}).", billed=None) from None
                trouble: TransientError = TransientError(f"GitHub can't be reached ({what}: {dropped}).", billed=False)
                wait = backoff(tried, self.clock)
            else:
                if answer.is_success:
                    return read_json(answer) if answer.content else None
                trouble, limit = self._trouble(answer, what, tried)
                if limit is None:
                    raise UnknownOutcome(str(trouble), status=trouble.status, billed=None)
                wait = limit
            if tried == TRIES or waited + wait > TOTAL_WAIT:
                raise trouble
            self.clock.sleep(wait)
            waited += wait
        raise BugError("the last try neither answered nor raised")

    def _send(self, method: str, url: str, params: Mapping[str, Any], body: Mapping[str, Any] | None) -> httpx.Response:
        """One try. Raises _Dropped where no answer came, SetupError where signing in failed."""
        import httpx  # noqa: PLC0415 - loaded by githubkit anyway
        from githubkit.exception import GitHubException, RequestFailed

        plain = {name: _plain(value) for name, value in params.items() if value is not None}
        request = self._http.build_request(
            method,
            url,
            params=plain or None,
            json=body,
            headers={"X-GitHub-Api-Version": API_VERSION},
            extensions={"hishel_ttl": KEPT_SECONDS},
        )
        try:
            with self._sending:  # the cache of answers is one SQLite connection
                answer = self._http.send(request)
        except RequestFailed as error:  # the request for an installation's token failed, so ours was never sent
            answer = error.response.raw_response
            if answer.status_code in (401, 404):
                raise SetupError(
                    "GitHub gives the App no token for this repository "
                    f"(HTTP {answer.status_code}): check its id, its key, and that it is installed there."
                ) from None
            if answer.status_code >= 500:
                raise _Dropped(f"HTTP {answer.status_code} for the App's token", sent=False) from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise _Dropped(type(error).__name__, sent=False) from None
        except httpx.HTTPError as error:
            raise _Dropped(type(error).__name__, sent=True) from None
        except (GitHubException, ValueError) as error:
            raise TransientError(f"GitHub's token for the App can't be read ({type(error).__name__}).", billed=False) from None
        self._pace.heard(answer.headers)
        return answer

    def _short(self, url: str) -> str:
        return url.removeprefix(self.api_url).removeprefix(f"/repos/{self.repository}/")


class _Dropped(Exception):
    """No answer came. `sent` is whether the request may have arrived."""

    def __init__(self, kind: str, *, sent: bool) -> None:
        super().__init__(kind)
        self.sent = sent


def quoted(part: str) -> str:
    """`part` as one segment of a path."""
    return quote(part, safe="")


def _checked_name(repository: str) -> str:
    owner, _, name = repository.partition("/")
    fine = all(part and part not in (".", "..") and not set(part) & set("/?#%\\ ") for part in (owner, name))
    if repository and not fine:
        raise SetupError(f"{repository!r} is no repository; give it as owner/name.")
    return repository


@cache
def _certificates(*, tls: bool) -> ssl.SSLContext:
    """What servers are believed by, for all clients of the process. On this machine, without TLS, nothing has to be loaded."""
    import httpx  # noqa: PLC0415 - loaded by githubkit anyway

    return httpx.create_ssl_context(trust_env=False) if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@lru_cache(maxsize=8)
def _checked_key(private_key: str) -> Any:
    """The key itself, which signs like its text does: reading it takes 40 ms, and githubkit would again for every token."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - only the App has a key
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - as above

    try:
        return load_pem_private_key(private_key.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SetupError("the App's private key is not a PEM key without a password; download it from GitHub again") from None


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
