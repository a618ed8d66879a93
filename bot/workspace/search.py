"""Finding lines and files of a repository with git, which is there wherever the repository is."""

from __future__ import annotations

from bot.core.errors import SetupError
from bot.workspace import gitcall
from bot.workspace.checkout import Checkout
from bot.workspace.git import Worktree

MAX_LINES = 200
LINE_CHARS = 240
FOUND, NOTHING = 0, 1
LINK = "120000"


def grep(worktree: Worktree, pattern: str, below: str = "") -> str:
    """`path:line:text` for each line that matches the extended regular expression, new files included, at most 200."""
    try:
        done = gitcall.call(
            worktree.git_dir, "grep", "-nIE", "--untracked", "--no-color", "-e", pattern, "--", *([below] if below else []),
            work_tree=worktree.tree, index=worktree.git_dir / "index", ok=(FOUND, NOTHING),
        )  # fmt: skip
    except SetupError as error:
        return f"The search failed: {error}"
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    shown = [line if len(line) <= LINE_CHARS else f"{line[:LINE_CHARS]}…" for line in lines[:MAX_LINES]]
    return "\n".join(shown) + (f"\n… {len(lines) - MAX_LINES} lines more: narrow the search" if len(lines) > MAX_LINES else "")


def holders(worktree: Worktree, commit: str, word: str) -> tuple[str, ...]:
    """Paths of the files of `commit` that hold `word` as a whole word."""
    done = gitcall.call(worktree.git_dir, "grep", "-lIwF", "-z", "-e", word, commit, ok=(FOUND, NOTHING))
    return tuple(name.partition(":")[2] for name in gitcall.names(done.stdout))


def read_at(checkout: Checkout, path: str) -> bytes | None:
    """A regular file of the checkout's head commit, or None."""
    listed = gitcall.call(checkout.git_dir, "ls-tree", "-z", checkout.head, "--", path)
    for entry in gitcall.names(listed.stdout):
        mode, kind, blob = entry.partition("\t")[0].split(" ")
        if kind == "blob" and mode != LINK:
            return gitcall.call(checkout.git_dir, "cat-file", "blob", blob).stdout
    return None
