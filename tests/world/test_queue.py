"""The queue through the App's door: in which order sessions get their workflow runs, and how many at a time."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.demo.hub.faults import Fault
from bot.demo.stage import CALLER, MODEL_SECRETS
from bot.github.manifest import PERMISSIONS
from bot.store.database import Database
from bot.store.inbox import Inbox
from bot.store.queue import Queue
from tests.sampling import whole
from tests.world.test_kill_jobs import PLAIN
from tests.world.town import FIXER_BODY, FIXER_TITLE, MEMBERS, Town, town
from tests.world.trouble import processes_of

pytestmark = pytest.mark.sampled

TOKEN = "a-token-for-the-queue-of-one-stand-in-only"
TWO = "approval: always\nqueue: {per_repository: 2}\n"
ONE = "approval: always\n"
APP = {"OSTLER_API_TOKEN": TOKEN}
JOBS = ("gate", "plan", "post", "conclude")
"""Of a workflow run that ends with a plan."""


def another(there: Town, name: str, config: str = ONE) -> Town:
    """One more repository of the same App, and the town as those see it who look at that repository."""
    content = there.hub.bare(there.hub.found(there.name)).file("main", CALLER)
    assert content is not None
    there.hub.repository(name, {**PLAIN, ".github/ostler.yml": config, CALLER: content}, MEMBERS)
    there.hub.environment(name, "ostler-model", MODEL_SECRETS)
    there.hub.environment(name, "ostler-state", {})
    there.hub.environment(name, "ostler", {})
    assert there.scene.credentials is not None
    there.hub.install(there.scene.credentials, name, PERMISSIONS)
    return Town(replace(there.scene, name=name), there.setup)


def ask(there: Town, *labels: str) -> int:
    number = there.ada.open_issue(there.name, FIXER_TITLE, FIXER_BODY)
    for label in (*labels, "ostler"):
        there.ada.label(there.name, number, label)
    return number


def dispatched(*towns: Town) -> list[tuple[str, int]]:
    """Repository and issue of all workflow runs, in the order in which the App asked for them."""
    found = [(run.id, each.name, int(run.inputs["issue"])) for each in towns for run in each.hub.found(each.name).runs.values()]
    return [(name, issue) for _, name, issue in sorted(found)]


def asked(there: Town, path: str, body: bytes | None = None) -> Any:
    with closing(http.client.HTTPConnection("127.0.0.1", there.scene.port, timeout=30)) as connection:
        connection.request("GET" if body is None else "POST", path, body, {"authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        assert answer.status == 200
        return json.load(answer)


def watched(there: Town, limits: dict[str, int]) -> bool:
    """Whether nothing is at work any more; no repository ever has more workflow runs at work than it may."""
    listed = asked(there, "/api/queue/stats")["sessions"]
    working = Counter(each["repository"] for each in listed if each["status"] in ("dispatching", "running"))
    assert all(number <= limits[name] for name, number in working.items()), working
    return not listed


def planned_once(there: Town, number: int) -> None:
    told = there.story(number)
    assert (len(told.plan), len(told.branches), told.eyes, told.others) == (1, 1, 1, [])
    assert told.check["conclusion"] == "action_required"
    assert told.state_labels == ["ostler:awaiting-approval"]


@pytest.mark.parametrize("number", [8, pytest.param(20, marks=whole)])
def test_labels_while_the_app_is_down_all_run_once(tmp_path: Path, number: int) -> None:
    """In each repository by priority and in the order of the labels, in no more workflow runs at a time than it allows."""
    levels = ((), ("Low",), ("priority:HIGH",), ("cleanup", "p0"))
    order = (3, 2, 0, 1)  # of the levels, the most urgent first
    with town(tmp_path, "app", PLAIN, config=ONE, app_env=APP) as first:
        towns = (first, another(first, "acme/coins", TWO), another(first, "zeta/notes"))
        with first.app_down():
            turns = [(towns[at % 3], at // 3 % 4) for at in range(number)]
            labelled = [(each, level, ask(each, *levels[level])) for each, level in turns]
        limits = {"acme/purse": 1, "acme/coins": 2, "zeta/notes": 1}
        first.until(lambda: watched(first, limits) and len(dispatched(*towns)) >= number, 800)
        first.settle()
        for each in towns:
            meant = [(order.index(level), issue) for there, level, issue in labelled if there is each]
            assert dispatched(each) == [(each.name, issue) for _, issue in sorted(meant)]
        for there, _, issue in labelled:
            planned_once(there, issue)
        with closing(Database.open(f"sqlite:///{first.scene.database}")) as database:
            assert Queue(database).lanes() == {"resting": number}


@contextmanager
def outage(there: Town, expected: int) -> Iterator[None]:
    """GitHub's API is away, its webhooks are not: the App keeps what they bring, and is killed before it could do anything."""
    there.hub.faults.append(away := Fault(".*", "", "status-502", "ostler", times=100_000))
    yield
    with closing(Database.open(f"sqlite:///{there.scene.database}")) as database:
        there.until(lambda: Inbox(database).waiting() == expected)
    assert there.scene.app is not None
    there.scene.app.kill()
    there.scene.app.wait()
    there.hub.faults.remove(away)
    there.scene.start_app()


