"""The strategy: every number of a run, compiled once from ticket, repository and settings, hashed and frozen."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from bot.core.affected import FullRun
from bot.core.budget import MICRO, Ledger
from bot.core.changeset import canonical
from bot.core.experience import Experience
from bot.core.follow_up import FollowUp
from bot.core.limits import ACTIVE_SECONDS, TOKEN_CAP, WORK_PHASES, Limit, Rules, task_limits
from bot.core.phases import KINDS, Kind
from bot.core.reports import AS_DETECTED, CiProfile, Commands, FixerCall
from bot.core.routing import Worth
from bot.core.selection import Choice, ModelId, Scope, Triage, choose, triage
from bot.core.ticket import Ticket
from bot.core.triage_fixers import fixers_for

Strictness = Literal["lenient", "normal", "strict"]

ATTEMPTS = {
    "cross_cutting_refactor": 2, "index_registry_change": 2, "schema_contract_change": 2, "bulk_multi_file_operation": 1,
    "security_auth_change": 2, "external_feature_reuse": 2, "external_code_intake": 2, "docs": 2, "debt_cleanup": 2,
}  # fmt: skip
"""Build attempts by category; every other category has three."""

REVIEWERS = {
    "cross_cutting_refactor": "refactor_review", "index_registry_change": "index_review",
    "schema_contract_change": "schema_review", "bulk_multi_file_operation": "bulk_review",
    "security_auth_change": "security_review", "external_feature_reuse": "external_code_review",
    "external_code_intake": "license_and_security_review", "debt_cleanup": "debt_cleanup_review",
}  # fmt: skip
"""What an audit looks at first, by category."""
REVIEWER = "orchestrator_review"
"""The same for every other category."""

WORTH = Worth(25 * MICRO, 10 * MICRO)


@dataclass(frozen=True, slots=True)
class Source:
    """A configuration file, the commit it is of (empty where it is of none), and the keys that it decides."""

    name: str
    commit: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the door decided before the run began. Money in micro-dollars, times in seconds.

    `approval` is the configuration's rule, or `asked` where a person wanted to see the plan, whatever that rule says.
    `repeat_proof` asks for a second proof on another machine before the audit. `note` stands on every page of the run: one
    whose models did not answer from their vendors says so. `rules` bound tokens and time of each phase, `run_tokens`,
    `run_seconds` and `work_phases` those of the whole. Past the share `quota_soft` of a vendor's quota another vendor takes over
    where it may. `worth`, `escalate_after`, `aggressive`, `experience` and, in mode `optimize`, `attempt_costs` (micro-dollars of
    one attempt by model) are what the choice of models rests on. `full_run` says when a change makes all tests run while it is
    built. `ci_minute` is what a minute of an Actions runner costs. `quarantine` holds patterns of the ids of tests that are known
    to be flaky. One audit in `planted` is tried with a known defect; 0 is none. `strictness` is how much
    an audit may leave. `ci_profile` is the least that a change is checked by. Failed checks of the pull request are mended
    unasked `fix_checks` times in a row. `signed` asks GitHub to sign the session's commits. `sources` are the configuration
    files that were read, and `configuration` the sha256, in hex, of what they say together, which later jobs hold their copy to.
    """

    max_cost: int
    call_cap: int
    models: tuple[ModelId, ...] = ()
    approval: str = "high-risk"
    preapproved_by: str = ""
    max_turns: int = 40
    tests: tuple[str, ...] = ()
    python: str = ""
    commands: Commands = AS_DETECTED
    quick_seconds: int = 60
    full_seconds: int = 180
    quarantine: tuple[str, ...] = ()
    full_run: FullRun = field(default_factory=FullRun)
    allowed_paths: tuple[str, ...] = ()
    denied_paths: tuple[str, ...] = ()
    repeat_proof: bool = False
    note: str = ""
    rules: Rules = field(default_factory=Rules)
    run_tokens: int = TOKEN_CAP
    run_seconds: int = ACTIVE_SECONDS
    work_phases: int = WORK_PHASES
    quota_soft: float = 0.8
    escalate_after: int = 2
    aggressive: bool = False
    worth: Worth = WORTH
    experience: Experience = field(default_factory=Experience)
    attempt_costs: tuple[tuple[str, int], ...] = ()
    ci_minute: int = 0
    planted: int = 0
    strictness: Strictness = "normal"
    fix_checks: int = 0
    ci_profile: CiProfile = "normal"
    signed: bool = False
    sources: tuple[Source, ...] = ()
    configuration: str = ""


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """One phase to come. A skipped one says why; `fixers` make it in place of a model."""

    tier: str
    kind: Kind
    skip: str = ""
    fixers: tuple[FixerCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Strategy:
    """The frozen numbers of a run. With `fixers` no model is needed. `ci_reason` says why `ci_profile` is strict."""

    triage: Triage
    fixers: tuple[FixerCall, ...]
    phases: tuple[PhasePlan, ...]
    choices: tuple[Choice, ...]
    attempts: int
    approval_reason: str
    ci_profile: CiProfile
    ci_reason: str
    run_cap: int
    call_cap: int
    finish_reserve: int
    phase_caps: tuple[tuple[str, int], ...]
    limits: tuple[Limit, ...]
    rules_digest: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(canonical(asdict(self))).hexdigest()

    @property
    def profile(self) -> str:
        return "mechanical" if self.fixers else "build"

    @property
    def takes_tests_along(self) -> bool:
        """Whether removed tests are what was asked for: a revert takes back the tests of what it reverts."""
        return bool(self.fixers) and all(call.name == "revert" for call in self.fixers)

    def ledger(self) -> Ledger:
        return Ledger(self.run_cap, self.call_cap, self.finish_reserve, self.phase_caps)

    def with_cap(self, run_cap: int) -> Strategy:
        """The same strategy after a person raised the money."""
        return replace(
            self, run_cap=run_cap, finish_reserve=_finish_reserve(run_cap, self.fixers), phase_caps=_phase_caps(run_cap)
        )


def compile_strategy(ticket: Ticket, settings: Settings, follow: FollowUp | None = None) -> Strategy:
    """The strategy of a run. What a review suggests word by word needs no model; what it asks for besides is built on it.

    Raises:
        BadInput: a model is needed and none is available.
    """
    seen = triage(ticket)
    suggested = follow.calls if follow else ()
    fixers = suggested if follow and not follow.rest else fixers_for(ticket.title, ticket.body)
    phases = _phases(seen, () if fixers else suggested, mechanical=bool(fixers))
    ci_profile, ci_reason = _ci_profile(seen, settings.ci_profile)
    return Strategy(
        triage=seen,
        fixers=fixers,
        phases=phases,
        choices=() if fixers else choose(seen, settings.models),
        attempts=1 if fixers else ATTEMPTS.get(seen.category, 3),
        approval_reason="" if fixers and settings.approval not in ("always", "asked") else _approval(seen, settings.approval),
        ci_profile=ci_profile,
        ci_reason=ci_reason,
        run_cap=settings.max_cost,
        call_cap=settings.call_cap,
        finish_reserve=_finish_reserve(settings.max_cost, fixers),
        phase_caps=_phase_caps(settings.max_cost),
        limits=_limits(settings.rules, seen, phases),
        rules_digest=settings.rules.digest,
    )


def _limits(rules: Rules, seen: Triage, phases: tuple[PhasePlan, ...]) -> tuple[Limit, ...]:
    """One limit for each kind that the run has, in their order."""
    kinds = [str(plan.kind) for plan in phases if not plan.skip]
    return task_limits(rules, kinds, str(seen.scope), seen.importance)


def _finish_reserve(run_cap: int, fixers: tuple[FixerCall, ...]) -> int:
    """Half of what the audit may cost at most is kept for it, so that work never ends unaudited for want of money."""
    return 0 if fixers else run_cap * KINDS[Kind.REVIEW].share // 200


def _phase_caps(run_cap: int) -> tuple[tuple[str, int], ...]:
    return tuple((str(kind), run_cap * spec.share // 100) for kind, spec in KINDS.items() if spec.share)


def _phases(seen: Triage, suggested: tuple[FixerCall, ...], *, mechanical: bool) -> tuple[PhasePlan, ...]:
    small = seen.scope in (Scope.TINY, Scope.SMALL) and not seen.high_risk
    if mechanical:
        why = "a deterministic fixer answers the ticket"
    else:
        why = f"{seen.scope} and {seen.risk} risk: the plan covers it" if small else ""
    framing = tuple(
        PhasePlan("T0 framing", kind, "" if kind is Kind.PLAN else why)
        for kind in (Kind.STRATEGIZE, Kind.SPEC, Kind.PLAN, Kind.THINK)
    )
    first = (PhasePlan("T1 work", Kind.IMPLEMENT, fixers=suggested),) if suggested else ()
    work = (*first, *(PhasePlan("T1 work", kind) for kind in (Kind.IMPLEMENT, Kind.VERIFY)))
    delivery = (
        PhasePlan("T2 delivery", Kind.REVIEW),
        PhasePlan("T2 delivery", Kind.PR),
        PhasePlan("T2 delivery", Kind.MONITOR, "there is no CI or deployment to watch"),
    )
    return framing + work + delivery


def _ci_profile(seen: Triage, least: CiProfile) -> tuple[CiProfile, str]:
    """The CI profile, and why it is strict."""
    if least == "strict":
        return "strict", "verify.profile says so"
    if seen.high_risk:
        return "strict", f"{seen.label} with {seen.risk} risk"
    return ("strict", "work of critical importance") if seen.importance == "critical" else ("normal", "")


def _approval(seen: Triage, rule: str) -> str:
    """Why a person has to approve the plan; empty where nobody has to."""
    if rule == "never":
        return ""
    if rule == "asked":
        return "a person asked for a plan before anything is built"
    if rule == "always":
        return "the configuration asks for approval of every plan"
    if seen.high_risk:
        return f"{seen.label} with {seen.risk} risk needs a person's approval"
    if seen.importance == "critical":
        return "work of critical importance, which may pass its limits further, needs a person's approval"
    return ""
