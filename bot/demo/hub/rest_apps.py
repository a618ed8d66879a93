"""Apps, their installations, their tokens and their deliveries over REST."""

from __future__ import annotations

import json
from typing import Any

from bot.demo.hub import auth, shapes
from bot.demo.hub.hub import Hub
from bot.demo.hub.refusals import Refusal, not_found
from bot.demo.hub.routing import PAGED, Answer, Call, Page, Route
from bot.demo.hub.state import App, Delivery, Installation, stamp

_NARROWED = {
    "repositories": [str],
    "repository_ids": [int],
    "permissions": dict.fromkeys(auth.NAMES, frozenset(("read", "write", "admin"))),
}
_DELIVERIES = {"per_page": int, "cursor": str, "status": frozenset(("success", "failure"))}


def _app(call: Call) -> App:
    if call.app_id is None:
        raise Refusal(401, "A JSON web token could not be decoded")
    return call.hub.state.apps[call.app_id]


def get_app(call: Call) -> dict[str, Any]:
    app = _app(call)
    count = sum(one.app_id == app.id for one in call.hub.state.installations.values())
    return shapes.app(call.hub, app) | {"installations_count": count}


def app_by_slug(call: Call) -> dict[str, Any]:
    for app in call.hub.state.apps.values():
        if app.slug == call.path["slug"]:
            return shapes.app(call.hub, app)
    raise not_found()


def installations(call: Call) -> Page:
    app = _app(call)
    return Page([shapes.installation(call.hub, one) for one in call.hub.state.installations.values() if one.app_id == app.id])


def _installation(call: Call) -> Installation:
    found = call.hub.state.installations.get(call.path["id"])
    if found is None or found.app_id != _app(call).id:
        raise not_found()
    return found


def get_installation(call: Call) -> dict[str, Any]:
    return shapes.installation(call.hub, _installation(call))


def repository_installation(call: Call) -> dict[str, Any]:
    app = _app(call)
    for one in call.hub.state.installations.values():
        if one.app_id == app.id and call.repository.id in one.repositories:
            return shapes.installation(call.hub, one)
    raise not_found()


def access_token(call: Call) -> Answer:
    installation = _installation(call)
    if installation.suspended_at is not None:
        raise auth.suspended()
    made = auth.installation_token(call.hub.state, installation, call.body, call.hub.now())
    shape: dict[str, Any] = {
        "token": made.value,
        "expires_at": stamp(made.expires_at) if made.expires_at else "",
        "permissions": made.permissions,
        "repository_selection": "selected",
    }
    if "repositories" in call.body or "repository_ids" in call.body:
        chosen = [call.hub.state.repositories[one] for one in sorted(made.repositories or ())]
        shape["repositories"] = [shapes.repository(call.hub, one) for one in chosen]
    return Answer(shape, 201)


def installation_repositories(call: Call) -> Page:
    if call.token is None or call.token.kind == "person":
        raise Refusal(
            403, "You must authenticate with an installation access token in order to list repositories for an installation."
        )
    found = [call.hub.state.repositories[one] for one in sorted(call.token.repositories or ())]
    shown = [shapes.repository(call.hub, one) for one in found]
    return Page(shown, "repositories", {"repository_selection": "selected"})


def revoke(call: Call) -> Answer:
    if call.token is None or call.token.kind != "installation":
        raise auth.not_accessible()
    call.hub.state.tokens[call.token.value].revoked = True
    return Answer(status=204)


# Deliveries


def deliveries(call: Call) -> Answer:
    """Newest first. The Link header leads on with a cursor: the id of the last one shown."""
    query = call.query
    found = [one for one in call.hub.state.deliveries.values() if one.app_id == _app(call).id and one.status != "pending"]
    found.sort(key=lambda one: -one.id)
    if "status" in query:
        found = [one for one in found if (one.status == "OK") == (query["status"] == "success")]
    if "cursor" in query:
        if not query["cursor"].isdigit():
            raise Refusal(422, f"Invalid cursor: {query['cursor']}")
        found = [one for one in found if one.id < int(query["cursor"])]
    size = min(max(query.get("per_page", 30), 1), 100)
    shown, headers = found[:size], {}
    if len(found) > size:
        here = f"{call.hub.api_url}/app/hook/deliveries?per_page={size}&cursor={shown[-1].id}"
        headers["link"] = f'<{here}>; rel="next"'
    return Answer([_delivery(one) for one in shown], headers=headers)


def _delivery(one: Delivery) -> dict[str, Any]:
    return {
        "id": one.id,
        "guid": one.guid,
        "delivered_at": stamp(one.delivered_at),
        "redelivery": one.redelivery,
        "duration": one.duration,
        "status": one.status,
        "status_code": one.status_code,
        "event": one.event,
        "action": one.action,
        "installation_id": one.installation_id,
        "repository_id": one.repository_id,
        "throttled_at": None,
    }


def _delivery_of(call: Call) -> Delivery:
    found = call.hub.state.deliveries.get(call.path["id"])
    if found is None or found.app_id != _app(call).id:
        raise not_found()
    return found


def get_delivery(call: Call) -> dict[str, Any]:
    one = _delivery_of(call)
    request = {"headers": one.request_headers, "payload": json.loads(one.body)}
    return _delivery(one) | {
        "url": _app(call).webhook_url or "",
        "request": request,
        "response": {"headers": one.response_headers, "payload": one.response},
    }


def redeliver(call: Call) -> Answer:
    one = _delivery_of(call)
    again = call.hub.post.letter(
        _app(call), one.event, one.action, one.installation_id, one.repository_id, one.payload, guid=one.guid
    )  # fmt: skip
    call.hub.post.send(again)
    return Answer({}, 202)


def routes(_: Hub) -> list[Route]:
    one = "/app/installations/{id:int}"
    delivery = "/app/hook/deliveries/{id:int}"
    return [
        Route("GET", "/app", get_app, door="app"),
        Route("GET", "/apps/{slug}", app_by_slug, door="open"),
        Route("GET", "/app/installations", installations, door="app", query=PAGED),
        Route("GET", one, get_installation, door="app"),
        Route("POST", f"{one}/access_tokens", access_token, door="app", body=_NARROWED),
        Route("GET", "/repos/{owner}/{repo}/installation", repository_installation, door="app"),
        Route("GET", "/installation/repositories", installation_repositories, query=PAGED),
        Route("DELETE", "/installation/token", revoke),
        Route("GET", "/app/hook/deliveries", deliveries, door="app", query=_DELIVERIES),
        Route("GET", delivery, get_delivery, door="app"),
        Route("POST", f"{delivery}/attempts", redeliver, door="app"),
    ]