def test_the_most_urgent_first_then_who_waited_longest(tmp_path: Path) -> None:
    """A repository that was served just now, and has room for two, waits for one that was not; another session of the same
    repository waits until there is room. A position given by hand comes first among its like."""
    with town(tmp_path, "app", PLAIN, config=TWO, app_env=APP) as a:
        b, c = another(a, "acme/coins"), another(a, "zeta/notes")
        before = ask(a)
        a.settle()
        with outage(a, 6):
            a1, a2, a3 = ask(a), ask(a, "urgent"), ask(a)
            b1, b2 = ask(b, "low"), ask(b)
            c1 = ask(c, "Important")
        first = [(a.name, before), (a.name, a2), (c.name, c1), (b.name, b2), (a.name, a1)]
        a.until(lambda: len(dispatched(a, b, c)) >= len(first))
        assert dispatched(a, b, c)[: len(first)] == first
        a.until(lambda: watched(a, {a.name: 2, b.name: 1, c.name: 1}))
        assert sorted(dispatched(a, b, c)[len(first) :]) == sorted([(a.name, a3), (b.name, b1)])


@pytest.mark.parametrize("kind", ["kill-before", "kill-after"])
def test_a_session_whose_starter_died_is_queued_again_and_started_once(tmp_path: Path, kind: str) -> None:
    with town(tmp_path, "app", PLAIN, config=ONE, app_env=APP) as there:
        there.hub.faults.append(Fault("POST", "/dispatches$", kind, "ostler"))
        number = there.ask(FIXER_TITLE, FIXER_BODY)
        there.until(lambda: there.scene.app is not None and there.scene.app.poll() is not None)
        there.scene.start_app()
        there.until(there.runs, 60)
        there.settle()
        assert len(there.runs()) == 1
        planned_once(there, number)


@contextmanager
def standstill(there: Town) -> Iterator[None]:
    """While the job that works at the moment does not get on."""
    held: list[int] = []

    def hold() -> bool:
        for pid in (pid for job in JOBS for pid in processes_of(there, job)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                held.append(pid)
        return any(Path(f"/proc/{pid}/stat").exists() and " T " in Path(f"/proc/{pid}/stat").read_text() for pid in held)

    there.until(hold)
    yield
    for pid in held:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_the_terminal_lists_who_waits_and_why_and_a_position_is_obeyed(tmp_path: Path) -> None:
    with town(tmp_path, "app", PLAIN, config=ONE, app_env=APP) as there:
        numbers = [there.ask(FIXER_TITLE, FIXER_BODY)]
        with standstill(there):
            numbers += [there.ask(FIXER_TITLE, FIXER_BODY) for _ in range(2)]
            there.until(lambda: [each["status"] for each in listed(there)] == ["running", "queued", "queued"])
            before = listed(there)
            assert [each["issue"] for each in before] == numbers
            assert [each["place"] for each in before] == [None, 1, 2]
            assert {each["why"] for each in before[1:]} == {"1 of 1 workflow run of the repository at work"}
            assert asked(there, f"/api/queue/{before[2]['session']}/position", b'{"position": 1}')["position"] == 1
            assert asked(there, "/api/queue/reset-stale", b"") == {"requeued": 0}
            shown = queue(there)
            assert (shown.returncode, shown.stdout.count("1 of 1 workflow run of the repository at work")) == (0, 2)
            refused = queue(there, OSTLER_API_TOKEN="x" * 40)
            assert (refused.returncode, refused.stderr.count("\n"), "OSTLER_API_TOKEN" in refused.stderr) == (5, 1, True)
        there.settle()
        assert dispatched(there) == [(there.name, numbers[at]) for at in (0, 2, 1)]
        assert listed(there) == []


def queue(there: Town, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`ostler queue`."""
    env = {**there.scene.app_env, "COLUMNS": "200", **environment}
    return subprocess.run([*there.scene.python, "queue", *options], env=env, capture_output=True, text=True, check=False)


def listed(there: Town) -> list[dict[str, Any]]:
    done = queue(there, "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["sessions"]
    return found
