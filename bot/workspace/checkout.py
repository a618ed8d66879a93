"""The user's checkout, read suspiciously: nothing that its `.git` configures is ever run."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bot.core.errors import SetupError
from bot.workspace import gitcall

# Settings that change how files compare and run nothing; copied so that `dirty` sees what the user's own git sees.
INERT = {
    "core.filemode": ("true", "false"),
    "core.symlinks": ("true", "false"),
    "core.ignorecase": ("true", "false"),
    "core.precomposeunicode": ("true", "false"),
    "core.autocrlf": ("true", "false", "input"),
    "core.eol": ("lf", "crlf", "native"),
}
SHA = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Checkout:
    """Where the user's repository is.

    `git_dir` is the common dir (objects and branches); `private_dir` is the same unless this is a linked worktree, and
    holds HEAD and the index. `branch` is None on a detached HEAD.
    """

    root: Path
    git_dir: Path
    private_dir: Path
    head: str
    branch: str | None
    shallow: bool

    @classmethod
    def open(cls, path: Path) -> Checkout:
        """Find the repository at or above `path`. Raises SetupError, one sentence for each thing that can be wrong."""
        if not path.exists():
            raise SetupError(f"{path} does not exist; name the folder of a git checkout")
        start = path.resolve() if path.is_dir() else path.resolve().parent
        root = _root(start)
        private = _private_dir(root)
        common = _common_dir(private)
        kind = gitcall.word(private, "rev-parse", "--show-object-format")
        if kind != "sha1":
            raise SetupError(f"{root} uses {kind} object names, which Ostler cannot read; use a SHA-1 repository")
        head = gitcall.word(private, "rev-parse", "--verify", "--quiet", "HEAD^{commit}", ok=(0, 1, 128))
        if not head:
            raise SetupError(f"{root} has no commits yet, or its HEAD is damaged; make a first commit and try again")
        branch = gitcall.word(private, "symbolic-ref", "--quiet", "--short", "HEAD", ok=(0, 1))
        return cls(root, common, private, head, branch or None, (common / "shallow").exists())

    def resolve(self, name: str) -> str:
        """The full id of a commit named as in git. Raises SetupError if there is none."""
        found = gitcall.word(
            self.private_dir, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", ok=(0, 1, 128)
        )
        if not SHA.fullmatch(found):
            raise SetupError(f"{name!r} names no commit in {self.root}; fetch it or name another")
        return found

    def branch_head(self, branch: str) -> str | None:
        """The commit a local branch points at, or None."""
        return gitcall.word(self.git_dir, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}", ok=(0, 1)) or None

    def dirty(self) -> tuple[str, ...]:
        """Paths that differ from HEAD or are neither tracked nor ignored, sorted. Submodules aren't looked at.

        Runs git with a git dir of our own that borrows the objects and a copy of the index (its stat cache spares
        re-reading files, also those that a filter such as LFS would have to translate).
        """
        with tempfile.TemporaryDirectory(prefix="ostler-status-") as made:
            git_dir = Path(made) / "git"
            bare(git_dir, self)
            for name, value in self._inert().items():
                gitcall.call(git_dir, "config", name, value)
            self._copy_index(git_dir)
            done = gitcall.call(
                git_dir,
                "status",
                "--porcelain",
                "-z",
                "--untracked-files=all",
                "--no-renames",
                "--ignore-submodules=all",
                work_tree=self.root,
            )
        changed = {
            item[3:] for item in gitcall.names(done.stdout) if not (item.startswith("??") and self._in_environment(item[3:]))
        }
        return tuple(sorted(changed))

    def _in_environment(self, path: str) -> bool:
        """Whether `path` lies in a Python virtual environment: made by tools, nobody's work (PEP 405)."""
        return any((self.root / folder / "pyvenv.cfg").is_file() for folder in map(str, PurePosixPath(path).parents))

    def _inert(self) -> dict[str, str]:
        found: dict[str, str] = {}
        config = self.git_dir / "config"
        if not config.is_file():
            return found
        for name, allowed in INERT.items():
            value = gitcall.word(self.git_dir, "config", "--no-includes", "--file", str(config), "--get", name, ok=(0, 1))
            if value.lower() in allowed:
                found[name] = value.lower()
        return found

    def _copy_index(self, git_dir: Path) -> None:
        """The index is copied with its time, which tells git which entries to doubt. Without one HEAD is read."""
        if not (self.private_dir / "index").is_file():
            gitcall.call(git_dir, "read-tree", "HEAD")
            return
        for found in (self.private_dir / "index", *self.private_dir.glob("sharedindex.*")):
            shutil.copy2(found, git_dir / found.name, follow_symlinks=False)


def bare(git_dir: Path, checkout: Checkout) -> None:
    """Make a trusted git dir that borrows the checkout's objects, with HEAD detached at the checkout's."""
    git_dir.mkdir(parents=True)
    objects = checkout.git_dir / "objects"
    if "\n" in str(objects):
        raise SetupError(f"the path {objects} holds a line break, which git cannot borrow from; move the checkout")
    gitcall.call(git_dir, "init", "--quiet", "--bare", "--template=", "--initial-branch=ostler", "--object-format=sha1")
    (git_dir / "objects" / "info").mkdir(parents=True, exist_ok=True)
    (git_dir / "objects" / "info" / "alternates").write_text(f"{objects}\n")
    (git_dir / "info").mkdir(exist_ok=True)
    _copy_text(checkout.git_dir / "info" / "exclude", git_dir / "info" / "exclude")
    _copy_text(checkout.git_dir / "shallow", git_dir / "shallow")
    (git_dir / "HEAD").write_text(f"{checkout.head}\n")


def _copy_text(source: Path, target: Path) -> None:
    if source.is_file() and not source.is_symlink():
        target.write_bytes(source.read_bytes())


def _root(start: Path) -> Path:
    if ".git" in start.parts:
        raise SetupError(f"{start} is inside a .git folder; name the checkout itself")
    for folder in (start, *start.parents):
        if (folder / ".git").exists():
            return folder
        if (folder / "objects").is_dir() and (folder / "refs").is_dir() and (folder / "HEAD").is_file():
            raise SetupError(f"{folder} is a bare repository without files; clone it and name the clone")
    raise SetupError(f"{start} is not a git repository; run `git init` and commit, or name another folder")


def _private_dir(root: Path) -> Path:
    entry = root / ".git"
    if entry.is_dir():
        if not (entry / "HEAD").exists():
            raise SetupError(f"{entry} is not a git folder (it has no HEAD); clone the repository again")
        return entry.resolve()
    text = entry.read_text(errors="surrogateescape").strip() if entry.is_file() else ""
    target = (root / text.removeprefix("gitdir:").strip()).resolve()
    if not text.startswith("gitdir:") or not (target / "HEAD").exists():
        raise SetupError(f"{entry} points at no git folder; run `git worktree repair` or clone again")
    return target


def _common_dir(private: Path) -> Path:
    link = private / "commondir"
    common = (private / link.read_text().strip()).resolve() if link.is_file() else private
    if not (common / "objects").is_dir():
        raise SetupError(f"{common} is not a git folder (it has no objects); clone the repository again")
    return common
