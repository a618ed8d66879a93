"""`/ostler rollback` on an issue: what a session delivered is taken back, before its pull request is merged and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.world.test_conversation import SETUPS
from tests.world.town import FIXER_BODY, FIXER_TITLE, IMPORTS, Setup, Town, town

pytestmark = pytest.mark.sampled


def said(there: Town, number: int, text: str) -> str:
    """The answer to a command of ada's."""
    before = len(there.story(number).replies)
    there.say(number, text)
    there.until(lambda: len(there.story(number).replies) > before)
    there.settle()
    return str(there.story(number).replies[-1]["body"])


def files(there: Town, ref: str) -> dict[str, str]:
    tree = there.ada.get(f"/repos/{there.name}/commits/{ref}")["commit"]["tree"]["sha"]
    return {one["path"]: one["sha"] for one in there.ada.get(f"/repos/{there.name}/git/trees/{tree}?recursive=1")["tree"]}


def kept(there: Town) -> list[Any]:
    found = there.ada.get(f"/repos/{there.name}/git/matching-refs/ostler/rollback/")
    return [one["object"]["sha"] for one in found]


@pytest.mark.parametrize("setup", SETUPS)
def test_what_was_delivered_is_taken_back(tmp_path: Path, setup: Setup) -> None:
    with town(tmp_path, setup, files=IMPORTS, rules=[]) as there:
        number = there.ask(FIXER_TITLE, FIXER_BODY)
        there.settle()
        pull = there.expect_one(number).pulls[0]
        branch, head = pull["head"]["ref"], pull["head"]["sha"]

        there.say(number, "/ostler rollback", by="tess")
        there.settle()
        assert there.story(number).replies == []
        assert files(there, branch) == files(there, head) != files(there, "main")
        answer = said(there, number, "/ostler rollback")
        assert f"`{branch}` is at point 0, " in answer
        assert "`/ostler rollback 1` undoes it." in answer
        assert files(there, branch) == files(there, "main")
        assert kept(there) == [head]
        if setup == "app":
            assert "There is no rollback point 7: there are 0, 1." in said(there, number, "/ostler rollback 7")
            assert "nowhere.py is no file of the branch" in said(there, number, "/ostler rollback nowhere.py")
        assert f"`{branch}` is at point 1, `{head[:12]}`" in said(there, number, "/ostler rollback 1")
        assert "`calc.py` is as it was before the session" in said(there, number, "/ostler rollback calc.py")
        assert files(there, branch) == files(there, "main")
        assert f"`{branch}` is at point 1" in said(there, number, "/ostler rollback 1")

        before = files(there, "main")["calc.py"]
        there.ada.merge(there.name, pull["number"])
        there.push({"notes.md": "Later work.\n"})
        merged = files(there, "main")
        answer = said(there, number, "/ostler rollback")
        revert = f"ostler/revert-{number}-{branch.rpartition('-')[2]}"
        assert files(there, revert) == {**merged, "calc.py": before}
        assert f"`{revert}` takes #{pull['number']} back: [open a pull request from it](" in answer
        there.push({"calc.py": "changed = 1\n"})
        assert "calc.py was changed again since it was merged: revert it by hand." in said(there, number, "/ostler rollback")
        assert there.hub.errors == []
