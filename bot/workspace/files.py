"""Files beneath the worktree, and nothing else: the only way by which a model's words become reads and writes.

The kernel keeps the fence where it can: `openat2` with RESOLVE_BENEATH, NO_SYMLINKS and NO_MAGICLINKS resolves a whole path
without following anything. Where it is missing (old kernels, some seccomp filters) the path is walked one folder at a time
with O_NOFOLLOW. No `..` ever reaches either of them, `check_path` has refused it before. Everything after the open happens
through the descriptor of the parent folder, so that a folder swapped for a link afterwards changes nothing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import stat
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NoReturn

from bot.core.errors import BadInput, PolicyError, SetupError
from bot.core.paths import path_problem

MAX_BYTES = 8 * 1024 * 1024
"""The largest file that is read or written, in bytes: more is not text that somebody edits."""
MAX_ENTRIES = 2_000
"""Entries that one listing returns at most."""

Kind = Literal["file", "dir", "link", "other"]

_LIBC = ctypes.CDLL(None, use_errno=True)
_OPENAT2 = 437  # the same number on every architecture that CPython runs on, from Linux 5.6
_RESOLVE = 0x08 | 0x04 | 0x02  # BENEATH | NO_SYMLINKS | NO_MAGICLINKS, linux/openat2.h
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# NONBLOCK: opening a pipe must not wait for its writer. NOCTTY: opening a terminal must not adopt it.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class PathRefused(PolicyError):
    """A path that leads out of the worktree, through a link, into `.git` or to something that isn't a plain file."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path[:200]!r} is refused: {reason}.")
        self.path = path
        self.reason = reason


class MissingFile(BadInput):
    """There is no such file: an ordinary mistake."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a listing: path relative to the worktree, what it is, its size in bytes, and whether its owner may run it."""

    path: str
    kind: Kind
    size: int
    executable: bool = False


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _openat2(folder: int, path: str, flags: int) -> int:
    """A descriptor for `path` below the open `folder`; OSError ELOOP at a link, EXDEV on the way out."""
    how = _OpenHow(flags, 0, _RESOLVE)
    number = _LIBC.syscall(
        ctypes.c_long(_OPENAT2), ctypes.c_int(folder), ctypes.c_char_p(os.fsencode(path)), ctypes.byref(how), ctypes.c_size_t(24)
    )
    if number < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return int(number)


def _walk(folder: int, path: str, flags: int) -> int:
    """The same without `openat2`: one folder at a time, following nothing."""
    parts = path.split("/")
    current = os.dup(folder)
    try:
        for part in parts[:-1]:
            deeper = os.open(part, _FOLDER, dir_fd=current)
            os.close(current)
            current = deeper
        return os.open(parts[-1], flags, dir_fd=current)
    finally:
        os.close(current)


