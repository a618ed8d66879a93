"""Session folders: one per run of the command, under the state directory, found by name."""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bot.core.errors import BadInput, SetupError

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
SCHEMA_VERSION = 1
_ID = re.compile(rf"(?P<name>{NAME.pattern})_(?P<at>[0-9]{{8}}_[0-9]{{6}})(?:-(?P<number>[0-9]{{1,4}}))?")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a list of sessions shows. Times are UTC, ISO 8601; cost is micro-dollars. `false_breaches` are marks of a
    person: what was over its limit and why that was right."""

    name: str
    session_id: str
    repository: str
    goal: str
    status: str
    started_at: str
    completed_at: str | None = None
    cost: int = 0
    calls: int = 0
    run_state: str = ""
    outcome: str = ""
    false_breaches: tuple[tuple[str, str], ...] = ()
    schema_version: int = SCHEMA_VERSION


class SessionFolder:
    """One session on disk: `metadata.json`, `journal.jsonl`, and the projections made from the journal."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def journal_path(self) -> Path:
        return self.path / "journal.jsonl"

    def metadata(self) -> Metadata:
        """
        Raises:
            SetupError: the file is missing or not readable.
        """
        path = self.path / "metadata.json"
        try:
            value = json.loads(path.read_text("utf-8"))
            return Metadata(**value | {"false_breaches": tuple((what, why) for what, why in value.get("false_breaches", ()))})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise SetupError(
                f"{path} cannot be read ({error}): the session is damaged, its journal may still be whole."
            ) from error

    def update(self, **changes: Any) -> None:
        """Change fields of the metadata."""
        self.save(replace(self.metadata(), **changes))

    def save(self, metadata: Metadata) -> None:
        self.write("metadata.json", json.dumps(asdict(metadata), indent=2) + "\n")

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file of the session whole or not at all."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        fd, scratch = tempfile.mkstemp(dir=target.parent, prefix=".new-")
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            Path(scratch).replace(target)
        finally:
            Path(scratch).unlink(missing_ok=True)
        return target


class Sessions:
    """All sessions under one state directory."""

    def __init__(self, root: Path) -> None:
        self.root = root / "sessions"

    def create(self, name: str, *, at: str, repository: str, goal: str, exclusive: bool) -> SessionFolder:
        """A new session folder `<name>_<YYYYMMDD_HHMMSS>`. `exclusive` refuses a name whose latest session is unfinished.

        Raises:
            BadInput: not a name, or an unfinished session has it.
            SetupError: the state folder cannot be written.
        """
        if not NAME.fullmatch(name):
            raise BadInput(
                f"{name!r} is no session name: use lower-case letters, digits and hyphens, 63 at most, a letter or digit first."
            )
        if exclusive and (latest := next(iter(self._named(name)), None)) and latest.metadata().status in ("running", "paused"):
            raise BadInput(f"The session {latest.id} is not finished: resume it, or choose another name.")
        stamp = re.sub(r"[-:]", "", at[:19]).replace("T", "_")
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder = self._fresh(f"{name}_{stamp}")
        except OSError as error:
            raise SetupError(
                f"{self.root} cannot be written ({error.strerror}): set OSTLER_STATE_DIR to a folder that can."
            ) from error
        session = SessionFolder(folder)
        session.save(Metadata(name, folder.name, repository, goal, "running", at))
        return session

    def _fresh(self, wanted: str) -> Path:
        """Two sessions of one name may begin in the same second."""
        for number in range(1, 1000):
            folder = self.root / (wanted if number == 1 else f"{wanted}-{number}")
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                continue
            return folder
        raise SetupError(f"{self.root} holds a thousand sessions named {wanted}: remove some.")

    def newest(self) -> list[SessionFolder]:
        """All sessions, newest first. Name and time are in the id, so that a damaged one does not hide the others."""
        if not self.root.is_dir():
            return []
        found = [
            (id_, path)
            for path in self.root.iterdir()
            if (id_ := _ID.fullmatch(path.name)) and (path / "metadata.json").is_file()
        ]
        found.sort(key=lambda item: (item[0]["at"], int(item[0]["number"] or 1), item[0]["name"]), reverse=True)
        return [SessionFolder(path) for _, path in found]

    def _named(self, name: str) -> list[SessionFolder]:
        return [session for session in self.newest() if session.id.startswith(f"{name}_")]

    def find(self, name: str) -> SessionFolder:
        """The session with this id, else the newest with this name.

        Raises:
            BadInput: there is none.
        """
        by_id = self.root / name
        if _ID.fullmatch(name) and (by_id / "metadata.json").is_file():
            return SessionFolder(by_id)
        if found := self._named(name):
            return found[0]
        raise BadInput(f"There is no session {name!r}: `ostler sessions list` shows those there are.")
