"""What tests, policy and audits found."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

Severity = Literal["minor", "major"]
Source = Literal["test", "policy", "static_check", "auditor", "harness"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect or remark. `place` is `path`, `path:line` or a test id; `evidence` is what shows it, `note` what became of it
    when it was looked into."""

    source: Source
    severity: Severity
    rule: str
    place: str
    claim: str
    evidence: tuple[str, ...] = ()
    note: str = ""

    @property
    def key(self) -> str:
        """The same for the same defect in another run: rule and place without its line."""
        place = self.place.rsplit(":", 1)[0] if self.place.rpartition(":")[2].isdigit() else self.place
        return hashlib.sha256(f"{self.rule}\0{place}".encode()).hexdigest()[:16]


def merge(*groups: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """All findings once, majors first, in the order they came; where two share a key the more severe one stays."""
    best: dict[str, Finding] = {}
    for finding in (finding for group in groups for finding in group):
        known = best.get(finding.key)
        if known is None or (known.severity == "minor" and finding.severity == "major"):
            best[finding.key] = finding
    return tuple(sorted(best.values(), key=lambda finding: finding.severity == "minor"))
