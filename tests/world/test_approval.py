"""Approval: what waits for a person, what a person may approve, and how they are asked at a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.core.events import Answered
from tests.world.world import CODE, ISSUE, SECONDS, SMALL, Said, World, framing, happy, serve

pytestmark = pytest.mark.sampled

RISKY = f"{ISSUE}\n\nThe security of our tokens depends on it."
MENDED = CODE.replace("left - right", "left + right")
QUESTION = b"to decide later: "


def is_waiting(said: Said) -> bool:
    result = said.result
    return said.code == 2 and result["run_state"] == "GATE" and result["branch"] is None and len(result["plan_digest"]) == 64


def is_mended(world: World, said: Said) -> bool:
    return said.code == 0 and world.git("show", f"{said.result['branch']}:calc.py") == MENDED.rstrip()


def test_risky_work_waits_for_exactly_its_digest(tmp_path: Path) -> None:
    """Nobody is at a terminal, so the run waits; a digest that is wrong, another plan's or too short approves nothing."""
    world = World.of(tmp_path)
    before = world.untouched()
    with serve([*framing(), *happy()]) as vendors:
        said = world.run(RISKY, "--max-cost", "3", vendors=vendors)
        assert is_waiting(said), said
        digest, asked = said.result["plan_digest"], len(vendors.journal())
        assert asked == 5
        assert f"Contract `{digest[:8]}`" in (world.folder() / "report.md").read_text("utf-8")

        again = world.resume(said.result["session"], vendors=vendors)
        assert is_waiting(again)
        assert again.result["plan_digest"] == digest

        other = digest[:7] + ("0" if digest[7] != "0" else "1")
        for wrong in (other, digest[:7], digest[1:9], f"{digest}0", ""):
            refused = world.resume(said.result["session"], "--approve", wrong, vendors=vendors)
            assert refused.code == 1, refused
            assert f"is not the digest of this plan: it is {digest[:8]}" in refused.err
        assert len(vendors.journal()) == asked

        said = world.resume(said.result["session"], "--approve", digest[:8].upper(), vendors=vendors)
        assert is_mended(world, said), said
        trailers = world.git("log", "-1", "--format=%(trailers)", said.result["branch"])
        assert f"Plan-Digest: {digest[:8]}" in trailers.splitlines()
        refused = world.resume(said.result["session"], "--approve", digest[:8], vendors=vendors)
        assert refused.code == 1
        assert "The run is over" in refused.err
    assert "Approved by the command line." in (world.folder() / "report.md").read_text("utf-8")
    assert world.untouched() == before


def test_the_digest_of_another_contract_does_not_do(tmp_path: Path) -> None:
    """The same ticket, plan and repository under another cap is another contract."""
    world = World.of(tmp_path).configured("approval: always\n")
    with serve(happy()) as vendors:
        cheap = world.run(ISSUE, "--max-cost", "1", "--session", "cheap", vendors=vendors)
        dear = world.run(ISSUE, "--max-cost", "2", "--session", "dear", vendors=vendors)
        assert is_waiting(cheap), cheap
        assert is_waiting(dear), dear
        assert cheap.result["plan_digest"] != dear.result["plan_digest"]
        refused = world.resume("dear", "--approve", cheap.result["plan_digest"], vendors=vendors)
        assert refused.code == 1
        assert "is not the digest of this plan" in refused.err
        stopped = world.resume("cheap", "--stop", vendors=vendors)
        assert stopped.code == 2
        assert stopped.result["run_state"] == "DONE_FAILED_REQUIRES_HUMAN_REVIEW"


def test_the_plain_text_says_how_to_approve(tmp_path: Path) -> None:
    world = World.of(tmp_path).configured("approval: always\n")
    with serve(happy()) as vendors:
        said = world.ostler("run", str(world.repository), "--issue", ISSUE, vendors=vendors)
        assert said.code == 2
        (line,) = (line.strip() for line in said.out.splitlines() if "go on" in line)
        command = re.fullmatch(r"go on +ostler resume (\S+) --approve ([0-9a-f]{8})", line)
        assert command, line
        said = world.resume(command[1], "--approve", command[2], vendors=vendors)
        assert is_mended(world, said), said


def test_never_asks_nobody(tmp_path: Path) -> None:
    world = World.of(tmp_path).configured("approval: never\n")
    with serve([*framing(), *happy()]) as vendors:
        said = world.run(RISKY, "--max-cost", "3", vendors=vendors)
    assert is_mended(world, said), said
    assert "No approval was needed." in (world.folder() / "report.md").read_text("utf-8")


def test_approved_beforehand_nobody_is_asked(tmp_path: Path) -> None:
    world = World.of(tmp_path).configured("approval: always\n")
    with serve(happy()) as vendors:
        said = world.run(ISSUE, "--approve", vendors=vendors)
    assert is_mended(world, said), said
    assert "Approved by --approve on the command line." in (world.folder() / "report.md").read_text("utf-8")


