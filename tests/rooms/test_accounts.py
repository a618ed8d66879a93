"""Caps that many runs share, in a real SQLite file and a real Postgres: whoever books, however it ends, no cap is passed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from bot.core.budget import Cap, Shortfall, Unit
from bot.core.errors import BugError, SetupError
from bot.core.experience import MAX_OUTCOMES, Experience, KindUse, Outcome, RunCost
from bot.core.pacing import Breaker, Bucket
from bot.store import database as tables
from bot.store.accounts import Accounts
from bot.store.database import Database

ROOT = Path(__file__).parents[2]
NOW = 1_764_345_600.0
OUTCOME = Outcome("bug", "single_file", "anthropic", "m", "fast", True)
RUN = RunCost("bug", "single_file", "normal", 5_000, (KindUse("PLAN", 900, 1.5), KindUse("IMPLEMENT", 7_000, 60.0)))


@pytest.fixture
def accounts(database: Database) -> Accounts:
    return Accounts(database)


def nested(session: int, day: int, tokens: int = 10**9) -> tuple[Cap, ...]:
    return Cap("session", "session:s", session), Cap("day", "day:d", day), Cap("tokens", "week:vendor", tokens, "tokens")


def held(database: Database) -> dict[str, int]:
    with database.begin() as connection:
        return {row.account: row.held for row in connection.execute(sa.select(tables.accounts))}


def booked(database: Database) -> int:
    """Micro-dollars in all bookings."""
    with database.begin() as connection:
        return int(connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(tables.bookings.c.money), 0))) or 0)


def all_at_once(works: list[Callable[[], Any]]) -> list[Any]:
    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(work) for work in works]]


# --- one after the other ---

amounts = st.integers(0, 60)
ROUNDS = count(1)


class Booking(RuleBasedStateMachine):
    """Any sequence of bookings against two nested caps on money and two limits of one account of tokens."""

    accounts: ClassVar[Accounts]

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"r{next(ROUNDS)}"
        self.made: dict[str, tuple[bool, int, int]] = {}
        self.beyond: Counter[Unit] = Counter()

    @initialize(session=st.integers(0, 100), day=st.integers(0, 150), soft=st.integers(0, 150), hard=st.integers(0, 150))
    def caps_are(self, session: int, day: int, soft: int, hard: int) -> None:
        p = self.prefix
        self.caps = (
            Cap("session", f"{p}:s", session),
            Cap("day", f"{p}:d", day),
            Cap("soft", f"{p}:w", soft, "tokens"),
            Cap("hard", f"{p}:w", hard, "tokens"),
        )

    def total(self, unit: Unit) -> int:
        return sum(made[1 if unit == "money" else 2] for made in self.made.values())

    def open(self) -> list[str]:
        return [key for key, made in self.made.items() if made[0]]

    @rule(money=amounts, tokens=amounts)
    def reserve(self, money: int, tokens: int) -> None:
        key = f"{self.prefix}/{len(self.made)}"
        asked: dict[Unit, int] = {"money": money, "tokens": tokens}
        short = [cap for cap in self.caps if self.total(cap.unit) + asked[cap.unit] > cap.limit]
        answer = self.accounts.reserve(key, self.caps, money=money, tokens=tokens, at=NOW)
        if short:
            cap = short[0]
            left = max(0, cap.limit - self.total(cap.unit))
            assert answer == Shortfall(cap.name, left, asked[cap.unit], cap.unit)
        else:
            assert answer is None
            self.made[key] = (True, money, tokens)

    @rule(data=st.data())
    def reserve_again(self, data: st.DataObject) -> None:
        if self.made:
            key = data.draw(st.sampled_from(sorted(self.made)))
            is_open, money, tokens = self.made[key]
            if is_open:
                assert self.accounts.reserve(key, self.caps, money=money, tokens=tokens, at=NOW + 1) is None
            with pytest.raises(BugError, match="booked before"):
                self.accounts.reserve(key, self.caps, money=money + is_open, tokens=tokens, at=NOW)

    @rule(data=st.data(), money=amounts, tokens=amounts)
    def settle(self, data: st.DataObject, money: int, tokens: int) -> None:
        if self.open():
            key = data.draw(st.sampled_from(self.open()))
            _, at_most, tokens_at_most = self.made[key]
            self.beyond.update({"money": max(0, money - at_most), "tokens": max(0, tokens - tokens_at_most)})
            self.made[key] = (False, money, tokens)
            for _ in range(2):
                self.accounts.settle(key, money=money, tokens=tokens)
            with pytest.raises(BugError, match="settled before"):
                self.accounts.settle(key, money=money + 1, tokens=tokens)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.open():
            key = data.draw(st.sampled_from(self.open()))
            self.made[key] = (False, 0, 0)
            for _ in range(2):
                self.accounts.release(key)

    @rule(data=st.data(), money=amounts, tokens=amounts)
    def reconcile(self, data: st.DataObject, money: int, tokens: int) -> None:
        if self.made:
            key = data.draw(st.sampled_from(sorted(self.made)))
            is_open, before, tokens_before = self.made[key]
            differs = (money, tokens) != (before, tokens_before)
            self.beyond.update({"money": max(0, money - before), "tokens": max(0, tokens - tokens_before)})
            self.made[key] = (is_open and not differs, money, tokens)
            assert self.accounts.reconcile({key: (money, tokens)}) == differs

    @invariant()
    def accounts_are_the_sums_of_their_bookings(self) -> None:
        if hasattr(self, "caps"):
            left = self.accounts.left(self.caps)
            for unit in ("money", "tokens"):
                tightest = min((cap for cap in self.caps if cap.unit == unit), key=lambda cap: cap.limit)
                room = tightest.limit - self.total(tightest.unit)
                assert left[tightest.unit] == (tightest, room)
                assert room + self.beyond[tightest.unit] >= 0


def test_no_sequence_of_bookings_passes_a_cap(database: Database) -> None:
    """But for bills above their reservation, which are booked as they are."""

    class Here(Booking):
        accounts = Accounts(database)

    quiet = settings(max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Here, settings=quiet)


def test_a_call_that_was_never_booked_is_neither_settled_nor_released(accounts: Accounts) -> None:
    with pytest.raises(BugError, match="holds no reservation"):
        accounts.settle("k", money=1, tokens=1)
    with pytest.raises(BugError, match="holds no reservation"):
        accounts.release("k")


def test_an_amount_below_zero_is_refused(accounts: Accounts, database: Database) -> None:
    with pytest.raises(BugError, match="-1"):
        accounts.reserve("k", nested(9, 9), money=-1, tokens=0, at=NOW)
    assert (held(database), accounts.left(())) == ({}, {})


def test_a_database_that_was_lost_is_rebuilt_from_the_journals(accounts: Accounts, database: Database) -> None:
    """What the journal knows is booked once, also past a limit; what was free is not, and the next call sees all of it."""
    caps = nested(100, 1_000)
    bills = {"s/r/c1": (70, 7), "s/r/c2": (0, 0), "s/r/c3": (50, 5)}
    assert [accounts.reconcile(bills, caps) for _ in range(2)] == [2, 0]
    assert held(database) == {"session:s": 120, "day:d": 120, "week:vendor": 12}
    assert accounts.reserve("s/r/c4", caps, money=1, tokens=1, at=NOW) == Shortfall("session", 0, 1)


def test_a_call_whose_end_nobody_knows_stays_booked_or_is_booked_again(accounts: Accounts, database: Database) -> None:
    caps = nested(1_000, 1_000)
    assert accounts.reserve("s/r/c1", caps, money=70, tokens=7, at=NOW) is None
    lost = {"s/r/c1": (70, None), "s/r/c2": (30, None)}
    assert [accounts.reconcile(lost, caps) for _ in range(2)] == [1, 0]
    assert held(database) == {"session:s": 100, "day:d": 100, "week:vendor": 7}


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_bookings_of_a_session_add_up_to_its_bill(database: Database, data: st.DataObject) -> None:
    """Whatever was set aside in between, and however often it is told; what others booked stays as it is."""
    accounts, name = Accounts(database), f"r{next(ROUNDS)}"
    caps = (Cap("session", f"{name}:s", 10**6), Cap("day", f"{name}:d", 10**6))
    assert accounts.reserve(f"{name}/other/1", caps, money=11, tokens=0, at=NOW) is None
    total = 0
    for number in range(data.draw(st.integers(1, 5))):
        for lost in range(data.draw(st.integers(0, 2))):
            assert accounts.reserve(f"{name}/s/{number}-{lost}", caps, money=data.draw(amounts), tokens=0, at=NOW + lost) is None
        total += data.draw(amounts)
        for _ in range(2):
            accounts.bill(f"{name}/s/", total, f"{name}/s/{number}", caps, NOW)
        assert accounts.left(caps)["money"][1] == 10**6 - total - 11


def test_a_lost_allowance_is_billed_before_a_newer_one(accounts: Accounts) -> None:
    """So what is billed counts, up to what was set aside, on the day on which it was set aside first."""
    first, second = (Cap("day", "day:1", 100),), (Cap("day", "day:2", 100),)
    accounts.reserve("s/1", first, money=60, tokens=0, at=NOW)
    accounts.reserve("s/2", second, money=60, tokens=0, at=NOW + 1)
    assert (accounts.booked("s/1"), accounts.booked("s/3")) == (60, None)
    accounts.bill("s/", 75, "s/2", second, NOW + 2)
    assert (accounts.left(first)["money"][1], accounts.left(second)["money"][1]) == (40, 85)
    assert accounts.booked("s/1") is None


def test_limits_that_were_told_are_known(accounts: Accounts) -> None:
    caps = (Cap("session", "session:s", 70), Cap("day", "day:d", 0))
    accounts.tell(caps)
    assert accounts.limits(["session:s", "day:d", "day:e"]) == caps[:1]
    accounts.reserve("k", caps[:1], money=30, tokens=0, at=NOW)
    accounts.tell((Cap("session", "session:s", 90), Cap("day", "day:d", 5)))
    assert {cap.account: cap.limit for cap in accounts.limits(["session:s", "day:d"])} == {"session:s": 90, "day:d": 5}
    assert accounts.left(caps[:1])["money"][1] == 40


# --- at the same time ---


def test_threads_of_two_apps_share_the_last_cent(database: Database, address: str) -> None:
    """Each asks for 7 of 1,000 until there is no more: 142 get it, and the day holds what is not in the session."""
    caps, other = nested(1_000, 5_000), Database.open(address)

    def work(database: Database, name: str) -> int:
        book = Accounts(database)
        for number in count():
            if book.reserve(f"{name}/{number}", caps, money=7, tokens=3, at=NOW):
                return number
        raise AssertionError

    with closing(other):
        got = all_at_once([partial(work, (database, other)[n % 2], f"w{n}") for n in range(6)])
    assert sum(got) == 1_000 // 7
    assert held(database) == {"session:s": 994, "day:d": 994, "week:vendor": 142 * 3}


def test_one_call_is_booked_once_by_all_that_ask(database: Database) -> None:
    book = Accounts(database)
    answers = all_at_once([lambda: book.reserve("k", nested(10, 10), money=6, tokens=1, at=NOW)] * 5)
    assert answers == [None] * 5
    assert held(database)["session:s"] == 6


def test_bookings_in_any_order_never_wait_for_each_other(database: Database) -> None:
    """Lists of the same caps in both directions, and reconciliation of what all of them booked."""
    book, caps = Accounts(database), nested(10**6, 10**6)
    old = [f"old/{number}" for number in range(8)]
    for key in old:
        assert book.reserve(key, caps, money=9, tokens=9, at=NOW) is None

    def work(name: str, mine: tuple[Cap, ...]) -> None:
        for number in range(15):
            key = f"{name}/{number}"
            assert book.reserve(key, mine, money=2, tokens=1, at=NOW) is None
            if number % 3:
                book.settle(key, money=1, tokens=1)
            book.reconcile(dict.fromkeys(old, (number, number)))

    all_at_once([partial(work, name, mine) for name, mine in zip("abcd", (caps, caps[::-1]) * 2, strict=True)])
    assert held(database)["day:d"] == booked(database) == 8 * 14 + 4 * (5 * 2 + 10)


BUYER = """
import os, random, sys
from bot.core.budget import Cap
from bot.store.accounts import Accounts
from bot.store.database import Database

