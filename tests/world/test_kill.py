"""kill -9 at any moment, then `ostler resume`: the same change, nothing paid twice that was answered, never above the cap.

A session of this file is killed many times over, every `STRIDE` records, at one of `STRIDE` offsets: a record of the journal is
the last one on disk (`after`), or decided and not written or half written (`before`, `torn`). See `killer.py`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.core.budget import MICRO
from bot.core.effects import SendCall
from bot.core.events import CallFailed, ModelReplied
from bot.core.run import Run
from bot.loop.driver import fold
from bot.store.journal import read_records
from tests.world.world import (
    DONE,
    FIX,
    ISSUE,
    PROOF,
    Rule,
    Said,
    Vendors,
    World,
    approves,
    audits,
    builds,
    create,
    drafts,
    happy,
    serve,
)

pytestmark = pytest.mark.sampled

KILLER = Path(__file__).with_name("killer.py")
STRIDE = 6
"""One more than the records that a call takes after it was lost, so that every session comes to its end."""
CAP = 1.0
LONGEST = 90


def price(entry: dict[str, Any]) -> float:
    """What a request was billed at the stand-in, in dollars."""
    import genai_prices

    usage = genai_prices.Usage(
        input_tokens=entry["input_tokens"],
        output_tokens=entry["output_tokens"],
        cache_read_tokens=entry["cache_read"],
        cache_write_tokens=entry["cache_write"] + entry["cache_write_long"],
    )
    return float(genai_prices.calc_price(usage, entry["model"], provider_id=entry["vendor"]).total_price)


def state(world: World, said: Said | None = None) -> Run:
    """The run as the journal tells it."""
    run, _, _ = fold(world.records(said))
    assert run is not None
    return run


@dataclass(slots=True)
class Story:
    """A session and the deaths it died."""

    world: World
    vendors: Vendors
    unheard: int = 0
    died_at: list[int] = field(default_factory=list)
    said: Said | None = None

    def go(self, mode: str, at: int) -> bool:
        """`run`, or `resume` where there is a session, killed at record `at`; whether it was."""
        begun = [folder.name for folder in self.world.folders() if b"\n" in (folder / "journal.jsonl").read_bytes()]
        arguments = ["run", str(self.world.repository), "--issue", ISSUE, "--max-cost", str(CAP), "--json"]
        arguments = ["resume", begun[0], "--json"] if begun else arguments
        requests = len(self.vendors.journal())
        said = self.world.process([sys.executable, "-I", str(KILLER), mode, str(at), *arguments], vendors=self.vendors)
        if said.code != -signal.SIGKILL:
            self.said = said
            return False
        self.died_at.append(at)
        self.check(requests)
        return True

    def check(self, requests: int) -> None:
        """After each death: the books are in order."""
        path = self.world.folders()[-1] / "journal.jsonl"
        run, _, _ = fold(read_records(path))
        asked = len(self.vendors.journal())
        heard = sum(isinstance(record.item, ModelReplied) for record in read_records(path))
        assert requests <= asked
        assert heard <= asked
        self.unheard = asked - heard
        if run is not None:
            assert run.ledger.committed <= CAP * MICRO
            assert run.ledger.committed >= round(sum(map(price, self.vendors.journal())) * MICRO)


def books_are_right(story: Story) -> None:
    """Each recorded answer was asked for once; each question without one is lost money; and it all stays under the cap."""
    records, asked = story.world.records(story.said), story.vendors.journal()
    heard = [record.item.call for record in records if isinstance(record.item, ModelReplied)]
    lost = [record.item.call for record in records if isinstance(record.item, CallFailed)]
    sent = [record.item.call for record in records if isinstance(record.item, SendCall)]
    assert len(set(heard)) == len(heard)
    assert sorted(heard + lost) == sorted(sent)
    assert len(heard) + story.unheard == len(asked)
    assert story.unheard <= len(lost)
    spent = state(story.world, story.said).ledger.spent
    assert sum(map(price, asked)) * MICRO <= spent <= CAP * MICRO


def tree_of(world: World, said: Said) -> str:
    return world.git("rev-parse", f"{said.result['branch']}^{{tree}}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """The tree of an undisturbed run, and how many records it has."""
    world = World.of(tmp_path_factory.mktemp("whole"))
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
    assert said.code == 0, said
    return tree_of(world, said), len(world.records())


@pytest.mark.sampled(of=6)
@pytest.mark.parametrize("offset", range(STRIDE))
@pytest.mark.parametrize("modes", [("after",), ("before", "torn")], ids=["after", "before"])
def test_killed_at_every_record_it_ends_the_same(
    tmp_path: Path, whole: tuple[str, int], modes: tuple[str, ...], offset: int
) -> None:
    tree, length = whole
    world = World.of(tmp_path)
    before = world.untouched()
    with serve(happy()) as vendors:
        story = Story(world, vendors)
        for turn, at in enumerate(range(offset, LONGEST, STRIDE)):
            if not story.go(modes[turn % len(modes)], at):
                break
        assert story.said is not None
        assert story.said.code == 0, story.said
        assert story.died_at == list(range(offset, LONGEST, STRIDE))[: len(story.died_at)]
        assert story.died_at[-1] + STRIDE >= length
        assert tree_of(world, story.said) == tree
        assert world.untouched() == before
        assert len(world.branches()) == 2
        books_are_right(story)


def started(world: World, vendors: Vendors, *args: str) -> subprocess.Popen[bytes]:
    """`ostler ARGS` left running."""
    return subprocess.Popen(
        world.command(*args), env=world.environ(vendors), stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL


def until(what: Any, seconds: float = 60.0) -> None:
    """Wait for `what()` to be true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def slow(rules: list[Rule], phase: str, seconds: float) -> list[Rule]:
    """`rules` with the first answer in `phase` late."""
    late = next(line for line in rules if phase in line["when"]["contains"])
    return [{**late, "reply": {**late["reply"], "delay": seconds}, "times": 1}, *rules]


