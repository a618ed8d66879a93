"""Publish a changeset over REST, without git: blobs, a tree that must be the proven one, one commit on the anchor, a draft.

Everything is checked again before the first byte is written, because what comes here has gone through jobs that ran a model or
strangers' code. Doing it twice does it once.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from bot.core.changeset import Changeset
from bot.core.cheats import Lifted, cheats_in
from bot.core.errors import PolicyError
from bot.core.paths import check_path
from bot.core.policy import check
from bot.core.reports import NO_BLOB, NO_MODE, FileChange
from bot.github.client import Client, Conflict, UnknownOutcome, once, repeatable
from bot.github.refs import OSTLER, Author, commit, head, make_commit, move, only_parent

_MODES = ("100644", "100755")
_ABSENT = (None, NO_MODE, NO_BLOB)
NO_DRAFTS = "draft pull requests are not supported"
"""What GitHub says (422) of private repositories whose plan has none."""


class Pull(NamedTuple):
    number: int
    draft: bool


def publish(
    client: Client,
    changeset: Changeset,
    *,
    tree: str,
    base_sha: str,
    branch: str,
    message: str,
    when: str,
    author: Author | None = OSTLER,
    denied: tuple[str, ...] = (),
    allowed: tuple[str, ...] = (),
    lifted: Lifted = frozenset(),
) -> str:
    """Put `changeset` as one commit on the anchor that `branch` begins with, or on `base_sha` where that is its head; its id.
    `tree` is the tree id that was proven.

    `denied` and `allowed` are the repository's own rules, as in `policy.check`; `lifted` is what the plan allows, as in
    `cheats.cheats_in`. `when` dates the commit, `author` is as in `refs.make_commit`.

    Raises:
        PolicyError: the changeset may not land, was made for another base, doesn't give this tree, or somebody moved the branch.
            Nothing of it is on the branch then.
    """
    _check_rules(changeset, tree, denied, allowed, lifted)
    if changeset.base_sha != base_sha:
        raise PolicyError("The changeset was made for another base than the branch has.")
    there = head(client, branch)
    if there is None:
        raise PolicyError(f"The branch {branch} is gone; nothing is published.")
    made = commit(client, there)
    base_tree = str(commit(client, base_sha)["tree"]["sha"])
    if not _is_begun(made, base_sha, base_tree):
        return _found_again(client, made, tree, base_sha, base_tree, branch)
    _check_base(client, changeset, base_tree)
    _make_tree(client, changeset, base_tree, tree)
    sha = make_commit(client, message, tree, there, author, when)
    _move(client, branch, there, sha)
    return sha


def _is_begun(made: Any, base_sha: str, base_tree: str) -> bool:
    """The base itself, or an empty commit on it."""
    return made["sha"] == base_sha or (only_parent(made) == base_sha and made["tree"]["sha"] == base_tree)


def _found_again(client: Client, made: Any, tree: str, base_sha: str, base_tree: str, branch: str) -> str:
    parent = only_parent(made)
    if made["tree"]["sha"] == tree and parent and _is_begun(commit(client, parent), base_sha, base_tree):
        return str(made["sha"])
    raise PolicyError(f"The branch {branch} was moved by somebody else; nothing is published.")


def _move(client: Client, branch: str, old: str, new: str) -> None:
    """Forward only, and only from where it was seen."""
    try:
        move(client, branch, new)
    except (Conflict, UnknownOutcome):
        there = head(client, branch)
        if there == old:
            raise
        if there != new:
            raise PolicyError(f"The branch {branch} was moved by somebody else; nothing of this is on it.") from None


def pull_request(client: Client, *, branch: str, head: str, base: str, title: str, body: str, warning: str = "") -> Pull:
    """See to it that there is one pull request of `branch`, and that it shows the commit `head`.

    It is a draft; where the repository's plan has none it is an ordinary one, with `warning` above its body. One that a person
    closed stays closed and counts.

    Raises:
        PolicyError: the branch was moved; the pull request has been closed.
    """
    new = {"head": branch, "base": base, "title": title[:255], "body": body[:65_000], "draft": True}

    def make() -> int:
        try:
            return int(client.post("pulls", new)["number"])
        except Conflict as error:
            if NO_DRAFTS not in str(error).lower():
                raise
        return int(client.post("pulls", {**new, "body": f"{warning}{body}"[:65_000], "draft": False})["number"])

    number = once(lambda: _pull_of(client, branch, base), make, clock=client.clock)
    pull = client.get(f"pulls/{number}")
    if pull["head"]["sha"] != head:
        if pull["state"] == "open":
            repeatable(lambda: client.patch(f"pulls/{number}", {"state": "closed"}), clock=client.clock)
        raise PolicyError(f"Pull request #{number} shows another commit than the proven one; it is closed.")
    return Pull(number, bool(pull["draft"]))


def _pull_of(client: Client, branch: str, base: str) -> int | None:
    """The open pull request of `branch`, else the oldest closed one."""
    found = [
        pull
        for pull in client.pages("pulls", head=f"{client.owner}:{branch}", state="all")
        if pull["head"]["ref"] == branch
        and pull["base"]["ref"] == base
        and ((pull["head"].get("repo") or {}).get("full_name") or "").lower() == client.repository.lower()
    ]
    found.sort(key=lambda pull: (pull["state"] != "open", pull["number"]))
    return int(found[0]["number"]) if found else None


def _check_rules(changeset: Changeset, tree: str, denied: tuple[str, ...], allowed: tuple[str, ...], lifted: Lifted) -> None:
    """One bad entry refuses all."""
    if not changeset.files:
        raise PolicyError("The changeset is empty; nothing is published.")
    if changeset.tree != tree:
        raise PolicyError("The changeset gives another tree than the one that was proven.")
    if len(set(changeset.paths)) != len(changeset.files):
        raise PolicyError("The changeset names a path twice.")
    for change in changeset.files:
        if reason := check_path(change.path) or _shape_problem(change):
            raise PolicyError(f"The whole changeset is refused: {change.path!r}: {reason}.")
    cheats = (cheat for cheat in cheats_in(changeset, lifted) if cheat.severity == "major")
    if findings := (*check(changeset, denied=denied, allowed=allowed), *cheats):
        raise PolicyError(f"The whole changeset is refused: {findings[0].place}: {findings[0].claim}.")


def _shape_problem(change: FileChange) -> str | None:
    """What is said about the old file and the new one must fit the operation and the contents."""
    old = _is_file(change.before, change.old_mode, change.old_blob)
    new = _is_file(change.after, change.new_mode, change.new_blob)
    no_old = (change.before, change.old_mode, change.old_blob) == _ABSENT
    no_new = (change.after, change.new_mode, change.new_blob) == _ABSENT
    fits = {"add": no_old and new, "modify": old and new, "delete": old and no_new}
    return None if fits.get(change.op) else "its operation, modes, ids and contents contradict each other"


def _is_file(content: bytes | None, mode: str, blob: str) -> bool:
    return content is not None and mode in _MODES and blob == blob_id(content)


def blob_id(content: bytes) -> str:
    """git's id of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _check_base(client: Client, changeset: Changeset, tree: str) -> None:
    """What the changeset says was there before has to be there: the rules about tests were judged by it."""
    real = _entries(client, tree, changeset.paths)
    for change in changeset.files:
        mode, blob = real.get(change.path, (NO_MODE, NO_BLOB))
        if (change.old_mode, change.old_blob) != (mode, blob):
            raise PolicyError(f"The whole changeset is refused: {change.path!r} is not what was changed.")


