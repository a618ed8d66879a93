"""Workers that spend under shared caps, by two disciplines: Ostler's, and check-then-call.

A worker is an agent run: phases of turns whose prompts grow until they are compacted. It writes into a diary before it acts, and
one that was killed goes on from there.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Literal, Protocol

from bench.till import price
from bot.core.budget import Cap, Charge, Grant, Ledger, Reservation, Shortfall, Unit, Usage, cost
from bot.llm import wire
from bot.store.accounts import Accounts

Discipline = Literal["ostler", "check-then-call"]
Moment = Literal["before", "during", "after"]
Crash = Callable[[], None]
"""Ends the worker where it is: by an exception or by SIGKILL."""

PHASES = ("PLAN", "IMPLEMENT", "REVIEW")
LAST = PHASES[-1]
CRASHES = 0.012
"""How many of the calls a worker crashes at, for each of three moments."""
TRIES = 3
"""Of one turn, where the vendor says that it is busy or down."""
_WORDS = "def total(lines): return sum(line.price * line.count for line in lines)\n" * 5_000


@dataclass(frozen=True, slots=True)
class Work:
    """Turns of one phase. Prompts are of `smallest` bytes, `step` more each turn, and small again after `span` turns."""

    phase: str
    model: str
    turns: int
    smallest: int
    step: int
    span: int
    output: int
    floor: int

    def size(self, turn: int) -> int:
        return self.smallest + self.step * (turn % self.span)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker does, and its caps: its own in `ledger`, those it shares in `shared`."""

    run: str
    name: str
    index: int
    works: tuple[Work, ...]
    ledger: Ledger
    shared: tuple[Cap, ...]

    @property
    def own(self) -> tuple[Cap, ...]:
        """The caps of the ledger that hold for more than one call, as accounts."""
        phases = [Cap(f"phase {name}", f"phase:{self.name}:{name}", limit) for name, limit in self.ledger.phase_caps]
        return (Cap("run", f"run:{self.name}", self.ledger.run_cap), *phases)

    def caps(self, phase: str) -> tuple[Cap, ...]:
        """All caps that a call of `phase` is under."""
        return (*(cap for cap in self.own if cap.name in ("run", f"phase {phase}")), *self.shared)


class Purse(Protocol):
    """How a worker minds its caps. `ask` answers the most output tokens, or what is in the way."""

    def ask(self, call: str, work: Work, bound: int) -> Grant | Shortfall: ...

    def bill(self, call: str, work: Work, used: Usage) -> None: ...

    def free(self, call: str, work: Work) -> None: ...

    def unknown(self, call: str, work: Work) -> None: ...


