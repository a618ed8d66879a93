"""Where this machine keeps its sessions, and what time it is."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from bot.config import Settings
from bot.store.session import Sessions


def sessions(settings: Settings) -> Sessions:
    """Under `OSTLER_STATE_DIR`, else where the XDG base directory specification puts state."""
    base = settings.state_dir or Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "ostler"
    return Sessions(base.expanduser().absolute())


def utc_now() -> str:
    """UTC, ISO 8601, with microseconds."""
    return datetime.now(UTC).isoformat()
