"""The App's tables in a real SQLite file and a real Postgres: what is acknowledged stays, and nobody works twice on one thing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.core.errors import SetupError
from bot.core.queue import LEASE_SECONDS, MAX_RENEWALS, Priority
from bot.core.session import SessionState
from bot.core.settling import taken
from bot.store import database as tables
from bot.store.database import Database
from bot.store.inbox import Arrived, Inbox
from bot.store.queue import Load, Queue
from bot.store.runs import Row, Runs, lane_of

ROOT = Path(__file__).parents[2]
AT = "2026-11-21T12:00:00+00:00"


def row(number: int, *, repo: int = 1, priority: int = 2, **changes: Any) -> Row:
    state = SessionState(
        repo, number, f"issue-{number}-0000000{number % 10}_20261121_120000", number, "ada", f"ostler/issue-{number}-x-1"
    )
    state = replace(state, base_sha="b" * 40, anchor_sha="a" * 40, **changes)
    return Row(f"o/r{repo}", repo, 7, number, "main", "Fix it", state, state.seq, lane_of(state), priority, 0.0)


def at_once(number: int, work: Callable[[], Any]) -> list[Any]:
    """What `work` gives in so many threads that begin together."""
    results: list[Any] = []
    ready = threading.Barrier(number)

    def run() -> None:
        ready.wait()
        results.append(work())

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == number
    return results


def put(inbox: Inbox, guid: str, body: bytes, at: float) -> bool:
    return inbox.put([Arrived(guid, "issues", body, at)]) == [True]


class TestInbox:
    def test_fifty_copies_are_one_row(self, database: Database) -> None:
        inbox = Inbox(database)
        new = at_once(10, lambda: sum(put(inbox, "guid", b"{}", 1.0) for _ in range(5)))
        assert sum(new) == 1
        assert inbox.waiting() == 1

    def test_a_delivery_is_taken_by_one_and_again_after_its_lease(self, database: Database) -> None:
        inbox = Inbox(database)
        put(inbox, "guid", b"\x00{}", 1.0)
        found = [pending for pending in at_once(4, lambda: inbox.take(10.0)) if pending]
        assert [(pending.guid, pending.body, pending.tries) for pending in found] == [("guid", b"\x00{}", 1)]
        assert inbox.take(10.0 + 599) is None
        again = inbox.take(10.0 + 601)
        assert again is not None
        assert again.tries == 2

    def test_what_is_done_is_not_taken_and_its_text_is_gone(self, database: Database) -> None:
        inbox = Inbox(database)
        put(inbox, "old", b"text of people", 1.0)
        inbox.done("old")
        assert (inbox.take(1e9), inbox.waiting()) == (None, 0)
        with database.begin() as connection:
            assert bytes(connection.scalar(sa.select(tables.deliveries.c.body)) or b"") == b""
        assert not put(inbox, "old", b"text of people", 2.0)
        inbox.forget(5.0)
        assert put(inbox, "old", b"{}", 6.0)

    def test_the_oldest_first_and_later_is_later(self, database: Database) -> None:
        inbox = Inbox(database)
        for number in (2, 1, 3):
            put(inbox, f"g{number}", b"{}", float(number))
        first = inbox.take(10.0)
        assert first is not None
        assert first.guid == "g1"
        inbox.later("g1", 50.0, "GitHub is in trouble")
        assert [pending.guid for _ in range(2) if (pending := inbox.take(10.0))] == ["g2", "g3"]
        assert inbox.take(49.0) is None
        assert inbox.take(51.0) is not None


WRITER = """
import sys
from bot.store.database import Database
from bot.store.inbox import Arrived, Inbox
inbox = Inbox(Database.open(sys.argv[1]))
for number in range(10_000):
    inbox.put([Arrived(f"g{number}", "issues", b"{}" * 500, float(number))])
    print(number, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill(address: str) -> None:
    """Killed with -9 between two statements, wherever that happens to be."""
    Database.open(address).close()
    for killed_after in (1, 7, 20):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, address], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=dict(os.environ)
        )
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(killed_after)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
        process.stdout.close()
        process.wait()
        acknowledged = [int(line) for line in said if line.endswith("\n")]
        database = Database.open(address)
        with database.begin() as connection:
            held = set(connection.scalars(sa.select(tables.deliveries.c.guid)))
        database.close()
        assert {f"g{number}" for number in acknowledged} <= held
        assert len(acknowledged) >= killed_after


