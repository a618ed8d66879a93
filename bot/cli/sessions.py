"""`ostler sessions list | show`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bot.config import load_settings
from bot.core.budget import MICRO, dollars
from bot.core.errors import SetupError
from bot.core.paths import printable
from bot.core.summary import line
from bot.loop.driver import fold
from bot.loop.projections import progress
from bot.rooms import sessions, utc_now
from bot.store.journal import read_records
from bot.workspace.workplace import INNER


def list_sessions(*, as_json: bool) -> int:
    """Name, status, calls, cost, start; newest first. One that is damaged is named and does not hide the others."""
    found = []
    for session in sessions(load_settings()).newest():
        try:
            found.append(session.metadata())
        except SetupError as error:
            print(f"ostler: {printable(str(error))}", file=sys.stderr)
    if as_json:
        print(json.dumps([{**asdict(item), "cost_usd": item.cost / MICRO} for item in found]))
        return 0
    if not found:
        print("No sessions yet: `ostler run PATH --issue TEXT` starts one.")
        return 0
    table = Table(box=None, pad_edge=False)
    for name in ("Session", "Status", "Calls", "Cost", "Started"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("Calls", "Cost") else "left")
    for item in found:
        table.add_row(item.session_id, item.status, str(item.calls), dollars(item.cost), item.started_at[:16].replace("T", " "))
    Console(highlight=False).print(table)
    return 0


def show(name: str, *, as_json: bool) -> int:
    """The state of one session, read from its journal."""
    folder = sessions(load_settings()).find(name)
    records = read_records(folder.journal_path)
    run, _, _ = fold(records)
    if run is None:
        print(f"{folder.id}: ended before its run began")
        return 0
    if as_json:
        files = sorted(
            str(path.relative_to(folder.path))
            for path in folder.path.rglob("*")
            if path.is_file() and not _inner(path, folder.path)
        )
        print(
            json.dumps(
                {**line(run), "metadata": asdict(folder.metadata()), "records": len(records), "files": files, "at": utc_now()}
            )
        )
        return 0
    print(progress(run))
    print(f"  journal  {folder.journal_path} ({len(records)} records)")
    if (folder.path / "report.md").is_file():
        print(f"  report   {folder.path / 'report.md'}")
    return 0


def _inner(path: Path, folder: Path) -> bool:
    """Whether `path` belongs to the worktree rather than to the record."""
    return path.relative_to(folder).parts[0] in INNER
