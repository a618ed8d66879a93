"""`ostler demo`: the main job on one machine. A stand-in GitHub, the real App, real jobs; only the models are scripted.

The demo acts as a maintainer: she opens an issue with a real bug, labels it and approves the plan that Ostler posts. It does not
believe what it shows: at the end `bot.demo.witness` looks at everything once more from outside.
"""

from __future__ import annotations

import json
import re
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.text import Text

from bot.core.errors import BadInput, UserError
from bot.demo import playbook
from bot.demo.news import Line, News, mark
from bot.demo.stage import Scene, stage
from bot.demo.witness import Witness, saved

HERE = Path(__file__).resolve().parent.parent / "demo"
EXAMPLE, ISSUE, SCRIPT = HERE / "example", HERE / "issue.md", HERE / "script.json"
SOURCES = "purse"
ADA = "ada"
SECONDS = 600.0
"""When even a busy machine should have been done; an idle one takes one minute."""
STILL = 30.0
"""Seconds in which nothing happens and nothing is under way, after which nothing will."""
LOOK = 0.1
WAITS, REVIEW, PERSON, DONE = "ostler:awaiting-approval", "ostler:in-review", "ostler:needs-human", "ostler:done"
APPROVE = re.compile(r"/ostler approve ([0-9a-f]{8,64})")
INTRODUCTION = (
    "[bold]Ostler on an example repository.[/bold] GitHub is a [bold]stand-in[/bold] on this machine and the models are "
    "[bold]scripted[/bold]; no key, no network. The App, its webhooks and queue, the workflow's jobs, git, sandbox, tests, "
    "budget and publishing are real.\n"
)
ENDING = (
    "The models were scripted and GitHub was a stand-in on this machine: no model was asked, and the cost is what these "
    "answers would have cost."
)
TONES = {"": "", "good": "green", "bad": "bold red"}


class Interrupted(UserError):
    """Somebody pressed Ctrl-C before the end."""

    exit_code = 130


class Stuck(Exception):
    """The demo cannot go on; the sentence says why."""


def demo(*, script: Path | None, folder: Path | None, keep: bool) -> int:
    """Run the demo; 0 only if the pull request is there, audited, and its tests went from red to green.

    2 where Ostler stopped for a person, 1 for any other problem.

    Raises:
        BadInput: the script is none, or the folder is not empty.
    """
    rules = _script(script or SCRIPT)
    place = _folder(folder)
    console = Console(highlight=False)
    console.print(INTRODUCTION)
    try:
        with _signals(), stage(place, rules, demo_files()) as scene:
            return Play(console, scene, place).all(keep=keep)
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted. What the demo made so far is in {place}.") from None


def _script(path: Path) -> list[dict[str, Any]]:
    try:
        rules = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} is no script: {error}.") from error
    if not isinstance(rules, list):
        raise BadInput(f"{path} is no script: a list of rules is expected.")
    playbook.read(rules)
    return rules


def _folder(wanted: Path | None) -> Path:
    """A new folder for the demo's files; it stays, so that the pages can be read."""
    if wanted is None:
        return Path(tempfile.mkdtemp(prefix="ostler-demo-"))
    try:
        if wanted.exists() and any(wanted.iterdir()):
            raise BadInput(f"{wanted} is not empty: name a new folder.")
        wanted.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{wanted} cannot be the demo's folder ({error.strerror}): name a new one.") from error
    return wanted.absolute()


def demo_files() -> dict[str, bytes]:
    """The example repository: what git would take of its folder."""
    found = (path for path in sorted(EXAMPLE.rglob("*")) if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(EXAMPLE).as_posix(): path.read_bytes() for path in found}


