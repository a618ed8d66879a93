"""What the App is registered with, and the last step of registering it.

Source: docs.github.com, "Registering a GitHub App from a manifest"; REST "Create a GitHub App from a manifest".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from bot.core.errors import SetupError
from bot.github.plain import SECONDS, checked_address

PERMISSIONS = {
    "contents": "write",
    "issues": "write",
    "checks": "write",
    "actions": "write",
    "pull_requests": "read",
    "metadata": "read",
}
"""What the App holds in a repository. Never `workflows`: it changes no workflow file."""
EVENTS = ("issues", "issue_comment", "pull_request_review", "check_run", "workflow_run")
"""What GitHub tells the App; of its installations it tells every App."""
DESCRIPTION = "Turns a labelled issue into an audited draft pull request, inside a budget, with its proof shown."
LONGEST_NAME = 34
"""Characters of an App's name on GitHub."""
WEBHOOK = "/webhook/github"
_CODE = re.compile(r"[A-Za-z0-9_-]{8,128}")


@dataclass(frozen=True, slots=True)
class Registered:
    """An App that GitHub has made. The two secrets are told once, and never again."""

    id: int
    slug: str
    page: str
    private_key: str
    webhook_secret: str


def manifest(name: str, address: str, redirect: str) -> dict[str, Any]:
    """The App `name` at `address`; GitHub sends whoever agrees to it back to `redirect`.

    Raises:
        SetupError: the name is too long or empty.
    """
    if not 0 < len(name.strip()) <= LONGEST_NAME:
        raise SetupError(f"The App's name has 1 to {LONGEST_NAME} characters: choose another with --name.")
    return {
        "name": name.strip(),
        "url": address,
        "hook_attributes": {"url": f"{address}{WEBHOOK}", "active": True},
        "redirect_url": redirect,
        "description": DESCRIPTION,
        "public": False,
        "default_permissions": PERMISSIONS,
        "default_events": list(EVENTS),
    }


def convert(api_url: str, code: str) -> Registered:
    """The App behind a `code`, which GitHub gives to who agreed to a manifest; it is good once, for an hour.

    Raises:
        SetupError: GitHub does not know the code (any more), does not answer, or answers something else.
    """
    import httpx  # noqa: PLC0415 - a sixth of a second that most commands don't need

    if not _CODE.fullmatch(code):
        raise SetupError("That is no code of GitHub's: begin again.")
    place = f"{checked_address(api_url)}/app-manifests/{code}/conversions"
    try:
        with httpx.Client(trust_env=False, follow_redirects=False, timeout=SECONDS) as http:
            answer = http.post(place, headers={"accept": "application/vnd.github+json"})
    except httpx.HTTPError as error:
        raise SetupError(
            f"GitHub did not answer ({type(error).__name__}). If it made the App, delete it there; begin again."
        ) from None
    if answer.status_code != 201:
        raise SetupError(f"GitHub does not take the code (HTTP {answer.status_code}): it is good once, for an hour. Begin again.")
    try:
        made = answer.json()
        return Registered(
            int(made["id"]), str(made["slug"]), str(made["html_url"]), str(made["pem"]), str(made["webhook_secret"])
        )
    except (KeyError, TypeError, ValueError):  # what is no JSON is a ValueError
        raise SetupError("GitHub's answer tells of no App: look whether it was made, delete it there, begin again.") from None
