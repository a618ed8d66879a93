"""`ostler docs`: the parts of `docs/` that are made from the code, so that they cannot fall out of step."""

from __future__ import annotations

import json
from pathlib import Path

from bot.config import RepoConfig
from bot.core import machines
from bot.core.errors import SetupError
from bot.core.phases import KINDS
from bot.core.summary import EXIT_CODES
from bot.render import render


def documents() -> dict[str, str]:
    """Path below `docs/` to content."""
    diagrams = (
        ("Run", machines.diagram(machines.RUN)),
        ("Tier", machines.diagram(machines.TIER)),
        ("Phase", machines.diagram(machines.PHASE)),
    )
    values = {"diagrams": diagrams, "failures": machines.RUN_FAILURES, "kinds": KINDS.values(), "exits": EXIT_CODES}
    schema = RepoConfig.model_json_schema()
    return {
        "states.md": render("pages/states.md.j2", **values),
        "ostler.schema.json": json.dumps(schema, indent=2, sort_keys=True) + "\n",
    }


def docs(*, check: bool) -> int:
    """Write the documents, or say which are out of step."""
    folder = Path(__file__).resolve().parent.parent.parent / "docs"
    if not folder.is_dir():
        raise SetupError(f"There is no folder {folder}: this command is for a checkout of Ostler itself.")
    stale = [
        name for name, text in documents().items() if not (folder / name).is_file() or (folder / name).read_text("utf-8") != text
    ]
    if check:
        for name in stale:
            print(f"docs/{name} is out of step: run `make docs`.")
        return 1 if stale else 0
    for name in stale:
        (folder / name).write_text(documents()[name], "utf-8")
        print(f"docs/{name} written")
    return 0
