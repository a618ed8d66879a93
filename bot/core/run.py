"""A run as a value: what is known, which phases there are and in which states. `bot.core.step` says how it changes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import Literal

from bot.core import machines
from bot.core.answers import Approach, Audit, EdgeCases, ObjectionAnswer, Plan, PlanReview, Spec
from bot.core.budget import Cap, Ledger
from bot.core.changeset import Changeset, canonical
from bot.core.conversation import Conversation
from bot.core.effects import Effect
from bot.core.errors import BugError
from bot.core.events import BaseMoved, ClassChosen, JobBegan, JobLost, PhaseSkipped, RunRequested, WorkspaceReady
from bot.core.findings import Finding
from bot.core.machines import PhaseState, RunState, TierState
from bot.core.phases import Kind
from bot.core.policy import MAX_CHANGESET_BYTES, MAX_FILES
from bot.core.reports import FixerCall, FixerReport
from bot.core.selection import Choice
from bot.core.setback import Setback
from bot.core.standing import DAY
from bot.core.strategy import Strategy
from bot.core.validation import CheckSet, Proof, Verdict

MOVING = ("rebase", "conflict")
"""Rungs of a build phase that puts a change onto a base that moved: git alone, or a model where both changed the same lines."""


@dataclass(frozen=True, slots=True)
class Tier:
    """An ordered group of phases."""

    name: str
    state: TierState = TierState.PENDING


@dataclass(frozen=True, slots=True)
class Phase:
    """The smallest planned unit. `conversation` follows the prompt that the phase's template makes; `origin` names the phase that
    a backtrack came from. `seconds` is the time that it was worked on, waiting left out.

    Of a build phase `brief` are the problems that the attempt before left, `rung` is its place on the ladder, `fixers` are the
    tools that make it in place of a model, `began` is the change as it found it, and `setback` why it did not pass.
    """

    id: str
    tier: str
    kind: Kind
    state: PhaseState = PhaseState.QUEUED
    reason: str = ""
    origin: str = ""
    stage: str = ""
    conversation: Conversation = ()
    turns: int = 0
    unusable: int = 0
    brief: tuple[str, ...] = ()
    choice: Choice | None = None
    seconds: float = 0.0
    rung: str = ""
    fixers: tuple[FixerCall, ...] = ()
    began: Changeset | None = None
    setback: Setback | None = None

    @property
    def is_attempt(self) -> bool:
        """Whether a model does the work of the ticket in it: not what tools make, nor what puts finished work onto a new base."""
        return self.kind is Kind.IMPLEMENT and not self.fixers and self.rung not in MOVING


@dataclass(frozen=True, slots=True)
class Call:
    """The model request under way. `request_digest` is known once it was priced."""

    id: str
    phase: str
    stage: str
    choice: Choice
    tries: int = 0
    request_digest: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a person has to do before the run goes on: approve `digest`, raise the budget to at least `needed`, accept an
    overrun, or ask again when a cap that is shared with other runs has room."""

    what: Literal["approval", "budget", "overrun", "shared"]
    text: str
    digest: str = ""
    needed: int = 0


