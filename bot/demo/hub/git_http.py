"""Clone and push over HTTP: `git http-backend` as a CGI program, its answer streamed as it comes."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from typing import IO

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from bot.core.errors import BugError
from bot.demo.hub.git import Bare, environment

PIECE = 1 << 16


def writes(request: Request) -> bool:
    """Whether the request is one of a push: its first question names the service, its second is the service."""
    return request.query_params.get("service") == "git-receive-pack" or request.url.path.endswith("/git-receive-pack")


async def backend(bare: Bare, request: Request, rest: str, login: str, done: Callable[[], None]) -> Response:
    """What `git http-backend` answers to `request` for the path `rest` inside the repository; `login` is who pushes.

    `done` is called when git is through and before the client knows it.
    """
    with tempfile.TemporaryFile() as body:
        async for piece in request.stream():
            await anyio.to_thread.run_sync(body.write, piece)
        body.seek(0)
        process = await anyio.to_thread.run_sync(_started, bare, request, rest, login, body)
    out = process.stdout
    if out is None:
        raise BugError("git http-backend was started without a pipe")
    status, headers = await anyio.to_thread.run_sync(_head, out)
    return StreamingResponse(_pieces(process, out, done), status, headers)


def _started(bare: Bare, request: Request, rest: str, login: str, body: IO[bytes]) -> subprocess.Popen[bytes]:
    variables = {
        "GIT_PROJECT_ROOT": str(bare.path.parent),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{bare.path.name}/{rest}",
        "QUERY_STRING": request.url.query,
        "REQUEST_METHOD": request.method,
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
        "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
        "REMOTE_ADDR": "127.0.0.1",
    }
    if login:
        variables |= {"REMOTE_USER": login, "GIT_COMMITTER_NAME": login, "GIT_COMMITTER_EMAIL": f"{login}@localhost"}
    return subprocess.Popen(
        ["git", "http-backend"],
        cwd=bare.path,
        env=environment(variables),
        stdin=body,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _head(out: IO[bytes]) -> tuple[int, dict[str, str]]:
    """Status and headers of a CGI answer, up to the blank line."""
    status, headers = 200, {}
    for line in iter(out.readline, b""):
        name, _, value = line.decode("latin-1").strip().partition(":")
        if not name:
            break
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            headers[name.lower()] = value.strip()
    return status, headers


async def _pieces(process: subprocess.Popen[bytes], out: IO[bytes], done: Callable[[], None]) -> AsyncIterator[bytes]:
    """One piece late, so that the last one leaves when `done` has been called."""
    held = b""
    try:
        while piece := await anyio.to_thread.run_sync(out.read, PIECE):
            if held:
                yield held
            held = piece
        await anyio.to_thread.run_sync(process.wait)
        await anyio.to_thread.run_sync(done)
        yield held
    finally:
        out.close()
        if process.poll() is None:  # the client hung up
            process.terminate()
            process.wait()
