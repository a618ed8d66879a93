"""Publishing: the proven tree or nothing, once, whatever the network does and whoever else is at the branch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bot.core.changeset import Changeset
from bot.core.errors import PolicyError
from bot.core.reports import NO_BLOB, NO_MODE, FileChange
from bot.github import refs
from bot.github.client import Client
from bot.github.publish import blob_id, publish, pull_request
from tests.rooms.small_github import AT, REPOSITORY, SmallGitHub, small_github

SESSION = "issue-42-3f9a1c2b_20261121_113431"
BRANCH = "ostler/issue-42-sums-3f9a1c2b"
FILES = {"calc.py": b"a = 1\n", "docs/old.md": b"old\n", "src/deep/run.sh": b"#!/bin/sh\n", "README.md": b"hi\n"}
TROUBLE: tuple[int | str, ...] = (500, 502, 429, "drop-before", "drop-after")


def change(path: str, before: bytes | None, after: bytes | None, mode: str = "100644") -> FileChange:
    return FileChange(
        path,
        "add" if before is None else "delete" if after is None else "modify",
        NO_MODE if before is None else mode,
        NO_MODE if after is None else mode,
        NO_BLOB if before is None else blob_id(before),
        NO_BLOB if after is None else blob_id(after),
        before,
        after,
    )


CHANGES = (
    change("calc.py", b"a = 1\n", b"a = 2\n"),
    change("docs/old.md", b"old\n", None),
    change("docs/new/deep.md", None, b"caf\xc3\xa9\r\n"),
    change("src/deep/run.sh", b"#!/bin/sh\n", b"#!/bin/sh\ntrue\n", "100755"),
)


class World:
    def __init__(self, hub: SmallGitHub, client: Client) -> None:
        self.hub, self.client = hub, client
        entries = {path: ("100755" if path.endswith(".sh") else "100644", hub.blob(content)) for path, content in FILES.items()}
        self.base = hub.commit(hub.tree(entries), [], "first")
        hub.refs["main"] = self.base
        self.anchor = refs.anchor(client, BRANCH, self.base, SESSION, AT)
        hub.log.clear()

    def changeset(self, *changes: FileChange) -> Changeset:
        changes = changes or CHANGES
        tree = self.hub.objects[self.base]["tree"]["sha"]
        files = dict(self.hub.objects[tree]["files"])
        for one in changes:
            files.pop(one.path, None)
            if one.after is not None:
                files[one.path] = (one.new_mode, self.hub.blob(one.after))
        return Changeset(SESSION, self.base, self.hub.tree(files), changes)

    def publish(self, changeset: Changeset, **changes: Any) -> str:
        given = {"tree": changeset.tree, "base_sha": self.base, "branch": BRANCH, "message": "Mend sums\n", "when": AT, **changes}
        return publish(self.client, changeset, **given)

    @property
    def written(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.hub.log if request.method != "GET"]


@pytest.fixture
def world() -> Iterator[World]:
    with small_github() as hub, hub.client() as client:
        yield World(hub, client)


def test_the_proven_tree_becomes_one_commit(world: World) -> None:
    changeset = world.changeset()
    sha = world.publish(changeset)
    made = world.hub.objects[sha]
    assert world.hub.refs[BRANCH] == sha
    assert made["tree"]["sha"] == changeset.tree
    assert refs.only_parent(made) == world.anchor
    assert len(world.written) == 3 + 3  # blobs; tree, commit, ref
    world.hub.log.clear()
    assert world.publish(changeset) == sha
    assert world.written == []


@pytest.mark.parametrize("kind", TROUBLE)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("POST", "blobs"), ("POST", "trees"), ("POST", "git/commits"), ("PATCH", "refs")],
)
def test_once_whatever_happens(world: World, kind: int | str, method: str, path: str) -> None:
    world.hub.trouble(method, path, kind, times=2)
    changeset = world.changeset()
    assert world.publish(changeset) == world.publish(changeset) == world.hub.refs[BRANCH]


def test_only_deletions(world: World) -> None:
    changeset = world.changeset(change("docs/old.md", b"old\n", None), change("README.md", b"hi\n", None))
    sha = world.publish(changeset)
    assert world.hub.objects[sha]["tree"]["sha"] == changeset.tree
    assert len(world.written) == 3


def bent(number: int = 0, **changes: Any) -> tuple[FileChange, ...]:
    return tuple(replace(one, **changes) if at == number else one for at, one in enumerate(CHANGES))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ((*CHANGES, change(".github/workflows/ci.yml", None, b"x\n")), "refused"),
        ((*CHANGES, change("../x", None, b"x\n")), "leaves"),
        ((*CHANGES, change(".GIT/config", None, b"x\n")), "git's own"),
        ((*CHANGES, change("a.py", None, b"key = 'sk-ant-" + b"a1" * 20 + b"'\n")), "secret"),
        ((*CHANGES, change("a.bin", None, b"\0\1")), "binary"),
        ((*CHANGES, change("link", None, b"x", "120000")), "contradict"),
        ((*CHANGES, CHANGES[0]), "twice"),
        (bent(op="add"), "contradict"),
        (bent(after=b"a = 3\n"), "contradict"),
        (bent(before=b"a = 0\n"), "contradict"),
        (bent(old_mode="100755"), "not what was changed"),
        (bent(before=b"a = 0\n", old_blob=blob_id(b"a = 0\n")), "not what was changed"),
        (bent(2, op="modify", before=b"x", old_blob=blob_id(b"x"), old_mode="100644"), "not what was changed"),
    ],
    ids=range(13),
)
def test_one_bad_entry_refuses_all(world: World, changes: tuple[FileChange, ...], words: str) -> None:
    changeset = Changeset(SESSION, world.base, world.changeset().tree, changes)
    with pytest.raises(PolicyError, match=words):
        world.publish(changeset)
    assert world.written == []
    assert world.hub.refs[BRANCH] == world.anchor


def test_another_tree_is_not_published(world: World) -> None:
    changeset = world.changeset()
    other = world.changeset(CHANGES[0]).tree
    with pytest.raises(PolicyError, match="another tree"):
        world.publish(changeset, tree=other)
    assert world.written == []
    with pytest.raises(PolicyError, match="not the one that was proven"):
        world.publish(replace(changeset, tree=other))
    assert world.hub.refs[BRANCH] == world.anchor
    with pytest.raises(PolicyError, match="empty"):
        world.publish(Changeset(SESSION, world.base, changeset.tree, ()))


def test_another_base_is_not_published_on(world: World) -> None:
    with pytest.raises(PolicyError, match="another base"):
        world.publish(world.changeset(), base_sha="e" * 40)


def test_the_repositorys_own_rules_hold(world: World) -> None:
    changeset = world.changeset()
    with pytest.raises(PolicyError, match="refused"):
        world.publish(changeset, denied=("calc.py",))
    with pytest.raises(PolicyError, match="outside"):
        world.publish(changeset, allowed=("docs/*",))


def test_a_large_tree_is_read_by_folders(world: World) -> None:
    base = world.hub.objects[world.base]["tree"]["sha"]

    def listed(request: Any) -> Any:
        reply = world.hub.get_tree(request, base)
        return replace(reply, body={**reply.body, "truncated": bool(request.query)})

    world.hub.on("GET", f"/repos/{REPOSITORY}/git/trees/{base}", listed)
    world.publish(world.changeset())
    asked = [request.path.rpartition("/")[2] for request in world.hub.asked("GET", "git/trees")]
    assert len(asked) == len(set(asked)) + 1 == 5  # the root twice; docs, src, src/deep


def test_a_branch_that_somebody_moved_is_left_alone(world: World) -> None:
    tree = world.hub.objects[world.anchor]["tree"]["sha"]
    theirs = world.hub.commit(tree, [world.anchor], "theirs")
    world.hub.refs[BRANCH] = theirs
    with pytest.raises(PolicyError, match="moved"):
        world.publish(world.changeset())
    assert world.written == []
    del world.hub.refs[BRANCH]
    with pytest.raises(PolicyError, match="gone"):
        world.publish(world.changeset())


def test_a_branch_that_moves_at_the_last_moment(world: World) -> None:
    theirs = world.hub.commit(world.hub.tree({}), [world.anchor], "theirs")
    world.hub.after.append(("POST", "git/commits", lambda: world.hub.refs.update({BRANCH: theirs})))
    with pytest.raises(PolicyError, match="moved"):
        world.publish(world.changeset())
    assert world.hub.refs[BRANCH] == theirs


# --- pull requests ---


def pull(world: World, head: str) -> int:
    return pull_request(world.client, branch=BRANCH, head=head, base="main", title="Mend sums", body="Proof").number


@pytest.mark.parametrize("kind", TROUBLE)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_one_pull_request_whatever_happens(world: World, kind: int | str, method: str) -> None:
    sha = world.publish(world.changeset())
    world.hub.trouble(method, "pulls", kind, times=2)
    assert pull(world, sha) == pull(world, sha)
    assert [(one["draft"], one["state"]) for one in world.hub.pulls] == [(True, "open")]


def test_a_list_that_lags_makes_no_second_pull_request(world: World) -> None:
    sha = world.publish(world.changeset())
    number = pull(world, sha)
    world.hub.trouble("GET", "pulls$", "stale", times=2)
    assert pull(world, sha) == number
    assert len(world.hub.pulls) == 1


def test_other_pull_requests_are_not_ours(world: World) -> None:
    sha = world.publish(world.changeset())
    head = {"ref": BRANCH, "repo": {"full_name": "fork/stable"}}
    world.hub.pulls += [
        {"number": 1, "state": "closed", "head": head, "base": {"ref": "main"}},
        {"number": 2, "state": "closed", "head": {**head, "repo": None}, "base": {"ref": "main"}},
        {"number": 3, "state": "closed", "head": {"ref": BRANCH, "repo": {"full_name": REPOSITORY}}, "base": {"ref": "old"}},
    ]
    assert pull(world, sha) > 3


def test_a_pull_request_that_a_person_closed_stays_closed(world: World) -> None:
    sha = world.publish(world.changeset())
    number = pull(world, sha)
    world.hub.pulls[0]["state"] = "closed"
    assert pull(world, sha) == number
    assert world.hub.pulls[0]["state"] == "closed"
    assert len(world.hub.pulls) == 1


def test_a_pull_request_of_another_commit_is_closed(world: World) -> None:
    sha = world.publish(world.changeset())
    theirs = world.hub.commit(world.hub.tree({}), [sha], "theirs")
    world.hub.after.append(("POST", "pulls", lambda: world.hub.refs.update({BRANCH: theirs})))
    with pytest.raises(PolicyError, match="closed"):
        pull(world, sha)
    assert world.hub.pulls[0]["state"] == "closed"
