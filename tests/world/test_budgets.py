"""Budgets through the door: limits of tokens and the stop-loss, caps that runs share, quotas, a vendor that is down, what earlier
runs teach, and `ostler budget`."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bot.core.events import CallFailed, OverrunAccepted
from bot.core.machines import RunState
from bot.core.run import Run
from bot.loop.driver import fold
from bot.store.journal import read_records
from tests.world.test_money import bill, is_mended, is_paused
from tests.world.world import DONE, ISSUE, Rule, Said, Vendors, World, audits, builds, drafts, happy, patch, rule, serve

pytestmark = pytest.mark.sampled

PATCHES = [
    patch("calc.py", "@@ def add\n-    return left - right\n+    return left + right\n"),
    patch(
        "tests/test_calc.py",
        "@@ def test_nothing_is_added\n     assert add(2, 0) == 2\n+\n+\n+def test_adds() -> None:\n+    assert add(2, 3) == 5\n",
    ),
]


def state(world: World, said: Said | None = None) -> Run:
    run, _, _ = fold(world.records(said))
    assert run is not None
    return run


def either_builds() -> list[Rule]:
    """A script in which either vendor's model can build and judge."""
    by_openai = [{**line, "when": {**line["when"], "vendor": "openai"}} for line in builds(PATCHES, DONE)]
    by_anthropic = [line for line in happy() if "IMPLEMENT" in str(line["when"])]
    approves = [line for line in happy() if "PLAN: review" in str(line["when"])]
    return [drafts(), *approves, *by_openai, *by_anthropic, audits()]


# --- limits of tokens -------------------------------------------------------------------------------------------------

SMALL_LIMITS = "budget:\n  multiplier: 0.005\n  thresholds: {hard_cap_factor: 100}\n"


def test_the_stop_loss_stops_before_the_proof_and_a_person_lets_it_go_on(tmp_path: Path) -> None:
    world = World.of(tmp_path).configured(SMALL_LIMITS)
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        assert is_paused(said), said
        assert "Stop-loss" in said.result["outcome"]
        run, folder = state(world), world.folder()
        assert run.phase.kind == "VERIFY"
        assert "FIX-BUDGET-BREACH" in (folder / "runs/run-01/incident.md").read_text("utf-8")
        session = said.result["session"]
        refused = world.resume(session, "--accept-overrun", " ", vendors=vendors)
        assert (refused.code, "needs a reason" in refused.err) == (1, True)
        said = world.resume(session, "--accept-overrun", "the issue is harder than it looks", vendors=vendors)
        while is_paused(said):
            said = world.resume(session, "--accept-overrun", "as before", vendors=vendors)
        assert is_mended(world, said), said
        report = (folder / "runs/run-01/evidence/budget_report.md").read_text("utf-8")
    again = world.ostler("replay", session, "--execute", "--json")
    assert again.result["same_tree"] is True
    accepted = [record.item for record in world.records() if isinstance(record.item, OverrunAccepted)]
    assert accepted[0].reason == "the issue is harder than it looks"
    assert "the issue is harder than it looks" in report
    enforced = json.loads((folder / "runs/run-01/evidence/budget_enforcement.json").read_text("utf-8"))
    assert enforced["standing"]["cumulative_percent"] > 0


def test_in_mode_observe_the_same_run_is_only_told_about(tmp_path: Path) -> None:
    world = World.of(tmp_path).configured(SMALL_LIMITS + "  mode: observe\n")
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
    assert is_mended(world, said), said
    report = (world.folder() / "runs/run-01/evidence/budget_report.md").read_text("utf-8")
    assert "Mode `enforce` would say block" in report


def test_a_tiers_hard_cap_stops_before_the_next_call(tmp_path: Path) -> None:
    world = World.of(tmp_path).configured("budget: {multiplier: 0.001}\n")
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        asked = len(vendors.journal())
        assert is_paused(said), said
    assert "cap of" in said.result["outcome"]
    assert "tokens is reached" in said.result["outcome"]
    assert asked < 5


def test_a_stop_at_the_stop_loss_ends_out_of_budget(tmp_path: Path) -> None:
    world = World.of(tmp_path).configured(SMALL_LIMITS)
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        said = world.resume(said.result["session"], "--stop", vendors=vendors)
    assert (said.code, said.result["run_state"]) == (3, str(RunState.DONE_FAILED_BUDGET_EXHAUSTED))


# --- caps that runs share ---------------------------------------------------------------------------------------------


def test_a_days_cap_holds_over_runs_and_opens_again_when_it_is_raised(tmp_path: Path) -> None:
    world = World.of(tmp_path).configured("budget: {day: 0.02}\n")
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        for _ in range(14):
            if is_paused(said):
                break
            said = world.run(ISSUE, vendors=vendors)
        assert is_paused(said), said
        assert said.result["outcome"].startswith("The day cap leaves $")
        assert bill(vendors) <= 0.02
        asked = len(vendors.journal())
        again = world.resume(said.result["session"], vendors=vendors)
        assert is_paused(again)
        assert len(vendors.journal()) == asked
        world.configured("budget: {day: 20}\n")
        said = world.resume(said.result["session"], vendors=vendors)
        assert is_mended(world, said), said


