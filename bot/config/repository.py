"""What can be configured, and what a run makes of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bot.config.base import Part, wrong
from bot.config.budget import BreakerLimits, Budget, KindLimit, Quotas, RateLimits, Routing, RunLimits
from bot.config.environment import Settings
from bot.config.prices import Price
from bot.core.affected import CORE_FILES, FullRun
from bot.core.budget import MICRO, Rates
from bot.core.error_classes import OF_GATES, ErrorName, ErrorRow, unfit
from bot.core.errors import BadInput
from bot.core.experience import Experience
from bot.core.limits import AGENT, REFERENCE, KindBase, Override, Rules, Thresholds
from bot.core.phases import Kind
from bot.core.queue import MOST_PER_REPOSITORY, PER_REPOSITORY
from bot.core.reports import CiProfile, Commands
from bot.core.routing import Worth
from bot.core.selection import ModelClass, ModelId
from bot.core.starts import SCOPES, Caps
from bot.core.strategy import Settings as RunSettings
from bot.core.switching import continue_cost

Command = Annotated[str, Field(max_length=2_000, pattern=r"^(\S[^\n\x00]*)?$")]
"""One line of shell, or nothing."""
Required = Annotated[str, Field(max_length=2_000, pattern=r"^\S[^\n\x00]*$")]


class ClassModels(Part):
    """The model ids of one vendor by class."""

    fast: str
    balanced: str
    advanced: str


class Models(Part):
    """Which model stands for which class, and how long a call may take."""

    anthropic: ClassModels = ClassModels(fast="claude-haiku-5-5", balanced="claude-sonnet-5-5", advanced="claude-opus-5-5")
    openai: ClassModels = ClassModels(fast="gpt-6-luna", balanced="gpt-6.1-terra", advanced="gpt-6.1-sol")
    prefer: Literal["anthropic", "openai"] = "anthropic"

    def available(self, vendors: tuple[str, ...]) -> tuple[ModelId, ...]:
        """The models whose vendor's key is set, the preferred vendor first."""
        order = sorted(vendors, key=lambda vendor: vendor != self.prefer)
        classes = (ModelClass.FAST, ModelClass.BALANCED, ModelClass.ADVANCED)
        return tuple(ModelId(vendor, getattr(getattr(self, vendor), str(name)), name) for vendor in order for name in classes)


CHECK_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
OURS = ("manifests", "syntax", "types", "lint", "format", "imports", "build", "tests", "verdict")
"""Names that a check of the repository's own may not have, as others have them."""


class OwnCommands(Part):
    """Checks of the repository's own, name and command, by CI profile."""

    normal: dict[str, Required] = Field(default={})
    strict: dict[str, Required] = Field(default={})

    @model_validator(mode="after")
    def _names(self) -> Self:
        for profile in ("normal", "strict"):
            for name in getattr(self, profile):
                if name in OURS or not CHECK_NAME.fullmatch(name):
                    why = "small letters, digits, - and _, and not the name of one of Ostler's own checks, are expected here"
                    raise wrong(why, profile, name)
                if profile == "strict" and name in self.normal:
                    raise wrong("it is in the profile normal too, which is part of strict: keep one", profile, name)
        return self


class OwnError(Part):
    """A regular expression for lines of the repository's own tools, the class of error that such a line shows, and what is to be
    said of it instead of the class's hint."""

    pattern: str
    name: ErrorName = Field(alias="class")
    hint: str = Field(default="", max_length=200)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if why := unfit(self.pattern):
            raise wrong(why, "pattern")
        if self.name in OF_GATES:
            raise wrong(f"{self.name} is found by no tool's words: choose another", "class")
        return self


