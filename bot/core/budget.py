"""Money as integer micro-dollars: reserve the worst case before a call, settle from the bill, never exceed a cap.

A call is admitted only when its worst case fits into what every enclosing cap has left after all that is spent or reserved:
call, phase, run, and those that runs share (session, day, installation). A reservation whose outcome is unknown stays spent in
full. So the bill is at most the cap, whatever crashes in between.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from bot.core.errors import BugError

MICRO = 1_000_000
"""Micro-dollars in a dollar, and tokens in the unit that prices are quoted for."""
RUNNER, RUNNER_MINUTES = "GitHub Actions", "CI"
"""In charges for minutes of jobs: who bills them, and their kind."""
LEAST = MICRO // 100
"""The least that a run has, be it too little for any call: then it waits for more and says so."""
LOST = "LOST"
"""The kind of what a lost job may have spent."""
Unit = Literal["money", "tokens"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call as billed. `input` excludes everything cached; `output` includes thinking.

    `estimated` marks a usage that the vendor did not send and that was computed from characters / 4.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_long: int = 0
    estimated: bool = False

    @property
    def prompt(self) -> int:
        """All input tokens, cached or not: what a vendor's price tier is chosen by."""
        return self.input + self.cache_read + self.cache_write + self.cache_write_long

    @property
    def fresh(self) -> int:
        """Tokens that were worked on: what was read from a cache is left out. A transcript that is sent again with every turn
        says how many turns there were, not how much work; what it costs, the money caps count."""
        return self.input + self.cache_write + self.cache_write_long + self.output

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
            self.cache_write_long + other.cache_write_long,
            self.estimated or other.estimated,
        )


@dataclass(frozen=True, slots=True)
class PriceTier:
    """Micro-dollars per million tokens for prompts of more than `above` tokens."""

    above: int
    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_long: int


@dataclass(frozen=True, slots=True)
class Rates:
    """The price of one exact model id, as of `dated` (ISO date). Tiers are sorted by `above`; the first starts at 0."""

    model: str
    dated: str
    tiers: tuple[PriceTier, ...]

    def tier(self, prompt_tokens: int) -> PriceTier:
        return self.up_to(prompt_tokens)[-1]

    def up_to(self, prompt_tokens: int) -> tuple[PriceTier, ...]:
        """The tiers that a prompt of at most so many tokens may fall into. A smaller prompt is not always the cheaper one."""
        return tuple(tier for tier in self.tiers if tier.above == 0 or prompt_tokens > tier.above)


