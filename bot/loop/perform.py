"""Effect in, event out: each effect goes to its room, and what the room says becomes an event."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bot.core.budget import Rates
from bot.core.changeset import Changeset, unified
from bot.core.effects import (
    AskPerson,
    Deliver,
    Effect,
    PrepareWorkspace,
    PriceCall,
    RepeatProof,
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
    BaselineRan,
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
from bot.core.recovery import ErrorClass
from bot.core.run import Run
from bot.llm.model import Model, Request
from bot.loop.asking import build_request
from bot.workspace.workplace import Workplace

Price = Callable[[str, str], Rates]
"""Vendor and exact model id to prices; SetupError where unknown."""

Ask = Callable[[Run, AskPerson], Answered | None]
"""Puts a contract before a person; None when they will decide later."""

Publish = Callable[[Run, Deliver], Delivered]
"""Puts the result where people find it."""


@dataclass(slots=True)
class Rooms:
    """What of the outside a run in this process may touch; what is None is not here. `clock` is UTC, ISO 8601."""

    price: Price
    workplace: Workplace | None = None
    models: Mapping[str, Model] = field(default_factory=dict)
    ask: Ask | None = None
    publish: Publish | None = None
    sleep: Callable[[float], None] = field(default=time.sleep)

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
        return self.place.prepare(effect.base_sha, run.request.ticket, run.request.settings)

    def _baseline(self, run: Run, effect: RunBaseline) -> BaselineRan:
        return BaselineRan(self.place.check_base(effect.tree, run.request.settings))

    def _fixers(self, run: Run, effect: RunFixers) -> FixersRan:
        tree, reports = self.place.fix(effect.tree, effect.calls)
        return FixersRan(tree, reports)

    def _price(self, run: Run, effect: PriceCall) -> CallPriced:
        if effect.wait > 0:
            self.sleep(effect.wait)
        request = build_request(run, lambda: self._diff(run))
        rates = self.price(effect.model.vendor, effect.model.model)
        return CallPriced(effect.call, rates, self._model(effect.model.vendor).input_bound(request), _digest(request))

    def _send(self, run: Run, effect: SendCall) -> ModelReplied | CallFailed:
        request = build_request(run, lambda: self._diff(run))
        if run.call is None or run.call.request_digest != _digest(request):
            raise BugError(f"call {effect.call} is not the one that was priced")
        thinking = min(request.thinking, effect.max_output // 2)
        request = replace(request, max_output=effect.max_output, thinking=thinking)
        began = time.monotonic()
        try:
            reply = self._model(effect.model.vendor).send(request)
        except TransientError as error:
            return CallFailed(
                effect.call, _class(error), "no" if error.billed is False else "unknown", str(error), error.retry_after
            )
        except SetupError as error:
            return CallFailed(effect.call, "environment", "no", str(error))
        except BadInput as error:
            return CallFailed(effect.call, "refused", "no", str(error))
        rates = self._answering(effect.model.vendor, effect.model.model, reply.model)
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
        return ChangesetTaken(Changeset(run.request.session, run.request.base_sha, effect.tree, files))

    def _proof(self, run: Run, effect: RunProof) -> ProofRan:
        if run.changeset is None or run.baseline is None:
            raise BugError("a proof needs a changeset and a baseline")
        return ProofRan(self.place.prove(run.base_tree, run.changeset, run.baseline, run.request.settings))

    def _proof_again(self, run: Run, effect: RepeatProof) -> ProofRepeated:
        if run.changeset is None or run.changeset.tree != effect.tree:
            raise BugError("a proof needs its changeset")
        settings = run.request.settings
        baseline = self.place.check_base(run.base_tree, settings)
        return ProofRepeated(baseline, self.place.prove(run.base_tree, run.changeset, baseline, settings))

    def _deliver(self, run: Run, effect: Deliver) -> Delivered:
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
    AskPerson: lambda rooms, run, effect: rooms.ask(run, effect) if rooms.ask else None,
    Deliver: Rooms._deliver,
}