class Verify(Part):
    """How a change is checked. What is left out is detected; `ostler doctor` shows what was.

    `tests` is a command, or a list of the files or ids that make up the suite of the detected runner; `report` is where a command
    leaves its results. `install` is named where packages are missing; it isn't run. `python` is an interpreter of the
    repository's own. `quarantine` names tests, as patterns of their ids, that come and go and are not to count. `commands` are
    further checks, and `profile` says by which of them a change is checked at least. `errors` say what lines of tools mean that
    Ostler doesn't know.
    """

    toolchain: Literal["", "python", "node", "go", "rust", "maven", "gradle", "make"] = ""
    tests: tuple[str, ...] | Command = ()
    report: str = ""
    lint: Command = ""
    types: Command = ""
    build: Command = ""
    install: Command = ""
    python: str = ""
    quick_seconds: int = Field(default=60, ge=1, le=3600)
    full_seconds: int = Field(default=180, ge=1, le=7200)
    quarantine: tuple[str, ...] = ()
    full_above_files: int = Field(default=10, ge=0, le=1000)
    full_above_percent: int = Field(default=15, ge=0, le=100)
    core_files: tuple[str, ...] = CORE_FILES
    profile: CiProfile = "normal"
    commands: OwnCommands = OwnCommands()
    errors: tuple[OwnError, ...] = Field(default=(), max_length=50)

    @field_validator("tests", mode="before")
    @classmethod
    def _command_or_list(cls, value: Any) -> Any:
        if isinstance(value, str) or (isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)):
            return value
        raise PydanticCustomError("tests", "a command, or a list of files or ids, is expected here")

    @property
    def said(self) -> Commands:
        """What it says instead of what is detected, and besides."""
        return Commands(
            self.toolchain,
            self.install,
            self.build,
            self.types,
            self.lint,
            self.tests if isinstance(self.tests, str) else "",
            self.report,
            tuple(self.commands.normal.items()),
            tuple(self.commands.strict.items()),
            tuple(ErrorRow(row.pattern, row.name, " ".join(row.hint.split())) for row in self.errors),
        )

    @property
    def full_run(self) -> FullRun:
        return FullRun(self.core_files, self.full_above_files, self.full_above_percent)


class Loop(Part):
    """Limits of the build loop."""

    max_turns: int = Field(default=40, ge=1, le=500)


class AuditTrials(Part):
    """How auditors are tried: one audit in `planted` is shown the change once more, with a known defect; 0 is none."""

    planted: int = Field(default=10, ge=0, le=1_000)


class QueueLimits(Part):
    """How many workflow runs of the repository may work at a time beside an App."""

    per_repository: int = Field(default=PER_REPOSITORY, ge=1, le=MOST_PER_REPOSITORY)


Sessions = Annotated[int, Field(ge=1, le=10_000)]


class SessionsPerDay(Part):
    """How many sessions may begin on GitHub in a day (UTC): by one person, on one issue, in the repository."""

    person: Sessions | None = None
    issue: Sessions | None = None
    repository: Sessions | None = None

    @property
    def caps(self) -> Caps:
        return {name: most for name in SCOPES if (most := getattr(self, name)) is not None}


class PullRequest(Part):
    """How a change is delivered on GitHub: commits that anybody can make again and must get the same ids of, or such that GitHub
    signs, which it does only where nobody chooses their author and date."""

    commit: Literal["reproducible", "signed"] = "reproducible"