def cost(rates: Rates, usage: Usage) -> int:
    """What `usage` costs, in micro-dollars, rounded up."""
    tier = rates.tier(usage.prompt)
    exact = (
        usage.input * tier.input
        + usage.output * tier.output
        + usage.cache_read * tier.cache_read
        + usage.cache_write * tier.cache_write
        + usage.cache_write_long * tier.cache_write_long
    )
    return -(-exact // MICRO)


def worst_input_cost(rates: Rates, input_bound: int) -> int:
    """The dearest way the vendor can bill up to `input_bound` tokens of input: all of them at the highest of the input prices."""
    dearest = max(max(tier.input, tier.cache_read, tier.cache_write, tier.cache_write_long) for tier in rates.up_to(input_bound))
    return -(-input_bound * dearest // MICRO)


@dataclass(frozen=True, slots=True)
class Cap:
    """A limit that several runs share. `account` is what is counted under it, such as `day:owner/name:2026-11-28`; `unit` says
    whether `limit` is micro-dollars or tokens."""

    name: str
    account: str
    limit: int
    unit: Unit = "money"


@dataclass(frozen=True, slots=True)
class Left:
    """How much of a shared cap was used when somebody looked, in the cap's unit."""

    cap: Cap
    used: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money set aside for a call in flight of the phase `phase`, or for the minutes of a job. `kind` is what the phase caps are
    about: one of the nine, or CI."""

    call: str
    kind: str
    phase: str
    amount: int


@dataclass(frozen=True, slots=True)
class Charge:
    """Money gone. `lost` marks a call whose outcome is unknown: its whole reservation counts as spent."""

    call: str
    kind: str
    phase: str
    role: str
    model: str
    amount: int
    usage: Usage = field(default_factory=Usage)
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to call: the most output tokens to ask for, what is set aside, and the most tokens in and out."""

    max_output: int
    amount: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Shortfall:
    """No leave to call: which cap is in the way, what it has left and what the smallest useful call would need."""

    cap: str
    left: int
    needed: int
    unit: Unit = "money"


@dataclass(frozen=True, slots=True)
class Ledger:
    """The account of one run. All amounts are micro-dollars."""

    run_cap: int
    call_cap: int
    finish_reserve: int = 0
    phase_caps: tuple[tuple[str, int], ...] = ()
    reservations: tuple[Reservation, ...] = ()
    charges: tuple[Charge, ...] = ()

    @property
    def spent(self) -> int:
        return sum(charge.amount for charge in self.charges)

    @property
    def committed(self) -> int:
        """Spent and reserved: what a cap is compared with."""
        return self.spent + sum(reservation.amount for reservation in self.reservations)

    @property
    def calls(self) -> int:
        """Charges for models, or for what a job may have asked them."""
        return sum(charge.kind != RUNNER_MINUTES for charge in self.charges)

    @property
    def usage(self) -> Usage:
        return sum((charge.usage for charge in self.charges), Usage())

    def spent_on(self, kind: str) -> int:
        return sum(charge.amount for charge in self.charges if charge.kind == kind)

    def committed_to(self, kind: str) -> int:
        return self.spent_on(kind) + sum(r.amount for r in self.reservations if r.kind == kind)

    def room(self, kind: str, *, finishing: bool, shared: tuple[Left, ...] = ()) -> tuple[str, int]:
        """The tightest cap for a call of a phase of `kind`, by name, and what it has left.

        Only finishing (audit and delivery) may use the finish reserve.
        """
        rooms = [("call", self.call_cap), ("run", self.run_cap - self.committed - (0 if finishing else self.finish_reserve))]
        rooms += [("phase", cap - self.committed_to(kind)) for name, cap in self.phase_caps if name == kind]
        rooms += [(left.cap.name, left.cap.limit - left.used) for left in shared if left.cap.unit == "money"]
        return min(rooms, key=lambda item: item[1])

    def reserve(
        self,
        call: str,
        kind: str,
        phase: str,
        rates: Rates,
        *,
        input_bound: int,
        output_wanted: int,
        output_floor: int,
        finishing: bool = False,
        shared: tuple[Left, ...] = (),
    ) -> tuple[Ledger, Grant | Shortfall]:
        """Set aside the worst case of a call, with its output clamped to what is affordable, down to `output_floor`."""
        if self.holds(call) or any(c.call == call for c in self.charges):
            raise BugError(f"call {call} was reserved before")
        cap, room = self.room(kind, finishing=finishing, shared=shared)
        left = max(room, 0)
        base, price = worst_input_cost(rates, input_bound), max(tier.output for tier in rates.up_to(input_bound))
        affordable = output_wanted if price == 0 else max(0, left - base) * MICRO // price
        output = min(output_wanted, affordable)
        floor = min(output_floor, output_wanted)
        if left < base or output < floor:
            return self, Shortfall(cap, left, base + -(-floor * price // MICRO))
        amount = base + -(-output * price // MICRO)
        return self.hold(call, kind, amount, phase=phase), Grant(output, amount, input_bound + output)

    def settle(self, call: str, *, role: str, rates: Rates, usage: Usage) -> Ledger:
        """Replace a reservation by what the vendor billed."""
        reservation = self._reservation(call)
        charge = Charge(call, reservation.kind, reservation.phase, role, rates.model, cost(rates, usage), usage)
        return self._closed(reservation, charge)

    def hold(self, call: str, kind: str, amount: int, *, phase: str = "") -> Ledger:
        """Set `amount` aside, whatever is left: for what cannot be refused once it has begun, such as a job's minutes."""
        return replace(self, reservations=(*self.reservations, Reservation(call, kind, phase, amount)))

    def holds(self, call: str) -> bool:
        return any(reservation.call == call for reservation in self.reservations)

    def bill(self, call: str, *, role: str, model: str, amount: int) -> Ledger:
        """Replace what was held for `call` by what it took."""
        reservation = self._reservation(call)
        return self._closed(reservation, Charge(call, reservation.kind, reservation.phase, role, model, amount))

    def lose(self, call: str, *, role: str, model: str) -> Ledger:
        """The outcome of the call is unknown: its whole reservation is spent."""
        reservation = self._reservation(call)
        lost = Charge(call, reservation.kind, reservation.phase, role, model, reservation.amount, lost=True)
        return self._closed(reservation, lost)

    def lose_job(self, call: str, job: str, amount: int) -> Ledger:
        """A job that may have spent up to `amount` left no account of it: as much of that as the cap still holds is spent."""
        taken = max(0, min(amount, self.run_cap - self.committed))
        return replace(self, charges=(*self.charges, Charge(call, LOST, "", f"{job} job", "unknown", taken, lost=True)))

    def release(self, call: str) -> Ledger:
        """The vendor certainly billed nothing: the reservation is free again."""
        reservation = self._reservation(call)
        return replace(self, reservations=tuple(r for r in self.reservations if r is not reservation))

    def _reservation(self, call: str) -> Reservation:
        for reservation in self.reservations:
            if reservation.call == call:
                return reservation
        raise BugError(f"call {call} holds no reservation")

    def _closed(self, reservation: Reservation, charge: Charge) -> Ledger:
        kept = tuple(r for r in self.reservations if r is not reservation)
        return replace(self, reservations=kept, charges=(*self.charges, charge))


def dollars(amount: int) -> str:
    """`amount` micro-dollars for people: two decimals from a dollar up, four below where cents would read as nothing."""
    value = amount / MICRO
    return f"${value:.2f}" if amount == 0 or value >= 1 or amount % 10_000 == 0 else f"${value:.4f}"
