"""Identity tokens: one claim off, one key off, one minute off, and a job is nobody."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.core.errors import PolicyError, SetupError, TransientError
from bot.github.oidc import ISSUER, Claims, Keys, request_token, verify
from tests.rooms.small_github import Reply, Request, SmallGitHub, Watch, small_github

NOW = 1_800_000_000
AUDIENCE = "https://ostler.example"
CLAIMS: dict[str, Any] = {
    "iss": ISSUER, "aud": AUDIENCE, "iat": NOW - 10, "nbf": NOW - 300, "exp": NOW + 300, "jti": "j", "sub": "repo:octo/stable",
    "repository": "octo/stable", "repository_id": "9", "ref": "refs/heads/main", "event_name": "issues", "run_id": "8",
    "run_attempt": "1", "job_workflow_sha": "a" * 40,
    "job_workflow_ref": "ostler/ostler/.github/workflows/improve.yml@refs/tags/v1", "runner_environment": "github-hosted",
}  # fmt: skip


class Signer:
    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        self.jwks = {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "one", "n": public["n"], "e": public["e"]}]}
        self.asked = 0

    def ask(self) -> Mapping[str, Any]:
        self.asked += 1
        return self.jwks

    def token(self, headers: dict[str, Any] | None = None, algorithm: str = "RS256", **claims: Any) -> str:
        merged = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
        return jwt.encode(merged, self.key, algorithm, {"kid": "one", **(headers or {})})


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


def read(signer: Signer, token: str, now: float = NOW) -> Claims:
    return verify(token, Keys(signer.ask, Watch().clock), issuer=ISSUER, audience=AUDIENCE, now=now)


def test_who_a_job_is(signer: Signer) -> None:
    claims = read(signer, signer.token())
    assert (claims.repository_id, claims.repository, claims.run_id, claims.run_attempt) == (9, "octo/stable", 8, 1)
    assert (claims.ref, claims.event_name, claims.jti) == ("refs/heads/main", "issues", "j")
    assert claims.job_workflow_ref.endswith("@refs/tags/v1")
    assert (claims.job_workflow_sha, claims.runner_environment, claims.expires_at) == ("a" * 40, "github-hosted", NOW + 300)


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": ISSUER + "/"},
        {"iss": None},
        {"aud": AUDIENCE + "/"},
        {"aud": [AUDIENCE]},
        {"aud": None},
        {"exp": NOW - 61},
        {"exp": None},
        {"exp": str(NOW + 300)},
        {"exp": True},
        {"iat": NOW + 61},
        {"iat": None},
        {"nbf": NOW + 61},
        {"nbf": "soon"},
        *({name: None} for name in CLAIMS if name not in ("nbf", "sub")),
        {"repository_id": 9},
        {"repository_id": "9x"},
        {"repository_id": "-9"},
        {"run_id": "9" * 19},
        {"run_attempt": "\u0661"},
        {"ref": ""},
        {"jti": 5},
    ],
    ids=str,
)
def test_one_claim_off(signer: Signer, claims: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        read(signer, signer.token(**claims))


def test_clocks_may_differ_by_a_minute(signer: Signer) -> None:
    read(signer, signer.token(), NOW + 359)
    read(signer, signer.token(nbf=None), NOW - 69)
    for wrong in (NOW + 361, NOW - 71):
        with pytest.raises(PolicyError, match="time"):
            read(signer, signer.token(), wrong)


def test_another_key_or_none(signer: Signer) -> None:
    pem = signer.key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "one"}).encode()).decode().rstrip("=")
    whole = signer.token()
    for token in (
        Signer().token(),
        signer.token({"kid": "two"}),
        signer.token({"kid": ""}),
        signer.token(algorithm="RS512"),
        jwt.encode(CLAIMS, "s" * 64, "HS256", {"kid": "one"}),
        jwt.encode(CLAIMS, "", "none", {"kid": "one"}),
        f"{head}.{whole.split('.')[1]}.{base64.urlsafe_b64encode(pem).decode().rstrip('=')}",
        whole[:-4] + "AAAA",
        whole.rpartition(".")[0] + ".",
        "",
        "a.b.c",
        "é",
        "x" * 20_001,
    ):
        with pytest.raises(PolicyError):
            read(signer, token)


def test_keys_are_asked_for_when_needed_and_not_at_every_strangers_word(signer: Signer) -> None:
    other, watch = Signer(), Watch()
    keys = Keys(other.ask, watch.clock)
    for _ in range(5):
        verify(other.token(), keys, issuer=ISSUER, audience=AUDIENCE, now=NOW)
    assert other.asked == 1
    for name in range(5):
        assert keys.key(f"invented {name}") is None
    assert other.asked == 1
    other.jwks["keys"][0]["kid"] = "new"
    watch.time += 61
    assert keys.key("new") is not None
    assert keys.key("one") is None
    assert other.asked == 2


def test_keys_that_are_none() -> None:
    for odd in (
        {},
        {"keys": None},
        {"keys": [1, {}, {"kty": "oct", "kid": "one", "k": "AA"}, {"kty": "RSA", "kid": "one", "n": "!"}]},
    ):
        assert Keys(lambda odd=odd: odd, Watch().clock).key("one") is None  # type: ignore[misc]


# --- over the network ---


@pytest.fixture
def hub() -> Iterator[SmallGitHub]:
    with small_github() as hub:
        yield hub


def test_a_job_asks_for_its_token(hub: SmallGitHub) -> None:
    def token(request: Request) -> Reply:
        assert request.headers["authorization"] == "Bearer r3quest"
        return Reply(200, {"value": f"for {request.query['audience']}", "count": 1})

    hub.on("GET", "/token", token)
    hub.trouble("GET", "token", 503, times=2)
    url = f"{hub.url}/token?api-version=2.0"
    assert request_token(url, "r3quest", AUDIENCE, hub.watch.clock) == f"for {AUDIENCE}"
    hub.on("GET", "/token", Reply(200, {}))
    with pytest.raises(TransientError):
        request_token(url, "r3quest", AUDIENCE, hub.watch.clock)
    hub.on("GET", "/token", Reply(403, {}))
    with pytest.raises(SetupError):
        request_token(url, "r3quest", AUDIENCE, hub.watch.clock)


def test_the_request_token_goes_nowhere_else(hub: SmallGitHub) -> None:
    with small_github() as other:
        hub.on("GET", "/token", Reply(302, None, {"Location": f"{other.url}/token"}))
        with pytest.raises(SetupError, match="nowhere else"):
            request_token(f"{hub.url}/token", "r3quest", AUDIENCE, hub.watch.clock)
        assert other.log == []
    with pytest.raises(SetupError, match="https"):
        request_token("http://192.0.2.1/token", "r3quest", AUDIENCE)


def test_the_issuer_tells_where_its_keys_are(hub: SmallGitHub, signer: Signer) -> None:
    issuer = f"{hub.url}/_oidc"
    place = {"issuer": issuer, "jwks_uri": f"{issuer}/keys"}
    hub.on("GET", "/_oidc/.well-known/openid-configuration", lambda _: Reply(200, place))
    hub.on("GET", "/_oidc/keys", Reply(200, signer.jwks))
    assert Keys.of(issuer, hub.watch.clock).key("one") is not None
    for wrong in ({"issuer": ISSUER}, {"jwks_uri": "http://127.0.0.1:1/keys"}, {"jwks_uri": 5}):
        place = {"issuer": issuer, "jwks_uri": f"{issuer}/keys", **wrong}  # type: ignore[dict-item]
        with pytest.raises(PolicyError, match="somebody else"):
            Keys.of(issuer, hub.watch.clock).key("one")
    with pytest.raises(SetupError):
        Keys.of("http://example.org")