@contextmanager
def _signals() -> Iterator[None]:
    """Being told to end is like Ctrl-C: the App and the jobs are taken along."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@dataclass(slots=True)
class Play:
    """One showing on a stage that stands."""

    console: Console
    scene: Scene
    folder: Path
    began: float = field(default_factory=time.monotonic)
    news: News = field(init=False)
    number: int = 0

    def __post_init__(self) -> None:
        self.news = News(self.scene.hub, self.scene.name)

    def all(self, *, keep: bool) -> int:
        """From the issue to what the witness says of it; the exit code."""
        self.tell(Line("stage", f"the stand-in GitHub is at {self.scene.hub.url}, the App at {self.scene.app_url}"))
        try:
            self.act()
        except Stuck as stuck:
            return self.failed([str(stuck)], keep=keep)
        witness = self.witness()
        with self.waiting("looking at everything once more"):
            seen = witness.look()
        if seen.problems:
            return self.failed(seen.problems, keep=keep)
        self.console.print()
        self.console.print(
            f"Checked again by the demo, from outside: on a clone of the pull request's branch all {seen.tests} tests pass, and "
            "they fail when its sources are put back. Plan with its digest, check run with budget and signed state, draft with "
            "what was observed apart from what the model says, and audit are there. "
            f"Scripted vendors and ledger agree on {seen.calls} calls, token by token.",
            style="green",
        )
        self.pages(seen.addresses, keep=keep)
        self.console.print(ENDING, style="italic")
        self.stay(keep=keep)
        return 0

    # --- what she does ---

    def act(self) -> None:
        """Ada's part, and the wait for Ostler's. Raises Stuck."""
        hub, name = self.scene.hub, self.scene.name
        ada = hub.person(ADA)
        title, _, body = ISSUE.read_text("utf-8").partition("\n")
        self.number = ada.open_issue(name, title.strip(), body.strip())
        self.tell(Line(ADA, f"opens issue #{self.number}: {title.strip()} (the demo acts as {ADA}, a maintainer of {name})"))
        ada.label(name, self.number, "ostler")
        self.tell(Line(ADA, "sets the label ostler"))
        label = self.wait(but="")
        if label == WAITS:
            digest = self.digest()
            ada.comment(name, self.number, f"/ostler approve {digest}")
            self.tell(Line(ADA, f"reads the plan and comments: /ostler approve {digest}"))
            label = self.wait(but=WAITS)
        if label != REVIEW:
            raise Stuck(f"Ostler stopped at {label}: {self.outcome()}")

    def digest(self) -> str:
        """The digest that the posted plan asks to be approved by."""
        said = self.scene.hub.person(ADA).comments(self.scene.name, self.number)
        found = [match for one in said if mark(one["body"]) == "plan" and (match := APPROVE.search(one["body"]))]
        if not found:
            raise Stuck("the issue waits for approval, and no plan comment names a digest")
        return found[-1][1]

    def wait(self, *, but: str) -> str:
        """The state label that the issue comes to rest with, other than `but`. Raises Stuck."""
        last = time.monotonic()
        with self.waiting("") as status:
            while True:
                for line in self.news.look():
                    self.tell(line)
                    last = time.monotonic()
                busy = self.busy()
                label = self.label()
                if not busy and label and label != but:
                    return label
                last = time.monotonic() if busy else last
                self.stuck(time.monotonic() - last)
                if status:
                    status.update(Text(self.news.doing(), no_wrap=True, overflow="ellipsis"))
                time.sleep(LOOK)

    def stuck(self, still: float) -> None:
        if self.scene.app is not None and (code := self.scene.app.poll()) is not None:
            raise Stuck(f"the App ended with exit code {code}: {self.folder / 'app.log'} says why")
        if still > STILL:
            raise Stuck(f"nothing has happened for {STILL:g} seconds, and {self.outcome()}")
        if time.monotonic() - self.began > SECONDS:
            raise Stuck(f"it was not done after {SECONDS:g} seconds")

    def busy(self) -> bool:
        hub = self.scene.hub
        return not hub.post.idle() or any(one() for one in hub.busy)

    def label(self) -> str:
        """The issue's state label, once its check run is settled too."""
        hub = self.scene.hub
        with hub.state.lock:
            home = hub.found(self.scene.name)
            settled = all(check.status == "completed" for check in home.checks.values())
            found = [name for name in home.issues[self.number].labels if name in (WAITS, REVIEW, PERSON, DONE)]
        return found[0] if settled and len(found) == 1 else ""

    def outcome(self) -> str:
        """What the newest check run says, in words."""
        hub = self.scene.hub
        with hub.state.lock:
            titles = [check.title for _, check in sorted(hub.found(self.scene.name).checks.items())]
        return f'its check run says "{titles[-1]}"' if titles and titles[-1] else "there is no check run"

    # --- what is told ---

    def tell(self, line: Line) -> None:
        text = f"{time.monotonic() - self.began:5.1f} s  {line.about:<13} {line.text}"
        self.console.print(escape(text), style=TONES[line.tone] or ("cyan" if line.about == ADA else None), soft_wrap=True)

    @contextmanager
    def waiting(self, text: str) -> Iterator[Status | None]:
        """A line that moves, where somebody is watching."""
        if not self.console.is_terminal:
            yield None
            return
        with self.console.status(text) as status:
            yield status

    def witness(self) -> Witness:
        return Witness(self.scene, self.number, ADA, SOURCES, self.folder)

    def failed(self, problems: list[str], *, keep: bool) -> int:
        self.console.print()
        for problem in problems:
            self.console.print(escape(f"The demo failed: {problem}."), style="bold red", soft_wrap=True)
        person = self.label() == PERSON
        self.pages(self.witness().addresses(), keep=keep)
        self.stay(keep=keep)
        return 2 if person else 1

    def pages(self, addresses: Mapping[str, str], *, keep: bool) -> None:
        """The addresses, and copies that outlast them."""
        self.console.print()
        for name, address in addresses.items():
            self.console.print(escape(f"  {name:<15} {address}"), soft_wrap=True)
        copies = dict(saved(addresses, self.folder / "pages", self.scene.hub.url))
        alive = "are there until you press Ctrl-C" if keep else "are gone when the demo ends (--keep keeps them)"
        self.console.print(f"\nThese addresses {alive}; copies of the pages stay:\n", soft_wrap=True)
        for name, path in copies.items():
            self.console.print(escape(f"  {name:<15} {path}"), soft_wrap=True)
        self.console.print()

    def stay(self, *, keep: bool) -> None:
        """With --keep, until Ctrl-C."""
        if not keep:
            return
        site = f"{self.scene.hub.url}/{self.scene.name}"
        self.console.print(f"Everything stays up: open {site}?as={ADA} to go on as {ADA}. Ctrl-C ends it.", soft_wrap=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            self.console.print("Taken down.")
