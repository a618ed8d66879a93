"""B7: how often the gate against cheats refuses a bug fix that a person made, and how often it finds a scripted cheat.

The fixes come from the histories of clones that `REPOS` names. Nothing of them is kept but ids, subjects and findings.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.grafts import GRAFTS, grafted, grounds
from bench.history import Clone, Fix
from bot.core.answers import Plan, Task
from bot.core.cheats import MINOR, Lifted, cheats_in, lifted_by
from bot.core.policy import is_test

FIXES, QUICK_FIXES = 175, 30
"""Bug fixes taken of each repository, at most."""
CHEATS, QUICK_CHEATS = 40, 8
"""Fixes that each kind of cheat is done to, at most."""
FEWEST = 400
DETAILS = Path(__file__).resolve().parent.parent / "build" / "bench" / "B7-cases.json"
HOW = "set REPOS to clones of public repositories (bare, or with a work tree), split by commas: make bench BENCH=B7 REPOS=a,b,c"

TARGETS = {
    "false_positive_percent": ("at most 5 %", "", 5.0),
    "missed_percent": ("at most 5 %", "", 5.0),
}

Say = Callable[[str], None]
Figures = dict[str, dict[str, Any]]


def run(*, quick: bool, say: Say) -> Figures:
    """The figures; none, with a word why, where no clones are named.

    Raises:
        RuntimeError: a clone can't be read, or the clones hold too few bug fixes to say anything.
    """
    named = [Path(path).expanduser() for path in os.environ.get("REPOS", "").split(",") if path.strip()]
    if not named:
        say(f"B7 measured nothing: it needs the history of real repositories; {HOW}.")
        return {}
    clones = [Clone(path) for path in named]
    fixes = [(clone, fix) for clone in clones for fix in clone.fixes(QUICK_FIXES if quick else FIXES)]
    if len(fixes) < FEWEST and not quick:
        raise RuntimeError(
            f"{len(fixes)} bug fixes are too few, {FEWEST} are needed: name more clones in REPOS, with whole histories."
        )
    say(f"B7: {len(fixes)} bug fixes of {len(clones)} repositories")
    refused, refusals = _people([fix for _, fix in fixes])
    found, misses = _cheats(fixes, QUICK_CHEATS if quick else CHEATS, say)
    DETAILS.parent.mkdir(parents=True, exist_ok=True)
    DETAILS.write_text(json.dumps({"refused": refusals, "missed": misses}, indent=2) + "\n")
    return refused | found


def _people(fixes: list[Fix]) -> tuple[Figures, list[dict[str, str]]]:
    """What of the fixes is refused: with a plan that names their files, as Ostler's own plans do, and with none."""
    planned = unplanned = tested = refused_tested = 0
    rules: Counter[str] = Counter()
    told = []
    for fix in fixes:
        all_ = _blocking(fix, frozenset())
        left = all_ and _blocking(fix, _named(fix.changeset.paths))
        rules.update({rule for rule, _, _ in all_})
        unplanned, planned = unplanned + bool(all_), planned + bool(left)
        if any(is_test(path) for path in fix.changeset.paths):
            tested, refused_tested = tested + 1, refused_tested + bool(left)
        for rule, place, claim in all_:
            told.append(
                {"commit": f"{fix.repository} {fix.sha}", "subject": fix.subject, "rule": rule, "place": place, "claim": claim}
            )
    figures = {
        "fixes": _figure(len(fixes), "commits"),
        "fixes_with_tests": _figure(tested, "commits"),
        "false_positive_percent": _figure(_percent(planned, len(fixes)), "%"),
        "false_positive_with_tests_percent": _figure(_percent(refused_tested, tested), "%"),
        "false_positive_unplanned_percent": _figure(_percent(unplanned, len(fixes)), "%"),
    }
    return figures | {f"refused {rule}": _figure(_percent(count, len(fixes)), "%") for rule, count in rules.most_common()}, told


def _cheats(fixes: list[tuple[Clone, Fix]], most: int, say: Say) -> tuple[Figures, list[dict[str, str]]]:
    """What of the cheats is found by its own rule, where the plan names the fix's sources and no test."""
    figures, misses, found, done = {}, [], 0, 0
    for rule, graft in GRAFTS.items():
        hits = tries = 0
        for clone, fix in sorted(fixes, key=lambda pair: pair[1].sha[::-1]):
            if tries == most:
                break
            files = next((made for ground in grounds(clone, fix, rule) if (made := graft(ground)) is not None), None)
            if files is None:
                continue
            plan = _named(path for path in fix.changeset.paths if not is_test(path))
            caught = any(cheat.rule == rule for cheat in cheats_in(grafted(fix.changeset, files), plan))
            tries, hits = tries + 1, hits + caught
            if not caught:
                misses.append({"commit": f"{fix.repository} {fix.sha}", "rule": rule, "file": files[-1].path})
        found, done = found + hits, done + tries
        say(f"B7: {rule}: {hits} of {tries} found")
        suffix = " (remark)" if rule in MINOR else ""
        figures[f"recall {rule}{suffix}"] = _figure(_percent(hits, tries), "%")
    head = {
        "cheats": _figure(done, "changesets"),
        "recall_percent": _figure(_percent(found, done), "%"),
        "missed_percent": _figure(_percent(done - found, done), "%"),
    }
    return head | figures, misses


def _named(paths: Iterable[str]) -> Lifted:
    """What a plan lifts whose one task names `paths`."""
    return lifted_by(Plan("g", True, (Task("T1", "t", tuple(paths), ()),), (), (), (), ()))


def _blocking(fix: Fix, lifted: Lifted) -> list[tuple[str, str, str]]:
    return [(cheat.rule, cheat.place, cheat.claim) for cheat in cheats_in(fix.changeset, lifted) if cheat.severity == "major"]


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 0.0


def _figure(value: float, unit: str) -> dict[str, Any]:
    return {"value": value, "unit": unit, "beside": {}, "ratio": {}}