def test_runs_at_the_same_time_stay_under_the_machines_cap_together(tmp_path: Path) -> None:
    cap, worlds = 0.25, [World.of(tmp_path / str(number)) for number in range(3)]
    shared = {"OSTLER_STATE_DIR": str(tmp_path / "state"), "OSTLER_MAX_COST_PER_DAY": str(cap)}
    with serve(happy()) as vendors:
        running = [_begun(world, vendors, shared) for world in worlds]
        ended = [process.wait(timeout=240) for process in running]
        assert set(ended) <= {0, 3}
        assert 0 < bill(vendors) <= cap
        said = worlds[0].run(ISSUE, "--max-cost", "9", vendors=vendors, env={**shared, "OSTLER_MAX_COST_PER_DAY": "0.01"})
        assert is_paused(said)
        assert "installation cap" in said.result["outcome"]


def _begun(world: World, vendors: Vendors, env: dict[str, str]) -> subprocess.Popen[bytes]:
    command = world.command("run", str(world.repository), "--issue", ISSUE, "--json")
    return subprocess.Popen(command, env=world.environ(vendors, env=env), cwd=world.repository.parent, stdout=subprocess.DEVNULL)


def test_a_quota_that_is_nearly_used_up_sends_work_to_the_other_vendor(tmp_path: Path) -> None:
    """Whoever plans and builds moves; who judges does not, and so the run waits for the quota."""
    world = World.of(tmp_path).configured("quotas: {anthropic: {weekly_tokens: 2000}}\n")
    with serve(either_builds()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        assert is_paused(said), said
        assert {entry["vendor"] for entry in vendors.journal()} == {"openai"}
    assert "This week's quota of anthropic is used up" in said.result["outcome"]
    assert state(world).left == ("anthropic",)


# --- a vendor that is down --------------------------------------------------------------------------------------------


def down(vendor: str, *words: str) -> Rule:
    return rule(*words, vendor=vendor, status=503, headers={"retry-after": "0"})


def test_the_other_vendor_goes_on_where_one_is_down(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    with serve([down("anthropic", "# Phase PLAN: draft"), *either_builds()]) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        assert is_mended(world, said), said
    run = state(world)
    assert run.left == ("anthropic",)
    built = [phase.choice for phase in run.phases if phase.kind == "IMPLEMENT" and phase.choice]
    assert built[-1].model.vendor == "openai"
    assert "given up in this run" in built[-1].reason
    tries = [record.item for record in world.records() if isinstance(record.item, CallFailed)]
    assert len(tries) == 5


def test_a_vendor_that_failed_often_is_left_alone_by_all_runs(tmp_path: Path) -> None:
    """A call that was given up opens the breaker: another run, in another process, does not ask at all."""
    world = World.of(tmp_path).configured("budget: {day: 50}\nbreaker: {failures: 1, seconds: 600}\n")
    with serve([down("anthropic", "# Phase PLAN: draft"), *either_builds()]) as vendors:
        said = world.run(ISSUE, vendors=vendors, keys=("anthropic",))
        assert said.code == 5, said
        assert [entry["status"] for entry in vendors.journal()] == [503] * 5
        process = _begun(world, vendors, {})
        try:
            failure = _first_failure(world, said)
        finally:
            process.kill()
            process.wait()
        assert all(entry["vendor"] == "openai" for entry in vendors.journal()[5:])
    assert failure.error == "unavailable"
    assert "left alone" in failure.message


def _first_failure(world: World, before: Said) -> CallFailed:
    """Of the session that is under way beside the one of `before`."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        for folder in world.folders():
            if folder.name != before.result["session"] and (folder / "journal.jsonl").is_file():
                for record in read_records(folder / "journal.jsonl"):
                    if isinstance(record.item, CallFailed):
                        return record.item
        time.sleep(0.2)
    raise AssertionError("no call failed")


# --- what earlier runs teach, and the command -------------------------------------------------------------------------


def finished(world: World, vendors: Vendors, times: int) -> list[Said]:
    said = [world.run(ISSUE, vendors=vendors) for _ in range(times)]
    assert all(is_mended(world, one) for one in said)
    return said


def told(world: World, *args: str) -> Any:
    said = world.ostler("budget", *args, "--json")
    assert said.code == 0, said
    return json.loads(said.out.splitlines()[-1])


def test_three_runs_make_a_range_that_the_plan_quotes(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    with serve(happy()) as vendors:
        assert told(world, "forecast", str(world.repository))["method"] == "none"
        finished(world, vendors, 3)
        found = told(world, "forecast", str(world.repository))
        assert (found["method"], found["n"]) == ("log-normal-t", 3)
        assert 0 < found["p50"] <= found["p90"]
        (said,) = finished(world, vendors, 1)
    plan = (world.folder(said) / "runs/run-01/evidence/plan.md").read_text("utf-8")
    # Which of its sentences it is hangs on how this run's own cost compares with the others'.
    assert re.search(r"Expected to cost: [^\n]*\$[^\n]* nine of ten [^\n]*3 runs\)", plan), plan


def test_the_command_shows_explains_and_makes_limits_anew(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    with serve(happy()) as vendors:
        (first, *_) = finished(world, vendors, 1)
        session = first.result["session"]
        shown = world.ostler("budget", "show", session)
        assert "| IMPLEMENT |" in shown.out
        assert told(world, "show", session)["standing"]["action"] in ("go", "warn")
        explained = told(world, "explain", session)
        roles = {row["role"] for row in explained["choices"]}
        assert {"planner", "plan_reviewer", "builder", "auditor"} <= roles
        assert all(row["reason"] for row in explained["choices"])
        kept = told(world, "baseline", str(world.repository))
        assert kept["kinds"]["IMPLEMENT"] == {"tokens": 224_000, "seconds": 600, "runs": 1}
        finished(world, vendors, 4)
        anew = told(world, "baseline", str(world.repository))
        assert anew["kinds"]["IMPLEMENT"]["runs"] == 5
        assert anew["kinds"]["IMPLEMENT"]["tokens"] < 224_000
        assert anew["indicators"]["within"] == 100


def test_what_models_would_cost_is_worked_out_without_a_call(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    rows = {row["model"]: row for row in told(world, "simulate", str(world.repository))}
    assert rows["claude-haiku-5-5"]["cost"] < rows["claude-sonnet-5-5"]["cost"] < rows["claude-opus-5-5"]["cost"]
    said = world.ostler("budget", "simulate", str(world.repository), "--turns", "0")
    assert (said.code, "1 to 1,000 turns" in said.err) == (1, True)


def test_a_false_breach_is_marked_and_counted(tmp_path: Path) -> None:
    world = World.of(tmp_path).configured(SMALL_LIMITS + "  mode: observe\n")
    with serve(happy()) as vendors:
        (said,) = finished(world, vendors, 1)
    session = said.result["session"]
    unknown = world.ostler("budget", "false-positive", session, "NOTHING", "why")
    assert (unknown.code, "is no kind of phase" in unknown.err) == (1, True)
    marked = world.ostler("budget", "false-positive", session, "PLAN", "the issue is long")
    assert marked.code == 0, marked
    metadata = json.loads((world.folder() / "metadata.json").read_text("utf-8"))
    assert metadata["false_breaches"] == [["PLAN", "the issue is long"]]
    breaches = told(world, "explain", session)["breaches"]
    assert len(breaches) > 1
    assert told(world, "baseline", str(world.repository))["indicators"]["false_positives"] == round(100 / len(breaches))


# --- configuration that cannot be meant -------------------------------------------------------------------------------


BAD: Iterable[tuple[str, str]] = (
    ("budget: {multiplier: 0}", "budget.multiplier"),
    ("budget: {multiplier: -1}", "budget.multiplier"),
    ("budget: {multiplier: 11}", "budget.multiplier"),
    ("budget: {multiplier: .nan}", "budget.multiplier"),
    ("budget: {money: .inf}", "budget.money"),
    ("budget: {money: 0}", "budget.money"),
    ("budget: {day: -3}", "budget.day"),
    ("budget: {complexity: {Tiny: 0}}", "budget.complexity.Tiny"),
    ("budget: {complexity: {Huge: 1}}", "budget.complexity.Huge"),
    ("budget: {thresholds: {stop_loss: 1}}", "budget.thresholds.stop_loss"),
    ("budget: {mode: strict}", "budget.mode"),
    ("budget: {session: 1, money: 2}", "budget.session"),
    ("budget: {overrides: [{kind: IMPLEMENT, tokens: 5.5, reason: x}]}", "budget.overrides.0.tokens"),
    ("budget: {overrides: [{kind: IMPLEMENT, tokens: '5', reason: x}]}", "budget.overrides.0.tokens"),
    ("budget: {overrides: [{kind: NOTHING, tokens: 5, reason: x}]}", "budget.overrides.0.kind"),
    ("budget: {overrides: [{kind: IMPLEMENT, tokens: 5}]}", "budget.overrides.0.reason"),
    ("budget: {overrides: [{kind: IMPLEMENT, reason: x}]}", "budget.overrides"),
    ("kinds: {IMPLEMENT: {weight: 0}}", "kinds.IMPLEMENT.weight"),
    ("kinds: {CODING: {tokens: 5}}", "kinds.CODING"),
    ("quotas: {anthropic: {weekly_tokens: 0}}", "quotas.anthropic.weekly_tokens"),
    ("breaker: {failures: 0}", "breaker.failures"),
    ("rate_limits: {anthropic: 0}", "rate_limits.anthropic"),
)


@pytest.mark.parametrize(("text", "key"), BAD, ids=lambda value: value if "{" not in value else "")
def test_a_budget_that_cannot_be_meant_is_refused_with_its_line_and_nothing_is_spent(tmp_path: Path, text: str, key: str) -> None:
    world = World.of(tmp_path).configured(f"version: 1\n{text}\n")
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        assert said.code == 5, said
        assert ".github/ostler.yml, line " in said.err
        assert key in said.err
        assert vendors.journal() == []
    assert world.folders() == []
