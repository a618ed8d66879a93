"""What configures a session: the repository's file, its owner's defaults, and beside an App the App's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from bot.action.coordinator import Coordinator
from bot.action.settings import ActionSettings
from bot.config import VENDORS, Configuration, File, combine
from bot.core.errors import SetupError
from bot.github.client import Client
from bot.github.contents import content, defaults_of


class Files:
    """The configuration files that concern the repository, read through the API."""

    def __init__(self, given: ActionSettings, client: Client, about: Mapping[str, Any]) -> None:
        self._given, self._client = given, client
        self._owner, self._branch = str(about["full_name"]).partition("/")[0], str(about["default_branch"])

    @cached_property
    def _defaults(self) -> tuple[File, ...]:
        """Once for each job. Beside an App it reads the owner's: it may see what the job's token doesn't."""
        if self._given.coordinator:
            return Coordinator(self._given).defaults()
        found = defaults_of(self._client, self._owner)
        return (File(*found),) if found else ()

    def at(self, ref: str) -> Configuration:
        """The configuration with the repository's own file as it is at `ref`.

        Raises:
            SetupError: a file cannot be read, or does not hold.
        """
        raw = content(self._client, self._given.config_path, ref)
        own = None if raw is None else File(self._given.config_path, raw, ref)
        return combine(own, self._defaults)

    def now(self) -> Configuration:
        """The configuration as the default branch has it by now."""
        return self.at(self._branch)


def refuse_what_no_job_holds(found: Configuration, given: ActionSettings) -> None:
    """
    Raises:
        SetupError: a limit that runs share, which machines of one job each cannot keep. It is not left out in silence.
    """
    config = found.config
    quotas = {f"quotas.{vendor}": getattr(config.quotas, vendor) for vendor in VENDORS}
    money = {"budget.session": config.budget.session, "budget.day": config.budget.day}
    for key, value in (quotas if given.coordinator else money | quotas).items():
        if value is not None:
            who = (
                "the App sets money aside for jobs, not tokens" if given.coordinator else "Actions jobs without an App share none"
            )
            raise SetupError(
                f"{found.origin(key)}: {key} is a limit that runs share, and {who}: it holds for `ostler run` on one machine. "
                "Here `budget.money` bounds all runs of a session; take the key out."
            )