def test_killed_while_a_call_is_out_the_call_is_lost_money(tmp_path: Path, whole: tuple[str, int]) -> None:
    """The vendor had the question and sends its bill; nobody heard the answer, so the whole reservation counts as spent."""
    world = World.of(tmp_path)
    with serve(slow(happy(), "# Phase REVIEW: audit", 20.0)) as vendors:
        process = started(world, vendors, "run", str(world.repository), "--issue", ISSUE, "--json")
        until(lambda: len(vendors.journal()) == 5)
        kill(process)
        said = world.resume(world.folder().name, vendors=vendors)
        assert said.code == 0, said
        assert len(vendors.journal()) == 6
    assert tree_of(world, said) == whole[0]
    (lost,) = (charge for charge in state(world).ledger.charges if charge.lost)
    assert lost.kind == "REVIEW"
    assert lost.amount > price(vendors.journal()[4]) * MICRO
    assert said.result["calls"] == 6


def test_killed_while_tests_run_takes_the_tests_along(tmp_path: Path) -> None:
    """The processes of the sandbox die with ours, and the resumed run does the proof again."""
    nap = create("tests/test_nap.py", "import time\n\n\ndef test_nap() -> None:\n    time.sleep(3)\n")
    world = World.of(tmp_path)
    with serve([drafts(), approves(), *builds([FIX, PROOF, nap], DONE), audits()]) as vendors:
        process = started(world, vendors, "run", str(world.repository), "--issue", ISSUE, "--json")
        copies = world.state / "sessions"
        until(lambda: len(vendors.journal()) == 4)
        until(lambda: sleepers(copies))
        kill(process)
        until(lambda: not sleepers(copies), 10.0)
        assert len(vendors.journal()) == 4
        said = world.resume(world.folder().name, vendors=vendors)
        assert said.code == 0, said
        assert len(vendors.journal()) == 5


