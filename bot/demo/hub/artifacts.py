"""Artifacts of workflow runs: kept as the zip they came in, listed, handed out over a signed address, and gone after a time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as RawRoute

from bot.core.errors import BadInput
from bot.demo.hub.hub import Hub
from bot.demo.hub.refusals import Refusal, not_found
from bot.demo.hub.routing import PAGED, Answer, Call, Page, Route
from bot.demo.hub.state import Artifact, Repository, stamp

DEFAULT_RETENTION = LONGEST_RETENTION = 90
"""Days."""
SIGNED_SECONDS = 60
"""How long a download address is good for."""
_SECRET = secrets.token_bytes(32)


def save(
    hub: Hub, repository: Repository, run_id: int, attempt: int, name: str, data: bytes, *, days: int | None, overwrite: bool
) -> Artifact:
    """Keep a zip. BadInput for a name that the run has already, unless `overwrite`."""
    made = hub.now()
    kept = min(days or DEFAULT_RETENTION, LONGEST_RETENTION)
    with hub.state.lock:
        same = [one.id for one in repository.artifacts.values() if (one.run_id, one.name) == (run_id, name)]
        if same and not overwrite:
            raise BadInput(f"run {run_id} already has an artifact named {name}")
        for old in same:
            del repository.artifacts[old]
        digest = hashlib.sha256(data).hexdigest()
        artifact = Artifact(hub.state.next_id(), run_id, attempt, name, data, digest, made, made + timedelta(days=kept))
        repository.artifacts[artifact.id] = artifact
    return artifact


def expired(hub: Hub, artifact: Artifact) -> bool:
    return artifact.expired or hub.now() >= artifact.expires_at


def expire(hub: Hub, artifact_id: int) -> None:
    """The administrator's: what time would do. BadInput when there is no such artifact."""
    with hub.state.lock:
        for repository in hub.state.repositories.values():
            if artifact_id in repository.artifacts:
                repository.artifacts[artifact_id].expired = True
                return
    raise BadInput(f"there is no artifact {artifact_id}")


def shape(hub: Hub, repository: Repository, artifact: Artifact) -> dict[str, Any]:
    """An artifact as the API shows it."""
    address = f"{hub.api_url}/repos/{repository.full_name}/actions/artifacts/{artifact.id}"
    run = repository.runs[artifact.run_id]
    return {
        "id": artifact.id,
        "node_id": f"MDg6QXJ0aWZhY3Q{artifact.id}",
        "name": artifact.name,
        "size_in_bytes": len(artifact.data),
        "url": address,
        "archive_download_url": f"{address}/zip",
        "expired": expired(hub, artifact),
        "digest": f"sha256:{artifact.digest}",
        "created_at": stamp(artifact.created_at),
        "expires_at": stamp(artifact.expires_at),
        "updated_at": stamp(artifact.created_at),
        "workflow_run": {
            "id": run.id,
            "repository_id": repository.id,
            "head_repository_id": repository.id,
            "head_branch": run.ref.removeprefix("refs/heads/"),
            "head_sha": run.head_sha,
        },
    }


def listed(call: Call, run_id: int | None = None) -> Page:
    """Newest first; `name` in the query chooses."""
    name = call.query.get("name")
    found = [
        shape(call.hub, call.repository, one)
        for one in sorted(call.repository.artifacts.values(), key=lambda one: -one.id)
        if run_id in (None, one.run_id) and name in (None, one.name)
    ]
    return Page(found, "artifacts")


def _found(call: Call) -> Artifact:
    artifact = call.repository.artifacts.get(call.path["id"])
    if artifact is None:
        raise not_found()
    return artifact


def _get(call: Call) -> dict[str, Any]:
    return shape(call.hub, call.repository, _found(call))


def _delete(call: Call) -> Answer:
    del call.repository.artifacts[_found(call).id]
    return Answer(status=204)


def _zip(call: Call) -> Answer:
    """302 to an address that needs no token and is good for a minute."""
    if call.path["format"] != "zip":
        raise not_found()
    artifact = _found(call)
    if expired(call.hub, artifact):
        raise Refusal(410, "Artifact has expired")
    until = int(time.time()) + SIGNED_SECONDS
    address = f"{call.hub.url}/_artifacts/{artifact.id}?until={until}&sig={_signature(artifact.id, until)}"
    return Answer(b"", 302, {"location": address})


def _signature(artifact_id: int, until: int) -> str:
    return hmac.new(_SECRET, f"{artifact_id} {until}".encode(), hashlib.sha256).hexdigest()


def _download(hub: Hub, request: Request) -> Response:
    artifact_id, until = request.path_params["id"], request.query_params.get("until", "")
    good = until.isdigit() and hmac.compare_digest(_signature(artifact_id, int(until)), request.query_params.get("sig", ""))
    if not good or int(until) < time.time():
        return Response("Server failed to authenticate the request.\n", 403, media_type="text/plain")
    if "authorization" in request.headers:  # as the storage behind GitHub: two ways at once are refused
        return Response("An Authorization header does not go with a signed address.\n", 400, media_type="text/plain")
    with hub.state.lock:
        for repository in hub.state.repositories.values():
            if found := repository.artifacts.get(artifact_id):
                named = {"content-disposition": f'attachment; filename="{found.id}.zip"'}
                return Response(found.data, 200, named, "application/zip")
    return Response("The specified blob does not exist.\n", 404, media_type="text/plain")


def routes(hub: Hub) -> list[Route | BaseRoute]:
    """What this module answers."""

    async def download(request: Request) -> Response:
        return _download(hub, request)

    at = "/repos/{owner}/{repo}/actions/artifacts"
    return [
        Route("GET", at, listed, "actions:read", query={**PAGED, "name": str}),
        Route("GET", f"{at}/{{id:int}}", _get, "actions:read"),
        Route("DELETE", f"{at}/{{id:int}}", _delete, "actions:write"),
        Route("GET", f"{at}/{{id:int}}/{{format}}", _zip, "actions:read"),
        RawRoute("/_artifacts/{id:int}", download, methods=["GET"]),
    ]
