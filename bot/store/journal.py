"""The journal: append-only JSON lines, hash-chained, on disk before anything is done about them.

One record a line: `{seq, at, type, of, name, body, prev, hash}`. `type` is `event` or `effect`; `of` is the sequence number
of the effect that an event answers; `name` and `body` are the dataclass. `hash` is the sha256 of the record without it, and
`prev` the hash of the record before. A last line cut short by a crash never happened; any other damage is refused.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bot.core.changeset import canonical
from bot.core.effects import Effect
from bot.core.errors import SetupError
from bot.core.events import Event

GENESIS = "0" * 64
_TYPES: dict[str, Any] = {kind.__name__: kind for kind in (*get_args(Event), *get_args(Effect))}
_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", extra="forbid")


@dataclass(frozen=True, slots=True)
class Record:
    """One line. `at` is UTC, ISO 8601."""

    seq: int
    at: str
    type: str
    of: int | None
    item: Event | Effect
    prev: str
    hash: str


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    """For a one-item tuple: pydantic takes settings for a dataclass only from what it stands in."""
    one: Any = tuple.__class_getitem__((_TYPES[name],))
    return TypeAdapter(one, config=_CONFIG)


def encode(item: Event | Effect) -> tuple[str, Any]:
    """Name and JSON body of an event or effect."""
    name = type(item).__name__
    return name, _storable(_adapter(name).dump_python((item,), mode="json")[0])


def recordable(item: Event) -> Event:
    """`item` as a replay will read it: what is acted on and what is written are the same."""
    event: Event = decode(*encode(item))  # type: ignore[assignment]  # what was an event is one again
    return event


def _storable(value: Any) -> Any:
    """Half a character (a file name that is not UTF-8) becomes its name, `\\udcff`, and an endless number its word."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return {key: _storable(item) for key, item in value.items()} if isinstance(value, dict) else value


def decode(name: str, body: Any) -> Event | Effect:
    """The event or effect of `name`, checked against its types.

    Raises:
        SetupError: no such event or effect, or a body that does not fit it: another version wrote it.
    """
    if name not in _TYPES:
        raise SetupError(
            f"The journal holds a {name}, which this version of Ostler does not know: use the version that wrote it."
        )
    try:
        item: Event | Effect = _adapter(name).validate_json(json.dumps([body]))[0]
    except ValidationError as error:
        raise SetupError(
            f"The journal holds a {name} of another shape ({error.errors()[0]['msg']}): use the version that wrote it."
        ) from error
    return item


class Journal:
    """The open journal of one session. One process at a time holds it."""

    def __init__(self, path: Path, clock: Callable[[], str]) -> None:
        """Open or create `path`. `clock` gives the time of day, UTC, ISO 8601.

        Raises:
            SetupError: another process holds it, or a record is damaged.
        """
        self.path, self._clock = path, clock
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._fd)
            raise SetupError(f"Another process is working on the session {path.parent.name}: wait for it, or end it.") from error
        raw = path.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        try:
            self.records = list(read(whole, path))
        except SetupError:
            os.close(self._fd)
            raise
        if len(whole) < len(raw):
            os.ftruncate(self._fd, len(whole))
        _sync_folder(path.parent)

    def append(self, event: Event | None, effects: Iterable[Effect], of: int | None = None) -> list[Record]:
        """Write an event and what follows from it in one go; on return it is on disk."""
        items: list[tuple[str, int | None, Event | Effect]] = [("event", of, event)] if event is not None else []
        items += [("effect", None, effect) for effect in effects]
        at, prev, lines, new = self._clock(), self.records[-1].hash if self.records else GENESIS, [], []
        for seq, (kind, answers, item) in enumerate(items, len(self.records)):
            name, body = encode(item)
            plain = {"seq": seq, "at": at, "type": kind, "of": answers, "name": name, "body": body, "prev": prev}
            prev = _hash(plain)
            lines.append(canonical({**plain, "hash": prev}) + b"\n")
            new.append(Record(seq, at, kind, answers, item, plain["prev"], prev))
        _write_all(self._fd, b"".join(lines))
        os.fsync(self._fd)
        self.records += new
        return new

    def close(self) -> None:
        os.close(self._fd)


def read_records(path: Path) -> list[Record]:
    """The whole records of a journal that another process may be writing.

    Raises:
        SetupError: there is none, or it is damaged.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SetupError(f"{path} cannot be read ({error.strerror}): the session has no journal.") from error
    return list(read(raw[: raw.rfind(b"\n") + 1], path))


def read(raw: bytes, path: Path) -> Iterator[Record]:
    """The records in `raw`, checked one against the next.

    Raises:
        SetupError: a line is not a record, out of order, or its hash does not fit.
    """
    prev = GENESIS
    for seq, line in enumerate(raw.split(b"\n")[:-1]):
        try:
            plain = json.loads(line)
            sound = canonical(plain) == line
            found = plain.pop("hash")
            sound = sound and plain["seq"] == seq and plain["prev"] == prev and found == _hash(plain)
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            sound = False
        if not sound:
            raise SetupError(
                f"{path}, line {seq + 1}: the record is damaged, so nothing after it can be trusted. Restore a copy."
            )
        yield Record(seq, plain["at"], plain["type"], plain["of"], decode(plain["name"], plain["body"]), prev, found)
        prev = found


def _hash(plain: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(plain)).hexdigest()


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _sync_folder(folder: Path) -> None:
    """A new file is only durable when its folder is."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
