"""What a delivered change is worth by what was found: the quality gate, which never changes what is delivered.

A failed suite delivers nothing, so it has no row here.
"""

from __future__ import annotations

from typing import Literal, get_args

from bot.core.machines import PhaseState
from bot.core.risk import high_risk
from bot.core.run import Run
from bot.core.strategy import Strictness

Level = Literal["ok", "needs review", "blocked"]

MAJOR_LEFT: dict[Strictness, Level] = {"lenient": "needs review", "normal": "blocked", "strict": "blocked"}
MANY_MINOR: dict[Strictness, Level] = {"lenient": "ok", "normal": "needs review", "strict": "blocked"}
LESS_COVERED: dict[Strictness, Level] = {"lenient": "ok", "normal": "ok", "strict": "needs review"}
DROP = 2.0
"""Percentage points by which coverage may fall."""
HALVED = ("security_auth_change", "external_code_intake")
"""Categories that are allowed half as many minor findings."""


def quality(run: Run) -> tuple[Level, str]:
    """The level of a run that comes to its end, and why it is not higher."""
    strictness = strictness_of(run)
    majors = len({finding.key for finding in run.findings if finding.severity == "major"})
    minors, allowed = len({finding.key for finding in run.findings if finding.severity == "minor"}), allowance(run)
    found: list[tuple[Level, str]] = []
    if majors:
        found.append((MAJOR_LEFT[strictness], f"{majors} major finding{'' if majors == 1 else 's'} left"))
    if minors > allowed:
        found.append((MANY_MINOR[strictness], f"{minors} minor findings where {allowed} are allowed"))
    coverage = run.proof.coverage if run.proof else None
    if coverage and coverage.drop > DROP:
        found.append((LESS_COVERED[strictness], f"coverage fell by {coverage.drop:.1f} points"))
    return max(found, key=lambda one: get_args(Level).index(one[0]), default=("ok", ""))


def strictness_of(run: Run) -> Strictness:
    """How strictly the run is judged: work of high risk always strictly."""
    return "strict" if high_risk(run) else run.request.settings.strictness


def measures_coverage(run: Run) -> bool:
    """Whether the gate looks at coverage."""
    return strictness_of(run) != "lenient"


def allowance(run: Run) -> int:
    """How many minor findings may be left: two for each kind of phase that made or judged the change, one in critical work."""
    seen = run.compiled.triage
    kinds = {phase.kind for phase in run.phases if phase.state is not PhaseState.SKIPPED and not phase.tier.startswith("T0")}
    allowed = len(kinds) * (1 if seen.importance == "critical" else 2)
    return allowed // 2 if seen.category in HALVED else allowed
