"""The repositories behind the stand-in: bare, on disk, made and read by real git.

Every call is one git process with an environment of its own: no user's configuration, no prompt, no hooks of the machine.
Objects are named by their full ids; a ref is what `git rev-parse` understands, without leading dashes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bot.core.errors import BugError

ZERO = "0" * 40
SHA = re.compile(r"[0-9a-f]{40}\Z")
MODES = {"100644": "blob", "100755": "blob", "120000": "blob", "040000": "tree", "160000": "commit"}
_GOOD_REF = re.compile(r"(?!-)[\w./#@+=,%-]+\Z")
_CONFIGURATION = {
    "http.receivepack": "true",
    "uploadpack.allowFilter": "true",
    "uploadpack.allowAnySHA1InWant": "true",  # as on GitHub: actions/checkout fetches one commit by its id
    "receive.denyDeleteCurrent": "refuse",
    "gc.auto": "0",  # nothing may run behind the back of a test that is over
    "receive.autogc": "false",
    "maintenance.auto": "false",
    "core.logAllRefUpdates": "false",
}
_LEFT_OUT = ("__pycache__/", "*.py[co]", ".venv/", ".cache/", ".pytest_cache/", ".mypy_cache/", ".ruff_cache/", "node_modules/")


class GitFailed(Exception):
    """git refused; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a tree. `sha` None takes `path` out of the tree that a new one is based on; `size` is for blobs only."""

    path: str
    mode: str
    type: str
    sha: str | None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """Who and when; `when` is aware."""

    name: str
    email: str
    when: datetime

    def line(self) -> str:
        name, email = (re.sub(r"[<>\n\0]", "", text).strip() for text in (self.name, self.email))
        return f"{name} <{email}> {int(self.when.timestamp())} {self.when.strftime('%z') or '+0000'}"


@dataclass(frozen=True, slots=True)
class CommitData:
    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Signature
    committer: Signature
    message: str


@dataclass(frozen=True, slots=True)
class FileDiff:
    """One file of a comparison in GitHub's words; `patch` begins at the first hunk and is empty for binary files."""

    filename: str
    status: str  # added removed modified renamed changed
    sha: str
    additions: int
    deletions: int
    patch: str
    previous: str | None = None


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a git process of ours sees."""
    own = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C.UTF-8",
    }
    return own | dict(extra or {})


@dataclass(frozen=True, slots=True)
class Bare:
    """One bare repository; `path` ends in `.git`."""

    path: Path

    @classmethod
    def create(cls, path: Path, branch: str = "main") -> Bare:
        """An empty repository whose HEAD names `branch`."""
        path.mkdir(parents=True)
        bare = cls(path)
        bare.run("init", "--quiet", "--bare", f"--initial-branch={branch}", "--template=", ".")
        lines = []
        for key, value in _CONFIGURATION.items():
            section, name = key.split(".")
            lines.append(f"[{section}]\n\t{name} = {value}\n")
        with (path / "config").open("a") as file:
            file.writelines(lines)
        return bare

    def run(self, *arguments: str, given: bytes = b"", extra: Mapping[str, str] | None = None, ok: Sequence[int] = (0,)) -> bytes:
        """Output of `git ARGUMENTS`; GitFailed when it ends with a code that isn't in `ok`."""
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, env=environment(extra), input=given, capture_output=True, check=False
        )
        if done.returncode not in ok:
            raise GitFailed(done.stderr.decode("utf-8", "replace").strip() or f"git {arguments[0]} ended with {done.returncode}")
        return done.stdout

    def text(self, *arguments: str, given: bytes = b"", extra: Mapping[str, str] | None = None) -> str:
        """Like `run`, one stripped text."""
        return self.run(*arguments, given=given, extra=extra).decode("utf-8", "replace").strip()

    # What is there

    def resolve(self, ref: str, kind: str = "commit") -> str | None:
        """The id behind a branch, tag, full ref or id; None when there is nothing of that kind."""
        if not _GOOD_REF.match(ref):
            return None
        candidates = [ref] if SHA.match(ref) or ref.startswith("refs/") else [f"refs/heads/{ref}", f"refs/tags/{ref}", ref]
        for name in candidates:
            try:
                return self.text("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{{kind}}}")
            except GitFailed:
                continue
        return None

    def type_of(self, sha: str) -> str | None:
        """blob, tree, commit or tag; None when the object isn't there."""
        try:
            return self.text("cat-file", "-t", sha) if SHA.match(sha) else None
        except GitFailed:
            return None

    def blob(self, sha: str) -> bytes | None:
        return self.run("cat-file", "blob", sha) if self.type_of(sha) == "blob" else None

    def entry(self, ref: str, path: str) -> Entry | None:
        """What is at `path` in the tree of `ref`; the empty path is the tree itself."""
        sha = self.resolve(ref)
        if sha is None:
            return None
        if not path:
            return Entry("", "040000", "tree", self.text("rev-parse", f"{sha}^{{tree}}"))
        found = list(self._listing(sha, path))
        return found[0] if found and found[0].path == path else None

    def file(self, ref: str, path: str) -> bytes | None:
        """The bytes of a regular file at `path` in the tree of `ref`."""
        entry = self.entry(ref, path)
        return self.blob(entry.sha) if entry and entry.sha and entry.type == "blob" else None

    def tree(self, sha: str, recursive: bool = False) -> list[Entry]:
        """The lines of a tree (or of a commit's tree), with sub-trees; paths are relative to it."""
        return list(self._listing(*(("-r", "-t") if recursive else ()), sha))

    def _listing(self, *arguments: str) -> Iterator[Entry]:
        for line in self.run("--literal-pathspecs", "ls-tree", "-z", "--long", *arguments).split(b"\0"):
            if line:
                head, _, path = line.decode("utf-8", "surrogateescape").partition("\t")
                mode, kind, sha, size = head.split()
                yield Entry(path, mode, kind, sha, None if size == "-" else int(size))

    def commit(self, sha: str) -> CommitData | None:
        if self.type_of(sha) != "commit":
            return None
        return _parsed(sha, self.run("cat-file", "commit", sha).decode("utf-8", "replace"))

    def log(self, sha: str, *, most: int, skip: int = 0, path: str = "", without: str | None = None) -> list[CommitData]:
        """Ancestors of `sha`, itself first; `without` leaves out another commit's ancestors."""
        arguments = ["rev-list", f"--max-count={most}", f"--skip={skip}", sha, *([f"^{without}"] if without else []), "--"]
        ids = self.text("--literal-pathspecs", *arguments, *([path] if path else [])).split()
        return [commit for one in ids if (commit := self.commit(one))]

    def count(self, sha: str, without: str) -> int:
        return int(self.text("rev-list", "--count", sha, f"^{without}", "--"))

    def is_ancestor(self, older: str, newer: str) -> bool:
        try:
            self.run("merge-base", "--is-ancestor", older, newer)
        except GitFailed:
            return False
        return True

    def merge_base(self, one: str, other: str) -> str | None:
        try:
            return self.text("merge-base", one, other)
        except GitFailed:
            return None

    def merged_tree(self, ours: str, theirs: str) -> str | None:
        """The tree of a merge of two commits, None where they conflict."""
        try:
            return self.text("merge-tree", "--write-tree", ours, theirs)
        except GitFailed:
            return None

    # Refs

    def refs(self, prefix: str = "refs/") -> dict[str, str]:
        """Full names that begin with `prefix` and what they name, sorted."""
        lines = self.text("for-each-ref", "--format=%(objectname) %(refname)").splitlines()
        found = {name: sha for sha, _, name in (line.partition(" ") for line in lines)}
        return {name: found[name] for name in sorted(found) if name.startswith(prefix)}

    def ref(self, name: str) -> str | None:
        """What the full ref `name` names (a tag object for an annotated tag)."""
        if not (_GOOD_REF.match(name) and name.startswith("refs/")):
            return None
        try:
            return self.text("show-ref", "--verify", "--hash", "--", name)
        except GitFailed:
            return None

    def set_ref(self, name: str, new: str, old: str) -> None:
        """Compare and set; `old` ZERO makes it, `new` ZERO deletes it. GitFailed when it is not what it was."""
        command = ["update-ref", "-d", name, old] if new == ZERO else ["update-ref", name, new, old]
        self.run(*command)

    def good_name(self, name: str) -> bool:
        """Whether git takes `name` as the full name of a ref."""
        try:
            self.run("check-ref-format", name)
        except GitFailed:
            return False
        return bool(_GOOD_REF.match(name)) and name.startswith("refs/") and name.count("/") >= 2

    # What is made

    def write_blob(self, data: bytes) -> str:
        return self.text("hash-object", "-w", "-t", "blob", "--stdin", given=data)

    def write_tree(self, entries: Sequence[Entry], base: str | None = None) -> str:
        """The id of a tree: `base` (or nothing) with `entries` put in, and those without a sha taken out."""
        with self._index() as index:
            if base:
                self.run("read-tree", base, extra=index)
            for entry in entries:
                if entry.type == "tree" or entry.sha is None:
                    self._take_out(entry.path, index)
            lines = [f"{e.mode} {e.sha}\t{e.path}\0" for e in entries if e.sha is not None and e.type != "tree"]
            self.run("update-index", "-z", "--index-info", given="".join(lines).encode("utf-8", "surrogateescape"), extra=index)
            for entry in entries:
                if entry.type == "tree" and entry.sha is not None:
                    self.run("read-tree", f"--prefix={entry.path}/", entry.sha, extra=index)
            return self.text("write-tree", extra=index)

    def _take_out(self, path: str, index: Mapping[str, str]) -> None:
        listed = self.run("--literal-pathspecs", "ls-files", "-z", "--", path, extra=index).split(b"\0")
        lines = b"".join(b"0 " + ZERO.encode() + b"\t" + name + b"\0" for name in listed if name)
        self.run("update-index", "-z", "--index-info", given=lines, extra=index)

    @contextmanager
    def _index(self) -> Iterator[dict[str, str]]:
        folder = tempfile.mkdtemp(prefix="index-", dir=self.path)
        try:
            yield {"GIT_INDEX_FILE": f"{folder}/index", "GIT_DIR": str(self.path)}
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def write_commit(self, tree: str, parents: Sequence[str], author: Signature, committer: Signature, message: str) -> str:
        """The id depends on the arguments only: the same call again gives the same commit."""
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
        lines += [f"author {author.line()}", f"committer {committer.line()}", "", message]
        return self.text("hash-object", "-w", "-t", "commit", "--stdin", given="\n".join(lines).encode())

    def import_files(self, files: Path | Mapping[str, str | bytes]) -> str:
        """The tree of a folder (its .gitignore counts, `.git` and caches stay out) or of `files` by path."""
        if isinstance(files, Path):
            return self._import_folder(files)
        made = []
        for path, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            mode = "100755" if data.startswith(b"#!") else "100644"
            made.append(Entry(path, mode, "blob", self.write_blob(data)))
        return self.write_tree(made)

    def _import_folder(self, folder: Path) -> str:
        with self._index() as index:
            excludes = Path(index["GIT_INDEX_FILE"]).with_name("exclude")
            excludes.write_text("\n".join(_LEFT_OUT) + "\n")
            place = index | {"GIT_WORK_TREE": str(folder.resolve())}
            quiet = ("-c", f"core.excludesFile={excludes}", "-c", "core.bare=false", "-c", "advice.addEmbeddedRepo=false")
            self.run("-C", str(folder.resolve()), *quiet, "add", "--all", ".", extra=place)
            return self.text("write-tree", extra=index)

    # Comparing

    def diff(self, old: str, new: str) -> list[FileDiff]:
        """Files that differ between two commits or trees, renames found, in git's order."""
        raw = self.run("diff", "--raw", "-z", "--abbrev=40", *_compared(old, new)).decode("utf-8", "surrogateescape").split("\0")
        patches = iter(re.split(r"(?m)^(?=diff --git )", self.patch(old, new).decode("utf-8", "replace"))[1:])
        found = []
        for status, sha, path, previous in _raw_lines(raw):
            patch = next(patches) + (next(patches) if status == "changed" else "")  # another type: taken out and put in
            at = re.search(r"(?m)^@@", patch)
            hunks = patch[at.start() :].rstrip("\n") if at else ""
            lines = hunks.split("\n")
            added, removed = (sum(line.startswith(sign) for line in lines) for sign in "+-")
            found.append(FileDiff(path, status, sha, added, removed, hunks, previous))
        return found

    def patch(self, old: str, new: str) -> bytes:
        """The same as one patch."""
        return self.run("diff", "--patch", *_compared(old, new))


