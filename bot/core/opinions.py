"""What auditors claim, put together, and what is left of it once their checks ran.

A review model misses most defects (SWE-PRBench, arXiv 2603.26130) and rejects what is right (arXiv 2603.00539, whose remedy this
is), so a major claim counts by what its check shows. A check that cannot run shows nothing: then only what would be worst to let
through, a hole or a weakened test, still blocks, and only where its evidence exists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bot.core.answers import Audit, AuditCheck, AuditFinding, CriterionVerdict
from bot.core.findings import Severity
from bot.core.reports import Trial

MAX_CHECKS = 5
"""Checks of one audit that are run: each takes two runs in the sandbox."""
MAX_BODY = 8_000
"""Characters of one check."""
KEPT_UNSHOWN = ("security", "test-integrity")
"""Categories of which a major finding stays one though its check cannot run."""

Verdict = Literal["met", "unmet", "unverifiable"]
Weighed = tuple[Severity, str]
"""What a claim is worth, and why in a few words."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A defect that one auditor or several claim; `by` counts them. `sure` is whether one of them is more than little so."""

    severity: Severity
    category: str
    place: str
    text: str
    evidence: tuple[str, ...]
    checks: tuple[AuditCheck, ...]
    sure: bool
    by: int = 1

    @property
    def key(self) -> str:
        """`category@file`: what two auditors say of one file in one category is one claim."""
        return key_of(self.category, self.place)


def key_of(category: str, place: str) -> str:
    """`category@file`."""
    return f"{category}@{file_of(place)}"


def file_of(place: str) -> str:
    """`path` of `path:line` or `path:line-line`."""
    path, colon, line = place.rpartition(":")
    return path if colon and line.replace("-", "").isdigit() else place


def united(audits: Sequence[Audit]) -> Audit:
    """One audit of several: a criterion that anybody calls unmet is, and evidence that one found is enough for the others."""
    order: tuple[Verdict, ...] = ("unmet", "met", "unverifiable")
    by_id: dict[str, CriterionVerdict] = {}
    for verdict in (verdict for audit in audits for verdict in audit.criteria):
        known = by_id.get(verdict.id, verdict)
        worst = min(known.verdict, verdict.verdict, key=order.index)
        kept = [one.evidence for one in (known, verdict) if one.verdict == worst]
        by_id[verdict.id] = CriterionVerdict(verdict.id, worst, tuple(dict.fromkeys(item for group in kept for item in group)))
    not_checked = dict.fromkeys(text for audit in audits for text in audit.not_checked)
    return Audit(tuple(by_id.values()), tuple(f for audit in audits for f in audit.findings), tuple(not_checked))


def claims(audits: Sequence[Audit]) -> tuple[Claim, ...]:
    """What all audits claim, majors first. A later auditor's claim joins an earlier one's with the same key."""
    found: list[Claim] = []
    for audit in audits:
        heard = list(found)
        for claim in map(_claim, audit.findings):
            same = next((one for one in heard if one.key == claim.key), None)
            if same is None:
                found.append(claim)
                continue
            at = found.index(same)
            heard[heard.index(same)] = found[at] = _joined(same, claim)
    return tuple(sorted(found, key=lambda claim: claim.severity == "minor"))


def _claim(found: AuditFinding) -> Claim:
    checks = (found.check,) if found.check.kind != "none" else ()
    return Claim(found.severity, found.category, found.place, found.claim, found.evidence, checks, found.confidence != "low")


def _joined(one: Claim, other: Claim) -> Claim:
    """The more severe, with what shows either of them."""
    first, second = (other, one) if one.severity == "minor" and other.severity == "major" else (one, other)
    text = first.text if first.text == second.text else f"{first.text}; {second.text}"
    return replace(
        first,
        text=text,
        evidence=tuple(dict.fromkeys((*first.evidence, *second.evidence))),
        checks=tuple(dict.fromkeys((*first.checks, *second.checks))),
        sure=first.sure or second.sure,
        by=one.by + 1,
    )


def disagreement(audits: Sequence[Audit]) -> tuple[int, int]:
    """Of what two auditors call major between them (findings by key, criteria not met), how much only one of them does, and how
    much it is in all."""
    said: list[set[str]] = [
        {claim.key for claim in claims((audit,)) if claim.severity == "major"}
        | {verdict.id for verdict in audit.criteria if verdict.verdict == "unmet"}
        for audit in audits
    ]
    if len(said) < 2:
        return 0, 0
    either, both = set[str]().union(*said), said[0].intersection(*said)
    return len(either - both), len(either)


def to_run(found: Sequence[Claim]) -> tuple[AuditCheck, ...]:
    """The checks of major claims, each once, as many as are run."""
    wanted = [check for claim in found if claim.severity == "major" for check in claim.checks if not unfit(check)]
    return tuple(dict.fromkeys(wanted))[:MAX_CHECKS]


def unfit(check: AuditCheck) -> str:
    """Why a check is not even tried."""
    if not check.body.strip() or "\0" in check.body:
        return "its check is empty or no text"
    return f"its check is longer than {MAX_BODY} characters" if len(check.body) > MAX_BODY else ""


def weighed(claim: Claim, trials: Mapping[AuditCheck, Trial], *, resolves: bool) -> Weighed:
    """What `claim` is worth after `trials`. `resolves` is whether its evidence exists."""
    if claim.severity == "minor":
        return "minor", ""
    ran = [trials[check] for check in claim.checks if check in trials]
    if shown := next((trial for trial in ran if _shows(claim, trial)), None):
        how = {"pass": " and passes on the base", "fail": " and on the base", "neutral": ""}[shown.base.outcome]
        return "major", f"confirmed: its check fails on the result{how} ({shown.head.detail})"
    if held := next((trial for trial in ran if trial.head.outcome != "neutral"), None):
        if held.head.outcome == "fail":
            return "minor", "refuted: its check fails on the base too, so nothing that worked is broken"
        return "minor", "refuted: its check passes on the result"
    why = _why_not_run(claim, ran)
    if resolves and claim.sure and claim.category in KEPT_UNSHOWN:
        return "major", f"not executed ({why}), but of a kind that blocks all the same"
    return "minor", f"not verifiable: {why}"


def _shows(claim: Claim, trial: Trial) -> bool:
    """A regression is shown only by what did not fail before."""
    return trial.head.outcome == "fail" and (claim.category != "regression" or trial.base.outcome != "fail")


def _why_not_run(claim: Claim, ran: Sequence[Trial]) -> str:
    if ran:
        return ran[0].head.detail
    if not claim.checks:
        return "it names no check"
    return next((why for check in claim.checks if (why := unfit(check))), f"only {MAX_CHECKS} checks are run")