class TestSessions:
    def test_a_session_is_unique_by_its_id(self, database: Database) -> None:
        runs = Runs(database)
        assert sum(at_once(8, lambda: runs.add(row(1), 1.0))) == 1
        held = runs.get(row(1).id)
        assert held is not None
        assert (held.state, held.lane, held.title) == (row(1).state, "queued", "Fix it")
        assert [moment.state.seq for moment in runs.history(held.id)] == [0]

    def test_a_state_is_changed_by_whoever_knows_the_last_one(self, database: Database) -> None:
        runs = Runs(database)
        runs.add(row(1), 1.0)
        old = row(1).state
        assert sorted(at_once(4, lambda: runs.save(old, taken(old, 5, AT), 2.0))) == [False, False, False, True]
        held = runs.get(old.session)
        assert held is not None
        assert (held.state.working_run, held.lane) == (5, "running")
        bound = runs.of_workflow_run(1, 5)
        assert bound is not None
        assert bound.id == old.session
        assert runs.of_workflow_run(2, 5) is None

    def test_the_newest_session_of_an_issue_first(self, database: Database) -> None:
        """By time: labels' events and comments are numbered apart."""
        runs = Runs(database)
        for event, second in ((3, 0), (9, 0), (4, 0), (1, 1)):
            state = replace(row(1).state, session=f"issue-1-0000000{event}_20261121_12000{second}", event=event)
            runs.add(replace(row(1), state=state), 1.0)
        assert [found.state.event for found in runs.of_issue(1, 1)] == [1, 9, 4, 3]

    def test_a_token_is_used_once_unless_for_the_same_request(self, database: Database) -> None:
        runs = Runs(database)
        assert runs.first_use("settle", "j", b"one", 100.0, 1.0)
        assert runs.first_use("settle", "j", b"one", 100.0, 2.0)
        assert not runs.first_use("settle", "j", b"two", 100.0, 3.0)
        assert runs.first_use("claim", "j", b"two", 100.0, 3.0)

    def test_a_damaged_row_is_refused_in_one_sentence(self, database: Database) -> None:
        runs = Runs(database)
        runs.add(row(1), 1.0)
        with database.begin() as connection:
            connection.execute(sa.update(tables.sessions).values(seq=5))
        with pytest.raises(SetupError, match="is damaged"):
            runs.get(row(1).id)


def over(state: SessionState) -> SessionState:
    return replace(state, standing="over", seq=state.seq + 1, prev=state.digest)


@st.composite
def crowds(draw: st.DrawFn) -> list[tuple[int, int, int | None]]:
    """Repository, priority and position of sessions that were asked for one after the other."""
    positions = st.one_of(st.none(), st.integers(1, 3))
    return draw(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(Priority), positions), min_size=1, max_size=12))


