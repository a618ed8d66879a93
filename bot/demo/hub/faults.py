"""Trouble on order: which request meets which fault.

kinds   status-502, status-502-after (any status)   answered so, before or after the request took effect
        429, 403-secondary                          a limit, with retry-after; nothing took effect
        drop-before, drop-after                     the connection is closed without an answer
        stale                                       a list is answered as of before its last `hide` creations
        kill-before, kill-after                     the process that asks gets SIGKILL, and no answer
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from bot.core.errors import BadInput

_KIND = re.compile(r"status-[45]\d\d(-after)?|429|403-secondary|drop-(before|after)|stale|kill-(before|after)")


@dataclass(slots=True)
class Fault:
    """Meets requests whose method and who match as a whole and whose path (after /api/v3) holds a match.

    The first `skip` of them pass, the next `times` meet it. BadInput for an unknown kind.
    """

    method: str
    path: str
    kind: str
    who: str = ".*"  # login, App slug or job name
    times: int = 1
    skip: int = 0
    hide: int = 1  # stale: how many creations are not to be seen yet
    retry_after: int = 1  # seconds, for the limits
    met: int = field(default=0, init=False)  # how often it happened

    def __post_init__(self) -> None:
        if not _KIND.fullmatch(self.kind):
            raise BadInput(f"there is no fault of the kind {self.kind}")

    def matches(self, method: str, path: str, who: str) -> bool:
        return bool(
            re.fullmatch(self.method, method, re.IGNORECASE) and re.search(self.path, path) and re.fullmatch(self.who, who)
        )

    @property
    def after(self) -> bool:
        """Whether the request takes effect first."""
        return self.kind.endswith("-after") or self.kind == "stale"

    @property
    def status(self) -> int | None:
        """What is answered in place of the answer; None where it is something else."""
        digits = re.match(r"(?:status-)?(\d{3})", self.kind)
        return int(digits[1]) if digits else None


def take(faults: Iterable[Fault], method: str, path: str, who: str) -> Fault | None:
    """The fault this request meets, counted; every fault that matches counts its skip. The caller holds the lock."""
    for fault in faults:
        if not fault.matches(method, path, who):
            continue
        if fault.skip:
            fault.skip -= 1
        elif fault.met < fault.times:
            fault.met += 1
            return fault
    return None