class Beneath:
    """Reads and writes below `root`. Paths are relative, `/`-separated, and come from models.

    Raises `PathRefused` for what looks like a way out, `MissingFile` or another `BadInput` for ordinary mistakes.
    """

    def __init__(self, root: Path, *, kernel: bool = True) -> None:
        """`kernel=False` takes the walk even where `openat2` is to be had."""
        self.root = root.resolve(strict=True)
        self.kernel = kernel and sys.platform == "linux" and self._has_openat2()

    def read(self, path: str) -> bytes:
        """The bytes of the plain file at `path`, at most `MAX_BYTES`."""
        number = self._open(path, _FILE)
        with _closing(number):
            self._require_plain(path, os.fstat(number))
            with os.fdopen(number, "rb", closefd=False) as stream:
                data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise BadInput(f"{path} is larger than {MAX_BYTES} bytes.")
        return data

    def write(self, path: str, data: bytes, *, executable: bool = False) -> None:
        """Puts `data` at `path` in one step. Missing folders are made; an existing file keeps its permission bits."""
        if len(data) > MAX_BYTES:
            raise BadInput(f"{path} would be larger than {MAX_BYTES} bytes.")
        with self._parent(path, make=True) as (folder, name):
            found = _lstat(name, folder)
            if found is not None:
                self._require_plain(path, found)
            mode = stat.S_IMODE(found.st_mode) & 0o777 if found else 0o755 if executable else 0o644
            temporary = f".ostler-{secrets.token_hex(8)}.tmp"
            try:
                _write_new(temporary, folder, data, mode)
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError as error:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                self._explain(path, error)

    def delete(self, path: str) -> None:
        """Removes the plain file at `path`, and the folders this leaves empty, as git would."""
        with self._parent(path) as (folder, name):
            found = _lstat(name, folder)
            if found is None:
                raise MissingFile(f"{path} does not exist.")
            self._require_plain(path, found)
            try:
                os.unlink(name, dir_fd=folder)
            except OSError as error:
                self._explain(path, error)
        self._prune(path)

    def stat(self, path: str) -> Entry | None:
        """What is at `path` ("" is the root), without following it; None if nothing is."""
        if not path:
            return Entry("", "dir", 0)
        try:
            with self._parent(path) as (folder, name):
                found = _lstat(name, folder)
        except MissingFile:
            return None
        return _entry(path, found) if found else None

    def exists(self, path: str) -> bool:
        """Whether a plain file or a folder is at `path`."""
        entry = self.stat(path)
        return entry is not None and entry.kind in ("file", "dir")

    def list(self, path: str = "", depth: int = 1, skip: Callable[[str], bool] = lambda _: False) -> tuple[Entry, ...]:
        """What is below the folder `path`, `depth` levels deep, in order of names; at most `MAX_ENTRIES`.

        `.git` and whatever `skip` says yes to, asked by name, is left out with all that is below.
        """
        number = self._open(path, _FOLDER)
        with _closing(number), closing(self._below(number, f"{path}/" if path else "", depth, skip)) as found:
            return tuple(islice(found, MAX_ENTRIES))

    def _below(self, folder: int, prefix: str, depth: int, skip: Callable[[str], bool]) -> Generator[Entry, None, None]:
        for name in sorted(os.listdir(folder)):
            status = _lstat(name, folder)
            if status is None or name.casefold() == ".git" or skip(name):
                continue
            entry = _entry(prefix + name, status)
            yield entry
            if entry.kind == "dir" and depth > 1:
                # A folder that vanished, was swapped for a link or can't be read has nothing to list.
                with suppress(OSError), _closing(os.open(name, _FOLDER, dir_fd=folder)) as deeper:
                    yield from self._below(deeper, f"{prefix}{name}/", depth - 1, skip)

    def _open(self, path: str, flags: int) -> int:
        if path:
            self._require_name(path)
        with self._root() as root:
            try:
                return self._reach(root, path or ".", flags)
            except OSError as error:
                self._explain(path, error, root)

    def _reach(self, root: int, path: str, flags: int) -> int:
        return _openat2(root, path, flags) if self.kernel else _walk(root, path, flags)

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """The open folder that holds `path`, and the last name."""
        self._require_name(path)
        above, _, name = path.rpartition("/")
        with self._root() as root:
            try:
                if make:
                    self._make_folders(root, above)
                folder = self._reach(root, above or ".", _FOLDER)
            except OSError as error:
                self._explain(path, error, root)
        with _closing(folder):
            yield folder, name

    def _make_folders(self, root: int, above: str) -> None:
        parts = above.split("/") if above else []
        for count, part in enumerate(parts):
            with _closing(self._reach(root, "/".join(parts[:count]) or ".", _FOLDER)) as folder, suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=folder)

    def _prune(self, path: str) -> None:
        above = path.rpartition("/")[0]
        # Stops at the first folder that still holds something.
        with suppress(OSError, BadInput, PathRefused):
            while above:
                with self._parent(above) as (folder, name):
                    os.rmdir(name, dir_fd=folder)
                above = above.rpartition("/")[0]

    @contextmanager
    def _root(self) -> Iterator[int]:
        try:
            number = os.open(self.root, _FOLDER)
        except OSError as error:
            raise SetupError(f"The worktree {self.root} can't be opened: {os.strerror(error.errno or 0)}.") from error
        with _closing(number) as root:
            yield root

    def _has_openat2(self) -> bool:
        with self._root() as root:
            try:
                os.close(_openat2(root, ".", _FOLDER))
            except OSError:  # ENOSYS before Linux 5.6, EPERM under filters that don't know the call
                return False
        return True

    def _require_name(self, path: str) -> None:
        problem = path_problem(path)
        if problem and problem.hostile:
            raise PathRefused(path, problem.reason)
        if problem:
            raise BadInput(f"{path[:200]!r}: {problem.reason}.")

    def _require_plain(self, path: str, found: os.stat_result) -> None:
        kind = _kind(found.st_mode)
        if kind == "dir":
            raise BadInput(f"{path or 'The root'} is a folder.")
        if kind != "file":
            raise PathRefused(path, "it is a symbolic link" if kind == "link" else "it is not a plain file")

    def _explain(self, path: str, error: OSError, root: int | None = None) -> NoReturn:
        """Turns what the kernel said into a refusal (links, ways out, devices) or an ordinary mistake."""
        # O_DIRECTORY|O_NOFOLLOW answers ENOTDIR at a link, so who stood in the way has to be looked up.
        at_link = error.errno == errno.ENOTDIR and root is not None and self._meets_link(root, path)
        if at_link or error.errno in (errno.ELOOP, errno.EXDEV):
            raise PathRefused(path, "a symbolic link is on the way") from error
        if error.errno in (errno.ENXIO, errno.ENODEV):
            raise PathRefused(path, "it is not a plain file") from error
        if error.errno == errno.ENOENT:
            raise MissingFile(f"{path} does not exist.") from error
        if error.errno == errno.ENOTDIR:
            raise BadInput(f"{path}: a folder was expected where a file is.") from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE):
            raise SetupError(f"The worktree can't be used: {os.strerror(error.errno)}.") from error
        raise BadInput(f"{path}: {os.strerror(error.errno or 0)}.") from error

    def _meets_link(self, root: int, path: str) -> bool:
        with suppress(OSError):
            current = os.dup(root)
            try:
                for part in path.split("/"):
                    if stat.S_ISLNK(os.stat(part, dir_fd=current, follow_symlinks=False).st_mode):
                        return True
                    deeper = os.open(part, _FOLDER, dir_fd=current)
                    os.close(current)
                    current = deeper
            finally:
                os.close(current)
        return False


@contextmanager
def _closing(number: int) -> Iterator[int]:
    try:
        yield number
    finally:
        os.close(number)


def _lstat(name: str, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:  # a name longer than the file system takes
        raise BadInput(f"{name[:200]!r}: {os.strerror(error.errno or 0)}.") from error


def _write_new(name: str, folder: int, data: bytes, mode: int) -> None:
    number = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    with os.fdopen(number, "wb") as stream:
        stream.write(data)
        os.fchmod(number, mode)  # after creation, so that the umask has no say


def _entry(path: str, found: os.stat_result) -> Entry:
    return Entry(path, _kind(found.st_mode), found.st_size, bool(found.st_mode & stat.S_IXUSR))


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "dir"
    return "link" if stat.S_ISLNK(mode) else "other"
