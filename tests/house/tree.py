"""The source tree as the house tests see it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def modules() -> dict[str, Path]:
    """Every module of `bot` by its full name. A folder without `__init__.py` holds data, not modules."""
    found: dict[str, Path] = {}
    pending = [ROOT / "bot"]
    while pending:
        folder = pending.pop()
        if not (folder / "__init__.py").is_file():
            continue
        for entry in folder.iterdir():
            if entry.is_dir():
                pending.append(entry)
            elif entry.suffix == ".py":
                parts = entry.relative_to(ROOT).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = entry
    return dict(sorted(found.items()))
