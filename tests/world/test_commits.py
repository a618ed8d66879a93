"""What is delivered: whom the commits name, that anybody can make them again or GitHub signs them, and a draft where there are
drafts."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.core.changeset import Changeset
from bot.core.events import ChangesetTaken
from bot.core.session import asked_at
from bot.core.triggers import moment
from tests.world.town import FIXER_BODY, FIXER_TITLE, IMPORTS, Json, Town, town
from tests.world.world import git

pytestmark = pytest.mark.sampled

SIGNED = "pull_request:\n  commit: signed\n"


def verified(there: Town, number: int) -> list[Json]:
    """What GitHub says of the signatures of a session's commits, newest first."""
    commits = there.story(number).checks
    return [there.ada.get(f"/repos/{there.name}/commits/{sha}")["commit"]["verification"] for sha in commits]


def made_again(there: Town, number: int, changeset: Changeset) -> str:
    """The id of the delivered commit as somebody gets it who has the base, the changeset, and the words of both commits."""
    folder = there.clone(number)
    session, (branch,) = there.story(number).check["external_id"], there.story(number).branches
    who = f"Ostler <ostler@users.noreply.github.com> {moment(asked_at(session)).timestamp():.0f} +0000"

    def commit(tree: str, parent: str, message: str) -> str:
        (made := folder / ".git" / "made").write_text(
            f"tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\n\n{message}\n"
        )
        return git(folder, "hash-object", "-t", "commit", str(made))

    git(folder, "checkout", "--quiet", "--detach", changeset.base_sha)
    begun = commit(
        git(folder, "rev-parse", "HEAD^{tree}"),
        changeset.base_sha,
        f"Begin {branch}\n\nNothing is changed yet.\n\nOstler-Session: {session}",
    )
    for change in changeset.files:
        (folder / change.path).write_bytes(change.after or b"")
    git(folder, "add", "--all")
    return commit(git(folder, "write-tree"), begun, git(folder, "log", "-1", "--format=%B", f"origin/{branch}"))


def test_who_asked_is_named_and_anybody_can_make_the_commit_again(tmp_path: Path) -> None:
    with town(tmp_path, "alone") as there:
        number = there.ask(by="bob")
        there.settle()
        told = there.expect_one(number, tests=False)
        head, bob = told.pulls[0]["head"]["sha"], there.hub.user("bob").id
        trailers = git(there.clone(number), "log", "-1", "--format=%(trailers)").splitlines()
        assert trailers == [
            f"Co-authored-by: bob <{bob}+bob@users.noreply.github.com>",
            f"Ostler-Session: {told.check['external_id']}",
            f"Plan-Digest: {told.state['plan_digest'][:8]}",
        ]
        (taken,) = (record.item for record in there.records(number) if isinstance(record.item, ChangesetTaken))
        assert made_again(there, number, taken.changeset) == head
        assert [one["reason"] for one in verified(there, number)] == ["unsigned", "unsigned"]


def test_github_signs_what_names_nobody(tmp_path: Path) -> None:
    """The commit, the empty one before it, and one that a rollback makes after it."""
    with town(tmp_path, "app", config=SIGNED) as there:
        number = there.ask()
        there.settle()
        told = there.expect_one(number, tests=False)
        assert [one["verified"] for one in verified(there, number)] == [True, True]
        made = there.ada.get(f"/repos/{there.name}/git/commits/{told.pulls[0]['head']['sha']}")
        assert made["author"]["name"] == made["committer"]["name"] == "github-actions[bot]"
        assert made["message"].startswith("fix: ")
        there.say(number, "/ostler rollback calc.py")
        there.settle()
        (branch,) = there.story(number).branches
        after = there.ada.get(f"/repos/{there.name}/commits/{branch}")
        assert after["sha"] != told.pulls[0]["head"]["sha"]
        assert after["commit"]["verification"]["verified"] is True
        assert there.hub.errors == []


def test_where_github_has_no_drafts_the_pull_request_says_so(tmp_path: Path) -> None:
    with town(tmp_path, "alone", files=IMPORTS) as there:
        there.hub.found(there.name).drafts = False
        number = there.ask(FIXER_TITLE, FIXER_BODY)
        there.settle()
        told = there.story(number)
        (pull,) = told.pulls
        assert (pull["draft"], pull["state"]) == (False, "open")
        assert pull["body"].startswith("> [!WARNING]\n> **This is no draft:** ")
        assert "ostler:not-a-draft" in [label["name"] for label in pull["labels"]]
        assert told.state_labels == ["ostler:in-review"]
        assert there.hub.errors == []
