"""The App, as its jobs see it: asked who may go on, told how it went. A job proves itself with GitHub's token for it."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from bot.action.settings import ActionSettings
from bot.config import File
from bot.core.errors import PolicyError, SetupError, TransientError
from bot.core.events import AllowanceGiven
from bot.core.experience import NONE, Experience, read_experience
from bot.core.session import SessionState, read_state
from bot.core.settling import Report
from bot.github import oidc

SECONDS = 30.0
TRIES = 6
UNBOUNDED = AllowanceGiven(None, "")


@dataclass(frozen=True, slots=True)
class Said:
    """The App's answer to a claim: the session to go on with, what it may spend and what the App knows of earlier runs of the
    repository, or None and why not."""

    state: SessionState | None
    why: str
    allowance: AllowanceGiven = UNBOUNDED
    experience: Experience = NONE


class Coordinator:
    """The App at the address that the caller workflow names."""

    def __init__(self, given: ActionSettings, sleep: Callable[[float], None] = time.sleep) -> None:
        parts = urlsplit(given.coordinator)
        here = parts.hostname in ("127.0.0.1", "localhost")
        if not parts.hostname or parts.scheme not in ("https", "http") or (parts.scheme == "http" and not here):
            raise SetupError(f"coordinator: {given.coordinator!r} is no https address: name the App's.")
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._given, self._sleep = given, sleep

    def defaults(self) -> tuple[File, ...]:
        """The configuration files that lie beneath the repository's: the App's first, then its owner's.

        Raises:
            PolicyError: the answer holds no such files. It never means that there are none.
        """
        try:
            found = self._ask("defaults", {})["files"]
            return tuple(File(one["name"], base64.b64decode(one["raw"], validate=True), one["commit"]) for one in found)
        except (TypeError, KeyError, ValueError) as error:
            raise PolicyError("The App does not say what its defaults are: update the App.") from error

    def claim(self, limits: Mapping[str, int]) -> Said:
        """May this workflow run go on? `limits` are micro-dollars by the configuration: of run, session and day, 0 for none."""
        given = self._given
        body = {"issue": given.issue, "session": given.session, "run_id": given.run_id, "run_attempt": given.run_attempt}
        said = self._ask("claim", {**body, "limits": dict(limits)})
        if said.get("go") is not True:
            return Said(None, str(said.get("why", "")))
        experience = read_experience(said.get("experience"))
        return Said(read_state(said.get("state")), "", _allowance(said.get("allowance")), experience)

    def settle(self, report: Report) -> SessionState:
        """Tell how the workflow run went; the state after it."""
        return read_state(self._ask("settle", {"report": asdict(report)}).get("state"))

    def _ask(self, what: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Asked again where no answer came: every question may be asked twice."""
        import httpx  # noqa: PLC0415 - only two jobs need it

        for attempt in range(1, TRIES + 1):
            given = self._given
            token = oidc.request_token(given.id_token_url, given.id_token.get_secret_value(), self.origin)
            try:
                with httpx.Client(trust_env=False, timeout=SECONDS, follow_redirects=False) as client:
                    answer = client.post(
                        f"{self.origin}/api/jobs/{what}", json=body, headers={"authorization": f"Bearer {token}"}
                    )
            except httpx.TransportError as error:
                problem = type(error).__name__
            else:
                if answer.status_code == 200:
                    value = answer.json()
                    return value if isinstance(value, dict) else {}
                problem = f"HTTP {answer.status_code}"
                if answer.status_code < 500 and answer.status_code != 429:
                    raise PolicyError(f"The App at {self.origin} refuses this job ({problem}: {answer.text[:200]}).")
            if attempt < TRIES:
                self._sleep(2.0 ** (attempt - 1))
        raise TransientError(f"The App at {self.origin} does not answer ({problem}): see that it runs, then re-run this job.")


def _allowance(value: Any) -> AllowanceGiven:
    """
    Raises:
        PolicyError: the answer holds none. It never means one without end.
    """
    if not isinstance(value, dict) or value.keys() != {"amount", "cap"} or type(value["cap"]) is not str:
        raise PolicyError("The App does not say what this workflow run may spend: update the App.")
    amount = value["amount"]
    if amount is not None and (type(amount) is not int or amount < 0):
        raise PolicyError("The App's answer has an allowance that is no amount.")
    return AllowanceGiven(amount, value["cap"])