def _entries(client: Client, tree: str, paths: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Mode and id of those of `paths` that exist: in one request, or folder by folder where the tree is too large for one."""
    whole = client.get(f"git/trees/{tree}", recursive=1)
    if not whole.get("truncated"):
        return {item["path"]: (item["mode"], item["sha"]) for item in whole["tree"]}
    found: dict[str, tuple[str, str]] = {"": ("040000", tree)}
    for folder in sorted({parent for path in paths for parent in _folders(path)}):  # a folder sorts before what is in it
        mode, sha = found.get(folder, (NO_MODE, NO_BLOB))
        if mode != "040000":
            continue
        listed = client.get(f"git/trees/{sha}")
        if listed.get("truncated"):
            raise PolicyError(f"The folder {folder or '/'} has more entries than GitHub lists; nothing is published.")
        prefix = f"{folder}/" if folder else ""
        found |= {prefix + item["path"]: (item["mode"], item["sha"]) for item in listed["tree"]}
    return found


def _folders(path: str) -> Iterator[str]:
    yield ""
    parts = path.split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        yield "/".join(parts[:depth])


def _make_tree(client: Client, changeset: Changeset, base_tree: str, wanted: str) -> None:
    entries = [_entry(client, change) for change in changeset.files]
    made = repeatable(lambda: client.post("git/trees", {"base_tree": base_tree, "tree": entries}), clock=client.clock)
    if made["sha"] != wanted:
        raise PolicyError("GitHub's tree is not the one that was proven; nothing is published.")


def _entry(client: Client, change: FileChange) -> dict[str, Any]:
    if change.after is None:
        return {"path": change.path, "mode": change.old_mode, "type": "blob", "sha": None}
    if change.after != change.before:
        body = {"content": base64.b64encode(change.after).decode(), "encoding": "base64"}
        made = repeatable(lambda: client.post("git/blobs", body), clock=client.clock)
        if made["sha"] != change.new_blob:
            raise PolicyError(f"GitHub stored other content for {change.path!r} than was sent; nothing is published.")
    return {"path": change.path, "mode": change.new_mode, "type": "blob", "sha": change.new_blob}
