"""Stages that are a shell command: compared with the base by the findings that it prints as SARIF, else by its exit code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from bot.core.diagnosis import Table, named, of_output
from bot.core.error_classes import PATTERNS
from bot.core.reports import Check, Ran
from bot.workspace.toolchains.checks import Finding, Pair, RunTool, finished, listed, news, said

START = re.compile(r"^\s*\{", re.MULTILINE)
TRIES = 20
COUNTED = ("error", "warning")


def commanded(name: str, command: str, pair: Pair, run: RunTool, table: Table = PATTERNS) -> tuple[Check, ...]:
    """What a command says. Exit 0 is a pass; else only what it finds anew, or doesn't fail by on the base, is blamed."""
    argv = ("/bin/sh", "-c", command)
    ran, _ = run(pair.head, argv)
    if ran.exit == 0:
        return (finished(name, "pass", f"`{command}` ends with exit 0", ran, argv),)
    before, _ = run(pair.base, argv)
    head, base = sarif(ran), sarif(before)
    if head and base is not None:
        found = news(head, base)
        detail = listed(found) or f"{len(head)} known findings, nothing new"
        return (finished(name, "fail" if found else "pass", detail, ran, argv),)
    why = listed([str(row) for row in head or ()]) or f"`{command}`: {_words(ran, table)}"
    if before.exit == 0:
        return (finished(name, "fail", why, ran, argv),)
    return (
        finished(name, "neutral", f"not blamed on the change, because the base ends with {before.how} too: {why}", ran, argv),
    )


def _words(ran: Ran, table: Table) -> str:
    """The lines that tell an error, which may stand far from the end; the last words where none is known."""
    told = [evidence.text.strip() for evidence in of_output(ran.text) if named(evidence, table)]
    return f"{ran.how}: {listed(told)}" if told else said(ran)


def sarif(ran: Ran) -> list[Finding] | None:
    """The findings of a SARIF log that begins on a line of its own among what a tool wrote; None where there is none, or only a
    piece of one.

    Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html, section 3.27. Suppressed results don't count, nor
    do notes; a result without a level is a warning.
    """
    if not ran.ended or ran.truncated:
        return None
    for _, start in zip(range(TRIES), START.finditer(ran.text), strict=False):
        try:
            log, _ = json.JSONDecoder().raw_decode(ran.text, start.end() - 1)
            if str(log["version"]).startswith("2."):
                return [row for one in log["runs"] for row in _findings(one)]
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            continue
    return None


def _findings(run: dict[str, Any]) -> Iterator[Finding]:
    for result in run.get("results") or ():
        counts = result.get("kind", "fail") == "fail" and result.get("level", "warning") in COUNTED
        if not counts or any(each.get("status", "accepted") == "accepted" for each in result.get("suppressions") or ()):
            continue
        rule = str(result.get("ruleId") or "finding")
        place = (result.get("locations") or [{}])[0].get("physicalLocation", {})
        file = str(place.get("artifactLocation", {}).get("uri", "")).removeprefix("file://") or "the repository"
        line = place.get("region", {}).get("startLine")
        text = " ".join(str(result["message"].get("text") or "").split())
        yield Finding(file, rule, f"{rule} {text}", f"{file}:{line}" if line else "")
