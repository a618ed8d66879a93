"""What a delivered change is worth by what was found: the quality gate, which never changes what is delivered.

A failed suite delivers nothing, so it has no row here. Neither has coverage: nothing measures it.
"""

from __future__ import annotations

from typing import Literal

from bot.core.machines import PhaseState
from bot.core.run import Run
from bot.core.strategy import Strictness

Level = Literal["ok", "needs review", "blocked"]

MAJOR_LEFT: dict[Strictness, Level] = {"lenient": "needs review", "normal": "blocked", "strict": "blocked"}
MANY_MINOR: dict[Strictness, Level] = {"lenient": "ok", "normal": "needs review", "strict": "blocked"}
HALVED = ("security_auth_change", "external_code_intake")
"""Categories that are allowed half as many minor findings."""


def quality(run: Run) -> tuple[Level, str]:
    """The level of a run that comes to its end, and why it is not higher."""
    seen = run.compiled.triage
    strictness: Strictness = "strict" if seen.high_risk else run.request.settings.strictness
    majors = len({finding.key for finding in run.findings if finding.severity == "major"})
    minors, allowed = len({finding.key for finding in run.findings if finding.severity == "minor"}), allowance(run)
    if majors:
        return MAJOR_LEFT[strictness], f"{majors} major finding{'' if majors == 1 else 's'} left"
    if minors > allowed:
        return MANY_MINOR[strictness], f"{minors} minor findings where {allowed} are allowed"
    return "ok", ""


def allowance(run: Run) -> int:
    """How many minor findings may be left: two for each kind of phase that made or judged the change, one in critical work."""
    seen = run.compiled.triage
    kinds = {phase.kind for phase in run.phases if phase.state is not PhaseState.SKIPPED and not phase.tier.startswith("T0")}
    allowed = len(kinds) * (1 if seen.importance == "critical" else 2)
    return allowed // 2 if seen.category in HALVED else allowed
