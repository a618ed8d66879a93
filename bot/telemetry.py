"""What the App tells about itself: frozen facts, and hooks that turn each into a log line and into Prometheus' counters.

A hook can't raise: what goes wrong while telling must not stop what is told about.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TextIO

from prometheus_client import CollectorRegistry, Counter, Histogram

from bot.core.paths import printable
from bot.core.policy import redact


@dataclass(frozen=True, slots=True)
class Delivered:
    """A webhook delivery was answered. `outcome` is stored, repeated, ignored or refused."""

    event: str
    outcome: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Handled:
    """A stored delivery was worked on. `outcome` is done, refused or later."""

    event: str
    outcome: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    session: str
    repo: str
    by: str
    found: str  # new, or recovered from GitHub


@dataclass(frozen=True, slots=True)
class Asked:
    """A command, button or label of a person. `outcome` is done or the reason why not."""

    verb: str
    repo: str
    issue: int
    by: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Dispatched:
    """A workflow run works on a session. `how` is dispatched, adopted (found after a crash) or claimed (by its gate)."""

    session: str
    workflow_run: int
    how: str


@dataclass(frozen=True, slots=True)
class Settled:
    """A workflow run is over for its session. Money is micro-dollars, of this workflow run."""

    session: str
    standing: str
    run_state: str
    cost: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Lost:
    """A workflow run ended without settling. `what` was done about it: rerun, begun anew or given up."""

    session: str
    workflow_run: int
    what: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A delivered change was audited. Two auditors called `points` things major and were apart on `disagreed` of them; `planted`
    is what became of a known defect: caught, approved, or empty where none was shown."""

    session: str
    points: int
    disagreed: int
    planted: str


@dataclass(frozen=True, slots=True)
class JobAnswered:
    """A job of a workflow asked. `status` is HTTP's."""

    endpoint: str
    status: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Swept:
    repositories: int
    started: int
    failed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something went wrong that nobody was told otherwise. `kind` is the name of the exception."""

    where: str
    kind: str
    why: str


Fact = Delivered | Handled | Started | Asked | Dispatched | Settled | Judged | Lost | JobAnswered | Swept | Trouble
Hook = Callable[[Fact], None]


class Telemetry:
    def __init__(self, hooks: Sequence[Hook]) -> None:
        self._hooks = tuple(hooks)

    def tell(self, fact: Fact) -> None:
        for hook in self._hooks:
            try:
                hook(fact)
            except Exception as error:  # noqa: BLE001 - telling must not stop what is told about
                with suppress(OSError, ValueError):  # the log itself may be what is gone
                    print(f"ostler: telemetry failed: {type(error).__name__}", file=sys.stderr)


class Log:
    """One line of JSON per fact; no known form of secret, no character that a reader can't see. Ignored deliveries are only
    counted: they are most of what a busy repository sends."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    def __call__(self, fact: Fact) -> None:
        if isinstance(fact, Delivered) and fact.outcome == "ignored":
            return
        values = {name: _clean(value) if isinstance(value, str) else value for name, value in asdict(fact).items()}
        if "event" in values:  # the log's own name for what happened
            values["delivery"] = values.pop("event")
        line = json.dumps(values | {"event": type(fact).__name__.lower(), "timestamp": datetime.now(UTC).isoformat()})
        self._stream.write(line + "\n")
        self._stream.flush()


@lru_cache(256)
def _clean(value: str) -> str:
    return printable(redact(value))[:500]


class Metrics:
    """Counters since the start of the process. Labels have few values: none is a name that people choose."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"ostler_{name}", text, labels, registry=registry)

        self._deliveries = counter("deliveries", "Webhook deliveries by answer", "outcome")
        self._handled = counter("deliveries_handled", "Stored deliveries by what became of them", "outcome")
        self._sessions = counter("sessions_started", "Sessions by how they were found", "found")
        self._commands = counter("commands", "Commands and buttons of people", "verb", "outcome")
        self._dispatches = counter("dispatches", "Workflow runs by how they came to their session", "how")
        self._settled = counter("workflow_runs_settled", "Settled workflow runs", "standing", "run_state")
        self._lost = counter("workflow_runs_lost", "Workflow runs that ended without settling", "what")
        self._money = counter("spent_microdollars", "What models were paid, in millionths of a dollar")
        self._points = counter("audit_points", "Things that two auditors called major between them", "agreed")
        self._planted = counter("audit_trials", "Known defects shown to auditors, by what became of them", "outcome")
        self._jobs = counter("job_requests", "Requests of workflow jobs", "endpoint", "status")
        self._sweeps = counter("sweeps", "Sweeps over all repositories")
        self._troubles = counter("troubles", "Things that went wrong", "where")
        self._seconds = Histogram(
            "ostler_workflow_run_seconds",
            "From a workflow run's start to its settling",
            registry=registry,
            buckets=(30, 60, 120, 300, 600, 1200, 1800, 3600, 7200),
        )

    def __call__(self, fact: Fact) -> None:
        match fact:
            case Delivered():
                self._deliveries.labels(fact.outcome).inc()
            case Handled():
                self._handled.labels(fact.outcome).inc()
            case Started():
                self._sessions.labels(fact.found).inc()
            case Asked():
                self._commands.labels(fact.verb, "done" if fact.outcome == "done" else "refused").inc()
            case Dispatched():
                self._dispatches.labels(fact.how).inc()
            case Settled():
                self._settled.labels(fact.standing, fact.run_state).inc()
                self._money.inc(max(0, fact.cost))
                self._seconds.observe(max(0.0, fact.seconds))
            case Judged():
                self._judged(fact)
            case Lost():
                self._lost.labels(fact.what).inc()
            case JobAnswered():
                self._jobs.labels(fact.endpoint, str(fact.status)).inc()
            case Swept():
                self._sweeps.inc()
            case Trouble():
                self._troubles.labels(fact.where).inc()

    def _judged(self, fact: Judged) -> None:
        self._points.labels("no").inc(fact.disagreed)
        self._points.labels("yes").inc(max(0, fact.points - fact.disagreed))
        if fact.planted in ("caught", "approved"):
            self._planted.labels(fact.planted).inc()
