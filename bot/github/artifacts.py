"""What an earlier job left: an artifact by its id, or the folder that a download step made, read as if a stranger had packed it.

By id and run, never by name: anybody's pull request can upload an artifact of the same name. Only names that are expected, only
regular files, counted while they are unpacked, and nothing is written to disk.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from bot.core.errors import PolicyError, SetupError
from bot.github.client import Client, NotFound

MAX_ENTRIES = 2_000
_CHUNK = 65_536
_OVERHEAD = 1_000_000
"""Bytes that a zip may be longer than what is in it."""
_ENTRY = b"PK\x01\x02"
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1


def download(
    client: Client, artifact_id: int, *, run_id: int, digest: str | None, allow: Sequence[str], max_bytes: int
) -> dict[str, bytes]:
    """The files of an artifact that the workflow run `run_id` of this repository made.

    `digest` is the sha256 of the zip, with or without "sha256:"; `allow` are regular expressions for
    whole names; `max_bytes` bounds all files
    together.

    Raises:
        NotFound: it is gone.
        PolicyError: another run or a fork made it, or it is not what it should be.
    """
    described = client.get(f"actions/artifacts/{artifact_id}")
    run = described.get("workflow_run") or {}
    if run.get("id") != run_id or not run.get("repository_id") or run.get("head_repository_id") != run["repository_id"]:
        raise PolicyError(f"Artifact {artifact_id} was not made by workflow run {run_id} of this repository.")
    if described.get("expired"):
        raise NotFound(f"Artifact {artifact_id} has expired.")
    packed = client.raw(f"actions/artifacts/{artifact_id}/zip", max_bytes + _OVERHEAD)
    _check_digest(packed, digest, described)
    return unpacked(packed, allow, max_bytes)


def _check_digest(packed: bytes, digest: str | None, described: Any) -> None:
    real = hashlib.sha256(packed).hexdigest()
    for wanted in (digest, described.get("digest")):
        if wanted is None:
            continue
        match = _DIGEST.fullmatch(wanted)
        if match is None or match[1] != real:
            raise PolicyError("The artifact is not the one that was uploaded: its digest differs.")


def unpacked(packed: bytes, allow: Sequence[str], max_bytes: int) -> dict[str, bytes]:
    """The files in a zip. One bad entry refuses all of them, with PolicyError."""
    if packed.count(_ENTRY) > MAX_ENTRIES:  # before the directory is read: each entry costs memory
        raise PolicyError(f"The artifact has more than {MAX_ENTRIES:,} entries.")
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            return _files(archive, allow, max_bytes)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError, OSError) as error:
        raise PolicyError(f"The artifact is not a sound zip ({type(error).__name__}).") from None


def _files(archive: zipfile.ZipFile, allow: Sequence[str], max_bytes: int) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    left = max_bytes
    for entry in archive.infolist():
        if entry.filename.endswith("/") and entry.file_size == 0 and _is_kind(entry, stat.S_IFDIR):
            continue  # an empty folder; a folder's files are entries of their own
        _check_name(entry.filename, allow)
        if entry.filename in files:
            raise PolicyError(f"The artifact has {entry.filename!r} twice.")
        if not _is_kind(entry, stat.S_IFREG) or entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
            raise PolicyError(f"The artifact's {entry.filename!r} is not a plain file.")
        with archive.open(entry) as stream:
            files[entry.filename] = _bounded(stream, left, max_bytes)
        left -= len(files[entry.filename])
    return files


def _is_kind(entry: zipfile.ZipInfo, kind: int) -> bool:
    """By its Unix mode; an entry packed elsewhere has none."""
    mode = entry.external_attr >> 16
    return stat.S_IFMT(mode) in (0, kind)


def _bounded(stream: Any, left: int, max_bytes: int) -> bytes:
    """All of `stream`, read until it is more than `left`: what a header says of its size is not believed."""
    parts: list[bytes] = []
    while part := stream.read(_CHUNK):
        left -= len(part)
        if left < 0:
            raise PolicyError(f"The artifact holds more than {max_bytes:,} bytes.")
        parts.append(part)
    return b"".join(parts)


def _check_name(name: str, allow: Sequence[str]) -> None:
    parts = name.split("/")
    if "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise PolicyError(f"The artifact has an entry with the name {name!r}.")
    if not any(re.fullmatch(pattern, name) for pattern in allow):
        raise PolicyError(f"The artifact has an entry {name!r} that nobody expects.")


def from_folder(path: Path, allow: Sequence[str], max_bytes: int) -> dict[str, bytes]:
    """The files in a folder by the same rules; names are relative to it. SetupError where there is no such folder."""
    files: dict[str, bytes] = {}
    left = max_bytes
    try:
        for name, descriptor in _opened(path):
            with os.fdopen(descriptor, "rb") as stream:
                _check_file(stream, name, allow)
                files[name] = _bounded(stream, left, max_bytes)
            left -= len(files[name])
            if len(files) > MAX_ENTRIES:
                raise PolicyError(f"The folder has more than {MAX_ENTRIES:,} files.")
    except FileNotFoundError:
        raise SetupError(f"There is no folder {path}: the download of the artifact is missing.") from None
    return files


def _opened(path: Path) -> Iterator[tuple[str, int]]:
    """(name, open file) of all files below `path`, none of them reached through a link."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not make us wait
    for folder, folders, names, fd in os.fwalk(path, follow_symlinks=False, onerror=_raise):
        place = Path(folder).relative_to(path)
        for name in (*folders, *names):
            shown = (place / name).as_posix()
            if not stat.S_ISDIR(kind := os.lstat(name, dir_fd=fd).st_mode) and not stat.S_ISREG(kind):
                raise PolicyError(f"{shown!r} in the artifact's folder is not a plain file.")
            if stat.S_ISREG(kind):
                yield shown, os.open(name, flags, dir_fd=fd)


def _check_file(stream: BinaryIO, name: str, allow: Sequence[str]) -> None:
    _check_name(name, allow)
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        raise PolicyError(f"{name!r} in the artifact's folder is not a plain file.")


def _raise(error: OSError) -> None:
    raise error
