"""Identity tokens: a job asks GitHub for one, and the App reads in it which run of which workflow is talking.

Source: GitHub's "OpenID Connect reference". Numbers in the claims are written as text there.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from bot.core.errors import PolicyError, TransientError
from bot.github.limits import Clock
from bot.github.plain import checked_address, fetch, is_hosted, is_loopback, origin

ISSUER = "https://token.actions.githubusercontent.com"
MAX_BYTES = 200_000
MAX_TOKEN = 20_000
LEEWAY = 60
"""Seconds that two machines' clocks may differ."""
LEAST_PAUSE = 60.0
"""Seconds between two requests for the issuer's keys, whatever key ids strangers invent."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Who a job is. `issued_at` and `expires_at` are seconds since the epoch."""

    repository_id: int
    repository: str
    ref: str
    event_name: str
    run_id: int
    run_attempt: int
    job_workflow_ref: str
    job_workflow_sha: str
    jti: str
    runner_environment: str
    issued_at: int
    expires_at: int


class Keys:
    """An issuer's public keys by id, asked for when an unknown one turns up. Threads may share it."""

    def __init__(self, ask: Callable[[], Mapping[str, Any]], clock: Clock | None = None) -> None:
        """`ask` gives the JWKS."""
        self._ask, self._clock = ask, clock or Clock()
        self._lock = threading.Lock()
        self._keys: dict[str, Any] = {}
        self._asked: float | None = None

    @classmethod
    def of(cls, issuer: str, clock: Clock | None = None) -> Keys:
        """The keys that `issuer` publishes at its well-known address."""
        issuer = checked_address(issuer)
        return cls(lambda: published(issuer, clock), clock)

    def key(self, kid: str) -> Any:
        """The key, None where the issuer has no such one."""
        with self._lock:
            now = self._clock.now()
            if kid not in self._keys and (self._asked is None or now - self._asked >= LEAST_PAUSE):
                self._keys = _read_keys(self._ask())
                self._asked = now
            return self._keys.get(kid)


def issuer_of(site: str) -> str:
    """Who signs the identity tokens of jobs of the GitHub at `site`. Source: GitHub's "OpenID Connect reference"."""
    scheme, host, _ = origin(site)
    if host == "github.com":
        return ISSUER
    return f"{scheme}://token.actions.{host}" if is_hosted(host) else f"{site}/_services/token"


def request_token(url: str, token: str, audience: str, clock: Clock | None = None) -> str:
    """An identity token for `audience`; `url` and `token` are what Actions gives a job with `id-token: write`."""
    joint = "&" if "?" in url else "?"
    asked = f"{url}{joint}audience={quote(audience, safe='')}"
    raw = fetch(asked, MAX_BYTES, clock, loopback=True, headers={"Authorization": f"Bearer {token}"})
    value = _object(raw).get("value")
    if not isinstance(value, str) or not value:
        raise TransientError("GitHub gave the job no identity token.", billed=False)
    return value


def verify(token: str, keys: Keys, *, issuer: str, audience: str, now: float) -> Claims:
    """What `token` says, if `issuer` signed it for `audience` and it is good at `now` (seconds since the epoch).

    Which repository, workflow and run may do what is for the caller to decide, and so is a `jti` seen before.

    Raises:
        PolicyError: anything else.
    """
    import jwt  # noqa: PLC0415 - only the App reads tokens

    if len(token) > MAX_TOKEN:
        raise PolicyError("The identity token is too long.")
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = keys.key(kid) if isinstance(kid, str) else None
        if key is None:
            raise PolicyError("The identity token is signed with a key that its issuer does not have.")
        claims: dict[str, Any] = jwt.decode(token, key, algorithms=["RS256"], options=_signature_only())
    except (jwt.PyJWTError, ValueError, TypeError):
        raise PolicyError("The identity token is not one that its issuer signed.") from None
    if claims.get("iss") != issuer or claims.get("aud") != audience:
        raise PolicyError("The identity token is for somebody else.")
    _check_times(claims, now)
    return _claims(claims)


def _signature_only() -> Any:
    """pyjwt's options: times and names are checked here, at a time that is given."""
    return {f"verify_{name}": False for name in ("exp", "iat", "nbf", "aud", "iss", "sub", "jti")}


def published(issuer: str, clock: Clock | None = None) -> Mapping[str, Any]:
    """The JWKS of an issuer, from the address in its configuration, which must be on the same host."""
    local = is_loopback(issuer)
    configuration = _object(fetch(f"{issuer}/.well-known/openid-configuration", MAX_BYTES, clock, loopback=local))
    place = configuration.get("jwks_uri")
    if configuration.get("issuer") != issuer or not isinstance(place, str) or origin(place) != origin(issuer):
        raise PolicyError("The issuer's configuration points to somebody else's keys.")
    return _object(fetch(place, MAX_BYTES, clock, loopback=local))


def _read_keys(jwks: Mapping[str, Any]) -> dict[str, Any]:
    """The RSA keys for signatures; others are left out."""
    import jwt  # noqa: PLC0415 - as above

    found: dict[str, Any] = {}
    listed = jwks.get("keys")
    for item in listed if isinstance(listed, list) else []:
        if (
            isinstance(item, dict)
            and item.get("kty") == "RSA"
            and item.get("use", "sig") == "sig"
            and isinstance(item.get("kid"), str)
        ):
            try:
                found[item["kid"]] = jwt.PyJWK(item, algorithm="RS256").key
            except jwt.PyJWTError:
                continue
    return found


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    times = [claims.get(name) for name in ("iat", "exp")] + [claims.get("nbf", claims.get("iat"))]
    if any(type(time) is not int for time in times):
        raise PolicyError("The identity token's times are no numbers.")
    issued, ends, begins = (int(time) for time in times if time is not None)
    if now > ends + LEEWAY or now < min(issued, begins) - LEEWAY or now < max(issued, begins) - LEEWAY:
        raise PolicyError("The identity token is not good at this time.")


def _claims(claims: Mapping[str, Any]) -> Claims:
    def text(name: str) -> str:
        value = claims.get(name)
        if not isinstance(value, str) or not value:
            raise PolicyError(f"The identity token has no {name}.")
        return value

    def number(name: str) -> int:
        value = text(name)
        if not value.isascii() or not value.isdecimal() or len(value) > 18:
            raise PolicyError(f"The identity token's {name} is no number.")
        return int(value)

    return Claims(
        number("repository_id"),
        text("repository"),
        text("ref"),
        text("event_name"),
        number("run_id"),
        number("run_attempt"),
        text("job_workflow_ref"),
        text("job_workflow_sha"),
        text("jti"),
        text("runner_environment"),
        int(claims["iat"]),
        int(claims["exp"]),
    )


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise TransientError("The issuer of identity tokens answered with something that is not JSON.", billed=False)
    return value
