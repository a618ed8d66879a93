"""`ostler app create`: registers the GitHub App in a browser, and writes what `ostler serve` has to know.

A page on this machine sends the manifest to GitHub by a form; GitHub sends the browser back with a code, which is exchanged
for the App's number and secrets. Nothing has to be copied by hand.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from bot.core.errors import SetupError, UserError
from bot.github.manifest import Registered, convert, manifest
from bot.github.oidc import issuer_of
from bot.github.plain import api_of, checked_address
from bot.render import render

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

GITHUB = "https://github.com"
DONE = "/done"
WORKFLOW = ".github/workflows/improve.yml"
_HOME = re.compile(r"[\w.-]+/[\w.-]+(@[0-9a-f]{40})?")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for: the App's address and name, the repository that holds Ostler, with or without a commit behind
    an @, the organisation that the App shall belong to (empty: whoever is signed in), and GitHub's own address."""

    address: str
    home: str
    name: str = "ostler"
    organisation: str = ""
    github: str = GITHUB

    @property
    def api_url(self) -> str:
        return api_of(self.github)

    @property
    def issuer(self) -> str:
        return issuer_of(self.github)

    @property
    def form(self) -> str:
        """Where GitHub takes a manifest."""
        owner = f"organizations/{quote(self.organisation, safe='')}/" if self.organisation else ""
        return f"{self.github}/{owner}settings/apps/new"

    @property
    def trusted(self) -> str:
        """How `job_workflow_ref` of a trusted job begins."""
        repository, _, commit = self.home.partition("@")
        return f"{repository}/{WORKFLOW}@{commit}"


@dataclass(slots=True)
class Walk:
    """One registration: what goes to GitHub, what came back."""

    wanted: Wanted
    here: str
    manifest: dict[str, Any] = field(init=False)
    state: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    made: Registered | None = None
    problem: str = ""
    server: uvicorn.Server | None = None

    def __post_init__(self) -> None:
        self.manifest = manifest(self.wanted.name, self.wanted.address, self.here + DONE)

    def page(self) -> str:
        """The page in the browser, as far as things are."""
        action = f"{self.wanted.form}?{urlencode({'state': self.state})}"
        text = json.dumps(self.manifest)
        return render("pages/app_create.html.j2", walk=self, action=action, text=text, install=install(self.made))

    def came_back(self, code: str, state: str) -> None:
        """GitHub sent the browser back. Who does not know the state was not sent by it."""
        if self.made or not hmac.compare_digest(state.encode("utf-8", "replace"), self.state.encode()):
            return
        try:
            self.made = convert(self.wanted.api_url, code)
        except UserError as error:
            self.problem = str(error)
        if self.server:
            self.server.should_exit = True


def create(wanted: Wanted, out: Path, port: int, *, as_json: bool) -> int:
    """Walk through the registration. The file with the secrets is there only once the App is.

    Raises:
        SetupError: the file is there already, the port is taken, an address is none, or GitHub refuses.
    """
    if not _HOME.fullmatch(wanted.home):
        raise SetupError(
            f"{wanted.home!r} names no repository: --home takes OWNER/REPO, or OWNER/REPO@ and the 40 digits of a commit."
        )
    wanted = replace(wanted, address=checked_address(wanted.address), github=checked_address(wanted.github))
    with _kept_free(out) as place, _listener(port) as listener:
        walk = Walk(wanted, f"http://127.0.0.1:{listener.getsockname()[1]}")
        if not as_json:
            print(render("pages/app_create.txt.j2", walk=walk, text=json.dumps(walk.manifest, indent=2)), end="", flush=True)
        _serve(walk, listener)
        if walk.made is None:
            raise SetupError(walk.problem or "The App was not registered.")
        _write(place, render("pages/app_settings.env.j2", walk=walk, made=walk.made, state_key=secrets.token_urlsafe(36)))
    told = {
        "app_id": walk.made.id,
        "slug": walk.made.slug,
        "page": walk.made.page,
        "install": install(walk.made),
        "file": str(out),
    }
    print(json.dumps(told) if as_json else render("pages/app_created.txt.j2", **told), end="\n" if as_json else "")
    return 0


def install(made: Registered | None) -> str:
    """Where the App is installed on repositories."""
    return f"{made.page}/installations/new" if made else ""


@contextmanager
def _kept_free(out: Path) -> Iterator[Path]:
    """A file that only its owner reads, made before anything happens at GitHub, and gone again where nothing came of it."""
    try:
        os.close(os.open(out, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        raise SetupError(
            f"{out} is there already, and may hold another App's keys: move it away, or name another with --out."
        ) from None
    except OSError as error:
        raise SetupError(f"{out} cannot be written ({error.strerror}): name another file with --out.") from None
    try:
        yield out
    finally:
        if not out.stat().st_size:
            out.unlink()


def _write(place: Path, text: str) -> None:
    with place.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise SetupError(f"Port {port} cannot be listened on ({error.strerror}): name another with --port.") from None


def _serve(walk: Walk, listener: socket.socket) -> None:
    """Until the browser is back from GitHub, or Ctrl-C."""
    import uvicorn  # noqa: PLC0415 - no other command of the terminal needs a server

    config = uvicorn.Config(_door(walk), log_config=None, log_level="critical", lifespan="off", server_header=False)
    walk.server = uvicorn.Server(config)
    walk.server.run(sockets=[listener])


def _door(walk: Walk) -> Starlette:
    from starlette.applications import Starlette  # noqa: PLC0415 - as above
    from starlette.concurrency import run_in_threadpool  # noqa: PLC0415
    from starlette.middleware import Middleware  # noqa: PLC0415
    from starlette.middleware.trustedhost import TrustedHostMiddleware  # noqa: PLC0415
    from starlette.responses import HTMLResponse  # noqa: PLC0415
    from starlette.routing import Route  # noqa: PLC0415

    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; form-action "
    headers = {"cache-control": "no-store", "content-security-policy": policy + walk.wanted.github}

    async def shown(_: Request) -> Response:
        return HTMLResponse(walk.page(), headers=headers)

    async def done(request: Request) -> Response:
        asked = request.query_params
        await run_in_threadpool(walk.came_back, asked.get("code", ""), asked.get("state", ""))
        return HTMLResponse(walk.page(), headers=headers)

    # A page elsewhere whose name was made to lead here could read the state: it is known by the name it asks for.
    only_here = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1"])
    return Starlette(routes=[Route("/", shown), Route(DONE, done)], middleware=[only_here])
