"""The App's one thread beside HTTP: works on deliveries, moves sessions along, sweeps. The one broad catch is here.

Whatever it is at may be cut off anywhere: deliveries and sessions are leased, and every step can be repeated.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import chain

from bot.core.board import BOARD_LABEL
from bot.core.errors import BugError, OstlerError, PolicyError, SetupError, TransientError, UserError
from bot.core.queue import HEARTBEAT
from bot.core.session import LABEL, STOP_LABEL
from bot.github.webhook import Delivery, parse
from bot.store.boards import Drawn
from bot.store.inbox import Pending
from bot.store.runs import Row
from bot.telemetry import Handled, Trouble
from bot.web import asking, dashboard, following, starting, working
from bot.web.office import Office, Place
from bot.web.sweep import look, sweep

IDLE = 1.0
"""Seconds between two looks at the tables when nobody rings."""
MOST_TRIES = {"transient": 50, "other": 5}
LONGEST_PAUSE = 600.0


class Worker:
    """Runs in a thread of its own until it is stopped."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._sweep_at = 0.0
        self._sweeping: Iterator[None] | None = None
        self._renewing = threading.Thread(target=self._renew, name="leases", daemon=True)
        self._at: Row | None = None
        self.beat = 0.0

    def start(self) -> None:
        self._thread.start()
        self._renewing.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, seconds: float) -> None:
        """Let it finish what it is at, for `seconds` at most; the rest is found again."""
        self._stopping.set()
        self._office.wake.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        office = self._office
        while not self._stopping.is_set():
            self.beat = office.clock()
            office.wake.clear()
            try:
                busy = self.once()
            except Exception as error:  # noqa: BLE001 - the thread has to outlive whatever went wrong
                busy = False
                office.telemetry.tell(Trouble("worker", type(error).__name__, str(error)))
                self._stopping.wait(IDLE)
            if not busy:
                office.wake.wait(min(IDLE, office.settings.poll_seconds))

    def _renew(self) -> None:
        while not self._stopping.wait(self._office.settings.lease_seconds * HEARTBEAT):
            self.renew()

    def renew(self) -> None:
        """Keep the session that the worker is at."""
        office, row = self._office, self._at
        try:
            if row is not None and not office.queue.renew(row, office.clock()):
                office.telemetry.tell(Trouble("lease", "Expired", f"{row.id}: others may take it over"))
        except Exception as error:  # noqa: BLE001 - the next time may be in time
            office.telemetry.tell(Trouble("lease", type(error).__name__, str(error)))

    def once(self) -> bool:
        """One piece of work; whether there was any."""
        office = self._office
        swept = self._sweep()
        if pending := office.inbox.take(office.clock()):
            self._deliver(pending)
            return True
        if row := office.queue.due(office.clock()):
            self._move(row)
            return True
        if drawn := office.boards.due(office.clock()):
            self._draw(drawn)
            return True
        if row := office.queue.claim(office.clock()):
            if row.attempt > 1:
                office.telemetry.tell(Trouble("starting", "Again", f"{row.id}: try {row.attempt} to start a workflow run"))
            self._move(row)
            return True
        return swept

    def _sweep(self) -> bool:
        """One step of the sweep that is under way, or due."""
        now = self._office.clock()
        if self._sweeping is None and now >= self._sweep_at:
            self._sweep_at = now + self._office.settings.sweep_minutes * 60
            self._sweeping = sweep(self._office)
        if self._sweeping is None:
            return False
        sweeping, self._sweeping = self._sweeping, None  # one that raises is over
        if next(sweeping, self) is None:
            self._sweeping = sweeping
        return True

    # --- deliveries ---

    def _deliver(self, pending: Pending) -> None:
        office = self._office
        try:
            outcome, why = "done", self._handle(pending)
            office.inbox.done(pending.guid, why)
        except Exception as error:  # noqa: BLE001 - one bad delivery must not stop the others
            transient = isinstance(error, TransientError)
            kind = "transient" if transient else "other"
            why = f"{type(error).__name__}: {error}"
            hopeless = isinstance(error, UserError) and not isinstance(error, SetupError)
            if hopeless or pending.tries >= MOST_TRIES[kind]:
                outcome = "refused"
                office.inbox.refused(pending.guid, why)
            else:
                outcome = "later"
                office.inbox.later(pending.guid, office.clock() + _pause(pending.tries, error), why)
            if not isinstance(error, OstlerError) or isinstance(error, BugError):
                office.telemetry.tell(Trouble("delivery", type(error).__name__, str(error)))
        office.telemetry.tell(Handled(pending.event, outcome, why))

    def _handle(self, pending: Pending) -> str:
        """Why nothing was done, or empty."""
        office = self._office
        delivery = parse(pending.event, pending.body)
        if delivery.repository is None:
            return self._installed(delivery)
        place = office.access.place(delivery.repository.full_name)
        if place is None or place.id != delivery.repository.id or place.installation != delivery.installation_id:
            return "not a repository that the App is installed in"
        self._act(delivery, place)
        return ""

    def _installed(self, delivery: Delivery) -> str:
        """Where the App is new there may be labels already; where it is not any more, what is under way waits."""
        if delivery.action in ("deleted", "suspend") or (delivery.action == "removed" and delivery.repositories):
            self._office.queue.leave(delivery.installation_id, delivery.repositories)
            return f"{delivery.event} {delivery.action}: sessions there wait until the App is back"
        if delivery.repositories:
            self._sweeping = chain(self._sweeping or (), look(self._office, delivery.repositories))
        else:
            self._sweep_at = 0.0
        return ""

    def _act(self, delivery: Delivery, place: Place) -> None:
        office = self._office
        if delivery.event == "issues" and delivery.label == LABEL:
            starting.begin(office, place, delivery.issue)
        elif delivery.event == "issues" and delivery.label == STOP_LABEL:
            asking.stop_label(office, place, delivery.issue)
        elif delivery.event == "issues" and delivery.label == BOARD_LABEL:
            dashboard.look(office, place, delivery.issue)
        elif delivery.event == "issues" and delivery.ticks:
            dashboard.ticked(office, place, delivery)
        elif delivery.event == "issue_comment" and delivery.comment is not None:
            asking.comment(office, place, delivery.issue, delivery.comment.id, is_pull=delivery.is_pull)
        elif delivery.event == "pull_request_review":
            following.look(office, place, delivery.issue)
        elif delivery.event == "check_run" and delivery.action == "requested_action":
            asking.button(office, place, delivery)
        elif delivery.check_run is not None:
            for number in delivery.check_run.pulls:
                following.look(office, place, number)
        elif delivery.workflow_run is not None and (row := office.runs.of_workflow_run(place.id, delivery.workflow_run.id)):
            office.queue.at_once(row.id)
            following.follow(office, row)

    def _draw(self, drawn: Drawn) -> None:
        """A dashboard that can't be drawn is told of and tried again when its lease ends; no session waits for it."""
        try:
            dashboard.draw(self._office, drawn)
        except OstlerError as error:
            self._office.telemetry.tell(Trouble("dashboard", type(error).__name__, str(error)))

    # --- sessions ---

    def _move(self, row: Row) -> None:
        """Take the session one step further. What GitHub refuses for good is told where people look."""
        office, self._at = self._office, row
        try:
            self._step(row)
        except TransientError as error:
            office.queue.later(row, row.state.seq, office.clock() + _pause(1, error))
        except (PolicyError, SetupError) as error:
            office.telemetry.tell(Trouble("session", type(error).__name__, f"{row.id}: {error}"))
            if row.lane == "new":
                working.give_up(office, row, f"the session could not begin: {str(error).rstrip('.')}")
            else:
                office.queue.later(row, row.state.seq, office.clock() + 10 * office.settings.poll_seconds)
        except Exception:
            office.queue.later(row, row.state.seq, office.clock() + LONGEST_PAUSE / 10)  # before its lease ends
            raise
        finally:
            self._at = None

    def _step(self, row: Row) -> None:
        office = self._office
        if row.lane == "new":
            starting.prepare(office, row)
        elif row.lane == "dispatching":
            working.dispatch(office, row)
        else:
            if row.shown < row.state.seq:
                office.show(row.id)
            if row.lane == "running":
                working.watch(office, row)


def _pause(tries: int, error: Exception) -> float:
    if isinstance(error, TransientError) and error.retry_after:
        return min(error.retry_after, LONGEST_PAUSE)
    return min(2.0**tries, LONGEST_PAUSE)
