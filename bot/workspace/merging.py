"""Three-way merges of trees by git itself: a change put onto another base, or a commit taken back.

Nothing is checked out for it: `git merge-tree --write-tree` makes a tree, with conflict markers in files where both sides
changed the same lines (https://git-scm.com/docs/git-merge-tree).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bot.core.changeset import decoded
from bot.core.conversation import shortened
from bot.core.errors import SetupError
from bot.core.events import BaseMoved
from bot.core.policy import protected
from bot.core.reports import Conflict
from bot.core.run import Run
from bot.workspace import gitcall
from bot.workspace.git import Worktree

HEX = re.compile(r"[0-9a-f]{4,40}")
WHEN = "2000-01-01T00:00:00+00:00"
VERSION_CHARS = 12_000
"""Of one version of a file that was changed on both sides."""


@dataclass(frozen=True, slots=True)
class Merged:
    """`tree` is the result, with markers in the files of `conflicts`. `others` are files in conflict that no markers can show:
    not text, or gone, moved or made anew on one side."""

    tree: str
    conflicts: tuple[Conflict, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def unclean(self) -> tuple[str, ...]:
        """The files in conflict."""
        return (*(conflict.path for conflict in self.conflicts), *self.others)


def merge(worktree: Worktree, base: str, ours: str, theirs: str) -> Merged:
    """What the trees `ours` and `theirs` made of the tree `base`, together.

    merge-tree finds the base by ancestry, so the trees get made-up commits.

    Raises:
        SetupError: git is older than 2.38, which brought merges of trees.
    """
    root = worktree.commit(base, "", "base", WHEN)
    left, right = (worktree.commit(tree, root, "side", WHEN) for tree in (ours, theirs))
    done = gitcall.call(
        worktree.git_dir, "merge-tree", "--write-tree", "-z", "--no-messages", left, right, ok=(0, 1, gitcall.USAGE_EXIT)
    )
    if done.returncode == gitcall.USAGE_EXIT:
        version = gitcall.word(worktree.git_dir, "version")
        raise SetupError(f"{version} cannot merge trees: install git 2.38 or newer")
    tree, *listed = gitcall.names(done.stdout)
    stages: dict[str, dict[str, str]] = {}
    for row in listed:
        about, _, path = row.partition("\t")
        _, blob, stage = about.split(" ")
        stages.setdefault(path, {})[stage] = blob
    shown = {path: _conflict(worktree, tree, path, found, f"<<<<<<< {left}") for path, found in stages.items()}
    return Merged(
        tree,
        tuple(conflict for conflict in shown.values() if conflict),
        tuple(path for path, conflict in shown.items() if not conflict),
    )


def _conflict(worktree: Worktree, tree: str, path: str, stages: dict[str, str], marker: str) -> Conflict | None:
    """The versions of a file by git's stages (1 base, 2 ours, 3 theirs); None where markers do not show what is in conflict."""
    if not {"2", "3"} <= stages.keys():
        return None
    if marker not in (decoded(worktree.read(tree, path)) or ""):
        return None
    base, ours, theirs = (_version(worktree, stages.get(stage)) for stage in "123")
    return Conflict(path, base, ours, theirs)


def _version(worktree: Worktree, blob: str | None) -> str:
    content = gitcall.call(worktree.git_dir, "cat-file", "blob", blob).stdout if blob else b""
    return shortened(decoded(content) or "", VERSION_CHARS)


def onto(worktree: Worktree, run: Run, tip: str) -> BaseMoved:
    """The change of `run` put onto the commit `tip`, and what of it a person has to know."""
    there = worktree.tree_of(tip)
    merged = merge(worktree, run.base_tree, run.tree, there)
    theirs = frozenset(_changed(worktree, run.base_tree, there))
    return BaseMoved(
        tip,
        there,
        merged.tree,
        both=tuple(path for path in _changed(worktree, run.base_tree, run.tree) if path in theirs),
        conflicts=merged.conflicts,
        unmergeable=merged.others,
    )


def changes_rules(worktree: Worktree, run: Run, tip: str) -> bool:
    """Whether `tip` differs from the run's base in what only a person may change, such as the rules that the run began with."""
    theirs = _changed(worktree, run.base_tree, worktree.tree_of(tip))
    return any(protected(path, run.request.settings.denied_paths) for path in theirs)


def _changed(worktree: Worktree, old: str, new: str) -> Iterator[str]:
    """The paths that differ between two trees, in order."""
    names = gitcall.call(worktree.git_dir, "diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new).stdout
    yield from gitcall.names(names)


def revert(worktree: Worktree, commit: str) -> str | None:
    """The tree of the present files without what `commit` did (of a merge: what it brought); None on a conflict.

    Raises SetupError when the commit, or in a shallow clone its parent, isn't here. `restore` the answer to use it.
    """
    if not HEX.fullmatch(commit):
        raise SetupError(f"{commit!r} is no commit id; give 4 to 40 hex digits")
    git_dir = worktree.git_dir
    sha = gitcall.word(git_dir, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}", ok=(0, 1, 128))
    if not sha:
        raise SetupError(f"commit {commit} is not in this checkout, or its short id is ambiguous; fetch it or give the full id")
    parents = gitcall.word(git_dir, "rev-list", "--parents", "-1", sha).split()[1:]
    if not parents and (git_dir / "shallow").exists():
        raise SetupError(f"the parent of {commit} is not in this shallow checkout; run `git fetch --unshallow`")
    before = worktree.tree_of(parents[0]) if parents else gitcall.word(git_dir, "mktree")
    merged = merge(worktree, worktree.tree_of(sha), worktree.snapshot(), before)
    return None if merged.unclean else merged.tree