def _compared(old: str, new: str) -> tuple[str, ...]:
    return ("--no-color", "--no-ext-diff", "--no-textconv", "--find-renames", "--full-index", old, new, "--")


_STATUS = {"A": "added", "D": "removed", "M": "modified", "R": "renamed", "T": "changed", "C": "copied"}


def _raw_lines(fields: Sequence[str]) -> Iterator[tuple[str, str, str, str | None]]:
    """(status, sha, path, previous path) of what `git diff --raw -z` says."""
    rest = iter(fields)
    for head in rest:
        if not head:
            return
        _, _, before, after, letter = head.removeprefix(":").split()
        path, previous = next(rest), None
        if letter[0] in "RC":
            previous, path = path, next(rest)
        yield _STATUS[letter[0]], before if letter == "D" else after, path, previous


def _parsed(sha: str, text: str) -> CommitData:
    head, _, message = text.partition("\n\n")
    values: dict[str, list[str]] = {}
    for line in head.splitlines():
        key, _, value = line.partition(" ")
        values.setdefault(key, []).append(value)
    author, committer = (_signature(values[key][0]) for key in ("author", "committer"))
    return CommitData(sha, values["tree"][0], tuple(values.get("parent", ())), author, committer, message)


def _signature(line: str) -> Signature:
    match = re.fullmatch(r"(.*?) ?<(.*)> (\d+) [+-]\d{4}", line)
    if match is None:
        raise BugError(f"a commit with a strange signature: {line}")
    return Signature(match[1], match[2], datetime.fromtimestamp(int(match[3]), UTC))
