"""Who asks, and whether they may: App JWTs, installation tokens, job tokens and people's own."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import jwt

from bot.demo.hub.refusals import Refusal
from bot.demo.hub.state import ACTIONS_APP_ID, ROLES, App, Installation, Repository, State, Token, User

LEVELS = ("none", "read", "write", "admin")
NAMES = frozenset(
    [
        "actions",
        "administration",
        "checks",
        "contents",
        "deployments",
        "environments",
        "issues",
        "members",
        "metadata",
        "packages",
        "pages",
        "pull_requests",
        "repository_hooks",
        "secrets",
        "security_events",
        "statuses",
        "variables",
        "workflows",
    ]
)
_PREFIX = {"person": "ghp_", "installation": "ghs_", "job": "ghs_"}
# The role a person needs where an App needs a permission. Checks are never written by people.
_ROLE = {
    "issues:write": "triage",
    "pull_requests:write": "write",
    "contents:write": "write",
    "actions:write": "write",
    "statuses:write": "write",
    "deployments:write": "write",
    "secrets:read": "write",
    "variables:read": "write",
}


def bad_credentials() -> Refusal:
    return Refusal(401, "Bad credentials")


def not_accessible() -> Refusal:
    return Refusal(403, "Resource not accessible by integration")


def credential(authorization: str) -> str | None:
    """The secret in an Authorization header: Bearer, token, or the password of Basic. None without a header."""
    scheme, _, rest = authorization.partition(" ")
    if not authorization:
        return None
    if scheme.lower() in ("bearer", "token"):
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            raise bad_credentials() from None
    raise bad_credentials()


def token(state: State, value: str, now: datetime) -> Token:
    """The token that `value` is; 401 when there is none, it is over, or it was revoked."""
    found = state.tokens.get(value)
    if found is None or found.revoked or (found.expires_at is not None and found.expires_at <= now):
        raise bad_credentials()
    at = state.installations.get(found.installation_id or 0)
    if at is None:
        return found
    if at.suspended_at is not None:
        raise suspended()
    return replace(found, repositories=(found.repositories or frozenset()) & at.repositories)


def suspended() -> Refusal:
    return Refusal(403, "This installation has been suspended")


def is_jwt(value: str) -> bool:
    return value.count(".") == 2


def app(state: State, value: str, now: datetime) -> App:
    """The App that signed the JWT `value`: RS256, issued by now (60 s of grace), for at most 10 minutes."""
    undecoded = Refusal(401, "A JSON web token could not be decoded")
    try:
        claims = jwt.decode(value, options={"verify_signature": False})
        found = state.apps[int(claims["iss"])]
        jwt.decode(value, found.public_key, algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False})
        issued, expires = int(claims["iat"]), int(claims["exp"])
    except (jwt.PyJWTError, KeyError, ValueError, TypeError):
        raise undecoded from None
    at = now.timestamp()
    if expires <= at:
        raise Refusal(401, "'Expiration time' claim ('exp') must be a numeric value representing the future time")
    if expires - at > 660:
        raise Refusal(401, "'Expiration time' claim ('exp') is too far in the future")
    if issued > at + 60:
        raise Refusal(401, "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued")
    return found


def new_value(kind: str) -> str:
    return _PREFIX[kind] + secrets.token_hex(18)


def person_token(state: State, user: User) -> Token:
    made = Token(new_value("person"), "person", user, user.login)
    state.tokens[made.value] = made
    return made


def job_token(
    state: State, actor: User, repository: Repository, permissions: Mapping[str, str], *, name: str, run_id: int, job_id: int
) -> Token:
    """A GITHUB_TOKEN. Permissions are written as in workflow files (pull-requests) and don't hold id-token."""
    named = {key.replace("-", "_"): level for key, level in permissions.items() if key != "id-token"}
    made = Token(
        new_value("job"),
        "job",
        actor,
        name,
        permissions={"metadata": "read"} | {key: level for key, level in named.items() if level != "none"},
        repositories=frozenset({repository.id}),
        app_id=ACTIONS_APP_ID,
        run_id=run_id,
        job_id=job_id,
    )
    state.tokens[made.value] = made
    return made


def installation_token(state: State, installation: Installation, asked: Mapping[str, Any], now: datetime) -> Token:
    """A token for one hour, narrowed to the permissions and repositories asked for; 422 when they exceed what was granted."""
    granted = {"metadata": "read"} | installation.permissions
    permissions = dict(asked["permissions"]) if asked.get("permissions") else dict(granted)
    for name, level in permissions.items():
        if LEVELS.index(level) > LEVELS.index(granted.get(name, "none")):
            raise Refusal(422, "The permissions requested are not granted to this installation.")
    chosen = _chosen(state, installation, asked)
    owner = state.apps[installation.app_id]
    made = Token(
        new_value("installation"),
        "installation",
        owner.bot,
        owner.slug,
        permissions={"metadata": "read"} | permissions,
        repositories=frozenset(chosen),
        app_id=owner.id,
        installation_id=installation.id,
        expires_at=now + timedelta(hours=1),
    )
    state.tokens[made.value] = made
    return made


def _chosen(state: State, installation: Installation, asked: Mapping[str, Any]) -> set[int]:
    names, ids = asked.get("repositories"), asked.get("repository_ids")
    if names is None and ids is None:
        return set(installation.repositories)
    by_name = {state.repositories[one].name: one for one in installation.repositories}
    wanted = [by_name.get(name) for name in names or ()] + [
        one if one in installation.repositories else None for one in ids or ()
    ]
    if None in wanted:
        raise Refusal(
            422,
            "There is at least one repository that does not exist or is not accessible to the parent installation.",
        )
    return {one for one in wanted if one is not None}


def sees(token: Token | None, repository: Repository) -> bool:
    """Whether the repository is there at all for whoever holds `token`."""
    if not repository.private:
        return True
    if token is None:
        return False
    if token.permissions is None:
        return repository.role(token.user) is not None
    return token.repositories is None or repository.id in token.repositories


def role_reaches(repository: Repository, user: User, wanted: str) -> bool:
    role = repository.role(user)
    return role is not None and ROLES.index(role) >= ROLES.index(wanted)


def may(token: Token, repository: Repository, need: str) -> bool:
    """Whether `token` has one permission ("issues:write") in a repository that it sees."""
    name, _, level = need.partition(":")
    if token.permissions is None:
        if level == "read" and need not in _ROLE:
            return True
        return need != "checks:write" and role_reaches(repository, token.user, _ROLE.get(need, "admin"))
    if token.repositories is not None and repository.id not in token.repositories:
        return level == "read" and not repository.private
    return LEVELS.index(token.permissions.get(name, "none")) >= LEVELS.index(level)


def demand(token: Token | None, repository: Repository, needs: str) -> None:
    """404 unless the repository is seen, 401 without a token, 403 unless one of `needs` ("a:read|b:read") is held."""
    if not sees(token, repository):
        raise Refusal(404, "Not Found")
    if not needs:
        return
    if token is None:
        if all(need.endswith(":read") for need in needs.split("|")):
            return
        raise Refusal(401, "Requires authentication")
    if any(may(token, repository, need) for need in needs.split("|")):
        return
    if token.permissions is None:
        raise Refusal(
            403, "Must have admin rights to Repository." if "administration" in needs else "Must have write access to it."
        )
    raise not_accessible()
