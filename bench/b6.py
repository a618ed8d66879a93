"""B6: tests that a change needs, by who chooses them, on mutants of real packages; and whom flaky tests are blamed on."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench import Minimum, flakes
from bench.selectors import CLOSURE, OSTLER, TESTMON, Choice
from bench.suites import SUITES
from bench.trials import BUILD, SEED, START, Bed, Say, Trial, make_bed, tell_base, trees_of, try_mutants

KILLED, QUICK_KILLED = 60, 6
"""Mutants of each repository that its suite kills."""
REPEATS = 3
CASES, QUICK_CASES = 2, 1
"""Changes with a regression, and as many without, beside each kind of planted test."""
PLAYS, QUICK_PLAYS = 20_000, 2_000
SINGLE = "single-run"
TARGETS: Mapping[str, tuple[str, str, float]] = {
    "any_killer_percent": ("100 %", "", Minimum(100)),
    "all_killers_percent": ("at least 98 %", "", Minimum(98)),
    "median_time_share_percent": ("at most 20 %", "", 20.0),
    "median_cpu_share_percent": ("at most testmon's", TESTMON, 1.0),
    "map_cost_ratio": ("at most 1.5", "", 1.5),
    "false_blame": ("0", "", 0.0),
    "missed_regressions": ("0", "", 0.0),
}

Figures = dict[str, dict[str, Any]]


def run(*, quick: bool, say: Say) -> Figures:
    """Mutants of the repositories until enough are killed (`quick`: few, of the first only).

    Raises:
        RuntimeError: a repository cannot be had, or its suite is not fit for this.
    """
    trials: list[tuple[Bed, Trial]] = []
    beds, cases = [], []
    for suite in SUITES[: 1 if quick else None]:
        folder = BUILD / "b6" / suite.name
        released = suite.fetch(BUILD / "b6" / "released")
        with trees_of(suite, released, folder) as trees:
            bed = make_bed(suite, trees, folder, 1 if quick else REPEATS)
            tell_base(bed, say)
            beds.append(bed)
            tried = try_mutants(bed, trees, folder, QUICK_KILLED if quick else KILLED, say)
        trials += [(bed, trial) for trial in tried]
        found = [(trial.mutant, trial.truth.killers) for trial in tried if not trial.truth.broken]
        cases += flakes.cases(suite, released, bed.place, folder / "flakes", found, QUICK_CASES if quick else CASES)
    for case in cases:
        if case.wrong:
            say(f"{case.suite}, {case.kind}: {case.outcome} for {case.mutant or 'a comment'}: {'; '.join(case.problems)[:300]}")
    _write_mutants(trials)
    return _selections(beds, trials) | _verdicts(cases, QUICK_PLAYS if quick else PLAYS)


# --- the figures ------------------------------------------------------------------------------------------------------


def _selections(beds: Sequence[Bed], trials: Sequence[tuple[Bed, Trial]]) -> Figures:
    """All repositories together, then each."""
    figures = _selection(beds, trials, "")
    if len(beds) > 1:
        for bed in beds:
            figures |= _selection([bed], [pair for pair in trials if pair[0] is bed], f"{bed.suite.name}: ")
    return figures


def _selection(beds: Sequence[Bed], trials: Sequence[tuple[Bed, Trial]], prefix: str) -> Figures:
    names = (OSTLER, TESTMON, CLOSURE)

    def figure(unit: str, values: Mapping[str, float]) -> dict[str, Any]:
        rounded = {name: round(value, 2) for name, value in values.items()}
        value = rounded.pop(OSTLER)
        return {
            "value": value, "unit": unit, "beside": rounded,
            "ratio": {name: round(value / other, 3) for name, other in rounded.items() if other},
        }  # fmt: skip

    def percent(holds: Callable[[Trial, str], bool]) -> dict[str, float]:
        return {name: 100 * statistics.mean(holds(trial, name) for _, trial in trials) for name in names}

    def shares(what: str) -> dict[str, list[float]]:
        return {name: [100 * _spent(bed, trial.choices[name], what) for bed, trial in trials] for name in names}

    wall, cpu = shares("seconds"), shares("cpu")
    ratios = {name: statistics.mean(bed.median("cpu", name) / bed.median("cpu") for bed in beds) for name in (OSTLER, TESTMON)}
    starts = statistics.mean(100 * bed.median("seconds", START) / bed.median("seconds") for bed in beds)
    return {
        f"{prefix}mutants": {"value": len(trials), "unit": "killed", "beside": {}, "ratio": {}},
        f"{prefix}any_killer_percent": figure("%", percent(Trial.found)),
        f"{prefix}all_killers_percent": figure("%", percent(lambda trial, name: trial.found(name) and not trial.missed(name))),
        f"{prefix}median_time_share_percent": figure("%", {name: statistics.median(found) for name, found in wall.items()}),
        f"{prefix}mean_time_share_percent": figure("%", {name: statistics.mean(found) for name, found in wall.items()}),
        f"{prefix}median_cpu_share_percent": figure("%", {name: statistics.median(found) for name, found in cpu.items()}),
        f"{prefix}start_up_percent": {"value": round(starts, 2), "unit": "%", "beside": {}, "ratio": {}},
        f"{prefix}map_cost_ratio": figure("x", ratios),
    }


def _spent(bed: Bed, choice: Choice, what: str) -> float:
    """Seconds or CPU seconds of choosing and running, as a share of the plain suite's."""
    whole = bed.median(what)
    return float(getattr(choice, what) + (whole if choice.ran is None else getattr(choice.ran, what))) / whole


def _write_mutants(trials: Sequence[tuple[Bed, Trial]]) -> None:
    rows = [
        {
            "suite": bed.suite.name,
            "mutant": trial.mutant.name,
            "diff": trial.mutant.diff,
            "killers": len(trial.truth.killers),
            "missed": {name: sorted(trial.missed(name)) for name in trial.choices if trial.missed(name)},
            "found": {name: trial.found(name) for name in trial.choices},
            "why": trial.choices[OSTLER].why,
            "percent": {name: round(100 * _spent(bed, choice, "seconds"), 1) for name, choice in trial.choices.items()},
            "cpu_percent": {name: round(100 * _spent(bed, choice, "cpu"), 1) for name, choice in trial.choices.items()},
            "choosing_seconds": round(trial.choices[OSTLER].seconds, 3),
        }
        for bed, trial in trials
    ]
    (BUILD / "B6-mutants.json").write_text(json.dumps(rows, indent=2) + "\n")


def _verdicts(cases: Sequence[flakes.Case], plays: int) -> Figures:
    """Of the changes beside planted tests: blamed without a regression, and passed with one."""
    bad = [case for case in cases if case.regression]
    good = [case for case in cases if not case.regression]
    ours, single = flakes.played(plays, SEED)

    def figure(value: float, unit: str, beside: float) -> dict[str, Any]:
        return {"value": value, "unit": unit, "beside": {SINGLE: beside}, "ratio": {}}

    return {
        "changes_beside_planted_tests": {"value": len(cases), "unit": "changes", "beside": {}, "ratio": {}},
        "false_blame": figure(
            sum(case.outcome == "fail" for case in good), f"of {len(good)}", sum(case.single == "fail" for case in good)
        ),
        "missed_regressions": figure(
            sum(case.outcome == "pass" for case in bad), f"of {len(bad)}", sum(case.single == "pass" for case in bad)
        ),
        "false_blame_played_percent": figure(ours, f"% of {plays:,}", single),
    }
