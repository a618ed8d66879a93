"""Trouble for a town: faults for each call that Ostler makes, deaths of jobs, of machines and of the App, and people who mend it.

with tended(town) as nurse:                                 the App is started again whenever it died
    town.hub.faults += Dealer(("status-502", "drop-after")).hand         each call meets one of them once
    number = town.ask(FIXER_TITLE)
    nurse.finish(number)                                            `/ostler retry`, or failed jobs run again
town.expect_one(number)
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import genai_prices

from bot.core.budget import MICRO
from bot.core.session import SessionState
from bot.demo.hub import workflows
from bot.demo.hub.faults import Fault
from bot.demo.hub.state import LogEntry
from bot.demo.stage import STATE_KEY
from bot.demo.vendors import Vendors
from bot.store.envelope import Key, choose
from tests.world.town import SECONDS, Story, Town

OURS = r"ostler|improve / \w+|nobody"
"""Who asks GitHub in Ostler's name; an identity token is asked for by nobody it knows."""
KINDS = ("status-502", "429", "403-secondary", "drop-before", "drop-after", "status-502-after", "stale")
LIMITS = ("429", "403-secondary")
MOST = 12
"""How often people lend a hand before they say that it never ends."""

_PARTS = (
    (r"[0-9a-f]{40}", "[0-9a-f]{40}"),
    (r"heads/ostler/issue-.*", "heads/ostler/issue-.*"),
    (r"labels/ostler:[a-z-]+", "labels/ostler:[a-z-]+"),
    (r"(?<=/)[0-9]+(?=/|$)", "[0-9]+"),
)
_MADE = re.compile(r"/(refs|check-runs|labels|pulls|issues/\[0-9\]\+/comments)\$$")
_LISTS = re.compile(r"/(comments|events|labels|check-runs|pulls|runs|matching-refs/.*|artifacts|jobs)\$$")


@dataclass(frozen=True, slots=True)
class Call:
    """A kind of request: method, the shape of its path as an expression, and who makes it."""

    method: str
    path: str
    who: str = OURS

    @property
    def changes(self) -> bool:
        return self.method != "GET" and "graphql" not in self.path and "access_tokens" not in self.path

    @property
    def makes(self) -> bool:
        """Whether it makes what there must be one of."""
        return self.method == "POST" and bool(
            re.search(r"/(refs|check-runs|labels|pulls|issues/\[0-9\]\+/comments)\$$", self.path)
        )

    def fault(self, kind: str, **more: int) -> Fault:
        return Fault(self.method, self.path, kind, self.who, **more)


def calls_of(log: Iterable[LogEntry], *, by_who: bool = False) -> list[Call]:
    """The distinct requests to GitHub's APIs in Ostler's name, in their order; git's own, for checkouts, are not among them."""
    found: dict[Call, None] = {}
    for entry in log:
        if re.fullmatch(OURS, entry.who) and ".git/" not in entry.path:
            found[Call(entry.method, _shape(entry.path), re.escape(entry.who) if by_who else OURS)] = None
    return list(found)


def _shape(path: str) -> str:
    for was, becomes in _PARTS:
        path = re.sub(was, becomes, path)
    return f"^{path}$"


def possible(call: Call, kind: str) -> bool:
    """Whether GitHub could answer `call` so: only lists are stale, and identity tokens know no limits."""
    if kind == "stale":
        return call.method == "GET" and bool(_LISTS.search(call.path))
    return not ("_oidc" in call.path and kind in LIMITS)


class Dealer:
    """Deals each call that comes one fault, the first time it comes, of the kinds in their turn. `by_who`: to each asker its own;
    `only`: to this one alone; `changes`: only what changes something.

    With `quick`, what is made once is lost after it took effect, and found again at once; else it may be looked for in vain for
    some seconds before it is made again. And what can be stale is.
    """

    def __init__(
        self, kinds: Sequence[str], *, by_who: bool = False, quick: bool = False, only: str = OURS, changes: bool = False
    ) -> None:
        self.kinds, self.by_who, self.quick, self.changes = tuple(kinds), by_who, quick, changes
        self.dealt: dict[Call, str] = {}
        self.hand = [Dealt(".*", "", kind, only, times=10_000, dealer=self) for kind in self.kinds]

    def takes(self, call: Call, kind: str) -> bool:
        """Whether `kind` is what comes to this call now. The hub holds its lock."""
        known = Call(call.method, _shape(call.path), call.who if self.by_who else "")
        if known in self.dealt or (self.changes and not known.changes):
            return False
        turn = len(self.dealt) % len(self.kinds)
        fitting = [each for each in self.kinds[turn:] + self.kinds[:turn] if possible(known, each)]
        if self.quick and known.makes:
            fitting = [each for each in fitting if each.endswith("-after")] or fitting
        elif self.quick and "stale" in fitting:
            fitting = ["stale"]
        if fitting and fitting[0] != kind:
            return False
        self.dealt[known] = kind if fitting else ""
        return bool(fitting)


