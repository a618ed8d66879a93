"""`ostler queue`: who waits in the App's queue, in which order, and why. Asked over HTTP, so that it works from anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bot.core.errors import SetupError, TransientError
from bot.core.paths import printable
from bot.github.plain import checked_address, fetch
from bot.web.settings import read_app_settings

STATS = "/api/queue/stats"
MAX_BYTES = 1_000_000
COLUMNS = ("place", "session", "repository", "priority", "position", "status", "why")


def show(env_file: Path | None, *, as_json: bool) -> int:
    """The sessions that are not at rest: those at work, then the queue from its first place.

    Raises:
        SetupError: address or token are missing or wrong, or the App is not there.
    """
    said = _asked(env_file)
    if as_json:
        print(json.dumps(said))
        return 0
    if not said["sessions"]:
        print("Nobody waits, and nothing is at work.")
        return 0
    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name.capitalize(), justify="right" if name in ("place", "position") else "left")
    for each in said["sessions"]:
        table.add_row(*("" if each[name] is None else escape(printable(str(each[name]))) for name in COLUMNS))
    Console(highlight=False).print(table)
    return 0


def _asked(env_file: Path | None) -> dict[str, Any]:
    settings = read_app_settings(env_file)
    token = settings.api_token.get_secret_value()
    for name, value in (("PUBLIC_URL", settings.public_url), ("API_TOKEN", token)):
        if not value:
            raise SetupError(f"OSTLER_{name} is not set: set it as the App has it, or name the App's file with --env-file.")
    address = checked_address(settings.public_url)
    try:
        raw = fetch(address + STATS, MAX_BYTES, loopback=True, headers={"authorization": f"Bearer {token}"})
        said: dict[str, Any] = json.loads(raw)
    except TransientError as error:
        raise SetupError(f"The App at {address} does not answer: see that it runs.") from error
    except SetupError as error:
        raise SetupError(f"The App at {address} does not tell ({str(error).rstrip('.')}): see OSTLER_API_TOKEN.") from error
    except ValueError as error:
        raise SetupError(f"What answers at {address} is no App of Ostler's: see OSTLER_PUBLIC_URL.") from error
    return said
