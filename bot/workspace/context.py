"""What of the repository goes into the prompts: its file names, its own guide, and the files a ticket is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from bot.core.changeset import decoded
from bot.core.events import Excerpt
from bot.core.ticket import Ticket
from bot.workspace.git import Worktree
from bot.workspace.search import holders

GUIDES = ("AGENTS.md", "CLAUDE.md", "CONTRIBUTING.md", ".github/CONTRIBUTING.md")
MAX_LISTED = 200
MAX_GUIDE = 4_000
MAX_EXCERPT = 8_000
MAX_EXCERPTS = 24_000
MAX_WORDS = 12
COMMON = 12
"""An identifier in more files than this says nothing about where to look."""

_FRAME = re.compile(r'File "([^"]+)", line \d+')
_PATH = re.compile(r"[\w./-]+/[\w.-]+|\b[\w-]+\.[A-Za-z]{1,4}\b")
_NAME = re.compile(r"`([A-Za-z_][\w.]*)|\b([a-z]+_\w+|[A-Z][a-z]+[A-Z]\w+|[A-Za-z_]\w*(?=\())")


def listing(files: Sequence[str]) -> str:
    """One path a line; a large repository is cut by folder depth first, so that its shape stays visible."""
    shown = sorted(files, key=lambda path: (path.count("/"), path))[:MAX_LISTED]
    return "\n".join(sorted(shown)) + ("\n…" if len(files) > len(shown) else "")


def guide(worktree: Worktree, commit: str, changed: Sequence[str] = ()) -> Excerpt | None:
    """The repository's guide for contributors, from `commit`, none of `changed`: a change under review cannot rewrite it."""
    for name in (name for name in GUIDES if name not in changed):
        if text := decoded(worktree.read(commit, name)):
            return Excerpt(name, text[:MAX_GUIDE], "it is the guide for contributors")
    return None


def excerpts(worktree: Worktree, commit: str, files: Sequence[str], ticket: Ticket) -> tuple[Excerpt, ...]:
    """The files the ticket names, by traceback, path or rare identifier, until the allowance is used up."""
    found: dict[str, str] = {}
    for path, reason in _candidates(worktree, files, ticket.text):
        found.setdefault(path, reason)
    chosen, left = [], MAX_EXCERPTS
    for path, reason in found.items():
        text = decoded(worktree.read(commit, path))
        if not text or left <= 0:
            continue
        part = text[: min(MAX_EXCERPT, left)]
        left -= len(part)
        chosen.append(
            Excerpt(path, part if len(part) == len(text) else f"{part}\n[cut: {len(text) - len(part)} characters more]", reason)
        )
    return tuple(chosen)


def _candidates(worktree: Worktree, files: Sequence[str], text: str) -> Iterator[tuple[str, str]]:
    for frame in reversed(_FRAME.findall(text)):
        yield from ((path, "the traceback names it") for path in files if frame.endswith(path))
    named = set(_PATH.findall(text))
    yield from ((path, "the ticket names it") for path in files if path in named or path.rpartition("/")[2] in named)
    words = list(
        dict.fromkeys(
            part for groups in _NAME.findall(text) for whole in groups if whole for part in whole.split(".") if len(part) > 3
        )
    )
    for word in words[:MAX_WORDS]:
        having = holders(worktree, worktree.base, word)
        if len(having) <= COMMON:
            yield from ((path, f"it holds `{word}`") for path in having)
