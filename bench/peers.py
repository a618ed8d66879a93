"""The peers: where they are installed, how they are started, and the script in the words of each.

Both come from the package registry into environments of their own under build/. They run as a user starts them, with settings
that keep them quiet and at home, and otherwise with their defaults.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.standin import Block, Script, turn
from bench.task import EDITS, READS, TEST_COMMAND, TICKET, Task, steps

MINI, AIDER = "mini-swe-agent", "aider"


@dataclass(frozen=True, slots=True)
class Peer:
    """A harness to measure beside Ostler. `below` is the first Python it does not install on; `turns` are its requests;
    `beside` are pins of what it leaves open."""

    name: str
    package: str
    version: str
    turns: int = 0
    below: tuple[int, int] = (4, 0)
    beside: tuple[str, ...] = ()

    @property
    def packages(self) -> tuple[str, ...]:
        return (f"{self.package}=={self.version}", *self.beside)

    def python(self) -> str | None:
        """An interpreter it installs on: ours, else one from PATH."""
        if sys.version_info[:2] < self.below:
            return sys.executable
        names = [f"python3.{minor}" for minor in range(self.below[1] - 1, 10, -1)]
        return next((found for name in names if (found := shutil.which(name))), None)

    def stamp(self, folder: Path) -> Path:
        """What is there once it is installed as pinned."""
        return folder / self.name / f".installed-{'-'.join(self.packages)}"

    def install(self, folder: Path) -> Path:
        """Its environment under `folder`, made when it is not there yet.

        Raises:
            LookupError: no interpreter fits, or the installation fails.
        """
        place, done = folder / self.name, self.stamp(folder)
        if done.exists():
            return place
        python = self.python()
        if python is None:
            older = ".".join(map(str, self.below))
            raise LookupError(f"{self.name} {self.version} needs a Python older than {older}, and none is on PATH")
        shutil.rmtree(place, ignore_errors=True)
        pip = [str(place / "bin" / "python"), "-I", "-m", "pip", "--quiet", "--disable-pip-version-check"]
        for command in ([python, "-m", "venv", str(place)], [*pip, "install", *self.packages]):
            ran = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if ran.returncode:
                raise LookupError(f"{self.name} cannot be installed: {ran.stderr.strip()[-300:]}")
        done.touch()
        return place


PEERS = (
    # litellm 1.106.2, which pip would take, cannot be imported without a package that it does not ask for (mcp).
    Peer(MINI, "mini-swe-agent", "2.4.6", turns=7, beside=("litellm==1.102.4",)),
    Peer(AIDER, "aider-chat", "0.86.2", turns=2, below=(3, 13)),
)


def command(peer: Peer, place: Path, home: Path) -> list[str]:
    """What a user types to have the ticket worked on without being asked anything."""
    if peer.name == MINI:
        return [
            str(place / "bin" / "mini"), "--yolo", "--exit-immediately", "--model", "anthropic/claude-sonnet-4-5-20250929",
            "--output", str(home / "trajectory.json"), "--task", TICKET,
        ]  # fmt: skip
    return [
        str(place / "bin" / "aider"), "--model", "anthropic/claude-sonnet-4-20250514", "--yes-always", "--no-pretty",
        "--no-fancy-input", "--no-analytics", "--no-check-update", "--no-show-release-notes", "--no-show-model-warnings",
        "--no-detect-urls",
        "--no-auto-commits", "--no-gitignore", "--auto-test", "--test-cmd", TEST_COMMAND, "--message", TICKET,
    ]  # fmt: skip


def settings(peer: Peer, place: Path, home: Path) -> dict[str, str]:
    """Its environment variables, and files in its home: nothing to set up, nothing to fetch."""
    home.mkdir(parents=True, exist_ok=True)
    if peer.name == MINI:
        return {"MSWEA_CONFIGURED": "true", "MSWEA_SILENT_STARTUP": "1", "MSWEA_GLOBAL_CONFIG_DIR": str(home / "mini")}
    # aider keeps the table of models for a day and then fetches it: it gets the one that its own litellm came with.
    table = next(place.glob("lib/python3*/site-packages/litellm/model_prices_and_context_window_backup.json"))
    caches = home / ".aider" / "caches"
    caches.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(table, caches / "model_prices_and_context_window.json")
    return {}


def script(peer: Peer, task: Task) -> Script:
    """The answers of the scripted model to `peer`, one for each turn."""
    return in_turn(_mini(task)) if peer.name == MINI else _aider()


def in_turn(answers: Sequence[Sequence[Block]]) -> Script:
    """The answer for as many turns as the request holds."""

    def script(body: Mapping[str, Any]) -> Sequence[Block]:
        return answers[turn(body)]

    return script


def words(text: str) -> Block:
    return {"type": "text", "text": text}


def use(name: str, **arguments: object) -> Block:
    return {"type": "tool_use", "name": name, "input": arguments}


SAID = (
    "I read the method that the ticket names.",
    "I read the tests beside it.",
    "The first dot is looked for where the last one counts.",
    "Its description should say which part is meant.",
    "A test for names of more than two parts.",
    "I run the tests.",
)
DONE = "get_real_name returns the part after the last dot; a test with four parts holds it."


def _mini(task: Task) -> list[list[Block]]:
    """Two reads, three edits, a test run, each in a turn of its own, and the word that ends the run."""
    answers = [[words(said), use("bash", command=step)] for said, step in zip(SAID, steps(task), strict=True)]
    return [*answers, [words(DONE), use("bash", command="echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT")]]


def _aider() -> Script:
    """aider reads whole files that the model names and takes all edits from one answer; its own test command runs afterwards.

    It has no turn for each step, so it is given two answers and not seven. That is to its advantage. Turns can't be counted:
    its prompts hold example turns.
    """
    files = "\n".join(dict.fromkeys(read.path for read in READS))
    blocks = [f"{edit.path}\n```python\n<<<<<<< SEARCH\n{edit.old}=======\n{edit.new}>>>>>>> REPLACE\n```\n" for edit in EDITS]
    reads, edits = f"I need to see these files first:\n\n{files}\n", f"{SAID[2]}\n\n" + "\n".join(blocks) + f"\n{DONE}\n"

    def script(body: Mapping[str, Any]) -> Sequence[Block]:
        added = "I added these files to the chat" in json.dumps(body["messages"][-1])
        return [words(edits if added else reads)]

    return script


def frozen(place: Path) -> list[str]:
    """What is installed beside a peer."""
    pip = [str(place / "bin" / "python"), "-I", "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    listed = json.loads(subprocess.run(pip, check=True, capture_output=True, text=True).stdout)
    return [f"{row['name']}=={row['version']}" for row in listed]