class TestQueue:
    def test_claimers_get_every_session_once_and_one_of_each_repository(self, database: Database) -> None:
        runs, queue = Runs(database), Queue(database)
        for number in range(1, 13):
            runs.add(row(number, repo=1 + number % 4), float(number))
        found = [one for many in at_once(4, lambda: [queue.claim(100.0) for _ in range(4)]) for one in many if one]
        assert sorted(one.repo_id for one in found) == [1, 2, 3, 4]
        assert queue.lanes() == {"dispatching": 4, "queued": 8}

    @pytest.mark.parametrize("smart", [True, False])
    @settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(crowd=crowds())
    def test_priority_position_fairness_then_the_order_of_asking(
        self, database: Database, smart: bool, crowd: list[tuple[int, int, int | None]]
    ) -> None:
        """Each turn is taken by the least of those that wait, by an order that is written down here once more."""
        runs, queue = Runs(database), Queue(database, smart=smart)
        with database.begin() as connection:
            for table in (tables.sessions, tables.states, tables.turns):
                connection.execute(sa.delete(table))
        waiting: dict[int, tuple[int, int, int | None]] = {}
        for number in reversed(range(1, len(crowd) + 1)):  # a sweep finds the newest first
            repo, priority, position = waiting[number] = crowd[number - 1]
            runs.add(row(number, repo=repo, priority=priority), 1.0)
            queue.place(row(number).id, position, 0.0)
        served: dict[int, float] = {}
        for now in range(10, 10 + len(crowd)):
            least = min(
                waiting,
                key=lambda n: (waiting[n][1], waiting[n][2] or 99, served.get(waiting[n][0], 0.0), n) if smart else (n,),
            )
            found = queue.claim(float(now))
            assert found is not None
            assert (found.issue, found.repo_id) == (least, waiting[least][0])
            served[waiting.pop(least)[0]] = float(now)
            assert runs.save(found.state, over(found.state), float(now))
        assert queue.claim(100.0) is None

    def test_a_repository_has_as_many_as_it_allows_and_starts_one_at_a_time(self, database: Database) -> None:
        runs, queue = Runs(database), Queue(database)
        queue.allow(1, 2)
        for number in (1, 2, 3):
            runs.add(row(number), float(number))
        for number in (1, 2):
            found = queue.claim(10.0)
            assert found is not None
            assert found.issue == number
            assert queue.claim(10.0) is None
            assert queue.bind(found.state, 100 + number, AT, 11.0) is not None
        assert queue.claim(12.0) is None
        assert queue.loads() == {1: Load(2, 2, False)}
        assert queue.bind(row(3).state, 103, AT, 12.0) is None
        queue.allow(1, 3)
        assert queue.bind(row(3).state, 103, AT, 12.0) is not None

    def test_what_its_holder_left_is_queued_again(self, database: Database) -> None:
        runs, queue = Runs(database), Queue(database)
        runs.add(row(1), 1.0)
        runs.add(row(2, priority=Priority.URGENT), 2.0)
        held = queue.claim(10.0)
        assert held is not None
        assert (held.issue, held.attempt) == (2, 1)
        runs.add(replace(row(3, priority=Priority.URGENT), repo_id=1), 3.0)
        last = 10.0 + LEASE_SECONDS
        assert [queue.claim(now) for now in (11.0, last - 1)] == [None, None]
        found = [one for one in at_once(3, lambda: queue.claim(last + 1)) if one]
        assert [(one.issue, one.lane, one.asked_at, one.attempt) for one in found] == [(2, "dispatching", 10.0, 2)]

    def test_only_the_last_holder_writes(self, database: Database) -> None:
        """Who let the lease end is refused, from the moment on that another has it, or that it is queued again."""
        runs, queue = Runs(database), Queue(database)
        runs.add(row(1), 1.0)
        stale = queue.claim(10.0)
        assert stale is not None
        assert queue.reset_stale(10.0 + LEASE_SECONDS - 1) == 0
        assert queue.reset_stale(11.0 + LEASE_SECONDS) == 1
        new = taken(stale.state, 5, AT)
        assert not queue.renew(stale, 11.0 + LEASE_SECONDS)
        assert not runs.save(stale.state, new, 400.0, lease=stale.lease)
        holder = queue.claim(400.0)
        assert holder is not None
        queue.later(stale, stale.state.seq, 0.0)
        assert queue.reset_stale(401.0) == 0
        assert not runs.save(stale.state, new, 401.0, lease=stale.lease)
        assert runs.save(stale.state, new, 401.0, lease=holder.lease)

    def test_who_lives_keeps_it_for_so_long_and_what_works_is_never_queued_again(self, database: Database) -> None:
        runs, queue = Runs(database), Queue(database)
        runs.add(row(1), 1.0)
        held = queue.claim(0.0)
        assert held is not None
        beats = [240.0 * number for number in range(1, MAX_RENEWALS + 2)]
        assert [queue.renew(held, now) for now in beats] == [True] * MAX_RENEWALS + [False]
        ends = 240.0 * MAX_RENEWALS + LEASE_SECONDS
        assert ends == 45 * 60
        assert queue.claim(ends - 1) is None
        other = queue.claim(ends)
        assert other is not None
        assert queue.bind(other.state, 5, AT, ends) is not None
        assert queue.reset_stale(1e9) == 0
        working = queue.due(1e9)
        assert working is not None
        assert (working.lane, working.state.working_run) == ("running", 5)

    def test_what_happens_meanwhile_takes_nothing_from_who_is_starting_it(self, database: Database) -> None:
        runs, queue = Runs(database), Queue(database)
        runs.add(row(1), 1.0)
        assert queue.claim(10.0) is not None
        queue.at_once(row(1).id)
        assert (queue.reset_stale(11.0), queue.due(11.0)) == (0, None)

    def test_what_github_does_not_show_is_due(self, database: Database) -> None:
        runs, queue = Runs(database), Queue(database)
        runs.add(replace(row(1, standing="waiting", seq=3), shown=2), 1.0)
        due = queue.due(2.0)
        assert due is not None
        runs.shown(due.id, 3)
        assert queue.due(1e9) is None

    def test_two_workflow_runs_claim_one_session_and_one_gets_it(self, database: Database) -> None:
        runs, queue = Runs(database), Queue(database)
        runs.add(row(1), 1.0)
        numbers = count(100)
        bound = [state for state in at_once(4, lambda: queue.bind(row(1).state, next(numbers), AT, 2.0)) if state]
        assert len(bound) == 1
        held = runs.get(row(1).id)
        assert held is not None
        assert held.state == bound[0]
        assert queue.bound(1) == {bound[0].working_run}

    def test_a_busy_repository_binds_no_other(self, database: Database) -> None:
        runs, queue = Runs(database), Queue(database)
        runs.add(row(1), 1.0)
        runs.add(row(2), 1.0)
        assert queue.bind(row(1).state, 5, AT, 2.0) is not None
        assert queue.bind(row(2).state, 6, AT, 2.0) is None

    def test_a_release_gives_leases_back(self, database: Database) -> None:
        runs, queue = Runs(database), Queue(database)
        runs.add(row(1), 1.0)
        queue.claim(10.0)
        queue.release()
        assert queue.claim(11.0) is not None


