"""Prompt caches through the door: what a whole run sends begins alike, and the vendors' caches find it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bot.core.effects import PriceCall
from bot.core.phases import Role
from tests.world.world import (
    DONE,
    FIX,
    PROOF,
    SMALL,
    World,
    audits,
    builds,
    drafts,
    framing,
    objects,
    patch,
    refines,
    rule,
    run_checks,
    serve,
    view,
)

GUIDE = "Keep it simple, and say why rather than what. " * 80
ISSUE = "add() should be fast, and it is wrong\n\n" + "add(2, 3) should be 5 and is -1. " * 150
"""Long enough for the smallest prefix that OpenAI keeps, and of medium size, so that all framing phases are on."""
PLANNING = ("# Phase STRATEGIZE", "# Phase SPEC", "# Phase PLAN: draft", "# Phase PLAN: refine", "# Phase THINK")
ROLES: Mapping[str, tuple[str, ...]] = {
    Role.PLANNER: PLANNING,
    Role.PLAN_REVIEWER: ("# Phase PLAN: review",),
    Role.BUILDER: ("# Phase IMPLEMENT",),
    Role.AUDITOR: ("# Phase REVIEW",),
}
RULES = [
    *framing(),
    rule("# Phase PLAN: draft", text="I would begin with the parser.", times=1),
    drafts(),
    objects("No test is planned."),
    refines(O1="Right: test_adds is planned."),
    *builds([view("calc.py"), view("tests/test_calc.py")], [FIX, PROOF], [run_checks()], DONE),
    audits(),
]
CODE_DIFF = ' def add(left: int, right: int) -> int:\n     """The sum."""\n-    return left - right\n+    return left + right\n'
TEST_DIFF = "     assert add(2, 0) == 2\n+\n+\n+def test_adds() -> None:\n+    assert add(2, 3) == 5\n"
PATCHED = [
    *RULES[:7],
    *builds([{"name": "view", "arguments": {"path": "calc.py"}}], [patch("calc.py", CODE_DIFF)],
            [patch("tests/test_calc.py", TEST_DIFF)], [run_checks()], DONE),
    audits(),
]  # fmt: skip


def bare(value: Any) -> Any:
    """`value` without the marks that say up to where to cache."""
    if isinstance(value, dict):
        return {name: bare(inner) for name, inner in value.items() if name not in ("cache_control", "prompt_cache_breakpoint")}
    return [bare(inner) for inner in value] if isinstance(value, list) else value


def prefix(body: Mapping[str, Any]) -> str:
    """The bytes in front of the phase's prompt: tools, format, system."""
    system = body["system"] if "system" in body else [item for item in body["input"] if item.get("role") == "developer"]
    asked = (body.get("output_config") or body.get("text") or {}).get("format")
    return json.dumps([bare(body.get("tools", [])), asked, bare(system)])


@pytest.mark.parametrize("keys", [("anthropic", "openai"), ("anthropic",), ("openai",)], ids="+".join)
def test_every_call_of_a_role_reads_the_prefix_of_the_first(tmp_path: Path, keys: tuple[str, ...]) -> None:
    world = World.of(tmp_path, {**SMALL, "CONTRIBUTING.md": GUIDE})
    with serve(PATCHED if keys == ("openai",) else RULES) as vendors:
        said = world.run(ISSUE, vendors=vendors, keys=keys)
        asked, journal = vendors.books.asked, vendors.journal()
    assert said.code == 0, said
    assert len(asked) == len(journal) == sum(isinstance(record.item, PriceCall) for record in world.records(said))
    for role, phases in ROLES.items():
        mine = [
            (one, line)
            for one, line in zip(asked, journal, strict=True)
            if any(phase in one.first_user for phase in phases)
        ]  # fmt: skip
        assert {phase for phase in phases if any(phase in one.first_user for one, _ in mine)} == set(phases)
        # An answer that could not be used is asked for again with a format, which stands in front of everything.
        plain = [(one, line) for one, line in mine if '"format"' not in json.dumps(one.body)]
        assert len(mine) - len(plain) == (role == Role.PLANNER)
        assert len({prefix(one.body) for one, _ in plain}) == 1, role
        assert len({one.model for one, _ in mine}) == 1
        least = len(prefix(plain[0][0].body)) // 4 * 0.9
        assert all(line["cache_read"] >= least for _, line in plain[1:]), (role, [line["cache_read"] for _, line in mine])


def test_the_auditor_reads_what_the_review_of_the_plan_wrote(tmp_path: Path) -> None:
    world = World.of(tmp_path, {**SMALL, "CONTRIBUTING.md": GUIDE})
    with serve(RULES) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        journal = [line for line in vendors.journal() if line["vendor"] == "openai"]
    assert said.code == 0, said
    review, audit = journal
    assert review["model"] == audit["model"]
    assert audit["cache_read"] > len(ISSUE) // 4
