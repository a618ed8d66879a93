"""Ostler's command line, real to the last line, in a world where a run of the whole suite takes so many seconds.

    python -m bench.slow 420 run PATH --issue FILE --approve --json

Nobody waits: wherever Ostler really runs the suite, the report says that it took so long, and the stand-in's clock jumps by as
much, so that both sides of the wire live in the same time.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2

from bot.cli.main import main
from bot.core.reports import TestReport
from bot.workspace.sandbox import Sandbox
from bot.workspace.toolchains.toolchain import Toolchain


def take(seconds: float, vendors: str) -> None:
    """Make every run of the whole suite take `seconds`, for its report and for `vendors`, the stand-in's address."""
    run_tests = Toolchain.run_tests

    def slow(self: Toolchain, box: Sandbox, folder: Path, **how: Any) -> TestReport:
        report = run_tests(self, box, folder, **how)
        if how.get("selection") or how.get("related"):
            return report
        _pass(vendors, seconds)
        return replace(report, seconds=seconds)

    Toolchain.run_tests = slow  # type: ignore[method-assign]  # as in bench.until, the one place that reaches into Ostler


def _pass(vendors: str, seconds: float) -> None:
    with httpx2.Client(trust_env=False) as client:
        client.post(f"{vendors}/clock", json={"seconds": seconds}).raise_for_status()


if __name__ == "__main__":
    take(float(sys.argv.pop(1)), os.environ["OSTLER_ANTHROPIC_BASE_URL"])
    main()
