"""What workflow runs may spend together: set aside in the App's accounts before one begins, settled when it tells what it spent.

Jobs share no database, so each workflow run gets an allowance that no other can spend, out of what its session, its repository's
day and this App's day have left. One that is lost keeps its allowance until the session's state says what was spent. Days are
UTC's, and money counts on the day on which it was set aside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bot.core.budget import LEAST, MICRO, Cap, Shortfall, dollars
from bot.core.queue import MOST_PER_REPOSITORY
from bot.core.session import SessionState
from bot.store.runs import Row, lane_of
from bot.store.shares import Shares
from bot.web.moves import retried
from bot.web.office import Office

NONE = 10_000_000_000 * MICRO
"""A cap that no sum reaches: what no cap limits is counted all the same, for the day on which one is set."""
PLACE = "app"
USEFUL = 10
"""An allowance of less than this part of what a run may cost is of no use."""


@dataclass(frozen=True, slots=True)
class Limits:
    """By the repository's configuration: micro-dollars of a run, of a session's runs, of the repository's day (0 is none), and
    how many workflow runs may work at a time."""

    run: int
    session: int
    day: int
    per_repository: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a workflow run may spend, in micro-dollars, and the shared cap that has no more; None where none is shared."""

    amount: int | None
    cap: str


def read_limits(value: Any) -> Limits | None:
    """The limits in decoded JSON; None where it holds none."""
    if not isinstance(value, dict) or value.keys() != set(Limits.__dataclass_fields__):
        return None
    if any(type(number) is not int or not 0 <= number < NONE for number in value.values()) or not value["run"]:
        return None
    limits = Limits(**value)
    return limits if 1 <= limits.per_repository <= MOST_PER_REPOSITORY else None


def grant(office: Office, row: Row, workflow_run: int, limits: Limits) -> Allowance | Shortfall:
    """Set aside what the workflow run may spend, all that the run may still cost if there is as much; asked again, the same.
    One that only ships what is there spends nothing.

    The shortfall says what the smallest useful allowance would be.
    """
    book, state, key = office.accounts, row.state, _key(row.id, workflow_run)
    caps = _caps(office, row.repo_id, row.id, office.clock(), limits)
    told = [Cap(cap.name, cap.account, cap.limit if cap.limit < NONE else 0) for cap in caps]
    book.tell(told)
    if state.shipped_by or not any(cap.limit for cap in told):
        return Allowance(None, "")
    wanted = max(LEAST, max(limits.run, state.cap) + state.added - state.spent)
    least = min(wanted, state.needs or wanted // USEFUL)
    while True:
        cap, left = book.left(caps)["money"]
        if (amount := book.booked(key)) is not None:
            return Allowance(amount, cap.name)
        amount = min(wanted, left)
        if amount < least:
            return Shortfall(cap.name, max(0, left), least)
        if book.reserve(key, caps, money=amount, tokens=0, at=office.clock()) is None:
            return Allowance(amount, cap.name)


def why_none(short: Shortfall) -> str:
    """What a session that gets no allowance waits for, in one sentence."""
    return (
        f"the {short.cap} cap leaves {dollars(short.left)} for all sessions, and going on takes {dollars(short.needed)}: it goes "
        "on by itself when there is room"
    )


def settle(office: Office, row: Row) -> None:
    """Book what the session has spent by its state, and free the rest. While jobs of it are lost nobody knows, so it stays."""
    state = row.state
    if not state.lost:
        caps = _caps(office, row.repo_id, row.id, office.clock())
        key = _key(row.id, state.artifact_run)
        office.accounts.bill(_key(row.id), state.spent, key, caps, office.clock())


def over(office: Office, state: SessionState, amount: int) -> str:
    """Why so much more for the session is more than a shared cap allows; empty where it is not."""
    now = office.clock()
    caps = office.accounts.limits([cap.account for cap in _caps(office, state.repo_id, state.session, now)])
    whole = max(state.cap, state.spent) + state.added + amount
    for cap in caps:
        if whole > cap.limit:
            return (
                f"The {cap.name} cap is {dollars(cap.limit)}, so this session cannot have {dollars(whole)}: raise that cap first."
            )
    return ""


def wake(office: Office) -> None:
    """Have sessions go on that waited for room where there is some now; of those under one cap the first, the rest later."""
    taken: set[str] = set()
    for row in office.runs.short():
        names = [cap.account for cap in _caps(office, row.repo_id, row.id, office.clock())]
        caps = office.accounts.limits(names)
        left = office.accounts.left(caps).get("money")
        mine = {cap.account for cap in caps} | {name for name in names if name.startswith("day:")}
        if (left and left[1] < row.state.needs) or taken & mine:
            continue
        taken |= mine
        office.change(row.id, lambda state: retried(state, office.at) if lane_of(state) == "short" else state)
        office.show(row.id)


def today(office: Office) -> list[dict[str, Any]]:
    """What today's caps of repositories and of the App allow, and hold: what is spent or set aside, in micro-dollars."""
    names: dict[str, str] = {}
    for number, repo in office.runs.repositories().items():
        names |= {cap.account: repo if cap.name == "day" else "" for cap in _caps(office, number, "", office.clock())[1:]}
    rows = []
    for cap in office.accounts.limits(list(names)):
        left = office.accounts.left([cap])["money"][1]
        rows.append(
            {"cap": cap.name, "repository": names[cap.account], "limit": cap.limit, "held": cap.limit - left, "left": left}
        )
    return rows


def _key(session: str, workflow_run: int | None = None) -> str:
    return f"allowance/{session}/{'' if workflow_run is None else workflow_run}"


def _caps(office: Office, repo_id: int, session: str, now: float, limits: Limits | None = None) -> tuple[Cap, ...]:
    """The caps over a session, each with its account of today."""
    ours = office.settings.max_cost_per_day
    of_session, of_day = (limits.session, limits.day) if limits else (0, 0)
    shares = Shares(str(repo_id), PLACE, of_session or NONE, of_day or NONE, int(ours * MICRO) if ours else NONE)
    return shares.caps(session, "", now)