@dataclass(slots=True)
class Dealt(Fault):
    """A fault that asks a dealer whether it is meant."""

    dealer: Dealer | None = None

    def matches(self, method: str, path: str, who: str) -> bool:
        ours = re.fullmatch(self.who, who) and ".git/" not in path
        return bool(ours and self.dealer is not None and self.dealer.takes(Call(method, path, who), self.kind))


# --- deaths -----------------------------------------------------------------------------------------------------------


def processes_of(town: Town, job: str) -> list[int]:
    """The processes of Ostler that work for a job at the moment."""
    state = town.hub.state
    with state.lock:
        pids = [pid for token in state.tokens.values() if token.who == f"improve / {job}" for pid in token.pids]
    return [pid for pid in pids if _line(pid).endswith(b"\0action\0")]


def in_sandbox(town: Town) -> list[int]:
    """The sandboxes in which the town's jobs run something at the moment."""
    here = str(town.scene.folder).encode()
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [pid for pid in numbers if here in (line := _line(pid)) and b"launcher.sh" in line]


def _line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@dataclass(slots=True)
class Death:
    """What is to happen once to a job: its process dies, or the whole machine, as soon as `when` says so."""

    job: str
    machine: bool = True
    when: Callable[[], Any] = bool
    where: tuple[int, int] = field(default=(0, 0), init=False)  # workflow run and attempt


class Nurse(threading.Thread):
    """Starts the App again when it died, and brings the `deaths` that are due: in their order, one in each workflow run."""

    def __init__(self, town: Town) -> None:
        super().__init__(name="nurse", daemon=True)
        self.town = town
        self.deaths: list[Death] = []
        self.done: list[Death] = []
        self.starts = 0
        self.helped: list[str] = []
        self.trouble: Exception | None = None
        self._stop_now = threading.Event()

    def run(self) -> None:
        try:
            while not self._stop_now.wait(0.05):
                self._look()
        except Exception as error:  # noqa: BLE001 - the test that waits reads it
            self.trouble = error

    def close(self) -> None:
        self._stop_now.set()
        self.join(60)

    def _look(self) -> None:
        scene = self.town.scene
        if scene.app is not None and scene.app.poll() is not None:
            scene.start_app()
            self.starts += 1
        if self.deaths:
            self._bring(self.deaths[0])

    def _bring(self, death: Death) -> None:
        found = self._working(death.job)
        if found is None or any(found == other.where for other in self.done):
            return
        pids = processes_of(self.town, death.job)
        if not pids or (death.when is not bool and not death.when()):
            return
        death.where = found
        self.done.append(self.deaths.pop(0))
        if death.machine:
            runner = workflows.of(self.town.hub).runner
            assert runner is not None
            runner.kill_job(found[0], f"improve / {death.job}")
        else:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)

    def _working(self, job: str) -> tuple[int, int] | None:
        """Workflow run and attempt in which the job is at work."""
        state = self.town.hub.state
        with state.lock:
            alive = [token for token in state.tokens.values() if token.who == f"improve / {job}" and token.pids]
            runs = self.town.hub.found(self.town.name).runs
            return next(((token.run_id, runs[token.run_id].attempt) for token in alive if token.run_id in runs), None)

    # --- people ---

    def settle(self) -> None:
        """Wait until nothing is under way, with an App that lives."""
        deadline = time.monotonic() + 2 * SECONDS
        while True:
            before = self.starts
            self.town.settle(max(1.0, deadline - time.monotonic()))
            if self.trouble:
                raise self.trouble
            app = self.town.scene.app
            if before == self.starts and (app is None or app.poll() is None):
                return
            assert time.monotonic() < deadline, "the App is never at rest"

    def finish(self, number: int, most: int = MOST) -> list[str]:
        """Wait for the session's end, as people do who look now and then; what they did meanwhile."""
        helped: list[str] = []
        while True:
            self.settle()
            told = self.town.story(number)
            if self._finished(told):
                return helped
            assert len(helped) < most, (
                f"no end after {helped}: {told.labels}\n{[one['body'] for one in told.status]}\n{self.last_words()}"
            )
            helped.append(self._help(told, number))
            self.helped.append(helped[-1])

    def last_words(self) -> str:
        """What the failed jobs of the newest workflow run said last."""
        newest = max(self.town.hub.found(self.town.name).runs.values(), key=lambda run: run.id)
        jobs = [job for job in newest.records[newest.attempt].values() if job.conclusion == "failure"]
        return "\n".join(f"--- {job.name}, attempt {job.attempt}\n{job.log[-1_500:]}" for job in jobs)

    def _finished(self, told: Story) -> bool:
        said = told.state_labels == ["ostler:in-review"] and any("**Finished" in one["body"] for one in told.status)
        return said and (self.town.setup == "app" or not self._unsettled())

    def _unsettled(self) -> int:
        """The newest workflow run, where it ended without its last job; else 0."""
        newest = self.town.runs()[0]
        concluded = self.town.jobs(newest["id"]).get("conclude") == "success"
        return 0 if concluded or newest["conclusion"] == "success" else int(newest["id"])

    def _help(self, told: Story, number: int) -> str:
        """Another try; or the failed jobs again where the last one died, and nobody but people notices that."""
        if (run := self._unsettled()) and (self.town.setup == "alone" or told.state_labels == ["ostler:in-review"]):
            self.town.ada.rerun_failed(self.town.name, run)
            return "rerun"
        self.town.say(number, "/ostler retry")
        return "retry"


