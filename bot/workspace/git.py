"""A run's private tree, kept by real git in a git dir of our own outside the tree.

    folder/git    trusted bare git dir: our configuration, objects borrowed from the checkout, HEAD detached at the base
    folder/tree   the files; never holds a `.git`

Trees and commits are named by their ids. New objects stay in folder/git until `deliver` copies them to the user.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from subprocess import CompletedProcess

from bot.core.errors import BugError, PolicyError, SetupError
from bot.core.reports import NO_BLOB, NO_MODE, Commit, FileChange, Op
from bot.workspace import gitcall
from bot.workspace.checkout import Checkout, bare
from bot.workspace.sweep import GITLINK, Sweep

__all__ = ["Checkout", "Worktree"]

NAME = "Ostler"
MAIL = "ostler@users.noreply.github.com"
MOST_CHANGES, MOST_BYTES = 2_000, 20_000_000
"""What a changeset may have before its contents are read. The policy refuses far less, and then says why file by file."""

# Droppings of tools that no repository wants in a commit, also where its .gitignore doesn't say so.
DROPPINGS = ("__pycache__/", "*.py[co]", ".pytest_cache/", ".mypy_cache/", ".ruff_cache/", ".hypothesis/", ".coverage")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a tree as git lists it."""

    mode: str
    blob: str


