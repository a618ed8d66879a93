"""What is left of runs, and the commands that look at it: sessions, replay, doctor, demo, docs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.house.tree import ROOT
from tests.world.world import ISSUE, SMALL, World, happy, rule, serve

pytestmark = pytest.mark.sampled

KILLER = Path(__file__).with_name("killer.py")
PAUSED_CAP = "0.01"


@dataclass(frozen=True, slots=True)
class Shelf:
    """One repository with a session that is done and a younger one that waits for money."""

    world: World
    done: dict[str, Any]
    paused: dict[str, Any]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    world = World.of(tmp_path_factory.mktemp("shelf"))
    with serve(happy()) as vendors:
        done = world.run(ISSUE, "--session", "done", vendors=vendors)
        paused = world.run(ISSUE, "--session", "paused", "--max-cost", PAUSED_CAP, vendors=vendors)
    assert (done.code, paused.code) == (0, 3), (done, paused)
    return Shelf(world, done.result, paused.result)


def parsed(text: str) -> Any:
    return json.loads(text.splitlines()[-1])


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_the_list_names_all_sessions_newest_first(shelf: Shelf) -> None:
    said = shelf.world.ostler("sessions", "list", "--json")
    assert said.code == 0
    rows = parsed(said.out)
    assert [(row["session_id"], row["status"]) for row in rows] == [
        (shelf.paused["session"], "paused"),
        (shelf.done["session"], "completed"),
    ]
    assert rows[1]["cost_usd"] == shelf.done["cost_usd"]
    assert rows[1]["repository"] == str(shelf.world.repository)
    assert rows[1]["goal"] == ISSUE
    plain = shelf.world.ostler("sessions", "list")
    assert plain.code == 0
    assert plain.out.index(shelf.paused["session"]) < plain.out.index(shelf.done["session"])


def test_without_sessions_the_list_says_so(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    assert world.ostler("sessions", "list").out.startswith("No sessions yet")
    assert parsed(world.ostler("sessions", "list", "--json").out) == []


def test_a_damaged_session_is_named_and_hides_no_other(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    assert world.run("Remove unused imports", "--session", "whole").code == 0
    assert world.run("Remove unused imports", "--session", "damaged").code == 0
    damaged = next(folder for folder in world.folders() if folder.name.startswith("damaged"))
    (damaged / "metadata.json").write_text("{", "utf-8")
    said = world.ostler("sessions", "list")
    assert said.code == 0
    assert "whole_" in said.out
    assert str(damaged) in said.err


def test_a_session_is_shown_by_id_or_name(shelf: Shelf) -> None:
    for name in ("done", shelf.done["session"]):
        said = shelf.world.ostler("sessions", "show", name, "--json")
        assert said.code == 0, said
        shown = parsed(said.out)
        assert {key: shown[key] for key in shelf.done} == shelf.done
        assert {"journal.jsonl", "report.md", "page.html", "changes.patch"} <= set(shown["files"])
        assert not any(name.startswith(("git/", "tree/", "copies/", "box/")) for name in shown["files"])
    plain = shelf.world.ostler("sessions", "show", "done")
    assert plain.code == 0
    for text in (shelf.done["session"], "DONE_SUCCESS", "IMPLEMENT", "Budget:", "report.md"):
        assert text in plain.out, plain.out
    assert "raise the cap to" in shelf.world.ostler("sessions", "show", "paused").out


@pytest.mark.parametrize("name", ["nobody", "../done", "done/../done", "", "*", "x" * 300])
@pytest.mark.parametrize("command", [("sessions", "show"), ("resume",), ("replay",)], ids=lambda words: words[-1])
def test_an_unknown_session_is_one_sentence(shelf: Shelf, command: tuple[str, ...], name: str) -> None:
    said = shelf.world.ostler(*command, name, "--json")
    assert said.code == 1
    assert said.err.startswith(f"ostler: There is no session {name!r}")
    assert said.err.count("\n") == 1
    assert said.result["exit_code"] == 1


def test_a_finished_session_is_not_resumed(shelf: Shelf) -> None:
    for words in ((), ("--stop",), ("--max-cost", "5"), ("--approve", "0" * 8)):
        said = shelf.world.resume("done", *words)
        assert said.code == 1
        assert said.err == "ostler: The run is over (DONE_SUCCESS): start a new one with `ostler run`.\n"


def test_a_name_in_use_is_not_given_again(shelf: Shelf) -> None:
    with serve(happy()) as vendors:
        said = shelf.world.run(ISSUE, "--session", "paused", vendors=vendors)
        assert vendors.journal() == []
    assert said.code == 1
    assert "is not finished: resume it, or choose another name" in said.err


def test_resumed_without_its_key_nothing_is_lost(shelf: Shelf) -> None:
    for keys, missing in (((), "ANTHROPIC"), (("anthropic",), "OPENAI")):
        with serve(happy()) as vendors:
            said = shelf.world.resume("paused", "--max-cost", "1", vendors=vendors, keys=keys)
            assert vendors.journal() == []
        assert said.code == 5
        assert f"set {missing}_API_KEY" in said.err
    assert parsed(shelf.world.ostler("sessions", "show", "paused", "--json").out)["run_state"] == "GATE"


# --- replay -----------------------------------------------------------------------------------------------------------


def test_a_replay_reads_every_record_again(shelf: Shelf) -> None:
    before = shelf.world.untouched()
    said = shelf.world.ostler("replay", "done", "--json")
    assert said.code == 0, said
    assert {key: said.result[key] for key in shelf.done} == shelf.done
    assert said.result["executed"] is False
    assert said.result["pending"] == 0
    plain = shelf.world.ostler("replay", "done")
    assert f"{said.result['records']} records, every hash and every decision as recorded; state DONE_SUCCESS" in plain.out
    assert shelf.world.untouched() == before


def test_done_again_with_the_recorded_answers_it_is_the_same_tree(shelf: Shelf) -> None:
    """Without any key, and without a branch of its own."""
    before, branches = shelf.world.untouched(), shelf.world.branches()
    said = shelf.world.ostler("replay", "done", "--execute", "--json")
    assert said.code == 0, said
    assert said.result["executed"] is True
    assert said.result["same_tree"] is True
    assert (shelf.world.untouched(), shelf.world.branches()) == (before, branches)


def test_a_paused_run_is_replayed_as_far_as_it_went(shelf: Shelf) -> None:
    said = shelf.world.ostler("replay", "paused", "--execute", "--json")
    assert said.code == 0, said
    assert said.result["same_tree"] is True
    assert said.result["run_state"] == "GATE"


def test_a_run_that_got_more_money_is_done_again_to_its_end(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    with serve(happy()) as vendors:
        said = world.run(ISSUE, "--max-cost", PAUSED_CAP, vendors=vendors)
        said = world.resume(said.result["session"], "--max-cost", "1", vendors=vendors)
        assert said.code == 0, said
    again = world.ostler("replay", said.result["session"], "--execute", "--json")
    assert again.code == 0, again
    assert again.result["same_tree"] is True


def test_a_run_that_was_cut_short_is_done_again_as_far_as_it_went(tmp_path: Path) -> None:
    """Killed before an answer, killed before tools, given up by a vendor: where the record ends the replay ends too."""
    world = World.of(tmp_path)
    for at in ("17", "19"):
        with serve(happy()) as vendors:
            command = [sys.executable, "-I", str(KILLER), "after", at, "run", str(world.repository), "--issue", ISSUE]
            said = world.process([*command, "--session", f"killed-{at}"], vendors=vendors)
            assert said.code == -signal.SIGKILL
    busy = rule("# Phase REVIEW: audit", status=429, headers={"retry-after": "0"})
    with serve([busy, *happy()]) as vendors:
        said = world.run(ISSUE, "--session", "given-up", vendors=vendors)
        assert said.code == 5, said
    for name in ("killed-17", "killed-19", "given-up"):
        said = world.ostler("replay", name, "--execute", "--json")
        assert said.code == 0, said
        assert said.result["same_tree"] is True


def test_a_changed_answer_is_noticed(shelf: Shelf, tmp_path: Path) -> None:
    """One byte of the record, with its own hash made right again: the next record does not follow it."""
    state = tmp_path / "state"
    shutil.copytree(shelf.world.state, state)
    journal = state / "sessions" / shelf.done["session"] / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"left + right", b"left * right", 1))
    said = World(shelf.world.repository, state).ostler("replay", "done")
    assert said.code == 5
    assert "the record is damaged, so nothing after it can be trusted" in said.err


# --- doctor, docs, demo -----------------------------------------------------------------------------------------------


def test_the_doctor_looks_at_what_a_run_needs(shelf: Shelf) -> None:
    with serve([]) as vendors:
        said = shelf.world.ostler("doctor", str(shelf.world.repository), "--json", vendors=vendors, keys=("anthropic",))
    assert said.code == 0, said
    found = {item["name"]: item for item in parsed(said.out)}
    assert found["sandbox"]["state"] == "ok"
    assert found["anthropic"] == {"name": "anthropic", "state": "ok", "detail": f"key set, asked at {vendors.anthropic_url}"}
    assert found["openai"]["state"] == "warn"
    assert "set OPENAI_API_KEY" in found["openai"]["detail"]
    assert found["tests"]["state"] == "ok"
    assert "pytest" in found["tests"]["detail"]
    assert found["prices"]["state"] in ("ok", "warn")
    assert "scripted-anthropic" not in said.out + said.err
    plain = shelf.world.ostler("doctor", str(shelf.world.repository))
    assert plain.code == 0
    assert "set ANTHROPIC_API_KEY" in plain.out


def test_the_doctor_says_what_would_stop_a_run(tmp_path: Path) -> None:
    world = World.of(tmp_path, {**SMALL, ".github/ostler.yml": "budget: {money: -1}\n"})
    said = world.ostler("doctor", str(world.repository), "--json")
    assert said.code == 5
    (bad,) = (item for item in parsed(said.out) if item["state"] == "bad")
    assert bad["name"] == "checkout"
    assert ".github/ostler.yml, line 1: budget.money:" in bad["detail"]
    elsewhere = world.ostler("doctor", str(tmp_path), "--json")
    assert elsewhere.code == 5


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="docs/ is not written yet")
def test_the_docs_are_in_step(tmp_path: Path) -> None:
    said = World.of(tmp_path).ostler("docs", "--check")
    assert (said.code, said.out) == (0, "")


def test_a_state_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        world = World.of(tmp_path, OSTLER_STATE_DIR="/proc/nowhere")
    else:
        (tmp_path / "closed").mkdir(mode=0o500)
        world = World.of(tmp_path, OSTLER_STATE_DIR=str(tmp_path / "closed"))
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
    assert said.code == 5, said
    assert said.err.count("\n") == 1