@dataclass(frozen=True, slots=True)
class Overrun:
    """A limit that a person raised: money (micro-dollars) or tokens, by whom, why, from and to."""

    what: Literal["money", "tokens"]
    by: str
    reason: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one model said of the change, evidence that does not resolve left out."""

    choice: Choice
    audit: Audit


@dataclass(frozen=True, slots=True)
class Planted:
    """The change was shown to an auditor once more, with a known defect. `skipped` says why it was not."""

    auditor: str
    place: str
    approved: bool = False
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Documents:
    """What the framing phases and the audit produced. `audit` is what the `opinions` say together."""

    approach: Approach | None = None
    spec: Spec | None = None
    plan: Plan | None = None
    plan_review: PlanReview | None = None
    objection_answers: tuple[ObjectionAnswer, ...] = ()
    edge_cases: EdgeCases | None = None
    opinions: tuple[Opinion, ...] = ()
    audit: Audit | None = None
    planted: Planted | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt at one goal with one frozen strategy, one branch and one budget.

    `tree` is git's id of the worktree as it should be; whoever resumes puts the files back to it. `pending` is the effect whose
    answer is still to come. `contract` is the digest that the plan passed its gate with: a budget raised later does not
    change what was approved. `moves` are the bases that the change was put onto since. `left` are vendors that were given up
    because they did not answer or their quota was short. `allowance` is what the App lets it spend, where an App does.
    `chosen_class` and `skips` are what a person said of models and phases, `shipped_by` wanted the change as it stood at the end.
    """

    request: RunRequested
    state: RunState = RunState.PLAN_BOOTSTRAP
    workspace: WorkspaceReady | None = None
    strategy: Strategy | None = None
    tiers: tuple[Tier, ...] = ()
    phases: tuple[Phase, ...] = ()
    ledger: Ledger = field(default_factory=lambda: Ledger(0, 0))
    tree: str = ""
    call: Call | None = None
    calls: int = 0
    documents: Documents = field(default_factory=Documents)
    contract: str = ""
    approved_by: str = ""
    waiting: Waiting | None = None
    baseline: CheckSet | None = None
    fixer_reports: tuple[FixerReport, ...] = ()
    refused: tuple[str, ...] = ()
    changeset: Changeset | None = None
    proof: Proof | None = None
    verdict: Verdict | None = None
    findings: tuple[Finding, ...] = ()
    branch: str = ""
    head_sha: str = ""
    pull: int = 0
    moves: tuple[BaseMoved, ...] = ()
    jobs: tuple[JobBegan, ...] = ()
    lost: tuple[JobLost, ...] = ()
    overruns: tuple[Overrun, ...] = ()
    allowance: Cap | None = None
    left: tuple[str, ...] = ()
    chosen_class: ClassChosen | None = None
    skips: tuple[PhaseSkipped, ...] = ()
    shipped_by: str = ""
    outcome: str = ""
    pending: Effect | None = None

    @property
    def over(self) -> bool:
        return machines.terminal(self.state)

    @property
    def phase(self) -> Phase:
        """The phase that is executing or at its gate."""
        for phase in self.phases:
            if phase.state in (PhaseState.EXECUTING, PhaseState.GATE):
                return phase
        raise BugError(f"run {self.request.run} has no active phase in state {self.state}")

    @property
    def compiled(self) -> Strategy:
        if self.strategy is None:
            raise BugError("the strategy is asked for before it was compiled")
        return self.strategy

    @property
    def base_sha(self) -> str:
        """The commit that the change is made against."""
        return self.moves[-1].base_sha if self.moves else self.request.base_sha

    @property
    def base_tree(self) -> str:
        if self.workspace is None:
            raise BugError("the base is asked for before the worktree stands")
        return self.moves[-1].base_tree if self.moves else self.workspace.base_tree

    @property
    def attempt(self) -> int:
        """How many attempts have begun, without those that failed by no fault of the model's."""
        begun = [phase for phase in self.phases if phase.is_attempt and phase.state is not PhaseState.QUEUED]
        return sum(not (phase.setback and phase.setback.excused) for phase in begun)

    @property
    def granted(self) -> int:
        """How often a person accepted that the limits were passed."""
        return sum(overrun.what == "tokens" for overrun in self.overruns)

    def worked(self, seconds: float) -> Run:
        """The active phase took `seconds` more; none where the clock cannot have been right."""
        return self.with_phase(replace(self.phase, seconds=self.phase.seconds + (seconds if 0 <= seconds <= DAY else 0.0)))

    def moved(self, to: RunState) -> Run:
        return replace(self, state=machines.move(machines.RUN, self.state, to))

    def with_phase(self, phase: Phase) -> Run:
        return replace(self, phases=tuple(phase if p.id == phase.id else p for p in self.phases))

    def phase_moved(self, to: PhaseState, *, reason: str = "") -> Run:
        phase = self.phase
        return self.with_phase(
            replace(phase, state=machines.move(machines.PHASE, phase.state, to), reason=reason or phase.reason)
        )

    def tier_moved(self, name: str, to: TierState) -> Run:
        tiers = tuple(replace(t, state=machines.move(machines.TIER, t.state, to)) if t.name == name else t for t in self.tiers)
        return replace(self, tiers=tiers)


Step = tuple[Run, tuple[Effect, ...]]


def as_before(run: Run) -> Step:
    """What was to be done is still to be done."""
    return run, (run.pending,) if run.pending is not None else ()


def contract_digest(run: Run) -> str:
    """What an approval approves: ticket as frozen, what it follows, base, plan, paths, size limits, budget and models; sha256 in
    hex."""
    strategy, settings = run.compiled, run.request.settings
    value = {
        "ticket": run.request.ticket.digest,
        "base": run.request.base_sha,
        "plan": repr(run.documents.plan),
        "allowed": settings.allowed_paths,
        "denied": settings.denied_paths,
        "size": [MAX_FILES, MAX_CHANGESET_BYTES],
        "budget": strategy.run_cap,
        "models": [(choice.role, choice.model.model) for choice in strategy.choices],
    }
    if run.request.follow:
        value["follow"] = repr(run.request.follow)
    return hashlib.sha256(canonical(value)).hexdigest()


def short(digest: str) -> str:
    """The part of a digest that people type."""
    return digest[:8]


def branch_name(run: Run) -> str:
    """The branch that was asked for, else `ostler/<slug of the title>-<last part of the session's name>`."""
    if run.request.branch:
        return run.request.branch
    slug = re.sub(r"[^a-z0-9]+", "-", run.request.ticket.title.lower()).strip("-")[:40].strip("-") or "change"
    return f"ostler/{slug}-{run.request.session.rsplit('_', 1)[-1]}"
