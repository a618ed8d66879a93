"""Registering an App from a manifest: the page that asks for it, the way back with a code, and what the code is exchanged for."""

from __future__ import annotations

import json
import secrets
from typing import Any
from urllib.parse import parse_qs, urlencode

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute
from starlette.routing import Route as RawRoute

from bot.demo.hub import auth, shapes
from bot.demo.hub.hub import Hub
from bot.demo.hub.pages import COOKIE, HEADERS
from bot.demo.hub.refusals import Refusal, not_found
from bot.demo.hub.routing import Answer, Call, Route
from bot.demo.hub.state import User
from bot.demo.hub.webhooks import NEEDS
from bot.render import render

LONGEST_NAME = 34
_ADDRESSES = ("url", "redirect_url")
_HEADERS = HEADERS | {  # browsers hold a form's redirect to its page's policy
    "content-security-policy": HEADERS["content-security-policy"].replace("'self'", "'self' http://127.0.0.1:* https:")
}
_KNOWN = frozenset(
    ("name", "url", "hook_attributes", "redirect_url", "callback_urls", "setup_url", "description", "public", "default_events",
     "default_permissions", "request_oauth_on_install", "setup_on_update")
)  # fmt: skip


def _bad(why: str) -> Refusal:
    return Refusal(422, f"Invalid GitHub App configuration: {why}")


def read(text: str) -> dict[str, Any]:
    """A manifest that GitHub would take; 422 says what it would not."""
    try:
        said = json.loads(text)
    except ValueError:
        raise _bad("the manifest is not JSON") from None
    if not isinstance(said, dict) or set(said) - _KNOWN:
        raise _bad("the manifest has keys that are unknown")
    for name in _ADDRESSES:
        if not str(said.get(name, "")).startswith(("https://", "http://127.0.0.1:")):
            raise _bad(f"{name} must be a valid URL")
    hook, permissions = said.get("hook_attributes") or {}, said.get("default_permissions") or {}
    if not str(hook.get("url", "")).startswith(("https://", "http://127.0.0.1:")):
        raise _bad("hook_attributes.url must be a valid URL")
    if unknown := {name for name, level in permissions.items() if name not in auth.NAMES or level not in auth.LEVELS}:
        raise _bad(f"unknown permissions {', '.join(sorted(unknown))}")
    for event in said.get("default_events") or []:
        if NEEDS.get(event) not in permissions:
            raise _bad(f"the event {event} is not supported by the permissions")
    return said


def _owner(hub: Hub, request: Request) -> User:
    """Who is signed in; with `?as=LOGIN` from now on somebody else."""
    login = request.query_params.get("as") or request.cookies.get(COOKIE, "")
    user = hub.state.user(login) if login else None
    if user is None:
        raise Refusal(401, "Sign in to register an App: add as=LOGIN to the address.")
    return user


def _asked(hub: Hub, request: Request, body: bytes) -> Response:
    """The page that shows the manifest, and asks."""
    owner = _owner(hub, request)
    text = parse_qs(body.decode("utf-8", "replace")).get("manifest", [""])[0]
    belongs = request.path_params.get("org") or owner.login
    said = read(text)
    state = request.query_params.get("state", "")
    shown = render(
        "pages/hub/manifest.html.j2", said=said, text=text, state=state, belongs=belongs, home=None, base="", user=owner
    )
    response = Response(shown, 200, _HEADERS, "text/html")
    if "as" in request.query_params:
        response.set_cookie(COOKIE, owner.login, httponly=True, samesite="strict")
    return response


def _agreed(hub: Hub, request: Request, body: bytes) -> Response:
    """The App is made, and the browser sent to where the manifest says, with a code."""
    if request.headers.get("origin", hub.url) != hub.url:
        raise Refusal(403, "This button was pressed on another site.")
    _owner(hub, request)
    form = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    said, name = read(form.get("manifest", "")), form.get("name", "").strip()
    slug = "-".join(name.lower().split())
    if not 0 < len(name) <= LONGEST_NAME or any(one.slug == slug for one in hub.state.apps.values()):
        raise _bad("the name is empty, too long or already taken")
    made = hub.app(slug, said["hook_attributes"]["url"], events=said.get("default_events") or [])
    hub.state.apps[made.app_id].permissions = {"metadata": "read"} | dict(said.get("default_permissions") or {})
    code = secrets.token_hex(20)
    hub.state.manifest_codes[code] = made.app_id
    pairs = {"code": code} | ({"state": form["state"]} if form.get("state") else {})
    return RedirectResponse(f"{said['redirect_url']}?{urlencode(pairs)}", 302)


def convert(call: Call) -> Answer:
    """Good once."""
    app_id = call.hub.state.manifest_codes.pop(call.path["code"], None)
    if app_id is None:
        raise not_found()
    app, known = call.hub.state.apps[app_id], call.hub.credentials[app_id]
    told = shapes.app(call.hub, app) | {
        "client_secret": secrets.token_hex(20),
        "webhook_secret": app.webhook_secret,
        "pem": known.private_key_pem,
    }
    return Answer(told, 201)


def routes(hub: Hub) -> list[Route | BaseRoute]:
    """The pages, and the exchange over REST."""

    def page(path: str, handler: Any) -> RawRoute:
        async def answered(request: Request) -> Response:
            body = await request.body()

            def locked() -> Response:
                with hub.state.lock:
                    return handler(hub, request, body)  # type: ignore[no-any-return]

            try:
                return await anyio.to_thread.run_sync(locked)
            except Refusal as refusal:
                text = render("pages/hub/missing.html.j2", message=refusal.message, base="", home=None, user=None)
                return Response(text, refusal.status, HEADERS, "text/html")

        return RawRoute(path, answered, methods=["POST"])

    return [
        page("/settings/apps/new", _asked),
        page("/organizations/{org}/settings/apps/new", _asked),
        page("/settings/apps/manifest", _agreed),
        Route("POST", "/app-manifests/{code}/conversions", convert, door="open"),
    ]
