"""Merges of trees against what the user's own git makes of the same commits."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.errors import SetupError
from bot.core.reports import Conflict
from bot.workspace import gitcall
from bot.workspace.checkout import Checkout
from bot.workspace.git import Worktree
from bot.workspace.merging import VERSION_CHARS, merge
from tests.rooms.trees import put
from tests.world.world import git

LINES = [f"line {number}" for number in range(12)]
Files = Mapping[str, str | None]


def text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def commit(root: Path, files: Files, branch: str, start: str) -> str:
    """A commit on a new branch; None takes a file away. The tree's id."""
    git(root, "checkout", "-q", "-B", branch, *([start] if start else []))
    put(root, {name: content for name, content in files.items() if content is not None})
    for name in (name for name, content in files.items() if content is None):
        (root / name).unlink()
    git(root, "add", "--all")
    git(root, "commit", "-q", "--allow-empty", "-m", branch)
    return git(root, "rev-parse", "HEAD^{tree}")


class Sides:
    """A repository in which two branches made something of one base."""

    def __init__(self, folder: Path, base: Files, ours: Files, theirs: Files) -> None:
        self.root = folder / "user"
        self.root.mkdir(parents=True)
        git(self.root, "init", "-q", "-b", "start")
        self.trees = (
            commit(self.root, base, "base", ""),
            commit(self.root, ours, "ours", "base"),
            commit(self.root, theirs, "theirs", "base"),
        )
        self.worktree = Worktree.create(folder / "run", Checkout.open(self.root), "theirs", files=False)

    def picked(self) -> str | None:
        """The tree that `git cherry-pick` makes, None where it stops at a conflict."""
        git(self.root, "cherry-pick", "--allow-empty", "--keep-redundant-commits", "ours", check=False)
        if git(self.root, "ls-files", "--unmerged"):
            git(self.root, "cherry-pick", "--abort")
            return None
        return git(self.root, "rev-parse", "HEAD^{tree}")


edits = st.dictionaries(st.sampled_from(range(len(LINES))), st.sampled_from(["one", "other", None]), max_size=3)


def edited(edit: dict[int, str | None]) -> str:
    """`LINES` with some replaced or, by None, taken out."""
    return text([edit.get(at, line) or "" for at, line in enumerate(LINES) if edit.get(at, line) is not None])


sides = st.fixed_dictionaries({"a.txt": edits.map(edited), "b.txt": st.just(text(LINES)) | edits.map(edited)})


@settings(max_examples=20, deadline=None)
@given(ours=sides, theirs=sides, gone=st.booleans())
def test_a_merge_is_what_git_makes_of_it_and_names_what_git_cannot(ours: Files, theirs: Files, *, gone: bool) -> None:
    with tempfile.TemporaryDirectory() as made:
        here = Sides(
            Path(made), {"a.txt": text(LINES), "b.txt": text(LINES)}, ours, {**theirs, **({"b.txt": None} if gone else {})}
        )
        merged = merge(here.worktree, *here.trees)
        wanted = here.picked()
        assert (None if merged.unclean else merged.tree) == wanted
        assert {conflict.path for conflict in merged.conflicts} <= {"a.txt", "b.txt"}
        for conflict in merged.conflicts:
            assert (conflict.base, conflict.ours, conflict.theirs) == (text(LINES), ours[conflict.path], theirs[conflict.path])
            shown = here.worktree.read(merged.tree, conflict.path) or b""
            assert b"<<<<<<< " in shown
            assert b">>>>>>> " in shown


def test_a_file_that_moved_on_the_branch_takes_the_change_along(tmp_path: Path) -> None:
    here = Sides(tmp_path, {"a.txt": text(LINES)}, {"a.txt": text(["first", *LINES])}, {"a.txt": None, "b.txt": text(LINES)})
    merged = merge(here.worktree, *here.trees)
    assert (merged.unclean, here.worktree.files(merged.tree)) == ((), ("b.txt",))
    assert here.worktree.read(merged.tree, "b.txt") == text(["first", *LINES]).encode()


def test_what_markers_cannot_show_is_named_apart(tmp_path: Path) -> None:
    base = {"gone.txt": text(LINES), "both.txt": "a\n", "bin": "\0a", "mode.txt": "a\n", "long.txt": "a\n"}
    long = "x" * (2 * VERSION_CHARS)
    ours = {
        "gone.txt": text([*LINES, "more"]),
        "both.txt": "b\n",
        "bin": "\0b",
        "mode.txt": "b\n",
        "long.txt": long,
        "new.txt": "n\n",
    }
    theirs = {"gone.txt": None, "both.txt": "c\n", "bin": "\0c", "mode.txt": "c\n", "long.txt": "c\n", "new.txt": "m\n"}
    here = Sides(tmp_path, base, ours, theirs)
    git(here.root, "update-index", "--chmod=+x", "mode.txt")
    git(here.root, "commit", "-q", "-m", "mode")
    merged = merge(here.worktree, *here.trees[:2], git(here.root, "rev-parse", "HEAD^{tree}"))
    shown = {conflict.path: conflict for conflict in merged.conflicts}
    assert sorted(shown) == ["both.txt", "long.txt", "mode.txt", "new.txt"]
    assert sorted(merged.others) == ["bin", "gone.txt"]
    assert shown["new.txt"] == Conflict("new.txt", "", "n\n", "m\n")
    assert len(shown["long.txt"].ours) < VERSION_CHARS + 100
    assert "characters left out" in shown["long.txt"].ours


def test_a_git_that_cannot_merge_trees_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older git answers the option with its usage."""
    here = Sides(tmp_path, {"a.txt": "a\n"}, {"a.txt": "b\n"}, {"c.txt": "c\n"})
    old = tmp_path / "bin" / "git"
    real = shutil.which("git", path=gitcall.SEARCH)
    put(tmp_path / "bin", {"git": f'#!/bin/sh\ncase "$*" in *--write-tree*) exit 129;; esac\nexec {real} "$@"\n'})
    old.chmod(0o755)
    monkeypatch.setattr(gitcall, "SEARCH", str(old.parent))
    with pytest.raises(SetupError, match=r"git version [\d.]+ cannot merge trees: install git 2\.38 or newer"):
        merge(here.worktree, *here.trees)


def test_a_worktree_that_is_taken_up_again_knows_its_new_base(tmp_path: Path) -> None:
    here = Sides(tmp_path, {"a.txt": "a\n"}, {"a.txt": "b\n"}, {"c.txt": "c\n"})
    moved = here.worktree.moved(git(here.root, "rev-parse", "ours"))
    assert (Worktree.open(moved.folder), moved.base) == (moved, git(here.root, "rev-parse", "ours"))
