"""S1: how long `ostler --help` takes, beside the interpreter that does nothing."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

REPETITIONS, QUICK = 20, 5
TARGETS = dict.fromkeys(("help_s", "module_help_s"), ("under 0.3 s", "", 0.3))


def run(*, quick: bool, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Medians in seconds over interleaved runs, after one of each that does not count."""
    commands = {
        "help_s": (str(Path(sys.executable).with_name("ostler")), "--help"),
        "module_help_s": (sys.executable, "-I", "-m", "bot", "--help"),
        "python": (sys.executable, "-c", "pass"),
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    repetitions = QUICK if quick else REPETITIONS
    say(f"S1: {repetitions} runs of each, interleaved")
    for number in range(repetitions + 1):
        for name, command in commands.items():
            seconds = _time(command)
            if number:
                taken[name].append(seconds)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    python = medians.pop("python")
    return {name: _figure(value, python) for name, value in medians.items()}


def _figure(value: float, python: float) -> dict[str, Any]:
    ratio = {"python": round(value / python, 2)}
    return {"value": round(value, 4), "unit": "s", "beside": {"python": round(python, 4)}, "ratio": ratio}


def _time(command: Sequence[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return time.monotonic() - began