class Paths(Part):
    """Glob patterns: where given, only `allow` may change; `deny` never may."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


class RepoConfig(Part):
    """`.github/ostler.yml`. Every key may be left out."""

    version: Literal[1] = 1
    approval: Literal["high-risk", "always", "never"] = "high-risk"
    budget: Budget = Budget()
    kinds: dict[Kind, KindLimit] = Field(default={})
    run: RunLimits = RunLimits()
    routing: Routing = Routing()
    quotas: Quotas = Quotas()
    rate_limits: RateLimits = RateLimits()
    breaker: BreakerLimits = BreakerLimits()
    models: Models = Models()
    verify: Verify = Verify()
    loop: Loop = Loop()
    fix_checks: int = Field(default=2, ge=0, le=10)
    quality: Literal["lenient", "normal", "strict"] = "normal"
    audit: AuditTrials = AuditTrials()
    paths: Paths = Paths()
    pull_request: PullRequest = PullRequest()
    queue: QueueLimits = QueueLimits()
    sessions_per_day: SessionsPerDay = SessionsPerDay()
    prices: tuple[Price, ...] = ()

    @field_validator("prices")
    @classmethod
    def _once_each(cls, prices: tuple[Price, ...]) -> tuple[Price, ...]:
        seen: set[str] = set()
        for number, price in enumerate(prices):
            if price.model in seen:
                raise wrong(f"{price.model} is priced twice: keep one", number, "model")
            seen.add(price.model)
        return prices

    def rules(self) -> Rules:
        """The numbers that limits of phases come from."""
        budget, shipped = self.budget, dict(AGENT if self.budget.base == "agent" else REFERENCE)
        base = tuple(
            (
                name,
                KindBase(
                    given.tokens or usual.tokens,
                    given.seconds or usual.seconds,
                    usual.weight if given.weight is None else given.weight,
                ),
            )
            for name, usual in sorted(shipped.items())
            for given in (self.kinds.get(Kind(name), KindLimit()),)
        )
        return Rules(
            mode=budget.mode,
            enforce_for=budget.enforce_for,
            multiplier=budget.multiplier,
            base=base,
            complexity=tuple(budget.complexity),
            importance=tuple(budget.importance),
            thresholds=Thresholds(**dict(budget.thresholds)),
            overrides=tuple(Override(str(o.kind), o.tokens, o.seconds, o.reason, o.task) for o in budget.overrides),
        )

    def worth(self, labels: tuple[str, ...]) -> Worth:
        """What a ticket with `labels` is worth: the first label that has a value of its own decides."""
        routing = self.routing
        found = next((routing.labels[label] for label in labels if label in routing.labels), routing.value)
        return Worth(int(found.right * MICRO), int(found.wrong * MICRO))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """What only the whole shows."""
        try:
            self.rules()
        except BadInput as error:
            raise ValueError(str(error).rstrip(".")) from error
        if self.budget.session is not None and self.budget.session < self.budget.money:
            raise ValueError("budget.session is less than budget.money: no run could use its budget")
        return self


def run_settings(
    environment: Settings,
    config: RepoConfig,
    max_cost: float | str | None,
    *,
    preapproved_by: str = "",
    vendors: tuple[str, ...] | None = None,
    repeat_proof: bool = False,
    labels: tuple[str, ...] = (),
    experience: Experience | None = None,
    price: Callable[[str, str], Rates] | None = None,
) -> RunSettings:
    """Everything the doors decide, frozen for a run. `vendors` are those whose key is set, where the environment cannot say;
    `labels` are the ticket's, `experience` is of this repository's earlier runs. `price` is asked in mode `optimize` only, which
    cannot compare models without it.

    Raises:
        BadInput: `max_cost` is no amount.
    """
    given = Decimal(str(max_cost)) if isinstance(max_cost, float) else max_cost
    cap = micro(config.budget.money if given is None else given, "--max-cost")
    models = config.models.available(environment.vendors if vendors is None else vendors)
    return RunSettings(
        max_cost=cap,
        call_cap=micro(config.budget.call, "budget.call") if config.budget.call else cap,
        models=models,
        approval=config.approval,
        preapproved_by=preapproved_by,
        max_turns=config.loop.max_turns,
        tests=() if isinstance(config.verify.tests, str) else config.verify.tests,
        python=config.verify.python,
        commands=config.verify.said,
        quick_seconds=config.verify.quick_seconds,
        full_seconds=config.verify.full_seconds,
        quarantine=config.verify.quarantine,
        full_run=config.verify.full_run,
        allowed_paths=config.paths.allow,
        denied_paths=config.paths.deny,
        repeat_proof=repeat_proof,
        note=environment.note,
        rules=config.rules(),
        run_tokens=config.run.token_cap,
        run_seconds=config.run.max_minutes * 60,
        work_phases=config.run.max_phases,
        quota_soft=config.quotas.soft,
        escalate_after=config.routing.escalate_after,
        aggressive=config.routing.aggressive,
        worth=config.worth(labels),
        experience=experience or Experience(),
        attempt_costs=_attempt_costs(models, price) if config.budget.mode == "optimize" and price else (),
        ci_minute=int(config.budget.ci_minute * MICRO),
        planted=config.audit.planted,
        strictness=config.quality,
        fix_checks=config.fix_checks,
        ci_profile=config.verify.profile,
        signed=config.pull_request.commit == "signed",
    )


TURNS, CONTEXT, PER_TURN, OUTPUT = 30, 12_000, 2_800, 800
"""An attempt of usual length: turns, tokens at its start, tokens added and written by each turn. [assumption, of agents on public
benchmarks]"""


def _attempt_costs(models: tuple[ModelId, ...], price: Callable[[str, str], Rates]) -> tuple[tuple[str, int], ...]:
    length = {"context": CONTEXT, "per_turn": PER_TURN, "output": OUTPUT, "turns": TURNS}
    return tuple((model.model, continue_cost(price(model.vendor, model.model), **length)) for model in models)


def micro(amount: Decimal | float | str, what: str) -> int:
    """Dollars as micro-dollars.

    Raises:
        BadInput: not a positive, finite amount.
    """
    try:
        value = Decimal(str(amount))
    except ArithmeticError as error:
        raise BadInput(f"{what}: {amount!r} is no amount in dollars.") from error
    if not value.is_finite() or not 1 <= value * MICRO <= 10_000 * MICRO:
        raise BadInput(f"{what}: {amount} is no amount between 0 and 10,000 dollars.")
    return int(value * MICRO)
