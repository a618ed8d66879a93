"""Take back what a session delivered into the user's repository: its branch, single files of it, or a merged change.

Nothing is ever lost by it: where the branch was before each move is kept as `refs/ostler/rollback/<session>/<n>`, which git's own
clean-up leaves alone. Point 0 is the commit that the session began from.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bot.core.errors import BadInput
from bot.core.reports import NO_BLOB
from bot.workspace import gitcall
from bot.workspace.checkout import Checkout
from bot.workspace.git import Worktree
from bot.workspace.merging import merge

KEPT = "refs/ostler/rollback"
SHOWN = 5
"""Files that are named at once."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a session delivered: `head` is its commit on `branch`, made on `base`."""

    session: str
    branch: str
    base: str
    head: str


@dataclass(frozen=True, slots=True)
class Point:
    """A commit that the branch can be put back to. `when` is its date, ISO 8601 with offset."""

    number: int
    commit: str
    when: str
    subject: str


class Rollback:
    """One session's delivery in the user's repository."""

    def __init__(self, checkout: Checkout, delivery: Delivery) -> None:
        self._checkout, self.delivery = checkout, delivery

    @property
    def merged(self) -> bool:
        """Whether the present commit of the checkout, on another branch, holds the session's."""
        on_it = self._checkout.branch == self.delivery.branch
        return not on_it and self._ancestor(self.delivery.head, self._checkout.head)

    def points(self) -> tuple[Point, ...]:
        """Where the branch can be put back to, by number."""
        listed = gitcall.word(
            self._git_dir, "for-each-ref", "--format=%(refname) %(objectname)", f"{KEPT}/{self.delivery.session}"
        )
        refs = dict(line.split(" ", 1) for line in listed.splitlines())
        numbered = {int(name.rpartition("/")[2]): sha for name, sha in refs.items() if name.rpartition("/")[2].isdecimal()}
        return tuple(self._point(number, sha) for number, sha in sorted({**numbered, 0: self.delivery.base}.items()))

    def point(self, number: int) -> Point:
        """
        Raises:
            BadInput: there is none of this number.
        """
        for point in self.points():
            if point.number == number:
                return point
        raise BadInput(
            f"There is no rollback point {number}: `ostler rollback {self.delivery.session} --list` shows those there are."
        )

    def back(self, point: Point, *, hard: bool) -> int:
        """Put the branch back to `point`; the number of the point that keeps where it was.

        Files of the checkout stay as they are; with `hard` those of a checkout that is on the branch follow it.

        Raises:
            BadInput: the branch is gone or there already, or `hard` would lose work.
        """
        here = self._head()
        if here == point.commit:
            raise BadInput(f"The branch {self.delivery.branch} is at {point.commit[:12]} already.")
        follows = hard and self._checkout.branch == self.delivery.branch
        if follows and (dirty := self._checkout.dirty()):
            raise BadInput(f"{dirty[0]} has changes that a hard rollback would touch: commit them, or leave out --hard.")
        kept = self._keep(here)
        if follows:
            self._files(here, point.commit)
        gitcall.call(self._git_dir, "update-ref", "-m", f"ostler: back to point {point.number}", self._ref, point.commit, here)
        return kept

    def restore(self, point: Point, paths: tuple[str, ...], when: str) -> tuple[str, int]:
        """Commit `paths` on the branch as they are at `point`: the new commit, and the point that keeps where the branch was.

        Raises:
            BadInput: a path is at neither, or is the same already.
        """
        here = self._head()
        with self._borrowed(here) as worktree:
            now, then = worktree.tree_of(here), worktree.tree_of(point.commit)
            known = {*worktree.files(now), *worktree.files(then)}
            for path in paths:
                if path not in known and not any(name.startswith(f"{path}/") for name in known):
                    raise BadInput(f"{path} is neither on the branch nor at point {point.number}: name it relative to the root.")
            tree = worktree.overlay(now, then, paths)
            if tree == now:
                raise BadInput(f"{', '.join(paths)}: the same at point {point.number} as on the branch already.")
            subject = f"revert: {', '.join(paths)} as at {point.commit[:12]}"
            commit = worktree.commit(tree, here, f"{subject}\n\nOstler-Session: {self.delivery.session}\n", when)
            kept = self._keep(here)
            worktree.deliver(self._checkout, commit, self.delivery.branch, replaces=here)
        return commit, kept

    def revert(self, when: str) -> tuple[str, str]:
        """A branch on the present commit that takes the merged change back; its name and commit.

        Raises:
            BadInput: what came after it touches the same lines.
        """
        delivery, branch = self.delivery, f"ostler/revert-{self.delivery.session}"
        subject = self._point(0, delivery.head).subject
        with self._borrowed(self._checkout.head) as worktree:
            here = worktree.tree_of(self._checkout.head)
            merged = merge(worktree, worktree.tree_of(delivery.head), here, worktree.tree_of(delivery.base))
            if merged.unclean:
                raise BadInput(
                    f"What was done since touches the same lines as {delivery.head[:12]} ({', '.join(merged.unclean[:SHOWN])}): "
                    "revert it by hand with `git revert`."
                )
            if merged.tree == here:
                raise BadInput(f"Nothing of {delivery.head[:12]} is left to take back.")
            message = f'Revert "{subject}"\n\nThis reverts commit {delivery.head}.\n\nOstler-Session: {delivery.session}\n'
            commit = worktree.commit(merged.tree, self._checkout.head, message, when)
            worktree.deliver(self._checkout, commit, branch)
        return branch, commit

    def prune(self, keep: int) -> int:
        """Forget all points but the `keep` newest, and never point 0; how many."""
        old = [point for point in self.points() if point.number]
        gone = old[: len(old) - keep] if keep else old
        for point in gone:
            gitcall.call(self._git_dir, "update-ref", "-d", self._kept(point.number), point.commit)
        return len(gone)

    # --- git ---

    @property
    def _git_dir(self) -> Path:
        return self._checkout.git_dir

    @property
    def _ref(self) -> str:
        return f"refs/heads/{self.delivery.branch}"

    def _kept(self, number: int) -> str:
        return f"{KEPT}/{self.delivery.session}/{number}"

    def _head(self) -> str:
        there = self._checkout.branch_head(self.delivery.branch)
        if there is None:
            raise BadInput(
                f"The branch {self.delivery.branch} is gone from {self._checkout.root}: there is nothing to roll back."
            )
        return there

    def _keep(self, commit: str) -> int:
        number = self.points()[-1].number + 1
        gitcall.call(self._git_dir, "update-ref", "-m", "ostler: before a rollback", self._kept(number), commit, NO_BLOB)
        return number

    def _point(self, number: int, commit: str) -> Point:
        shown = gitcall.word(self._git_dir, "log", "-1", "--format=%cI%n%s", "--no-show-signature", "--end-of-options", commit)
        when, _, subject = shown.partition("\n")
        return Point(number, commit, when, subject)

    def _ancestor(self, old: str, new: str) -> bool:
        return gitcall.call(self._git_dir, "merge-base", "--is-ancestor", old, new, ok=(0, 1, 128)).returncode == 0

    @contextmanager
    def _borrowed(self, commit: str) -> Iterator[Worktree]:
        """A git dir of our own that borrows the checkout's objects, without files."""
        with tempfile.TemporaryDirectory(prefix="ostler-rollback-") as made:
            yield Worktree.create(Path(made), self._checkout, commit, files=False)

    def _files(self, here: str, there: str) -> None:
        """The checkout's files and index from `here` to `there`, by our own git: untracked files stay, no filter runs."""
        with self._borrowed(here) as worktree:
            changed = [change.path for change in worktree.changes(worktree.tree_of(here), worktree.tree_of(there))]
            said = gitcall.call(self._git_dir, "check-attr", "-z", "filter", "--", *changed, work_tree=self._checkout.root)
            values = gitcall.names(said.stdout)[2::3]
            if filtered := [path for path, value in zip(changed, values, strict=True) if value not in ("unspecified", "unset")]:
                raise BadInput(
                    f"{filtered[0]} goes through a filter that Ostler does not run: leave out --hard and use `git restore`."
                )
            index = self._checkout.private_dir / "index"
            gitcall.call(worktree.git_dir, "read-tree", "-m", "-u", here, there, work_tree=self._checkout.root, index=index)