address, name, bills, seed = sys.argv[1:]
book, chance = Accounts(Database.open(address)), random.Random(seed)
caps = (Cap("session", f"session:{name[0]}", 3_000), Cap("day", "day:d", 4_000))
till = os.open(bills, os.O_WRONLY | os.O_APPEND)
for number in range(10_000):
    key, worst = f"{name}/{number}", chance.randint(1, 60)
    if book.reserve(key, caps, money=worst, tokens=worst, at=float(number)):
        break
    print("reserved", flush=True)
    bill = chance.randint(0, worst)
    os.write(till, f"{bill}\\n".encode())
    print("billed", flush=True)
    if chance.random() < 0.8:
        book.settle(key, money=bill, tokens=bill)
        print("settled", flush=True)
"""


def killed_after(process: subprocess.Popen[str], lines: int) -> bool:
    """Whether it lived until it had said so many lines; then it is killed with -9, wherever it is by now."""
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()
    return said[-1] != ""


def test_processes_that_are_killed_never_buy_past_a_cap(database: Database, address: str, tmp_path: Path) -> None:
    """Pairs of buyers, each killed somewhere between reservation, bill and settlement, until the day's cap is used up."""
    bills, chance, kills = tmp_path / "bills", random.Random(1), 0
    bills.touch()
    for number in range(4):
        pair = [
            subprocess.Popen(
                [sys.executable, "-c", BUYER, address, f"{who}{number}", str(bills), f"{who}{number}"],
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            for who in "ab"
        ]
        kills += sum(all_at_once([partial(killed_after, process, chance.randint(1, 90)) for process in pair]))
    billed = sum(map(int, bills.read_text().split()))
    now = held(database)
    assert kills >= 3
    assert 0 < billed <= booked(database) == now["day:d"] <= 4_000
    assert all(now[f"session:{who}"] <= 3_000 for who in "ab")
    assert now["session:a"] + now["session:b"] == now["day:d"]


# --- rate limits and breakers ---


def test_threads_of_two_apps_share_one_bucket(database: Database, address: str) -> None:
    bucket, other = Bucket(20, 60.0), Database.open(address)

    def work(database: Database) -> int:
        return sum(Accounts(database).pace("github", bucket, NOW) == 0.0 for _ in range(10))

    with closing(other):
        got = all_at_once([partial(work, (database, other)[n % 2]) for n in range(4)])
    assert sum(got) == 20
    book = Accounts(database)
    assert book.pace("github", bucket, NOW + 1) == pytest.approx(2.0, abs=1e-5)
    assert [book.pace("github", bucket, NOW + 3 + 1e-4) > 0 for _ in range(2)] == [False, True]
    assert book.pace("anthropic", bucket, NOW) == 0.0


def test_workers_share_one_breaker_and_one_probe(database: Database) -> None:
    book, breaker = Accounts(database), Breaker(3, 1, 120.0)
    for _ in range(3):
        assert book.allowed("anthropic", breaker, NOW) == 0.0
        book.told("anthropic", breaker, False, NOW + 5, asked=NOW)
    assert book.allowed("anthropic", breaker, NOW + 6) == pytest.approx(119.0)
    assert book.allowed("openai", breaker, NOW + 6) == 0.0
    later = NOW + 130.25
    waits = all_at_once([lambda: book.allowed("anthropic", breaker, later)] * 5)
    assert sorted(waits) == [0.0, 120.0, 120.0, 120.0, 120.0]
    book.told("anthropic", breaker, True, later + 9, asked=later)
    assert all_at_once([lambda: book.allowed("anthropic", breaker, later + 9)] * 3) == [0.0] * 3


# --- experience ---


def test_what_is_told_twice_is_remembered_once_and_the_newest_last(accounts: Accounts) -> None:
    for number in range(MAX_OUTCOMES + 5):
        worse = Outcome("docs", "multi_file", "openai", f"m{number}", "balanced", False)
        accounts.remember("o/r", f"s/r/a{number}", worse)
    for number in range(0, MAX_OUTCOMES, 50):
        accounts.remember("o/r", f"s/r/a{number}", OUTCOME)
    accounts.remember("o/other", "s/r/a1", OUTCOME)
    for _ in range(2):
        accounts.remember_run("o/r", "s/r", RUN)
    found = accounts.experience("o/r")
    assert [outcome.model for outcome in found.outcomes] == [f"m{number}" for number in range(5, MAX_OUTCOMES + 5)]
    assert found.runs == (RUN,)
    assert accounts.experience("o/other") == Experience((OUTCOME,), ())


def test_a_damaged_memory_is_refused_in_one_sentence(accounts: Accounts, database: Database) -> None:
    accounts.remember_run("o/r", "s/r", RUN)
    with database.begin() as connection:
        connection.execute(sa.update(tables.memories).values(value='{"cost": 1}'))
    with pytest.raises(SetupError, match=r"of o/r is damaged.*\.$"):
        accounts.experience("o/r")