def sleepers(session: Path) -> list[int]:
    """Processes of the sandbox that serve a session below `session`: its launcher carries the folder in its arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(session).encode() in line and b"launcher.sh" in line:
                found.append(int(entry.name))
    return found


def test_a_session_that_another_process_holds_is_left_alone(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    with serve(slow(happy(), "# Phase PLAN: draft", 20.0)) as vendors:
        process = started(world, vendors, "run", str(world.repository), "--issue", ISSUE, "--json")
        until(lambda: len(vendors.journal()) == 1)
        name = world.folder().name
        for said in (world.resume(name, vendors=vendors), world.resume(name, "--stop", vendors=vendors)):
            assert said.code == 5
            assert said.err == f"ostler: Another process is working on the session {name}: wait for it, or end it.\n"
            assert said.result == {"error": said.err.removeprefix("ostler: ").rstrip(), "exit_code": 5}
        assert world.ostler("sessions", "show", name).code == 0
        kill(process)


def test_a_journal_that_was_changed_is_refused(tmp_path: Path) -> None:
    """A torn last line never happened; any other damage does not go unseen."""
    world = World.of(tmp_path)
    with serve(happy()) as vendors:
        story = Story(world, vendors)
        assert story.go("after", 12)
        path = world.folder() / "journal.jsonl"
        whole_ = path.read_bytes()
        path.write_bytes(whole_.replace(b'"usage":{', b'"usage": {', 1).replace(b'"input":', b'"input":1', 1))
        said = world.resume(world.folder().name, vendors=vendors)
        assert said.code == 5
        assert "the record is damaged, so nothing after it can be trusted" in said.err
        path.write_bytes(whole_ + b'{"seq": 13, "at"')
        said = world.resume(world.folder().name, vendors=vendors)
        assert said.code == 0, said


def status(world: World) -> str:
    return str(json.loads((world.folder() / "metadata.json").read_text("utf-8"))["status"])


@pytest.mark.parametrize("at", [1, 3, 11, 25], ids=["PrepareWorkspace", "RunBaseline", "SendCall", "RunProof"])
def test_stopped_while_something_was_under_way(tmp_path: Path, at: int) -> None:
    """`resume --stop` of a killed run ends it, whatever it was about to do, and asks nobody anything more."""
    world = World.of(tmp_path)
    with serve(happy()) as vendors:
        story = Story(world, vendors)
        assert story.go("after", at)
        asked = len(vendors.journal())
        said = world.resume(world.folder().name, "--stop", vendors=vendors)
        assert said.code == 2, said
        assert said.result["run_state"] == "DONE_FAILED_REQUIRES_HUMAN_REVIEW"
        assert said.result["outcome"] == "stopped by the command line"
        assert len(vendors.journal()) == asked
    assert status(world) == "failed"
    again = world.resume(world.folder().name)
    assert again.code == 1
    assert "The run is over" in again.err


def test_killed_before_the_pages_were_written_they_are_written_later(tmp_path: Path) -> None:
    """The branch was there and the report was not: the run is over, so `resume` only writes what is missing."""
    world = World.of(tmp_path)
    with serve(happy()) as vendors:
        story = Story(world, vendors)
        assert story.go("after", 32)
        assert state(world).over
        assert not (world.folder() / "report.md").exists()
        said = world.resume(world.folder().name, vendors=vendors)
        assert said.code == 0, said
        assert said.result["run_state"] == "DONE_SUCCESS"
        assert len(vendors.journal()) == 5
    assert (world.folder() / "report.md").is_file()
    assert "return left + right" in (world.folder() / "changes.patch").read_text("utf-8")
    assert status(world) == "completed"


def test_killed_before_the_first_record_the_name_is_free_again(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    command = ["run", str(world.repository), "--issue", ISSUE, "--session", "mine"]
    with serve(happy()) as vendors:
        said = world.process([sys.executable, "-I", str(KILLER), "before", "0", *command], vendors=vendors)
        assert said.code == -signal.SIGKILL
        said = world.ostler(*command, vendors=vendors)
        assert said.code == 1
        assert "is not finished: resume it, or choose another name" in said.err
        said = world.resume("mine", vendors=vendors)
        assert said.code == 5
        assert "ended before its run began: start it again with `ostler run`" in said.err
        assert status(world) == "failed"
        said = world.process([sys.executable, "-I", str(KILLER), "after", "1", *command], vendors=vendors)
        assert said.code == -signal.SIGKILL, said
