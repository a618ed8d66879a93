"""Branches: the anchor that a session's branch begins with, and what branches there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any
from urllib.parse import quote

from bot.core.errors import BadInput, BugError, PolicyError
from bot.github.client import Client, NotFound, once, repeatable

TRAILER = "Ostler-Session"
Entries = dict[str, tuple[str, str]]
"""Path to mode and id of a file."""


@dataclass(frozen=True, slots=True)
class Author:
    name: str
    email: str


OSTLER = Author("Ostler", "ostler@users.noreply.github.com")
"""The same as in commits that the workspace makes."""


def author_of(signed: bool) -> Author | None:
    """Whom a session's commits name, where GitHub is to sign them nobody."""
    return None if signed else OSTLER


def anchor(client: Client, branch: str, base_sha: str, session: str, when: str, author: Author | None = OSTLER) -> str:
    """See to it that `branch` begins with the anchor of `session`: one empty commit on `base_sha`, dated `when`; its id.

    The anchor is a home for the check run before there is anything else. The same arguments give the same commit, unless GitHub
    signs it, as in `make_commit`.

    Raises:
        PolicyError: the branch is there and doesn't begin with it.
    """
    tree = str(commit(client, base_sha)["tree"]["sha"])
    message = f"Begin {branch}\n\nNothing is changed yet.\n\n{TRAILER}: {session}\n"
    there = head(client, branch)
    if there is None:
        sha = make_commit(client, message, tree, base_sha, author, when)
        there = make_ref(client, f"heads/{branch}", sha, lambda: head(client, branch))
    made = commit(client, there)
    for one in chain([made], (commit(client, parent) for parent in parents(made))):
        if (one["message"].strip(), one["tree"]["sha"], only_parent(one)) == (message.strip(), tree, base_sha):
            return str(one["sha"])
    raise PolicyError(f"The branch {branch} is there already and does not begin with the session's own commit.")


def make_ref(client: Client, name: str, sha: str, find: Callable[[], str | None]) -> str:
    """See to it that `refs/<name>` is there, made at `sha` where `find` knows of none; the commit that it is at."""

    def make() -> str:
        client.post("git/refs", {"ref": f"refs/{name}", "sha": sha})
        return sha

    return once(find, make, clock=client.clock)


def move(client: Client, branch: str, sha: str, *, force: bool = False) -> None:
    """Put a branch to `sha`; without `force` only forward."""
    repeatable(lambda: client.patch(f"git/refs/heads/{quote(branch)}", {"sha": sha, "force": force}), clock=client.clock)


def head(client: Client, branch: str) -> str | None:
    """The commit of a branch, None where there is no such branch."""
    try:
        found = client.get(f"git/ref/heads/{quote(branch)}")
    except NotFound:
        return None
    if not isinstance(found, dict) or found.get("ref") != f"refs/heads/{branch}":
        return None  # GitHub once answered with the branches that begin like this
    return str(found["object"]["sha"])


def matching(client: Client, prefix: str) -> tuple[tuple[str, str], ...]:
    """(branch, commit) of the branches whose names begin with `prefix`."""
    found = client.pages(f"git/matching-refs/heads/{quote(prefix)}")
    return tuple((str(item["ref"]).removeprefix("refs/heads/"), str(item["object"]["sha"])) for item in found)


def commit(client: Client, sha: str) -> Any:
    """A commit with `tree`, `parents` and `message`."""
    return client.get(f"git/commits/{sha}")


def entries(client: Client, sha: str) -> Entries:
    """All files of a commit.

    Raises:
        BadInput: GitHub does not list so many.
    """
    listed = client.get(f"git/trees/{commit(client, sha)['tree']['sha']}", recursive=1)
    if listed.get("truncated"):
        raise BadInput("The repository has more files than GitHub lists at once: do it with git.")
    return {item["path"]: (item["mode"], item["sha"]) for item in listed["tree"] if item["type"] != "tree"}


def make_commit(client: Client, message: str, tree: str, parent: str, author: Author | None, when: str) -> str:
    """A commit whose id depends on the arguments alone, so that making it again changes nothing. `when` is UTC, ISO 8601.

    Without an author it is in the name of whose token this is, dated now and signed by GitHub: it signs what its Apps make, but
    only where the request names no author, no committer and no signature ("About commit signature verification" in its
    documentation, the section on bots). So it is another one each time.
    """
    if not when:
        raise BugError("a commit without a date is another one each time")
    who = {"name": author.name, "email": author.email, "date": when} if author else None
    named = {"author": who, "committer": who} if who else {}
    body = {"message": message, "tree": tree, "parents": [parent], **named}
    return str(repeatable(lambda: client.post("git/commits", body), clock=client.clock)["sha"])


def parents(made: Any) -> tuple[str, ...]:
    return tuple(str(parent["sha"]) for parent in made["parents"])


def only_parent(made: Any) -> str | None:
    """The parent of a commit that has one, else None."""
    found = parents(made)
    return found[0] if len(found) == 1 else None