class TestOpening:
    def test_sqlite_is_durable_and_private(self, tmp_path: Path) -> None:
        path = tmp_path / "deep" / "ostler.db"
        database = Database.open(f"sqlite:///{path}")
        with database.begin() as connection:
            assert connection.exec_driver_sql("pragma journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("pragma synchronous").scalar() == 2
        database.close()
        assert path.stat().st_mode & 0o077 == 0

    def test_a_damaged_file_is_refused_in_one_sentence(self, tmp_path: Path) -> None:
        path = tmp_path / "ostler.db"
        database = Database.open(f"sqlite:///{path}")
        for number in range(1, 200):
            Runs(database).add(row(number), 1.0)
        database.close()
        whole = path.read_bytes()
        for damaged in (b"not a database at all" * 100, whole[:5000] + b"\xff" * 5000 + whole[10_000:]):
            path.write_bytes(damaged)
            for name in ("-wal", "-shm"):
                Path(f"{path}{name}").unlink(missing_ok=True)
            with pytest.raises(SetupError, match=r"move it away and start again.*\.$") as refused:
                Database.open(f"sqlite:///{path}").close()
            assert "\n" not in str(refused.value)

    def test_another_version_is_refused(self, database: Database, address: str) -> None:
        with database.begin() as connection:
            connection.execute(sa.update(tables.about).values(value="99"))
        assert not database.answers()
        with pytest.raises(SetupError, match="version 99"):
            Database.open(address)

    @pytest.mark.parametrize(
        "address", ["", "nonsense", "mysql://h/d", "sqlite://", "sqlite:///:memory:", "postgresql://127.0.0.1:1/x"]
    )
    def test_what_is_no_database_is_refused_in_one_sentence(self, address: str) -> None:
        with pytest.raises(SetupError, match=r"\.$"):
            Database.open(address)

    def test_one_thread_of_one_process_has_the_right(self, address: str) -> None:
        """Two engines on Postgres are as two processes; SQLite has one."""
        here = Database.open(address)
        there = here if address.startswith("sqlite") else Database.open(address)
        first = Runs(here)
        first.add(row(1), 1.0)
        inside: list[int] = []

        def enter(database: Database) -> None:
            with database.right("it"), database.right("it"):
                inside.append(1)
                assert sum(inside) == 1
                assert first.get(row(1).id) is not None
                inside.append(-1)

        databases = iter([here, there] * 4)
        assert at_once(8, lambda: enter(next(databases))) == [None] * 8
        here.close()
        there.close()

    def test_only_one_app_has_a_sqlite_file(self, tmp_path: Path) -> None:
        address = f"sqlite:///{tmp_path}/ostler.db"
        first, second = Database.open(address), Database.open(address)
        assert first.hold()
        with pytest.raises(SetupError, match="Another `ostler serve`"):
            second.hold()
        first.close()
        assert second.hold()
        second.close()
