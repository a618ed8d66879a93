"""Effect in, event out: each effect goes to its room, and what the room says becomes an event."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from bot.core.budget import Left, Rates, cost
from bot.core.changeset import Changeset, unified
from bot.core.effects import (
    AskPerson,
    Deliver,
    Effect,
    PrepareWorkspace,
    PriceCall,
    RepeatProof,
    RunAuditChecks,
    RunBaseline,
    RunFixers,
    RunProof,
    SendCall,
    TakeChangeset,
    UseTools,
)
from bot.core.errors import BadInput, BugError, PolicyError, SetupError, TransientError
from bot.core.events import (
    Answered,
    AuditChecksRan,
    BaselineRan,
    BaseMoved,
    CallFailed,
    CallPriced,
    ChangesetTaken,
    Delivered,
    Event,
    FixersRan,
    ModelReplied,
    ProofRan,
    ProofRepeated,
    RoomFailed,
    ToolsUsed,
    WorkspaceReady,
)
from bot.core.quality import measures_coverage
from bot.core.recovery import MAX_TRIES, Billed, ErrorClass
from bot.core.run import Run
from bot.llm.model import Model, Request
from bot.loop.asking import build_request
from bot.workspace.workplace import Workplace

Price = Callable[[str, str], Rates]
"""Vendor and exact model id to prices; SetupError where unknown."""

Ask = Callable[[Run, AskPerson], Answered | None]
"""Puts a contract before a person; None when they will decide later."""

Publish = Callable[[Run, Deliver], Delivered | BaseMoved]
"""Puts the result where people find it, unless what it is made for moved on."""


class Purse(Protocol):
    """What runs share: caps, quotas, the pace at which a vendor may be asked. See `bot.store.purse`."""

    def left(self, run: Run, vendor: str) -> tuple[Left, ...]:
        """How much of each shared cap is used."""

    def closed(self, vendor: str) -> float:
        """Seconds for which `vendor` is left alone because it failed so often; 0.0 is leave for one call."""

    def pace(self, vendor: str) -> float:
        """Seconds to wait and ask again; 0.0 is the turn of one call."""

    def told(self, vendor: str, *, ok: bool) -> None:
        """A call of `vendor` was answered, or given up."""

    def reserve(self, run: Run, call: str, vendor: str, money: int, tokens: int) -> str:
        """Set the worst case of a call aside under every shared cap; the cap that refuses it, or nothing."""

    def settle(self, run: Run, call: str, money: int, tokens: int) -> None:
        """Put what was billed in the place of what was set aside. What is never settled stays spent."""

    def release(self, run: Run, call: str) -> None:
        """The vendor certainly billed nothing."""

    def follow(self, run: Run) -> int:
        """Make the accounts say what the run's journal says: a crash may have come between the two. How many did not."""


