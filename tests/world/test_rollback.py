"""`ostler rollback`: what a session delivered is taken back, and nothing is lost by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.world.world import CODE, ISSUE, World, happy, serve

pytestmark = pytest.mark.sampled

SUM = "    return left + right"


@pytest.fixture
def done(tmp_path: Path) -> tuple[World, str, str]:
    """A finished run: its world, session and branch."""
    world = World.of(tmp_path)
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
    assert said.code == 0, said
    return world, said.result["session"], said.result["branch"]


def code(world: World, commit: str) -> str:
    return world.git("show", f"{commit}:calc.py")


def test_the_branch_goes_back_and_forth_and_nothing_is_lost(done: tuple[World, str, str]) -> None:
    world, session, branch = done
    base, head = world.git("rev-parse", "main"), world.git("rev-parse", branch)
    back = world.ostler("rollback", session)
    assert back.code == 0, back
    assert f"{branch} is back at point 0 ({base[:12]}). `ostler rollback {session} --to 1` undoes it." in back.out
    assert world.git("rev-parse", branch) == base
    listed = json.loads(world.ostler("rollback", session, "--list", "--json").out)
    assert [(point["point"], point["commit"]) for point in listed] == [(0, base), (1, head)]
    assert "before the session" in world.ostler("rollback", session, "--list").out
    forth = world.ostler("rollback", session, "--to", "1", "--json")
    assert forth.result == {"session": session, "branch": branch, "commit": head, "point": 1, "kept_as": 2}
    assert world.git("rev-parse", branch) == head

    one = world.ostler("rollback", session, "--path", "calc.py", "--json")
    assert one.code == 0, one
    assert world.git("rev-parse", f"{branch}^") == head
    assert code(world, branch) == CODE.strip()
    assert "test_adds" in world.git("show", f"{branch}:tests/test_calc.py")
    assert f"Ostler-Session: {session}" in world.git("log", "-1", "--format=%B", branch)

    assert world.ostler("rollback", session, "--prune", "1").out.startswith("2 rollback points forgotten.")
    assert [point["point"] for point in json.loads(world.ostler("rollback", session, "--list", "--json").out)] == [0, 3]
    assert world.git("rev-parse", "main") == base


def test_files_follow_only_where_they_are_asked_to_and_nobodys_work_is_in_the_way(done: tuple[World, str, str]) -> None:
    world, session, branch = done
    world.git("checkout", "-q", branch)
    mine = world.repository / "calc.py"
    mine.write_text("# mine\n")
    refused = world.ostler("rollback", session, "--hard")
    assert (refused.code, mine.read_text()) == (1, "# mine\n")
    assert "calc.py has changes that a hard rollback would touch" in refused.err
    world.git("checkout", "-q", "--", "calc.py")
    (world.repository / "notes.txt").write_text("kept\n")
    assert "notes.txt has changes" in world.ostler("rollback", session, "--hard").err
    (world.repository / "notes.txt").unlink()

    assert world.ostler("rollback", session).code == 0
    assert SUM in mine.read_text()
    assert world.git("diff", "--cached", "--name-only").split() == ["calc.py", "tests/test_calc.py"]
    assert world.ostler("rollback", session, "--to", "1").code == 0
    assert world.ostler("rollback", session, "--hard").code == 0
    assert mine.read_text() == CODE
    assert world.git("status", "--porcelain") == ""


def test_once_it_is_merged_a_branch_takes_it_back(done: tuple[World, str, str]) -> None:
    world, session, branch = done
    world.git("merge", "-q", "--no-ff", "-m", "Merge", branch)
    world.commit({"notes.md": "Later work.\n"})
    said = world.ostler("rollback", session, "--json")
    assert said.code == 0, said
    revert = said.result["branch"]
    assert revert == f"ostler/revert-{session}"
    assert world.git("rev-parse", f"{revert}^") == world.git("rev-parse", "main")
    assert code(world, revert) == CODE.strip()
    assert world.git("show", f"{revert}:notes.md") == "Later work."
    assert f"This reverts commit {world.git('rev-parse', branch)}." in world.git("log", "-1", "--format=%B", revert)
    assert SUM in world.git("show", "main:calc.py")
    again = world.ostler("rollback", session)
    assert again.code != 0
    assert "exists already" in again.err

    world.commit({"calc.py": CODE.replace("left - right", "left + right + 0")})
    world.git("branch", "-q", "-D", revert)
    clash = world.ostler("rollback", session)
    assert clash.code == 1
    assert "touches the same lines" in clash.err


REFUSED = (
    (["--to", "7"], "There is no rollback point 7"),
    (["--path", "nowhere.py"], "nowhere.py is neither on the branch nor at point 0"),
    (["--path", "pyproject.toml"], "the same at point 0 as on the branch already"),
    (["--path", "calc.py", "--hard"], "give one of them"),
    (["--to", "-1"], "greater than or equal to 0"),
)


def test_what_cannot_be_done_is_said_in_one_sentence(done: tuple[World, str, str]) -> None:
    world, session, branch = done
    before = world.git("rev-parse", branch)
    for args, why in REFUSED:
        said = world.ostler("rollback", session, *args)
        assert said.code == 1
        assert why in said.err
        assert said.err.count("\n") == 1
    assert world.git("rev-parse", branch) == before
    assert world.git("for-each-ref", "refs/ostler/rollback") == ""


def test_a_session_without_a_branch_has_nothing_to_take_back(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    with serve([]) as vendors:
        said = world.run(ISSUE, vendors=vendors)
    assert said.code != 0
    refused = world.ostler("rollback", said.result["session"])
    assert "delivered no branch: there is nothing to roll back" in refused.err
