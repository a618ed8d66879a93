"""The driver over a real journal: killed at any moment, a run goes on as if nothing had happened, save for a lost call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from bot.core.budget import Charge
from bot.core.effects import AskPerson, Effect, PriceCall, RunBaseline, SendCall
from bot.core.errors import BugError, OstlerError
from bot.core.events import Answered, BaselineRan, BudgetRaised, CallFailed, CallPriced, Event, RoomFailed, StopRequested
from bot.core.machines import RunState
from bot.core.run import Run
from bot.core.strategy import Settings
from bot.loop.driver import Driver, Moment, fold
from bot.store.journal import Journal, Record, read_records
from tests.core.play import FLAT, MODELS, TICKETS, Rooms, checks, request, suite

RICH = 10**9


def everything(_: Run, effect: Effect) -> bool:
    return True


def all_but_models(_: Run, effect: Effect) -> bool:
    return effect.room != "llm"


def clock() -> str:
    return "2025-01-01T00:00:00+00:00"


class World:
    """A session on disk, and whoever works on it: rooms that always say the same, and a person who approves and pays."""

    def __init__(self, path: Path, seed: int, luck: float = 0.95, cap: int = RICH) -> None:
        self.path, self.seed, self.luck = path, seed, luck
        self.settings = Settings(cap, cap, MODELS, approval="always", max_turns=3)
        self.performed: list[Effect] = []

    def open(self, *observers: Callable[[Moment], None]) -> Driver:
        rooms = Rooms(self.seed, self.luck, steady=True, rates=(FLAT,))

        def perform(run: Run, effect: Effect) -> Event:
            self.performed.append(effect)
            return rooms.perform(run, effect)

        self.journal = Journal(self.path, clock)
        return Driver(self.journal, perform, everything, observers)

    def finish(self, driver: Driver) -> Run:
        """Begin or go on, and answer for the person until the run is over."""
        try:
            if not self.journal.records:
                driver.feed(request(TICKETS[self.seed % len(TICKETS)], self.settings))
            driver.recover()
            while not driver.drive().over:
                driver.feed(word(driver.run))
            return driver.run
        finally:
            self.journal.close()

    def cut(self, raw: bytes) -> World:
        """The session as a crash left it."""
        self.path.write_bytes(raw)
        self.performed.clear()
        return self


def word(run: Run) -> Event:
    assert run.waiting is not None, f"nobody is asked for anything in {run.state}"
    if run.waiting.what == "approval":
        return Answered(run.waiting.digest, "approved", "a maintainer")
    if run.waiting.what == "shared":
        return StopRequested("a maintainer")
    return BudgetRaised(run.waiting.needed, "a maintainer")


def but_for_lost_calls(run: Run) -> Run:
    """`run` without the numbers of its calls and without what lost calls cost."""

    def unnamed(charge: Charge) -> Charge:
        return replace(charge, call="")

    charges = tuple(unnamed(charge) for charge in run.ledger.charges if not charge.lost)
    return replace(run, calls=0, ledger=replace(run.ledger, charges=charges))


def check_answers(records: list[Record]) -> None:
    """Every event that answers names an effect before it, and none is answered twice."""
    answered = [record.of for record in records if record.of is not None]
    assert len(answered) == len(set(answered))
    effects = {record.seq for record in records if record.type == "effect"}
    assert set(answered) <= effects
    assert all(record.of is None or record.of < record.seq for record in records)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("luck", [0.97, 0.7])
def test_the_live_run_is_the_fold_of_its_journal(path: Path, seed: int, luck: float) -> None:
    moments: list[Moment] = []
    world = World(path, seed, luck, cap=3_000_000)
    run = world.finish(world.open(moments.append))
    records = read_records(path)
    assert fold(records) == (run, [], [])
    check_answers(records)
    assert [m.event for m in moments if m.event] == [record.item for record in records if record.type == "event"]
    assert [m.effect for m in moments if m.effect] == world.performed
    events = [record.seq for record in records if record.type == "event"]
    shown = [moment.run for moment in moments if moment.event]
    assert shown == [fold(records[: seq + 1])[0] for seq in events], "what an observer sees is what a replay will see"


INTERESTING = (24, 48, 81, 107)
"""Seeds whose runs are long, differ in how they end, and hold retries, tools, failed calls and up to three attempts."""


@pytest.mark.sampled
@pytest.mark.parametrize("seed", INTERESTING)
class TestKilledAnywhere:
    def test_a_run_cut_between_two_records_ends_the_same(self, path: Path, seed: int) -> None:
        world = World(path, seed, 0.9)
        whole = world.finish(world.open())
        raw = path.read_bytes()
        ends = [at + 1 for at, byte in enumerate(raw) if byte == 10]
        for end in [0, *ends]:
            self._goes_on(world.cut(raw[:end]), whole)

    def test_a_run_cut_within_a_record_ends_the_same(self, path: Path, seed: int) -> None:
        world = World(path, seed, 0.9)
        whole = world.finish(world.open())
        raw = path.read_bytes()
        starts = [0, *(at + 1 for at, byte in enumerate(raw) if byte == 10)]
        for start, end in pairwise(starts):
            self._goes_on(world.cut(raw[: (start + end) // 2]), whole)

    def _goes_on(self, world: World, whole: Run) -> None:
        before = read_records(world.path)
        answered = {record.of for record in before}
        done = [record.item for record in before if record.type == "effect" and record.seq in answered]
        driver = world.open()
        if before:
            assert driver.run == fold(before)[0], "opening a journal decides nothing"
        run = world.finish(driver)
        assert but_for_lost_calls(run) == but_for_lost_calls(whole)
        after = read_records(world.path)
        check_answers(after)
        assert fold(after)[0] == run
        assert [record.item for record in after[: len(before)]] == [record.item for record in before], "what was written stays"
        assert not [effect for effect in world.performed if effect in done and isinstance(effect, (SendCall, PriceCall))]
        assert run.ledger.spent <= run.ledger.run_cap


def stopped_before(world: World, kind: type[Effect]) -> Record:
    """Drive until an effect of `kind` is written, and be killed before it is performed."""

    class Killed(Exception):
        pass

    def kill(moment: Moment) -> None:
        if isinstance(moment.effect, kind):
            raise Killed

    with pytest.raises(Killed):
        world.finish(world.open(kill))
    record = read_records(world.path)[-1]
    assert isinstance(record.item, kind)
    world.performed.clear()
    return record


class TestCallsInFlight:
    def test_a_call_without_an_answer_is_lost_and_asked_anew(self, path: Path) -> None:
        world = World(path, 3, 1.0)
        sent = stopped_before(world, SendCall)
        driver = world.open()
        reserved = driver.run.ledger.reservations[0]
        driver.recover()
        failed, priced = self._last_two(path)
        assert failed.item == CallFailed(reserved.call, "interrupted", "unknown", "the process ended before an answer came")
        assert failed.of == sent.seq
        assert isinstance(priced.item, PriceCall)
        charge = driver.run.ledger.charges[-1]
        assert (charge.call, charge.amount, charge.lost) == (reserved.call, reserved.amount, True)
        assert world.performed == [], "recovering asks nobody"
        world.finish(driver)
        assert sent.item not in world.performed

    def _last_two(self, path: Path) -> list[Record]:
        return read_records(path)[-2:]

    def test_recovering_twice_loses_nothing_twice(self, path: Path) -> None:
        world = World(path, 3, 1.0)
        stopped_before(world, SendCall)
        driver = world.open()
        driver.recover()
        spent, count = driver.run.ledger.spent, len(world.journal.records)
        driver.recover()
        assert (driver.run.ledger.spent, len(world.journal.records)) == (spent, count)
        world.journal.close()

    def test_killed_again_and_again_it_waits_for_money_in_the_end_and_never_passes_the_cap(self, path: Path) -> None:
        """A process that dies at every call loses a reservation each time; the cap holds against that too."""
        world = World(path, 3, 1.0, cap=2_000_000)
        stopped_before(world, SendCall)
        for _ in range(200):
            driver = world.open()
            driver.recover()
            world.journal.close()
            if driver.run.waiting:
                break
            driver = world.open()
            driver.feed(CallPriced(driver.run.call.id if driver.run.call else "", FLAT, 20_000, ""))
            assert driver.run.ledger.committed <= 2_000_000
            world.journal.close()
            if driver.run.waiting:
                break
        assert driver.run.waiting is not None
        assert driver.run.waiting.what == "budget"
        assert driver.run.ledger.spent <= 2_000_000


class TestOutbox:
    """What this job has no room for waits, and a room may be there without an answer."""

    def test_an_effect_without_its_room_stays_pending_and_is_done_by_the_next_job(self, path: Path) -> None:
        world = World(path, 3, 1.0)
        journal = Journal(path, clock)
        rooms = Rooms(world.seed, 1.0, steady=True, rates=(FLAT,))
        driver = Driver(journal, rooms.perform, all_but_models)
        driver.feed(request(TICKETS[world.seed], world.settings))
        run = driver.drive()
        journal.close()
        assert isinstance(run.pending, PriceCall)
        assert [effect for _, effect in fold(read_records(path))[2]] == [run.pending]
        assert world.finish(world.open()).over
        check_answers(read_records(path))

    def test_a_person_who_says_nothing_yet_is_waited_for(self, path: Path) -> None:
        world = World(path, 3, 1.0)
        stopped_before(world, AskPerson)
        raw = path.read_bytes()
        journal = Journal(path, clock)
        run = Driver(journal, lambda run, effect: None, everything).drive()
        journal.close()
        assert isinstance(run.pending, AskPerson)
        assert path.read_bytes() == raw
        world.finish(world.open())


class TestPeopleAfterARestart:
    def test_a_stop_is_the_end_and_nothing_pending_is_done_after_it(self, path: Path) -> None:
        world = World(path, 3, 1.0)
        stopped_before(world, SendCall)
        driver = world.open()
        reserved = driver.run.ledger.committed
        driver.feed(StopRequested("a maintainer"))
        run = driver.drive()
        assert run.state is RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW
        assert world.performed == [], "no call is sent after the stop"
        assert run.ledger.spent == reserved, "what was out may be billed"
        world.journal.close()
        assert fold(read_records(path)) == (run, [], [])

    def test_a_stop_before_any_answer_at_all(self, path: Path) -> None:
        world = World(path, 3, 1.0)
        stopped_before(world, RunBaseline)
        driver = world.open()
        driver.feed(StopRequested("a maintainer"))
        assert driver.drive().over
        assert world.performed == []
        world.journal.close()

    def test_an_approval_given_after_a_crash_at_the_question_is_not_asked_for_again(self, path: Path) -> None:
        world = World(path, 3, 1.0)
        asked = stopped_before(world, AskPerson)
        assert isinstance(asked.item, AskPerson)
        driver = world.open()
        driver.feed(Answered(asked.item.digest, "approved", "the command line"))
        driver.recover()
        run = world.finish(driver)
        assert run.approved_by == "the command line"
        assert not [effect for effect in world.performed if isinstance(effect, AskPerson)]
        assert fold(read_records(path))[0] == run

    def test_a_question_that_nobody_answered_is_asked_again(self, path: Path) -> None:
        world = World(path, 3, 1.0)
        stopped_before(world, AskPerson)
        world.finish(world.open())
        assert isinstance(world.performed[0], AskPerson)


class TestRefusals:
    def test_an_event_that_does_not_fit_is_not_written(self, path: Path) -> None:
        world = World(path, 3, 1.0)
        stopped_before(world, SendCall)
        driver = world.open()
        run, raw = driver.run, path.read_bytes()
        with pytest.raises(BugError):
            driver.feed(BaselineRan(checks(suite({}))))
        assert (driver.run, path.read_bytes()) == (run, raw)
        world.journal.close()

    def test_a_room_that_raises_leaves_the_effect_pending(self, path: Path) -> None:
        world = World(path, 3, 1.0)
        stopped_before(world, PriceCall)
        raw = path.read_bytes()
        journal = Journal(path, clock)

        def explode(run: Run, effect: Effect) -> Event:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            Driver(journal, explode, everything).drive()
        journal.close()
        assert path.read_bytes() == raw
        assert len(fold(read_records(path))[2]) == 1

    @pytest.mark.parametrize("kind", [SendCall, PriceCall])
    def test_a_journal_that_says_otherwise_than_this_version_is_refused(self, path: Path, kind: type[Effect]) -> None:
        world = World(path, 3, 1.0)
        stopped_before(world, kind)
        records = read_records(path)
        other = replace(records[-1], item=RunBaseline("another tree"))
        with pytest.raises(OstlerError, match=f"record {other.seq}"):
            fold([*records[:-1], other])
        with pytest.raises(OstlerError):
            fold([*records, replace(records[-1], seq=records[-1].seq + 1)])

    def test_an_answer_to_nothing_is_refused(self, path: Path) -> None:
        world = World(path, 3, 1.0)
        world.finish(world.open())
        records = read_records(path)
        for at, record in enumerate(records):
            if record.of is not None:
                for other in (0, record.of - 2, record.seq + 1, 10**6):
                    with pytest.raises(BugError):
                        fold([*records[:at], replace(record, of=other)])

    def test_missing_effects_in_the_middle_are_refused(self, path: Path) -> None:
        world = World(path, 3, 1.0)
        world.finish(world.open())
        records = read_records(path)
        for at, record in enumerate(records[:-1]):
            if record.type == "effect":
                with pytest.raises(OstlerError):
                    fold([*records[:at], *records[at + 1 :]])


def test_what_a_room_could_not_say_in_utf8_is_acted_on_as_it_is_recorded(path: Path) -> None:
    """A file name that is not UTF-8, in a message: the live run and its replay must not differ."""
    journal = Journal(path, clock)
    driver = Driver(
        journal, lambda run, effect: RoomFailed(type(effect).__name__, "environment", "no file \udcff.py"), everything
    )
    driver.feed(request())
    run = driver.drive()
    journal.close()
    assert run.outcome == "no file \\udcff.py"
    assert fold(read_records(path))[0] == run


def test_whatever_an_observer_sees_is_on_disk(path: Path) -> None:
    """First written, then shown, then done: a crash in any of them loses nothing that somebody acted on."""
    behind: list[Moment] = []

    def look(moment: Moment) -> None:
        recent = [record.item for record in read_records(path)[-2:]]
        if (moment.event or moment.effect) not in recent:
            behind.append(moment)

    world = World(path, INTERESTING[0], 0.9)
    world.finish(world.open(look))
    assert behind == []