# --- at a terminal ----------------------------------------------------------------------------------------------------

UNUSED = {**SMALL, "calc.py": f"import os\n{CODE}"}
TIDY = "Remove unused imports"


@dataclass(slots=True)
class Terminal:
    """A process that believes a person is there."""

    process: subprocess.Popen[bytes]
    fd: int
    seen: bytes = b""

    def until(self, text: bytes) -> None:
        """Read until `text` was on the screen."""
        deadline = time.monotonic() + SECONDS
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.fd], [], [], 1.0)[0]:
                try:
                    self.seen += os.read(self.fd, 65_536)
                except OSError:  # the other end is closed
                    break
        assert text in self.seen, self.seen

    def interrupts(self) -> None:
        """Ctrl-C, as often as it takes: Python does not see one that comes just before it begins to read."""
        deadline = time.monotonic() + SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.3)
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=5.0)

    def types(self, text: bytes) -> None:
        os.write(self.fd, text)

    def ends(self) -> int:
        """The exit code, after everything was read that was still to come."""
        deadline = time.monotonic() + SECONDS
        with suppress(OSError):  # the other end is closed
            while time.monotonic() < deadline:
                if select.select([self.fd], [], [], 1.0)[0]:
                    self.seen += os.read(self.fd, 65_536)
        return self.process.wait(timeout=SECONDS)


@contextmanager
def at_a_terminal(world: World, *args: str) -> Iterator[Terminal]:
    """`ostler ARGS` in a pseudo-terminal of its own."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        world.command(*args),
        env=world.environ(env={"TERM": "xterm", "COLUMNS": "100"}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait(timeout=30)
        os.close(ours)


def asking(folder: Path) -> tuple[World, Sequence[str]]:
    """A world in which everything has to be approved, and the command that asks: a fixer's run, so no model is needed."""
    world = World.of(folder, UNUSED).configured("approval: always\n")
    return world, ("run", str(world.repository), "--issue", TIDY)


def tidied(world: World) -> bool:
    branches = [name for name in world.branches() if name != "main"]
    return [world.git("show", f"{name}:calc.py") for name in branches] == [CODE.rstrip()]


@pytest.mark.parametrize("answer", [b"y\n", b" YES \n"], ids=["y", "YES"])
def test_yes_at_the_terminal_approves(tmp_path: Path, answer: bytes) -> None:
    world, command = asking(tmp_path)
    with at_a_terminal(world, *command) as terminal:
        terminal.until(QUESTION)
        assert b"Approve contract" in terminal.seen
        assert b"run ruff F401" in terminal.seen
        assert world.branches() == ["main"]
        terminal.types(answer)
        assert terminal.ends() == 0, terminal.seen
    assert tidied(world)
    assert "Approved by the person at the terminal." in (world.folder() / "report.md").read_text("utf-8")


def test_no_at_the_terminal_ends_the_run(tmp_path: Path) -> None:
    world, command = asking(tmp_path)
    with at_a_terminal(world, *command) as terminal:
        terminal.until(QUESTION)
        terminal.types(b"n\n")
        assert terminal.ends() == 2, terminal.seen
        assert b"the plan was declined by the person at the terminal" in terminal.seen.replace(b"\r\n", b" ")
    assert world.branches() == ["main"]
    said = world.resume(world.folder().name)
    assert said.code == 1
    assert "The run is over" in said.err


@pytest.mark.parametrize("answer", [b"\n", b"maybe\n", b"\x04"], ids=["Enter", "maybe", "end of file"])
def test_who_decides_later_is_asked_again(tmp_path: Path, answer: bytes) -> None:
    world, command = asking(tmp_path)
    with at_a_terminal(world, *command) as terminal:
        terminal.until(QUESTION)
        terminal.types(answer)
        assert terminal.ends() == 2, terminal.seen
        assert b"Traceback" not in terminal.seen
    assert not any(isinstance(record.item, Answered) and record.item.decision == "approved" for record in world.records())
    with at_a_terminal(world, "resume", world.folder().name) as terminal:
        terminal.until(QUESTION)
        terminal.types(b"y\n")
        assert terminal.ends() == 0, terminal.seen
    assert tidied(world)


def test_interrupted_at_the_question_it_is_still_open(tmp_path: Path) -> None:
    world, command = asking(tmp_path)
    with at_a_terminal(world, *command) as terminal:
        terminal.until(QUESTION)
        time.sleep(0.5)  # nobody reads that fast
        terminal.interrupts()
        assert terminal.ends() == 130, terminal.seen
        assert b"Nothing is lost" in terminal.seen
        assert b"Traceback" not in terminal.seen
    said = world.resume(world.folder().name)
    assert is_waiting(said), said
    said = world.resume(world.folder().name, "--approve", said.result["plan_digest"])
    assert said.code == 0, said
    assert tidied(world)