@contextmanager
def tended(town: Town, *deaths: Death) -> Iterator[Nurse]:
    nurse = Nurse(town)
    nurse.deaths += deaths
    nurse.start()
    try:
        yield nurse
    finally:
        nurse.close()


def one_of_each(town: Town, number: int) -> Story:
    """Everything happened, and exactly once; whether it could be verified is another question."""
    told = town.story(number)
    counts = {name: len(getattr(told, name)) for name in ("plan", "status", "audit", "branches", "pulls", "others")}
    assert counts == {"plan": 1, "status": 1, "audit": 1, "branches": 1, "pulls": 1, "others": 0}, counts
    assert all(len(found) == 1 for found in told.checks.values()), told.checks
    assert next(iter(told.checks)) == told.pulls[0]["head"]["sha"]
    assert all(found[0]["status"] == "completed" for found in told.checks.values()), told.checks
    assert (told.pulls[0]["draft"], told.pulls[0]["state"]) == (True, "open")
    assert told.state_labels == ["ostler:in-review"]
    assert town.hub.errors == []
    return told


# --- money ------------------------------------------------------------------------------------------------------------


def billed(vendors: Vendors) -> int:
    """All that the scripted vendors asked for, in micro-dollars, by genai_prices' own reckoning."""
    total = 0.0
    for entry in vendors.journal():
        usage = genai_prices.Usage(
            input_tokens=entry["input_tokens"],
            output_tokens=entry["output_tokens"],
            cache_read_tokens=entry["cache_read"],
            cache_write_tokens=entry["cache_write"] + entry["cache_write_long"],
        )
        total += float(genai_prices.calc_price(usage, entry["model"], provider_id=entry["vendor"]).total_price)
    return int(total * MICRO)


def state_of(town: Town, number: int) -> SessionState:
    """The newest signed state that the issue's check runs hold."""
    texts = [run["output"]["text"] or "" for found in town.story(number).checks.values() for run in found]
    session = next(run["external_id"] for found in town.story(number).checks.values() for run in found)
    repo = town.hub.found(town.name).id
    found = choose(texts, [Key.from_secret(STATE_KEY)], repo_id=repo, issue=number, session=session)
    assert found is not None, texts
    return found
