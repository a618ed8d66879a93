"""`make bench [BENCH=H1] [QUICK=1]`: run the measurements, print them beside the peers', write build/bench/*.json."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rich.console import Console
from rich.table import Table

from bench import Minimum, b1, b2, b3, b4, b6, b7, b9, h1, s1, w1

BUILD = Path(__file__).resolve().parent.parent / "build" / "bench"
WIDTH = 130
Say = Callable[[str], None]
Figures = dict[str, dict[str, Any]]


class Run(Protocol):
    """Measures, tells notes through `say`, and answers `{figure: {value, unit, beside, ratio}}`."""

    def __call__(self, *, quick: bool, say: Say) -> Figures: ...


class Bench(NamedTuple):
    title: str
    run: Run
    targets: Mapping[str, tuple[str, str, float]]
    """Figure: what is aimed at, the peer it is relative to (empty: absolute), and the most, or the Minimum, that may be."""


def _h1(*, quick: bool, say: Say) -> Figures:
    outcome = h1.run(BUILD, quick=quick, say=say)
    _write("H1-runs", outcome.runs)
    for note in outcome.notes:
        say(f"Note: {note}")
    return outcome.figures


BENCHES: Mapping[str, Bench] = {
    "B1": Bench("edits quoted a little wrong, by who applies them", b1.run, b1.TARGETS),
    "B2": Bench("the ledger beside the vendors' bills, thousands of played sessions", b2.run, b2.TARGETS),
    "B3": Bench("hard caps under fire: workers that crash and share caps, by what the vendor billed", b3.run, b3.TARGETS),
    "B4": Bench("rules of escalation on the same simulated issues, $ an issue", b4.run, b4.TARGETS),
    "B6": Bench("tests that a change needs, by who chooses them, on mutants of real packages", b6.run, b6.TARGETS),
    "B9": Bench("prompts that vendors' caches match; builds of 30 turns, then five issues; money, no times", b9.run, b9.TARGETS),
    "B7": Bench(
        "people's bug fixes that the gate against cheats refuses, and scripted cheats that it misses", b7.run, b7.TARGETS
    ),
    "H1": Bench("the same scripted fix, build phase, start-up included; wall_s is less model and test time", _h1, h1.TARGETS),
    "S1": Bench("ostler --help", s1.run, s1.TARGETS),
    "W1": Bench("webhooks over HTTP, recorded payloads, at 8 connections (others by name)", w1.run, w1.TARGETS),
}


def main() -> int:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    asked = os.environ.get("BENCH", "").upper()
    if asked and asked not in BENCHES:
        console.print(f"There is no bench {asked}: there are {', '.join(BENCHES)}.")
        return 2
    quick = os.environ.get("QUICK", "") not in ("", "0")
    BUILD.mkdir(parents=True, exist_ok=True)
    for name, bench in BENCHES.items():
        if asked in ("", name):
            try:
                figures = bench.run(quick=quick, say=partial(_say, console))
            except RuntimeError as error:
                console.print(f"{name} measured nothing: {error}", style="bold red", markup=False, soft_wrap=True)
                return 1
            _write(name, figures)
            show(console, name, bench, figures)
    return 0


def _say(console: Console, text: str) -> None:
    console.print(text, style="yellow" if text.startswith("Note:") else "dim", markup=False, soft_wrap=True)


def _write(name: str, value: object) -> None:
    (BUILD / f"{name}.json").write_text(json.dumps(value, indent=2) + "\n")


def show(console: Console, name: str, bench: Bench, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """The figures as a table, one column a peer."""
    others = list(dict.fromkeys(peer for figure in figures.values() for peer in figure["beside"]))
    table = Table(title=f"{name}: {bench.title}", title_justify="left")
    table.add_column("figure", no_wrap=True)
    table.add_column("ostler", justify="right")
    for other in others:
        table.add_column(f"{other} (ratio)", justify="right")
    table.add_column("target")
    for figure, row in figures.items():
        beside = [f"{_number(row['beside'].get(other))}{_ratio(row['ratio'].get(other))}" for other in others]
        table.add_row(figure, _number(row["value"]), *beside, _judged(bench.targets.get(figure), row))
    console.print(table)
    console.print(f"written to {BUILD / f'{name}.json'}", style="dim", markup=False, soft_wrap=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f" ({value:,})"


def _judged(target: tuple[str, str, float] | None, row: Mapping[str, Any]) -> str:
    if target is None:
        return ""
    told, peer, bound = target
    reached = row["ratio"].get(peer) if peer else row["value"]
    if reached is None:
        return f"{told}: not measured"
    met = reached >= bound if isinstance(bound, Minimum) else reached <= bound
    return f"[green]met[/green]: {told}" if met else f"[red]missed[/red]: {told}"


if __name__ == "__main__":
    sys.exit(main())
