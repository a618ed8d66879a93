"""What a worktree held, as changes to its base: so that a session goes on where another machine left it.

`trees/<tree id>.json` in the session's folder, written before the journal speaks of the tree.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from bot.core.errors import PolicyError, SetupError
from bot.core.reports import FileChange

FOLDER = "trees"
KEPT = 2


@cache
def _adapter() -> TypeAdapter[Any]:
    config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", extra="forbid")
    return TypeAdapter(tuple[FileChange, ...], config=config)


def save(folder: Path, tree: str, changes: tuple[FileChange, ...]) -> None:
    """Keep `changes` as those of `tree`; older ones than the last two go.

    Raises:
        PolicyError: a file's name is not UTF-8.
    """
    try:
        text = _adapter().dump_json(changes)
    except PydanticSerializationError as error:
        raise PolicyError("The whole changeset is refused: the name of a file is not UTF-8.") from error
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    scratch = place / f".{tree}"
    scratch.write_bytes(text)
    scratch.replace(place / f"{tree}.json")
    kept = sorted(place.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for old in kept[KEPT:]:
        old.unlink()


def load(folder: Path, tree: str) -> tuple[FileChange, ...]:
    """The changes of `tree`.

    Raises:
        SetupError: they are not there, or not readable.
    """
    path = folder / FOLDER / f"{tree}.json"
    try:
        changes: tuple[FileChange, ...] = _adapter().validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise SetupError(f"The session does not hold the files of its tree {tree[:12]}: start it again.") from error
    return changes
