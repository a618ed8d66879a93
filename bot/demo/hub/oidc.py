"""Identity tokens for jobs, as token.actions.githubusercontent.com gives them: RS256, GitHub's claims, a JWKS to check them with.

A job with `id-token: write` gets an address and a request token in its environment. The issuer is {hub}/_oidc.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.core.errors import BugError
from bot.demo.runner.platform import JobIdentity, Run

LIFE = 300
"""Seconds that an identity token is good for. GitHub's live about as long."""
PREFIX = "/_oidc"


@cache
def _key() -> rsa.RSAPrivateKey:
    """One for the process: making it takes longer than all the rest of a hub."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Issuer:
    """Signs what a job is. `clock` gives seconds since the epoch."""

    def __init__(self, server_url: str, clock: Callable[[], float] = time.time) -> None:
        self.server_url = server_url
        self.issuer = f"{server_url}{PREFIX}"
        self._clock = clock
        self._key = _key()
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        self._kid = hashlib.sha256(public["n"].encode()).hexdigest()[:40]
        self.jwks = {"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self._kid, "n": public["n"], "e": public["e"]}]}
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[JobIdentity, Run, str]] = {}

    def open(self, job: JobIdentity, run: Run, workflow: str, visibility: str) -> tuple[str, str]:
        """(request url, request token) of a job; `workflow` is the name of the run's workflow."""
        if job.permissions.get("id-token") != "write":
            raise BugError(f"{job.name} may not ask for identity tokens: it has no id-token: write")
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._waiting[token] = (job, run, json.dumps({"workflow": workflow, "repository_visibility": visibility}))
        return f"{self.issuer}/token/{job.run_id}/{job.job_id}?api-version=2.0", token

    def close(self, job_id: int) -> None:
        """The job is over: its request token gives nothing any more."""
        with self._lock:
            self._waiting = {token: held for token, held in self._waiting.items() if held[0].job_id != job_id}

    def token(self, request_token: str, audience: str | None) -> str | None:
        """A signed identity token; None for a request token that isn't good."""
        with self._lock:
            held = self._waiting.get(request_token)
        if held is None:
            return None
        job, run, more = held
        owner = job.repository.split("/")[0]
        claims = self._claims(job, run) | json.loads(more) | {"aud": audience or f"{self.server_url}/{owner}"}
        return self.sign(claims)

    def sign(self, claims: dict[str, Any]) -> str:
        """A token with these very claims: for tests that need one GitHub would never give."""
        return jwt.encode(claims, self._key, "RS256", {"kid": self._kid})

    def _claims(self, job: JobIdentity, run: Run) -> dict[str, Any]:
        now = int(self._clock())
        place = f"environment:{job.environment}" if job.environment else f"ref:{run.ref}"
        claims = {
            "jti": secrets.token_hex(16),
            "sub": f"repo:{job.repository}:{place}",
            "iss": self.issuer,
            "iat": now,
            "nbf": now - LIFE,
            "exp": now + LIFE,
            "actor": run.actor,
            "actor_id": str(run.actor_id),
            "base_ref": "",
            "check_run_id": str(job.job_id),
            "event_name": run.event_name,
            "head_ref": "",
            "job_workflow_ref": job.job_workflow_ref,
            "job_workflow_sha": job.job_workflow_sha,
            "ref": run.ref,
            "ref_protected": "false",
            "ref_type": "tag" if run.ref.startswith("refs/tags/") else "branch",
            "repository": job.repository,
            "repository_id": str(run.repository_id),
            "repository_owner": job.repository.split("/")[0],
            "repository_owner_id": str(run.repository_owner_id),
            "run_attempt": str(job.attempt),
            "run_id": str(job.run_id),
            "run_number": str(run.number),
            "runner_environment": job.runner_environment,
            "sha": run.sha,
            "workflow_ref": job.workflow_ref,
            "workflow_sha": job.workflow_sha,
        }
        return claims | ({"environment": job.environment} if job.environment else {})


def issuer_routes(issuer: Issuer) -> list[Route]:
    """The three addresses under /_oidc."""

    async def configuration(_: Request) -> Response:
        return JSONResponse(
            {
                "issuer": issuer.issuer,
                "jwks_uri": f"{issuer.issuer}/.well-known/jwks",
                "subject_types_supported": ["public", "pairwise"],
                "response_types_supported": ["id_token"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid"],
            }
        )

    async def keys(_: Request) -> Response:
        return JSONResponse(issuer.jwks)

    async def token(request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").removeprefix("bearer ")
        value = issuer.token(given, request.query_params.get("audience"))
        if value is None:
            return JSONResponse({"message": "the request token is not good: the job is over or never asked for id-token"}, 401)
        return JSONResponse({"count": len(value), "value": value})

    return [
        Route(f"{PREFIX}/.well-known/openid-configuration", configuration),
        Route(f"{PREFIX}/.well-known/jwks", keys),
        Route(f"{PREFIX}/token/{{run:int}}/{{job:int}}", token),
    ]