class Diary:
    """Lines that survive their writer. One torn by a kill ends nothing but itself."""

    def __init__(self, path: Path) -> None:
        self._path = path
        whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
        self.lines: list[list[Any]] = [json.loads(line) for line in whole.splitlines()]
        self._file = path.open("ab", buffering=0)
        self._file.truncate(len(whole) + 1 if whole else 0)

    def write(self, *line: Any) -> None:
        self.lines.append(list(line))
        self._file.write(json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        self._file.close()


class Reserving:
    """Ostler's: the worst case is set aside in the run's ledger and in every shared account before the call."""

    def __init__(self, plan: Plan, diary: Diary, accounts: Accounts) -> None:
        self._plan, self._diary, self._accounts = plan, diary, accounts
        self.ledger = plan.ledger
        bounds: dict[str, int] = {}
        for kind, call, *rest in diary.lines:
            if kind == "reserve":
                held = Reservation(call, rest[0], rest[0], rest[1])
                self.ledger = replace(self.ledger, reservations=(*self.ledger.reservations, held))
                bounds[call] = rest[2]
            elif kind == "bill":
                self.ledger = self.ledger.settle(call, role="", rates=price(rest[0]), usage=Usage(**rest[1]))
            elif kind == "free":
                self.ledger = self.ledger.release(call)
            elif kind == "lose":
                self.ledger = self.ledger.lose(call, role="", model="")
        for reservation in self.ledger.reservations:
            diary.write("lose", reservation.call)
            self.ledger = self.ledger.lose(reservation.call, role="", model="")
        if bounds:
            billed = {charge.call: (charge.amount, _tokens(charge, bounds)) for charge in self.ledger.charges}
            free = {line[1]: (0, 0) for line in diary.lines if line[0] == "free"}
            accounts.reconcile(free | billed, plan.shared)

    def ask(self, call: str, work: Work, bound: int) -> Grant | Shortfall:
        """A shared cap that refuses says what it has left: the answer is clamped to that, and asked for once more."""
        left: dict[Unit, Shortfall] = {}
        while True:
            ledger, answer = self._clamped(call, work, bound, left)
            if isinstance(answer, Shortfall):
                return answer
            tokens = bound + answer.max_output
            self._diary.write("reserve", call, work.phase, answer.amount, tokens)
            refused = self._accounts.reserve(call, self._plan.shared, money=answer.amount, tokens=tokens, at=time.time())
            if refused is None:
                self.ledger = replace(ledger, call_cap=self.ledger.call_cap)
                return answer
            self._diary.write("free", call)
            if refused.unit in left:
                return refused
            left[refused.unit] = refused

    def _clamped(self, call: str, work: Work, bound: int, left: Mapping[Unit, Shortfall]) -> tuple[Ledger, Grant | Shortfall]:
        """What the run's own ledger says of a call that has to fit into what shared caps have `left`."""
        wanted, room = work.output, self.ledger.call_cap
        if tokens := left.get("tokens"):
            wanted = min(wanted, tokens.left - bound)
            if wanted < work.floor:
                return self.ledger, tokens
        if money := left.get("money"):
            room = min(room, money.left)
        ledger, answer = replace(self.ledger, call_cap=room).reserve(
            call,
            work.phase,
            work.phase,
            price(work.model),
            input_bound=bound,
            output_wanted=wanted,
            output_floor=work.floor,
            finishing=work.phase == LAST,
        )
        if isinstance(answer, Shortfall) and answer.cap == "call" and money and room < self.ledger.call_cap:
            return ledger, money
        if isinstance(answer, Shortfall) and answer.cap == "phase":
            return ledger, replace(answer, cap=f"phase {work.phase}")
        return ledger, answer

    def bill(self, call: str, work: Work, used: Usage) -> None:
        self._diary.write("bill", call, work.model, {name: getattr(used, name) for name in _BILLED})
        self.ledger = self.ledger.settle(call, role="", rates=price(work.model), usage=used)
        self._accounts.settle(call, money=self.ledger.charges[-1].amount, tokens=used.prompt + used.output)

    def free(self, call: str, work: Work) -> None:
        self._diary.write("free", call)
        self.ledger = self.ledger.release(call)
        self._accounts.release(call)

    def unknown(self, call: str, work: Work) -> None:
        self._diary.write("lose", call)
        self.ledger = self.ledger.lose(call, role="", model=work.model)


_BILLED = ("input", "output", "cache_write", "cache_write_long")


def _tokens(charge: Charge, bounds: dict[str, int]) -> int:
    return bounds[charge.call] if charge.lost else charge.usage.prompt + charge.usage.output


class Checking:
    """Check-then-call: is less than each cap spent? Then call, and book what the answer says, if there is one."""

    def __init__(self, plan: Plan, diary: Diary, accounts: Accounts) -> None:
        self._plan, self._accounts = plan, accounts

    def ask(self, call: str, work: Work, bound: int) -> Grant | Shortfall:
        for unit, (cap, left) in self._accounts.left(self._plan.caps(work.phase)).items():
            if left <= 0:
                return Shortfall(cap.name, left, 0, unit)
        return Grant(work.output, 0, 0)

    def bill(self, call: str, work: Work, used: Usage) -> None:
        bill = (cost(price(work.model), used), used.prompt + used.output)
        self._accounts.reconcile({call: bill}, self._plan.caps(work.phase))

    def free(self, call: str, work: Work) -> None:
        """Nothing was booked."""

    def unknown(self, call: str, work: Work) -> None:
        """Nothing was booked."""


DISCIPLINES: dict[Discipline, Callable[[Plan, Diary, Accounts], Purse]] = {"ostler": Reserving, "check-then-call": Checking}


class Worker:
    """One life of a worker. `flying` has a place for each worker of the run, not 0 while a call of theirs is under way."""

    def __init__(self, plan: Plan, discipline: Discipline, diary: Diary, accounts: Accounts, port: int) -> None:
        self._plan, self._diary, self._port = plan, diary, port
        self._purse = DISCIPLINES[discipline](plan, diary, accounts)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def close(self) -> None:
        self._connection.close()
        self._diary.close()

    def work(self, flying: MutableSequence[int], crash: Crash) -> None:
        """Do what is left of the plan; the diary's last line says which cap ended it, if one did."""
        if self._diary.lines[-1:] and self._diary.lines[-1][0] == "end":
            return
        ended = ""
        for work in self._plan.works:
            prefix = f"{self._plan.run}/{self._plan.name}/{work.phase}/"
            turn = sum(line[0] == "turn" and line[1].startswith(prefix) for line in self._diary.lines)
            ended = ""
            while turn < work.turns and not ended:
                turn += 1
                ended = self._turn(f"{prefix}{turn}", work, turn, flying, crash)
        self._diary.write("end", ended)

    def _turn(self, name: str, work: Work, turn: int, flying: MutableSequence[int], crash: Crash) -> str:
        """The cap that ended the work of this phase, or nothing."""
        self._diary.write("turn", name)
        chance = Random(f"worker {name}")
        draw = chance.random() / CRASHES
        moment: Moment | None = ("before", "during", "after")[int(draw)] if draw < 3 else None
        calls = (f"{name}.{number}" for number in count(1))
        for _ in range(TRIES):
            room = self._room(calls, work, work.size(turn), flying, chance)
            if isinstance(room, str):
                return room
            call, raw = room
            flying[self._plan.index] = 1
            answered = self._call(call, work, raw, moment, crash)
            flying[self._plan.index] = 0
            if answered:
                break
        return ""

    def _room(
        self, calls: Iterator[str], work: Work, size: int, flying: Sequence[int], chance: Random
    ) -> tuple[str, bytes] | str:
        """A call that has leave and its body; or the cap that is in the way even of the smallest, with no room to wait for.

        What is too large for the room is asked again, compacted. Room may come as long as others have calls under way.
        """
        while True:
            raw, bound = request(work, size)
            alone = not _others(flying, self._plan.index)
            answer = self._purse.ask(call := next(calls), work, bound)
            if isinstance(answer, Grant):
                return call, raw.replace(b"-1", str(answer.max_output).encode(), 1)
            shared = any(cap.name == answer.cap for cap in self._plan.shared)
            if shared and not (alone and not _others(flying, self._plan.index)):
                time.sleep(chance.uniform(0.005, 0.02))
            elif size > work.smallest:
                size = work.smallest
            else:
                return answer.cap

    def _call(self, call: str, work: Work, raw: bytes, moment: Moment | None, crash: Crash) -> bool:
        """Whether the call is over; False where it may be tried again."""
        if moment == "before":
            crash()
        try:
            self._connection.request("POST", "/v1/messages", raw, {"x-call": call})
            if moment == "during":
                crash()
            response = self._connection.getresponse()
            status, said = response.status, response.read()
        except (http.client.HTTPException, ConnectionError):
            self._connection.close()
            self._purse.unknown(call, work)
            return True
        if moment == "after":
            crash()
        if status in (429, 503):
            self._purse.free(call, work)
            return False
        try:
            used = Usage(**json.loads(said)["usage"])
        except ValueError:
            self._purse.unknown(call, work)
        else:
            self._purse.bill(call, work, used)
        return True


def request(work: Work, size: int) -> tuple[bytes, int]:
    """A body of about `size` bytes, with room for the limit on output, and the most input tokens that it may be billed for."""
    payload = {"model": work.model, "max_tokens": -1, "messages": [{"role": "user", "content": _WORDS[:size]}]}
    return wire.compact(payload).encode(), wire.bound(payload, native_tools=0, replayed=0) + 8


def _others(flying: Sequence[int], index: int) -> bool:
    return any(one and at != index for at, one in enumerate(flying))
