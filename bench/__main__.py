"""`make bench [BENCH=H1] [QUICK=1]`: run the measurements, print them beside the peers', write build/bench/*.json."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import h1, s1

BUILD = Path(__file__).resolve().parent.parent / "build" / "bench"
WIDTH = 130
BENCHES = ("H1", "S1")
TITLES = {
    "H1": "H1: the same scripted fix, build phase, start-up included; wall_s is less model and test time",
    "S1": "S1: ostler --help",
}
TARGETS: Mapping[str, tuple[str, str, float]] = {
    "wall_s": ("at most a third of mini-swe-agent", "mini-swe-agent", 1 / 3),
    "input_bytes": ("at most mini-swe-agent", "mini-swe-agent", 1.0),
    "rss_mb": ("at most 150 MB", "", 150.0),
    "help_s": ("under 0.3 s", "", 0.3),
    "module_help_s": ("under 0.3 s", "", 0.3),
}
"""What is aimed at, the peer it is relative to (empty: absolute), and the most that may be."""


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
    for name in BENCHES:
        if asked in ("", name):
            try:
                show(console, name, _run(name, quick, console))
            except RuntimeError as error:
                console.print(f"{name} measured nothing: {error}", style="bold red", markup=False, soft_wrap=True)
                return 1
    return 0


def _run(name: str, quick: bool, console: Console) -> dict[str, dict[str, Any]]:
    if name == "S1":
        figures = s1.run(quick=quick)
    else:
        outcome = h1.run(BUILD, quick=quick, say=lambda text: console.print(text, style="dim", markup=False))
        figures = outcome.figures
        _write("H1-runs", outcome.runs)
        for note in outcome.notes:
            console.print(f"Note: {note}", style="yellow", markup=False, soft_wrap=True)
    _write(name, figures)
    return figures


def _write(name: str, value: object) -> None:
    (BUILD / f"{name}.json").write_text(json.dumps(value, indent=2) + "\n")


def show(console: Console, name: str, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """The figures as a table, one column a peer."""
    others = list(dict.fromkeys(peer for figure in figures.values() for peer in figure["beside"]))
    table = Table(title=TITLES[name], title_justify="left")
    table.add_column("figure", no_wrap=True)
    table.add_column("ostler", justify="right")
    for other in others:
        table.add_column(f"{other} (ratio)", justify="right")
    table.add_column("target")
    for figure, row in figures.items():
        beside = [f"{_number(row['beside'].get(other))} ({_number(row['ratio'].get(other))})" for other in others]
        table.add_row(figure, _number(row["value"]), *beside, _judged(figure, row))
    console.print(table)
    console.print(f"written to {BUILD / f'{name}.json'}", style="dim", markup=False, soft_wrap=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,}"


def _judged(figure: str, row: Mapping[str, Any]) -> str:
    if figure not in TARGETS:
        return ""
    told, peer, most = TARGETS[figure]
    reached = row["ratio"].get(peer) if peer else row["value"]
    if reached is None:
        return f"{told}: not measured"
    return f"[green]met[/green]: {told}" if reached <= most else f"[red]missed[/red]: {told}"


if __name__ == "__main__":
    sys.exit(main())
