"""Make a folder agree with a list of paths before git writes into it, without following a single link.

Git's own clean leaves pipes and sockets behind and stops at nested repositories; untrusted code leaves all of these.
Nothing else runs in the folder meanwhile: the sandbox has ended with all its processes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from bot.core.errors import SetupError

GITLINK = "160000"
# File times tick in steps of up to 10 ms; a change within this span of the index's own time counts as after it.
TICK_NS = 20_000_000


class Sweep:
    """One walk over `root`.

    `wanted` maps path -> git mode and everything else is removed; None keeps all files and only removes what git must
    not see (anything that reads as `.git`). Files touched after `since_ns` lose their time stamp, so that git reads
    them again instead of believing a forged one.
    """

    def __init__(self, root: Path, wanted: Mapping[str, str] | None, since_ns: int) -> None:
        self.root = root
        self.wanted = wanted
        self.since_ns = since_ns
        self.folders = _folders(wanted or {})

    def run(self) -> None:
        """Walk and mend. Raises SetupError when something can't be removed."""
        try:
            if self.root.is_symlink() or (self.root.exists() and not self.root.is_dir()):
                self.root.unlink()
            self.root.mkdir(parents=True, exist_ok=True)
            self._folder("")
        except OSError as error:
            raise SetupError(f"cannot clean {self.root}: {error.strerror}; check who owns it") from error

    def _folder(self, prefix: str) -> None:
        stack = [prefix]
        while stack:
            here = stack.pop()
            folder = self.root / here if here else self.root
            _open_up(folder)
            with os.scandir(folder) as entries:
                for entry in list(entries):
                    path = f"{here}/{entry.name}" if here else entry.name
                    if self._one(entry, path):
                        stack.append(path)

    def _one(self, entry: os.DirEntry[str], path: str) -> bool:
        """Keep, mend or remove one entry; True if it is a folder to walk into."""
        is_folder = entry.is_dir(follow_symlinks=False)
        if reads_as_git(entry.name) or not self._is_wanted(path, is_folder):
            remove(Path(entry.path), is_folder)
            return False
        if not is_folder:
            self._doubt(entry)
        elif self.wanted is not None and self.wanted.get(path) == GITLINK:
            _empty(Path(entry.path))
            return False
        return is_folder

    def _is_wanted(self, path: str, is_folder: bool) -> bool:
        if self.wanted is None:
            return True
        if is_folder:
            return path in self.folders or self.wanted.get(path) == GITLINK
        return path in self.wanted and self.wanted[path] != GITLINK

    def _doubt(self, entry: os.DirEntry[str]) -> None:
        """Untrusted code can set a file's mtime back but not its ctime."""
        about = entry.stat(follow_symlinks=False)
        if about.st_ctime_ns < self.since_ns - TICK_NS:
            return
        if stat.S_ISREG(about.st_mode):
            right = 0o755 if about.st_mode & stat.S_IXUSR else 0o644
            if stat.S_IMODE(about.st_mode) != right:
                os.chmod(entry.path, right)
        os.utime(entry.path, follow_symlinks=False)


def reads_as_git(name: str) -> bool:
    """True for `.git` and the spellings that some file system takes for it; git refuses to add these."""
    return name.split(":")[0].rstrip(". ").casefold() in (".git", "git~1")


def remove(path: Path, is_folder: bool) -> None:
    """Remove a file, link or whole folder, folders without permissions included."""
    if not is_folder:
        path.unlink()
        return
    folders = [path]
    for folder in folders:
        folders.extend(_unlink_all(folder))
    for folder in reversed(folders):
        folder.rmdir()


def _unlink_all(folder: Path) -> list[Path]:
    """Remove what is no folder directly in `folder`; answers with the folders left."""
    _open_up(folder)
    left = []
    with os.scandir(folder) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                left.append(Path(entry.path))
            else:
                os.unlink(entry.path)
    return left


def _empty(folder: Path) -> None:
    for below in _unlink_all(folder):
        remove(below, is_folder=True)


def _open_up(folder: Path) -> None:
    mode = folder.lstat().st_mode
    if mode & 0o755 != 0o755:
        folder.chmod(stat.S_IMODE(mode) | 0o755)


def _folders(wanted: Mapping[str, str]) -> frozenset[str]:
    found: set[str] = set()
    for path in wanted:
        parent = path.rpartition("/")[0]
        while parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return frozenset(found)
