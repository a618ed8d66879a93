"""B3: hard caps under fire. Workers that crash and share nested caps, beside check-then-call on the same traffic.

A run is a group of 1, 4 or 16 workers with caps and a database of their own. The vendor's books say what was billed.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, Literal, get_args

from bench import till
from bench.buyers import PHASES, Diary, Discipline, Plan, Reserving, Work, Worker, request
from bot.core.budget import MICRO, Cap, Ledger, worst_input_cost
from bot.core.phases import KINDS, Kind
from bot.store.accounts import Accounts
from bot.store.database import Database

TARGETS = {"overspent_runs": ("none", "", 0.0)}
SEED = "2026-11-28"
BY_THREADS, BY_PROCESSES = 1_000, 120
QUICK_THREADS, QUICK_PROCESSES = 20, 4
CHUNK = 10
WORKERS, SHARES = (1, 4, 16), (62, 32, 6)
MODELS = ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5")
MEMORY = Path("/dev/shm")
"""Where databases and diaries are kept, if it is there: processes are killed here, not machines, so nothing waits for a disk."""
KILLS = 2
"""Of each worker process, at any time, besides those at the three moments of a call."""

By = Literal["threads", "processes"]


@dataclass(frozen=True, slots=True)
class Ending:
    """A run that is over. `held` is what each cap that ended a worker counts as spent, `fullest` the largest share of any cap
    that workers have in common; `crashes` are workers lost on the way."""

    plans: tuple[Plan, ...]
    discipline: Discipline
    held: tuple[tuple[Cap, int], ...]
    fullest: float
    crashes: int


@dataclass(frozen=True, slots=True)
class Score:
    """`over` is the worst overspend of any cap, as a share of it. The utilisations are None where no cap ended any work."""

    discipline: Discipline
    over: float
    fullest: float
    utilisation: float | None
    billed: float | None
    calls: int
    crashes: int


def run(*, quick: bool, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """All runs by both disciplines, and what came of them."""
    threads, processes = (QUICK_THREADS, QUICK_PROCESSES) if quick else (BY_THREADS, BY_PROCESSES)
    say(f"B3: {threads:,} runs of worker threads that crash, {processes} of worker processes that are killed, each twice")
    scores = by_threads(threads, say)
    killed = scored("processes", range(processes))
    return figures(scores + killed, killed)


def figures(scores: Sequence[Score], killed: Sequence[Score]) -> dict[str, dict[str, Any]]:
    def both(of: Callable[[list[Score]], float], unit: str, among: Sequence[Score] = scores) -> dict[str, Any]:
        ours, theirs = (of([score for score in among if score.discipline == name]) for name in get_args(Discipline))
        return {"value": ours, "unit": unit, "beside": {"check-then-call": theirs}, "ratio": {}}

    return {
        "overspent_runs": both(lambda of: sum(score.over > 0 for score in of), "runs"),
        "worst_overspend_percent": both(lambda of: round(100 * max(score.over for score in of), 1), "%"),
        "utilisation": both(lambda of: _mean(score.utilisation for score in of), "share"),
        "billed_utilisation": both(lambda of: _mean(score.billed for score in of), "share"),
        "runs": both(len, "runs"),
        "capped_runs": both(lambda of: sum(score.utilisation is not None for score in of), "runs"),
        "calls": both(lambda of: sum(score.calls for score in of), "calls"),
        "crashes": both(lambda of: sum(score.crashes for score in of), "workers"),
        "killed_runs": both(lambda of: sum(score.crashes > 0 for score in of), "runs", killed),
        "kills": both(lambda of: sum(score.crashes for score in of), "processes", killed),
    }


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return round(fmean(known), 3) if known else math.nan


def by_threads(number: int, say: Callable[[str], None]) -> list[Score]:
    """The first `number` runs of threads, on all processors."""
    scores: list[Score] = []
    chunks = [range(at, min(at + CHUNK, number)) for at in range(0, number, CHUNK)]
    with ProcessPoolExecutor(os.cpu_count(), _context()) as pool:
        for done, found in enumerate(pool.map(scored, ["threads"] * len(chunks), chunks), 1):
            scores += found
            if done % max(1, len(chunks) // 5) == 0:
                say(f"B3: {done * CHUNK:,} of {number:,}")
    return scores


def scored(by: By, numbers: Iterable[int]) -> list[Score]:
    """The runs with these numbers, each by both disciplines: same plans, same caps, same trouble."""
    scores: list[Score] = []
    numbers = list(numbers)
    for discipline in get_args(Discipline):
        endings: list[Ending] = []
        with till.serve() as vendor, _folder() as folder:
            for number in numbers:
                place = Path(folder) / str(number)
                place.mkdir()
                chance = Random(f"{SEED} {by} {number}")
                plans = plan(f"{SEED}-{by}-{number}", chance)
                live = live_threads if by == "threads" else live_processes
                endings.append(ended(plans, discipline, place, live(plans, discipline, place, vendor.port, chance)))
        scores += [score(ending, vendor) for ending in endings]
    return scores


# --- plans ---


def plan(run: str, chance: Random) -> tuple[Plan, ...]:
    """Workers and caps of one run. Each level of caps is sometimes the tight one."""
    number = chance.choices(WORKERS, SHARES)[0]
    ledgers, works = [], []
    for _ in range(number):
        works.append(tuple(_work(phase, chance) for phase in PHASES))
        ledgers.append(_ledger(works[-1], chance))
    size = chance.randint(1, number)
    sessions = [range(at, min(at + size, number)) for at in range(0, number, size)]
    limits = [int(sum(ledgers[at].run_cap for at in members) * chance.uniform(0.5, 1.3)) for members in sessions]
    day = int(sum(limits) * chance.uniform(0.6, 1.2))
    wide = [Cap("day", "day", day), Cap("installation", "installation", int(day * chance.uniform(0.7, 1.3)))]
    if chance.random() < 0.3:
        wide.append(Cap("week", "week", number * chance.randint(1_000_000, 4_000_000), "tokens"))
    return tuple(
        Plan(run, f"w{at}", at, works[at], ledgers[at], (Cap("session", f"session:{at // size}", limits[at // size]), *wide))
        for at in range(number)
    )


def _work(phase: str, chance: Random) -> Work:
    stage = KINDS[Kind(phase)].stages[0]
    turns = chance.randint(3, 12) if phase == "PLAN" else chance.randint(10, 50)
    smallest, step, span = chance.randint(6_000, 24_000), chance.randint(1_000, 8_000), chance.randint(8, 24)
    return Work(phase, chance.choice(MODELS), turns, smallest, step, span, stage.output, stage.floor)


def _ledger(works: Sequence[Work], chance: Random) -> Ledger:
    """A run's caps: 10 to 50 times what its dearest smallest call may cost, split over the phases as Ostler does."""
    cap = int(max(map(least, works)) * math.exp(chance.uniform(math.log(10), math.log(50))))
    phases = tuple((phase, cap * KINDS[Kind(phase)].share // 100) for phase in PHASES)
    return Ledger(cap, int(cap * chance.uniform(0.2, 1)), cap * KINDS[Kind.REVIEW].share // 200, phases)


def least(work: Work) -> int:
    """Micro-dollars that the smallest call of `work` may cost."""
    price, (_, bound) = till.price(work.model), request(work, work.smallest)
    return worst_input_cost(price, bound) + work.floor * price.up_to(bound)[-1].output // MICRO


# --- lives ---


class Crashed(Exception):
    """A worker thread is gone, with all that it had in memory."""


def live_threads(plans: Sequence[Plan], discipline: Discipline, folder: Path, port: int, chance: Random) -> int:
    """Work in one thread for each plan until all are through; how many crashed on the way."""
    flying = bytearray(len(plans))

    def crash() -> None:
        raise Crashed

    def live(plan: Plan) -> int:
        for crashes in range(10_000):
            worker = Worker(plan, discipline, Diary(folder / plan.name), Accounts(database), port)
            with closing(worker):
                try:
                    worker.work(flying, crash)
                except Crashed:
                    flying[plan.index] = 0
                else:
                    return crashes
        raise RuntimeError("a worker crashed without end")

    with closing(Database.open(_address(folder))) as database, ThreadPoolExecutor(len(plans)) as pool:
        return sum(pool.map(live, plans))


def live_processes(plans: Sequence[Plan], discipline: Discipline, folder: Path, port: int, chance: Random) -> int:
    """The same in processes, killed with -9 at the moments of their calls and at any time; how many were."""
    context, kills, spare = _context(), 0, KILLS * len(plans)
    flying = context.RawArray("b", len(plans))

    def start(plan: Plan) -> Any:
        process = context.Process(target=_live_once, args=(plan, discipline, folder, port, flying))
        process.start()
        return process

    Database.open(_address(folder)).close()
    living = {start(plan): plan for plan in plans}
    while living:
        ended = wait([process.sentinel for process in living], timeout=chance.uniform(0.02, 0.2))
        if not ended and spare:
            chance.choice(list(living)).kill()
            spare -= 1
        for process in [process for process in living if process.sentinel in ended]:
            process.join()
            gone = living.pop(process)
            if process.exitcode == -signal.SIGKILL:
                kills += 1
                flying[gone.index] = 0
                living[start(gone)] = gone
            elif process.exitcode:
                raise RuntimeError(f"a worker ended with {process.exitcode}")
            process.close()
    return kills


def _live_once(plan: Plan, discipline: Discipline, folder: Path, port: int, flying: Any) -> None:
    with closing(Database.open(_address(folder))) as database:
        worker = Worker(plan, discipline, Diary(folder / plan.name), Accounts(database), port)
        with closing(worker):
            worker.work(flying, lambda: os.kill(os.getpid(), signal.SIGKILL))


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="ostler-b3-", dir=MEMORY if MEMORY.is_dir() else None)


def _address(folder: Path) -> str:
    return f"sqlite:///{folder}/ostler.db"


def _context() -> Any:
    """Forks come from a process without threads that has everything loaded, the other benches too: children begin with main."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([name for name in sys.modules if name.startswith("bench.") and name != "bench.__main__"])
    return context


# --- scores ---


def ended(plans: tuple[Plan, ...], discipline: Discipline, folder: Path, crashes: int) -> Ending:
    """What the diaries and the accounts in `folder` say of a run that is over."""
    held: dict[str, tuple[Cap, int]] = {}
    with closing(Database.open(_address(folder))) as database:
        accounts = Accounts(database)
        for plan in plans:
            with closing(Diary(folder / plan.name)) as diary:
                by = diary.lines[-1][1]
                own = Reserving(plan, diary, accounts).ledger if discipline == "ostler" else None
            for cap in plan.caps(PHASES[-1]):
                if cap.name == by:
                    held[cap.account] = (cap, _held(cap, own, accounts))
        shared = {cap for plan in plans for cap in plan.shared}
        fullest = max(_held(cap, None, accounts) / cap.limit for cap in shared)
    return Ending(plans, discipline, tuple(held.values()), fullest, crashes)


def _held(cap: Cap, own: Ledger | None, accounts: Accounts) -> int:
    if own and cap.name == "run":
        return own.committed
    if own and cap.name.startswith("phase "):
        return own.committed_to(cap.name.removeprefix("phase "))
    return cap.limit - accounts.left([cap])[cap.unit][1]


def score(ending: Ending, vendor: till.Till) -> Score:
    """What the vendor billed under each cap, beside its limit."""
    by_name = {plan.name: plan for plan in ending.plans}
    bills = vendor.of(ending.plans[0].run)
    billed: Counter[Cap] = Counter()
    for bill in bills:
        _, name, phase, _ = bill.call.split("/")
        billed.update({cap: bill.money if cap.unit == "money" else bill.tokens for cap in by_name[name].caps(phase)})
    over = max((billed[cap] / cap.limit - 1 for cap in billed), default=0.0)
    used = fmean(min(1.0, held / cap.limit) for cap, held in ending.held) if ending.held else None
    paid = fmean(billed[cap] / cap.limit for cap, _ in ending.held) if ending.held else None
    return Score(ending.discipline, max(0.0, over), ending.fullest, used, paid, len(bills), ending.crashes)