@dataclass(frozen=True, slots=True)
class Worktree:
    """`base` is the commit the run starts from; `folder` holds `git` and `tree`."""

    folder: Path
    base: str

    @property
    def git_dir(self) -> Path:
        return self.folder / "git"

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @classmethod
    def create(cls, folder: Path, checkout: Checkout, base: str, *, files: bool = True) -> Worktree:
        """Make folder/git and, with `files`, folder/tree with those of `base`.

        Submodules stay empty and LFS pointers pointers.
        """
        folder = folder.absolute()
        sha = checkout.resolve(base)
        git_dir = folder / "git"
        if git_dir.exists():
            raise BugError(f"{git_dir} exists already; open it instead")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        bare(git_dir, checkout)
        with (git_dir / "info" / "exclude").open("a") as file:
            file.write("\n" + "\n".join(DROPPINGS) + "\n")
        (git_dir / "HEAD").write_text(f"{sha}\n")
        worktree = cls(folder, sha)
        if files:
            worktree.restore(worktree.tree_of(sha))
        return worktree

    @classmethod
    def open(cls, folder: Path) -> Worktree:
        """Take up a worktree that `create` made. Locks left by a killed git are removed: a run has one owner."""
        folder = folder.absolute()
        head = folder / "git" / "HEAD"
        if not head.is_file():
            raise SetupError(f"{folder} holds no worktree; start the run again")
        for lock in (folder / "git").glob("*.lock"):
            lock.unlink()
        return cls(folder, head.read_text().strip())

    def moved(self, base: str) -> Worktree:
        """The same files, begun from another commit."""
        (self.git_dir / "HEAD").write_text(f"{base}\n")
        return Worktree(self.folder, base)

    # --- files in and out ---

    def snapshot(self) -> str:
        """The tree id of the files as they are now; ignored files are left out. Its objects are kept."""
        index = self.git_dir / "index"
        Sweep(self.tree, None, _changed_at(index)).run()
        self._git("add", "--all", work_tree=self.tree, index=index)
        return self._word("write-tree", index=index)

    def restore(self, tree: str) -> None:
        """Make the files exactly `tree`: untracked and ignored ones are removed."""
        self._make(tree, self.tree, self.git_dir / "index")

    def materialise(self, tree: str, into: Path) -> None:
        """Make the folder `into` exactly `tree`, writing only what differs from the last time."""
        mark = hashlib.sha256(str(into.absolute()).encode()).hexdigest()[:20]
        self._make(tree, into, self.git_dir / f"index-{mark}")

    def _make(self, tree: str, into: Path, index: Path) -> None:
        wanted = {path: entry.mode for path, entry in self._list(tree).items()}
        Sweep(into, wanted, _changed_at(index)).run()
        if index.exists():
            self._git("update-index", "-q", "--refresh", work_tree=into, index=index, ok=(0, 1))
        self._git("read-tree", "--reset", "-u", tree, work_tree=into, index=index)

    # --- looking ---

    def tree_of(self, commit: str) -> str:
        """The tree id of a commit. Raises SetupError for a commit that isn't here."""
        return self._word("rev-parse", "--verify", "--end-of-options", f"{commit}^{{tree}}")

    def files(self, commitish: str) -> tuple[str, ...]:
        """Paths of all files of a commit or tree, links included, submodules not."""
        return tuple(path for path, entry in self._list(commitish).items() if entry.mode != GITLINK)

    def modes(self, commitish: str) -> tuple[tuple[str, str], ...]:
        """(path, git mode) of all entries, submodules included."""
        return tuple((path, entry.mode) for path, entry in self._list(commitish).items())

    def read(self, commitish: str, path: str) -> bytes | None:
        """A file's bytes (a link's target), None when there is no such file."""
        done = self._git("ls-tree", "-z", commitish, "--", path)
        for name, entry in _listing(done.stdout):
            if name == path and entry.mode[:3] in ("100", "120"):
                return self._git("cat-file", "blob", entry.blob).stdout
        return None

    def contents(self, tree: str, end: str) -> dict[str, bytes]:
        """The files whose path ends so, links not included, by path."""
        listed = self._list(tree).items()
        wanted = {path: entry.blob for path, entry in listed if path.endswith(end) and entry.mode.startswith("100")}
        blobs = self._blobs({*wanted.values()})
        return {path: blobs[blob] for path, blob in wanted.items()}

    def changes(self, base_tree: str, tree: str) -> tuple[FileChange, ...]:
        """What differs, sorted by path, with contents; a rename is a delete and an add."""
        raw = self._git("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", base_tree, tree).stdout.split(b"\0")
        if len(raw) // 2 > MOST_CHANGES:
            raise PolicyError(f"The whole changeset is refused: {len(raw) // 2:,} files, more than can be looked at.")
        rows = [(head.decode().lstrip(":").split(), path) for head, path in zip(raw[0:-1:2], raw[1::2], strict=True)]
        wanted = {blob for (old, new, a, b, _), _ in rows for mode, blob in ((old, a), (new, b)) if _is_blob(mode)}
        if (size := self._size(wanted)) > MOST_BYTES:
            raise PolicyError(f"The whole changeset is refused: {size:,} bytes, more than can be looked at.")
        blobs = self._blobs(wanted)
        found = []
        for (old_mode, new_mode, old, new, _), path in rows:
            name = path.decode(errors="surrogateescape")
            op: Op = "add" if old_mode == NO_MODE else "delete" if new_mode == NO_MODE else "modify"
            before = blobs[old] if _is_blob(old_mode) else None
            after = blobs[new] if _is_blob(new_mode) else None
            found.append(FileChange(name, op, old_mode, new_mode, old, new, before, after))
        return tuple(found)

    def patch(self, base_tree: str, tree: str) -> bytes:
        """The change as `git apply` takes it, byte for byte."""
        return self._git(
            "diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--binary", "--full-index", base_tree, tree
        ).stdout

    def diff(self, base_tree: str, tree: str) -> str:
        """The patch as text to read; bytes that aren't UTF-8 show as U+FFFD."""
        return self.patch(base_tree, tree).decode(errors="replace")

    def log(self, n: int, paths: Sequence[str] = ()) -> tuple[Commit, ...]:
        """The newest `n` commits up to the base, of the whole tree or of `paths`."""
        done = self._git("log", f"-{n}", "--format=%H%x1f%aI%x1f%an%x1f%s", "-z", self.base, "--", *paths)
        rows = (row.decode(errors="replace").split("\x1f", 3) for row in done.stdout.split(b"\0") if row)
        return tuple(Commit(sha, when, author, subject) for sha, when, author, subject in rows)

    # --- making ---

    def commit(self, tree: str, parent: str, message: str, when: str) -> str:
        """A commit by Ostler; the same arguments give the same id. `when` is ISO 8601 with an offset. The first commit has
        no `parent`: an empty one."""
        moment = datetime.fromisoformat(when)
        if moment.tzinfo is None:
            raise BugError(f"a commit date needs an offset: {when}")
        date = f"@{int(moment.timestamp())} {moment.strftime('%z')[:5]}"
        who = dict(_identities(date))
        parents = ("-p", parent) if parent else ()
        return self._word("commit-tree", tree, *parents, "-F", "-", data=message.encode(), env=who)

    def overlay(self, tree_a: str, tree_b: str, paths: Iterable[str]) -> str:
        """`tree_a` with the given paths (files or folders) as they are in `tree_b`, removed where `tree_b` lacks them."""
        chosen = frozenset(paths)
        gone = [path for path in self._list(tree_a) if _under(path, chosen)]
        new = [(path, entry) for path, entry in self._list(tree_b).items() if _under(path, chosen)]
        lines = [b"0 " + NO_BLOB.encode() + b"\t" + gitcall.raw_name(path) for path in gone]
        lines += [f"{entry.mode} {entry.blob}\t".encode() + gitcall.raw_name(path) for path, entry in new]
        with self._scratch_index() as index:
            self._git("read-tree", tree_a, index=index)
            self._git("update-index", "-z", "--add", "--replace", "--index-info", index=index, data=b"\0".join([*lines, b""]))
            return self._word("write-tree", index=index)

    def changed(self, base_tree: str, files: Iterable[FileChange]) -> str:
        """The tree of `base_tree` after `files`; the same changes give the same id wherever they are made."""
        lines = []
        for change in files:
            blob = NO_BLOB if change.after is None else self._word("hash-object", "-w", "--stdin", data=change.after)
            mode = "0" if change.after is None else change.new_mode
            lines.append(f"{mode} {blob}\t".encode() + gitcall.raw_name(change.path))
        with self._scratch_index() as index:
            self._git("read-tree", base_tree, index=index)
            self._git("update-index", "-z", "--add", "--replace", "--index-info", index=index, data=b"\0".join([*lines, b""]))
            return self._word("write-tree", index=index)

    def deliver(self, checkout: Checkout, commit: str, branch: str, *, replaces: str = NO_BLOB) -> None:
        """Make refs/heads/<branch> in the user's repository point at `commit`; HEAD, index and files stay untouched.

        Objects travel as a pack written by our own git dir, so no setting of the user's repository takes part; only the
        last step, one `update-ref` with hooks off, reads it. Raises SetupError when the branch is at another commit than
        `replaces`, by default at any.
        """
        ref = f"refs/heads/{branch}"
        if branch.startswith("-") or gitcall.call(self.git_dir, "check-ref-format", ref, ok=(0, 1)).returncode:
            raise SetupError(f"{branch!r} is no branch name that git takes; choose another")
        there = checkout.branch_head(branch)
        if there == commit:
            return
        if there and there != replaces:
            raise SetupError(f"branch {branch} exists already at {there[:12]}; delete it or choose another name")
        pack = self._git("pack-objects", "--revs", "--stdout", "--quiet", data=f"{commit}\n^{self.base}\n".encode()).stdout
        self._git("unpack-objects", "-q", data=pack, env={"GIT_OBJECT_DIRECTORY": str(checkout.git_dir / "objects")})
        gitcall.call(checkout.git_dir, "update-ref", "-m", "ostler", ref, commit, replaces)

    # --- plumbing ---

    def _git(self, *args: str, **options: object) -> CompletedProcess[bytes]:
        return gitcall.call(self.git_dir, *args, **options)  # type: ignore[arg-type]

    def _word(self, *args: str, **options: object) -> str:
        done = self._git(*args, **options)
        return done.stdout.decode().strip() if done.returncode == 0 else ""

    def _list(self, commitish: str) -> dict[str, Entry]:
        return dict(_listing(self._git("ls-tree", "-r", "-z", "--end-of-options", commitish).stdout))

    def _size(self, ids: set[str]) -> int:
        """Bytes of all these blobs together, without reading them."""
        names = "".join(f"{blob}\n" for blob in sorted(ids)).encode()
        sizes = self._git("cat-file", "--batch-check=%(objectsize)", data=names).stdout.splitlines()
        return sum(int(line) for line in sizes if line.isdigit())  # what is missing is named when it is read

    def _blobs(self, ids: set[str]) -> dict[str, bytes]:
        """Contents by id, in one git call."""
        if not ids:
            return {}
        raw = self._git("cat-file", "--batch", data="".join(f"{blob}\n" for blob in sorted(ids)).encode()).stdout
        found, at = {}, 0
        while at < len(raw):
            end = raw.index(b"\n", at)
            blob, kind, *size = raw[at:end].decode().split()
            if kind != "blob":
                raise SetupError(f"object {blob} is {kind} in the repository; fetch it (a partial clone?) and try again")
            at = end + 1 + int(size[0]) + 1
            found[blob] = raw[end + 1 : at - 1]
        return found

    @contextlib.contextmanager
    def _scratch_index(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self.git_dir, prefix="scratch-") as made:
            yield Path(made) / "index"


def _listing(raw: bytes) -> Iterator[tuple[str, Entry]]:
    for row in raw.split(b"\0"):
        if row:
            about, _, path = row.partition(b"\t")
            mode, _, blob = about.decode().split(" ")
            yield path.decode(errors="surrogateescape"), Entry(mode, blob)


def _is_blob(mode: str) -> bool:
    return mode not in (NO_MODE, GITLINK)


def _under(path: str, chosen: frozenset[str]) -> bool:
    """True if the path or one of its folders is chosen."""
    while path not in chosen:
        path, _, _ = path.rpartition("/")
        if not path:
            return False
    return True


def _identity(date: str) -> tuple[tuple[str, str], ...]:
    return (("NAME", NAME), ("EMAIL", MAIL), ("DATE", date))


def _identities(date: str) -> Iterator[tuple[str, str]]:
    for role in ("AUTHOR", "COMMITTER"):
        for what, value in _identity(date):
            yield f"GIT_{role}_{what}", value


def _changed_at(index: Path) -> int:
    """When the index was last written, in ns; zero without one, so that everything counts as touched."""
    return index.stat().st_mtime_ns if index.exists() else 0
