"""Access beneath a folder against a real file system: links of every kind, pipes, races, modes."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bot.core.errors import BadInput, SetupError
from bot.workspace import files as module
from bot.workspace.files import Beneath, MissingFile, PathRefused


@pytest.fixture(params=["kernel", "walk"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Beneath]:
    """A worktree beside a secret; both ways of resolving a path have to behave alike."""
    root = tmp_path / "tree"
    (root / "src").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("[core]")
    (root / "src" / "a.py").write_text("a = 1\n")
    (tmp_path / "secret").write_text("key")
    (tmp_path / "outside").mkdir()
    beneath = Beneath(root, kernel=request.param == "kernel")
    before = len(os.listdir("/proc/self/fd"))
    yield beneath
    assert len(os.listdir("/proc/self/fd")) == before, "descriptors leak"


def test_reads_writes_lists_and_deletes(tree: Beneath) -> None:
    tree.write("new/deep/b.txt", b"b")
    assert tree.read("new/deep/b.txt") == b"b"
    assert [entry.path for entry in tree.list("", 2)] == ["new", "new/deep", "src", "src/a.py"]
    assert [entry.path for entry in tree.list("src")] == ["src/a.py"]
    assert tree.list(skip=lambda name: name == "src")[0].path == "new"
    assert tree.exists("src")
    assert tree.exists("src/a.py")
    assert not tree.exists("src/none.py")
    assert not tree.exists("none/x")
    tree.delete("new/deep/b.txt")
    assert not (tree.root / "new").exists()
    assert (tree.root / "src").exists()


def test_a_write_keeps_the_mode_and_leaves_nothing_behind(tree: Beneath) -> None:
    script = tree.root / "src" / "run.sh"
    script.write_text("old")
    script.chmod(0o751)
    inode = script.stat().st_ino
    tree.write("src/run.sh", b"new")
    tree.write("src/plain", b"")
    tree.write("src/tool", b"", executable=True)
    assert script.read_text() == "new"
    assert script.stat().st_ino != inode, "written in place"
    assert stat.S_IMODE(script.stat().st_mode) == 0o751
    assert stat.S_IMODE((tree.root / "src" / "plain").stat().st_mode) == 0o644
    assert stat.S_IMODE((tree.root / "src" / "tool").stat().st_mode) == 0o755
    assert sorted(os.listdir(tree.root / "src")) == ["a.py", "plain", "run.sh", "tool"]


def test_a_hard_link_is_parted_not_written_through(tree: Beneath) -> None:
    os.link(tree.root.parent / "secret", tree.root / "hard")
    tree.write("hard", b"mine")
    assert (tree.root.parent / "secret").read_text() == "key"


DEEDS: dict[str, Callable[[Beneath, str], object]] = {
    "read": Beneath.read,
    "write": lambda tree, path: tree.write(path, b"!"),
    "delete": Beneath.delete,
    "list": Beneath.list,
}
LINKS = {
    "absolute": ("/etc/passwd", ""),
    "dotdot": ("../secret", ""),
    "dangling": ("../nothing-there", ""),
    "inside": ("src/a.py", ""),
    "magic": ("/proc/self/environ", ""),
    "magic-root": ("/proc/self/root", "/etc/passwd"),
    "magic-cwd": ("/proc/self/cwd", "/x"),
    "folder": ("../outside", "/x"),
    "folder-inside": ("src", "/a.py"),
    "loop": ("link", ""),
}


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("deed", DEEDS)
def test_no_link_is_followed(tree: Beneath, kind: str, deed: str) -> None:
    target, below = LINKS[kind]
    (tree.root / "link").symlink_to(target)
    path = f"link{below}"
    with pytest.raises(PathRefused) as caught:
        DEEDS[deed](tree, path)
    assert caught.value.path == path
    assert os.readlink(tree.root / "link") == target
    assert (tree.root.parent / "secret").read_text() == "key"
    assert os.listdir(tree.root.parent / "outside") == []
    assert (tree.root / "src" / "a.py").read_text() == "a = 1\n"


def test_a_link_halfway_down_is_refused_too(tree: Beneath) -> None:
    (tree.root / "src" / "up").symlink_to("../..")
    for path in ("src/up/outside/x", "src/up/new/deep/x", "src/up/secret"):
        with pytest.raises(PathRefused):
            tree.write(path, b"!")
    assert sorted(os.listdir(tree.root.parent)) == ["outside", "secret", "tree"]
    entry = tree.stat("src/up")
    assert entry is not None
    assert entry.kind == "link"
    assert not tree.exists("src/up")
    assert [entry.path for entry in tree.list("", 3)] == ["src", "src/a.py", "src/up"]


@pytest.mark.parametrize(
    "path", [".git/config", ".GIT/config", "../secret", "/etc/passwd", "src/../../secret", ".git", "a\0b", "git~1/x"]
)
def test_names_that_lead_out_are_refused(tree: Beneath, path: str) -> None:
    for deed in (tree.read, tree.delete, tree.list, tree.exists):
        with pytest.raises(PathRefused):
            deed(path)
    with pytest.raises(PathRefused):
        tree.write(path, b"!")


def test_slips_are_no_refusals(tree: Beneath) -> None:
    for path in ("none", "none/x"):
        for deed in (tree.read, tree.delete, tree.list):
            with pytest.raises(MissingFile):
                deed(path)
    for path in ("src", "src/a.py/x", "src//a.py", "n" * 300):
        with pytest.raises(BadInput):
            tree.read(path)
        with pytest.raises(BadInput):
            tree.write(path, b"!")
    with pytest.raises(BadInput):
        tree.list("src/a.py")
    with pytest.raises(BadInput):
        tree.write("big", b"x" * (module.MAX_BYTES + 1))
    assert not tree.exists("big")


def test_pipes_and_sockets_are_refused_at_once(tree: Beneath) -> None:
    os.mkfifo(tree.root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tree.root / "sock"))
        for path in ("pipe", "sock"):
            with pytest.raises(PathRefused):
                tree.read(path)
            with pytest.raises(PathRefused):
                tree.write(path, b"!")


def test_a_file_larger_than_the_limit_is_not_read(tree: Beneath) -> None:
    with (tree.root / "huge").open("wb") as stream:
        stream.truncate(module.MAX_BYTES + 1)
    with pytest.raises(BadInput):
        tree.read("huge")


def test_a_full_disk_is_the_machines_fault_and_leaves_the_old_file(tree: Beneath, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(SetupError):
        tree.write("src/a.py", b"lost")
    assert os.listdir(tree.root / "src") == ["a.py"]
    assert tree.read("src/a.py") == b"a = 1\n"


def test_a_folder_that_becomes_a_link_meanwhile_is_never_followed(tree: Beneath) -> None:
    """Somebody exchanges a folder and a link to the outside, again and again, while files are written below it."""
    (tree.root / "swap").mkdir()
    (tree.root / "link").symlink_to("../outside")
    ours, theirs = os.fsencode(tree.root / "swap"), os.fsencode(tree.root / "link")
    libc = ctypes.CDLL(None)
    stop, refused = threading.Event(), 0

    def swapping() -> None:
        while not stop.is_set():
            libc.renameat2(-100, ours, -100, theirs, 2)  # AT_FDCWD, RENAME_EXCHANGE

    thread = threading.Thread(target=swapping)
    thread.start()
    try:
        for number in range(2_000):
            try:
                tree.write(f"swap/f{number % 9}", b"!")
            except (PathRefused, BadInput):
                refused += 1
    finally:
        stop.set()
        thread.join()
    assert 0 < refused < 2_000, "the swaps never met a write"
    assert os.listdir(tree.root.parent / "outside") == []


def test_the_walk_takes_over_where_the_kernel_lacks_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> int:
        raise OSError(errno.EPERM, "filtered")

    monkeypatch.setattr(module, "_openat2", missing)
    beneath = Beneath(tmp_path)
    assert not beneath.kernel
    beneath.write("a/b", b"c")
    assert beneath.read("a/b") == b"c"