@dataclass(slots=True)
class Rooms:
    """What of the outside a run in this process may touch; what is None is not here. `chance` draws from [0, 1)."""

    price: Price
    purse: Purse
    workplace: Workplace | None = None
    models: Mapping[str, Model] = field(default_factory=dict)
    ask: Ask | None = None
    publish: Publish | None = None
    sleep: Callable[[float], None] = field(default=time.sleep)
    chance: Callable[[], float] = field(default=random.random)

    def here(self, _: Run, effect: Effect) -> bool:
        """Whether this process, a run of the command line, has the room for `effect`: it is all there but somebody to ask."""
        return effect.room != "person" or self.ask is not None

    def perform(self, run: Run, effect: Effect) -> Event | None:
        """Carry out `effect`. What a person can mend becomes a `RoomFailed`; a bug stays an exception."""
        try:
            return _PERFORMERS[type(effect)](self, run, effect)
        except PolicyError as error:
            return RoomFailed(type(effect).__name__, "policy", str(error))
        except (SetupError, BadInput) as error:
            return RoomFailed(type(effect).__name__, "environment", str(error))

    def _prepare(self, run: Run, effect: PrepareWorkspace) -> WorkspaceReady:
        follow = run.request.follow
        changed = follow.changed if follow else ()
        return self.place.prepare(effect.base_sha, run.request.ticket, run.request.settings, changed)

    def _baseline(self, run: Run, effect: RunBaseline) -> BaselineRan:
        began = time.monotonic()
        checks = self.place.check_base(effect.tree, run.request.settings)
        return BaselineRan(checks, time.monotonic() - began)

    def _fixers(self, run: Run, effect: RunFixers) -> FixersRan:
        began = time.monotonic()
        tree, reports = self.place.fix(effect.tree, effect.calls)
        return FixersRan(tree, reports, time.monotonic() - began)

    def _price(self, run: Run, effect: PriceCall) -> CallPriced:
        if effect.wait > 0:
            self.sleep(effect.wait)
        rates = self.price(effect.model.vendor, effect.model.model)
        request = build_request(run, lambda: self._diff(run), rates)
        bound = self._model(effect.model.vendor).input_bound(request)
        return CallPriced(effect.call, rates, bound, _digest(request), self.purse.left(run, effect.model.vendor))

    def _send(self, run: Run, effect: SendCall) -> ModelReplied | CallFailed:
        request = build_request(run, lambda: self._diff(run), self.price(effect.model.vendor, effect.model.model))
        if run.call is None or run.call.request_digest != _digest(request):
            raise BugError(f"call {effect.call} is not the one that was priced")
        thinking = min(request.thinking, effect.max_output // 2)
        request = replace(request, max_output=effect.max_output, thinking=thinking)
        vendor = effect.model.vendor
        if alone := self.purse.closed(vendor):
            why = f"{vendor} failed so often that it is left alone for {alone:.0f} seconds"
            return CallFailed(effect.call, "unavailable", "no", why, alone, self.chance())
        while wait := self.purse.pace(vendor):
            self.sleep(wait)
        if cap := self.purse.reserve(run, effect.call, vendor, effect.amount, effect.tokens):
            why = f"another run took what the {cap} cap had left"
            return CallFailed(effect.call, "contended", "no", why, None, self.chance())
        return self._sent(run, effect, request)

    def _sent(self, run: Run, effect: SendCall, request: Request) -> ModelReplied | CallFailed:
        """One try. Where the vendor may have billed it, what is set aside stays so."""
        vendor, began = effect.model.vendor, time.monotonic()
        try:
            reply = self._model(vendor).send(request)
        except TransientError as error:
            if error.billed is False:
                self.purse.release(run, effect.call)
            if run.call is not None and run.call.tries + 1 >= MAX_TRIES:
                self.purse.told(vendor, ok=False)
            billed: Billed = "no" if error.billed is False else "unknown"
            return CallFailed(effect.call, _class(error), billed, str(error), error.retry_after, self.chance())
        except (SetupError, BadInput) as error:
            self.purse.release(run, effect.call)
            kind: ErrorClass = "environment" if isinstance(error, SetupError) else "refused"
            return CallFailed(effect.call, kind, "no", str(error))
        self.purse.told(vendor, ok=True)
        rates = self._answering(vendor, effect.model.model, reply.model)
        self.purse.settle(run, effect.call, cost(rates, reply.usage), reply.usage.prompt + reply.usage.output)
        return ModelReplied(effect.call, reply.model, rates, reply.blocks, reply.stop, reply.usage, time.monotonic() - began)

    def _answering(self, vendor: str, asked: str, answered: str) -> Rates:
        """The prices of the model that answered. Vendors answer with a dated name of the model asked for: that is its price."""
        if answered == asked or answered.startswith(f"{asked}-"):
            return self.price(vendor, asked)
        return self.price(vendor, answered)

    def _tools(self, run: Run, effect: UseTools) -> ToolsUsed:
        began = time.monotonic()
        used = self.place.use_tools(effect.tree, run.phase.conversation[-1], run.request)
        return ToolsUsed(effect.call, used.tree, used.results, used.refused, time.monotonic() - began)

    def _changeset(self, run: Run, effect: TakeChangeset) -> ChangesetTaken:
        files = self.place.worktree.changes(run.base_tree, effect.tree)
        return ChangesetTaken(Changeset(run.request.session, run.base_sha, effect.tree, files))

    def _proof(self, run: Run, effect: RunProof) -> ProofRan:
        if run.changeset is None or run.baseline is None:
            raise BugError("a proof needs a changeset and a baseline")
        began = time.monotonic()
        measures = measures_coverage(run) and not run.request.settings.repeat_proof  # the second proof is the one that counts
        proof = self.place.prove(
            run.base_tree, run.changeset, run.baseline, run.request.settings, profile=run.compiled.ci_profile, coverage=measures
        )
        return ProofRan(proof, time.monotonic() - began)

    def _proof_again(self, run: Run, effect: RepeatProof) -> ProofRepeated:
        if run.changeset is None or run.changeset.tree != effect.tree:
            raise BugError("a proof needs its changeset")
        began, settings = time.monotonic(), run.request.settings
        baseline = self.place.check_base(run.base_tree, settings)
        proof = self.place.prove(
            run.base_tree, run.changeset, baseline, settings, profile=run.compiled.ci_profile, coverage=measures_coverage(run)
        )
        return ProofRepeated(baseline, proof, time.monotonic() - began)

    def _audit_checks(self, run: Run, effect: RunAuditChecks) -> AuditChecksRan:
        began = time.monotonic()
        trials = self.place.try_checks(run.base_tree, effect.tree, effect.checks, run.request.settings)
        return AuditChecksRan(trials, time.monotonic() - began)

    def _deliver(self, run: Run, effect: Deliver) -> Delivered | BaseMoved:
        if self.publish is None:
            raise BugError("there is nowhere to deliver to")
        return self.publish(run, effect)

    def _diff(self, run: Run) -> str:
        """Without a worktree, as in the audit's own job, from the changeset: both say the same in other words."""
        if self.workplace is None:
            return unified(run.changeset) if run.changeset else ""
        return self.workplace.worktree.diff(run.base_tree, run.tree)

    @property
    def place(self) -> Workplace:
        if self.workplace is None:
            raise BugError("there is no worktree in this job")
        return self.workplace

    def _model(self, vendor: str) -> Model:
        if vendor not in self.models:
            raise SetupError(f"The run needs a model of {vendor} and its key is not set: set {vendor.upper()}_API_KEY.")
        return self.models[vendor]


def _digest(request: Request) -> str:
    """What identifies a request: all of it but the tail, which tells the money left and so differs once some is reserved."""
    return hashlib.sha256(repr(replace(request, tail="")).encode()).hexdigest()


def _class(error: TransientError) -> ErrorClass:
    if error.status == 429:
        return "rate_limited"
    return "timeout" if error.status == 408 else "transient_api"


_PERFORMERS: dict[type[Any], Callable[[Rooms, Run, Any], Event | None]] = {
    PrepareWorkspace: Rooms._prepare,
    RunBaseline: Rooms._baseline,
    RunFixers: Rooms._fixers,
    PriceCall: Rooms._price,
    SendCall: Rooms._send,
    UseTools: Rooms._tools,
    TakeChangeset: Rooms._changeset,
    RunProof: Rooms._proof,
    RepeatProof: Rooms._proof_again,
    RunAuditChecks: Rooms._audit_checks,
    AskPerson: lambda rooms, run, effect: rooms.ask(run, effect) if rooms.ask else None,
    Deliver: Rooms._deliver,
}
