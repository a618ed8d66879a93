"""Repositories, people and their roles, and what the API says about itself."""

from __future__ import annotations

from typing import Any

from bot.demo.hub import shapes
from bot.demo.hub.hub import Hub
from bot.demo.hub.refusals import Refusal, not_found
from bot.demo.hub.routing import PAGED, Answer, Call, Page, Route
from bot.demo.hub.state import ACTIONS_LOGIN, ROLES, Repository, User

# What `permission` says for a role: triage and maintain are shown as the older role they grew from.
_OLD_ROLES = {"triage": "read", "maintain": "write"}


def get(call: Call) -> dict[str, Any]:
    shape = shapes.repository(call.hub, call.repository)
    if call.token is not None:
        shape["permissions"] = _flags(call.repository, call.token.user)
    return shape


def _flags(home: Repository, user: User) -> dict[str, bool]:
    role = home.role(user)
    reached = ROLES.index(role) if role else -1
    flags = {"admin": "admin", "maintain": "maintain", "push": "write", "triage": "triage"}
    return {flag: reached >= ROLES.index(needed) for flag, needed in flags.items()} | {"pull": True}


def permission(call: Call) -> dict[str, Any]:
    """`permission` in its four old words and `role_name` in the real one. Nobody's is read where the repository is public."""
    user = call.hub.state.user(call.path["login"])
    if user is None:
        raise not_found()
    role = call.repository.role(user) or ("none" if call.repository.private else "read")
    old = _OLD_ROLES.get(role, role)
    shape = shapes.user(call.hub, user) | {"permissions": _flags(call.repository, user), "role_name": role}
    return {"permission": old, "role_name": call.repository.role_names.get(user.login, role), "user": shape}


def is_collaborator(call: Call) -> Answer:
    user = call.hub.state.user(call.path["login"])
    if user is None or call.repository.role(user) is None:
        raise not_found()
    return Answer(status=204)


def collaborators(call: Call) -> Page:
    home = call.repository
    logins = dict.fromkeys([home.owner.login, *home.members])
    found = [user for login in logins if (user := call.hub.state.user(login))]
    return Page(
        [
            shapes.user(call.hub, one) | {"permissions": _flags(home, one), "role_name": home.role(one) or "none"}
            for one in found
        ]
    )  # fmt: skip


def get_user(call: Call) -> dict[str, Any]:
    user = call.hub.state.user(call.path["login"])
    if user is None:
        raise not_found()
    return shapes.full_user(call.hub, user)


def user_by_id(call: Call) -> dict[str, Any]:
    for user in call.hub.state.users.values():
        if user.id == call.path["id"]:
            return shapes.full_user(call.hub, user)
    raise not_found()


def myself(call: Call) -> dict[str, Any]:
    if call.user.type == "Bot":
        raise Refusal(403, "Resource not accessible by integration")
    more = ("private_gists", "total_private_repos", "owned_private_repos", "disk_usage", "collaborators")
    return shapes.full_user(call.hub, call.user) | dict.fromkeys(more, 0) | {"two_factor_authentication": True}


def rate_limit(call: Call) -> dict[str, Any]:
    job = call.token is not None and call.token.user.login == ACTIONS_LOGIN
    most = min(1000, call.hub.rate_limit) if job else call.hub.rate_limit
    reset = int(call.hub.now().timestamp()) + 3600
    each = {"limit": most, "used": 0, "remaining": most, "reset": reset}
    return {"resources": {"core": each, "search": each, "graphql": each}, "rate": each}


def meta(_: Call) -> dict[str, Any]:
    return {"verifiable_password_authentication": False, "installed_version": "3.20.0"}


def zen(_: Call) -> Answer:
    return Answer(b"Keep it logically awesome.", headers={"content-type": "text/plain;charset=utf-8"})


def routes(_: Hub) -> list[Route]:
    home = "/repos/{owner}/{repo}"
    return [
        Route("GET", home, get, "metadata:read"),
        Route("GET", f"{home}/collaborators", collaborators, "metadata:read", query=PAGED),
        Route("GET", f"{home}/collaborators/{{login}}", is_collaborator, "metadata:read"),
        Route("GET", f"{home}/collaborators/{{login}}/permission", permission, "metadata:read"),
        Route("GET", "/user", myself),
        Route("GET", "/user/{id:int}", user_by_id, door="open"),
        Route("GET", "/users/{login}", get_user, door="open"),
        Route("GET", "/rate_limit", rate_limit, door="open"),
        Route("GET", "/meta", meta, door="open"),
        Route("GET", "/zen", zen, door="open"),
    ]
