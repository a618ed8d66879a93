"""Version modules that a build wrote into the checkout and git ignores (setuptools-scm, hatch-vcs): without them many
packages cannot be imported, so copies in which tests run get them. Nothing else that git ignores is shown to tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from bot.core.errors import BadInput, PolicyError, SetupError
from bot.workspace.files import Beneath
from bot.workspace.toolchains.reading import read_plain

NAMES = ("_version.py", "version.py", "__version__.py", "_version_info.py", "_scm_version.py")
CAP = 64 * 1024


def version_modules(checkout: Path, tracked: Iterable[str]) -> dict[str, bytes]:
    """Path to bytes of the files of that name that lie beside tracked Python files and are not tracked themselves."""
    known = frozenset(tracked)
    folders = {path.rpartition("/")[0] for path in known if path.endswith(".py")}
    wanted = (f"{folder}/{name}" if folder else name for folder in sorted(folders) for name in NAMES)
    found = {path: read_plain(checkout, path, CAP) for path in wanted if path not in known}
    return {path: data for path, data in found.items() if data is not None}


def add(modules: Mapping[str, bytes], copy: Path) -> None:
    """Write them into a copy, except where the tree has a file of its own or no such folder."""
    files = Beneath(copy)
    for path, data in modules.items():
        target = copy / path
        if target.parent.is_dir() and not target.is_symlink() and not target.exists():
            try:
                files.write(path, data)
            except (BadInput, PolicyError, SetupError):
                continue  # a link on the way: this tree does without
