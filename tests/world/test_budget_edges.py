"""The edge cases of budgets (`edge_NN`) and the ways in which budgets fail (`failure_N`), through the door.

The table in docs/money.md says which test stands for which case, and which cases cannot arise.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from bot.core.events import ModelReplied, RunRequested
from tests.world.test_budgets import SMALL_LIMITS, state, told
from tests.world.test_money import is_mended, is_paused
from tests.world.world import DONE, FIX, ISSUE, Said, World, approves, audits, builds, drafts, framing, happy, rule, serve

pytestmark = pytest.mark.sampled

SECRET = "ghp_" + "A1b2C3d4" * 4 + "E5f6"
CRITICAL = "Production down: add() returns the difference, and the financial totals are wrong. add(2, 3) should be 5 and is -1."
FRACTIONS = (
    "approval: always\nbudget:\n  mode: observe\n  multiplier: 0.0333\n"
    "  overrides: [{kind: PLAN, tokens: 100, seconds: 7, reason: plans are short here}]\n"
)


@dataclass(frozen=True)
class Frozen:
    """A run that waited for approval while its configuration was changed, and was then approved."""

    world: World
    waiting: Mapping[str, Any]
    done: Mapping[str, Any]
    said: Said


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    world = World.of(tmp_path_factory.mktemp("frozen")).configured(FRACTIONS)
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        assert said.code == 2, said
        session = said.result["session"]
        waiting = told(world, "show", session)
        world.configured("approval: always\nbudget: {multiplier: 9, mode: enforce}\n")
        said = world.resume(session, "--approve", said.result["plan_digest"], vendors=vendors)
    return Frozen(world, waiting, told(world, "show", session), said)


def row(report: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    (only,) = (each for each in report["rows"] if each["kind"] == kind)
    assert isinstance(only, dict)
    return only


def test_edge_04_an_override_below_what_is_computed_holds_and_is_warned_of(frozen: Frozen) -> None:
    plan = row(frozen.waiting, "PLAN")
    assert (plan["tokens_limit"], plan["seconds_limit"]) == (100, 7)
    assert any("PLAN: the override (100 tokens, 7 s) is below what is computed" in text for text in frozen.waiting["warnings"])
    requested = [record.item for record in frozen.world.records() if isinstance(record.item, RunRequested)]
    assert [one.reason for one in requested[0].settings.rules.overrides] == ["plans are short here"]


def test_edge_05_fractions_are_exact_and_rounded_up_once(frozen: Frozen) -> None:
    for limit in frozen.waiting["limits"]:
        base, *factors = limit["how"].removeprefix("set by hand; computed: ").replace(",", "").split(" x ")
        product = int(base) * 10**12
        for factor in factors:
            whole, _, part = factor.partition(".")
            product = product * int(whole + part) // 10 ** len(part) if product % 10 ** len(part) == 0 else product
        assert limit["computed_tokens"] == ceil(product / 10**12), limit


def test_edge_06_an_overrun_is_recorded_as_it_was_and_no_call_is_cut_off(frozen: Frozen) -> None:
    plan = row(frozen.waiting, "PLAN")
    assert plan["status"] == "exceeded"
    replies = [record.item for record in frozen.world.records() if isinstance(record.item, ModelReplied)]
    assert plan["tokens"] > plan["tokens_limit"]
    assert frozen.done["tokens"] == sum(reply.usage.fresh for reply in replies)
    assert is_mended(frozen.world, frozen.said), frozen.said


def test_edge_13_the_limits_of_a_run_are_those_it_began_with(frozen: Frozen) -> None:
    assert frozen.done["limits"] == frozen.waiting["limits"]
    assert frozen.done["mode"] == "observe"


def test_edge_14_the_report_of_an_unfinished_task_says_what_has_not_begun(frozen: Frozen) -> None:
    assert row(frozen.waiting, "IMPLEMENT")["status"] == "Not Started"
    assert row(frozen.done, "IMPLEMENT")["status"] != "Not Started"
    shown = frozen.world.ostler("budget", "show", frozen.said.result["session"])
    assert "| IMPLEMENT |" in shown.out


def test_edge_16_the_rules_are_named_by_their_digest_before_and_after_the_file_changed(frozen: Frozen) -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", frozen.waiting["rules"])
    assert frozen.done["rules"] == frozen.waiting["rules"]
    folder = frozen.world.folder() / "runs/run-01"
    kept = json.loads((folder / "evidence/budget_enforcement.json").read_text("utf-8"))
    assert kept["rules"] == frozen.waiting["rules"]


def test_failure_8_a_report_stays_in_the_session_and_out_of_the_branch(frozen: Frozen) -> None:
    branch = frozen.said.result["branch"]
    files = frozen.world.git("ls-tree", "-r", "--name-only", branch).split()
    assert files == [".github/ostler.yml", "calc.py", "pyproject.toml", "tests/test_calc.py"]
    assert (frozen.world.folder().stat().st_mode & 0o077) == 0


def test_failure_7_a_report_begins_with_three_lines_and_names_what_is_unusual(frozen: Frozen) -> None:
    report = (frozen.world.folder() / "runs/run-01/evidence/budget_report.md").read_text("utf-8")
    assert all(text in report for text in frozen.done["headline"])
    assert len(frozen.done["headline"]) == 3
    assert any(re.match(r"PLAN: [0-9]+% of its limit", text) for text in frozen.done["anomalies"])
    assert any(text.startswith("PLAN used ") for text in frozen.done["breaches"])


# --- runs of their own ------------------------------------------------------------------------------------------------


def test_edge_09_a_second_attempt_counts_against_the_limit_of_the_first(tmp_path: Path) -> None:
    world = World.of(tmp_path).configured("budget: {mode: observe}\n")
    rules = [
        drafts(), approves(),
        *builds([FIX], DONE, brief="nothing was changed"),
        *builds("I see nothing to do."),
        audits(),
    ]  # fmt: skip
    with serve(rules) as vendors:
        said = world.run(ISSUE, vendors=vendors, keys=("anthropic",))
    report, run = told(world, "show", said.result["session"]), state(world)
    built = [phase for phase in run.phases if phase.kind == "IMPLEMENT"]
    assert len(built) == 2
    implement = row(report, "IMPLEMENT")
    assert implement["phases"] == ", ".join(phase.id for phase in built)
    (limit,) = (each for each in report["limits"] if each["kind"] == "IMPLEMENT")
    assert implement["tokens_limit"] == limit["tokens"] == limit["computed_tokens"]
    charged = [charge for charge in run.ledger.charges if charge.kind == "IMPLEMENT"]
    assert implement["tokens"] == sum(charge.usage.fresh for charge in charged)


def limited(used: Sequence[Mapping[str, Any]], share: float) -> str:
    """The configuration under which a run that uses what `used` says ends at so large a share of its limits."""
    limits = {each["kind"]: 1 for each in used} | {"PLAN": 1_000, "REVIEW": 1_000}
    limits["IMPLEMENT"] += round(sum(each["tokens"] for each in used) / share) - sum(limits.values())
    overrides = ", ".join(f"{{kind: {kind}, tokens: {tokens}, reason: measured}}" for kind, tokens in limits.items())
    return f"budget:\n  thresholds: {{hard_cap_factor: 100}}\n  overrides: [{overrides}]\n"


def test_edge_11_what_is_almost_done_is_delivered(tmp_path: Path) -> None:
    """At 105 % of its limits, with nothing left but delivery."""
    first = World.of(tmp_path / "first")
    with serve(happy()) as vendors:
        used = told(first, "show", first.run(ISSUE, vendors=vendors).result["session"])["rows"]
    world = World.of(tmp_path / "second").configured(limited(used, 1.05))
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
    assert is_mended(world, said), said
    stands = told(world, "show", said.result["session"])["standing"]
    assert 100 < stands["cumulative_percent"] <= 110
    assert stands["action"] == "warn"
    assert "almost done, so delivery goes on" in stands["reasons"]


def test_edges_12_and_21_an_account_that_cannot_be_written_is_told_and_the_stop_holds(tmp_path: Path) -> None:
    world = World.of(tmp_path).configured(f"approval: always\n{SMALL_LIMITS}")
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        assert said.code == 2, said
        folder = world.folder() / "runs/run-01"
        (folder / "incident.md").mkdir()
        (folder / "evidence/budget_report.md").unlink()
        (folder / "evidence/budget_report.md").mkdir()
        session, digest = said.result["session"], said.result["plan_digest"]
        said = world.resume(session, "--approve", digest, vendors=vendors)
        assert is_paused(said), said
        assert "Stop-loss" in said.result["outcome"]
        assert f"{folder / 'incident.md'} cannot be written" in said.err
        assert f"{folder / 'evidence/budget_report.md'} cannot be written" in said.err
        (folder / "incident.md").rmdir()
        (folder / "evidence/budget_report.md").rmdir()
        assert is_paused(world.resume(session, vendors=vendors))
    assert "FIX-BUDGET-BREACH" in (folder / "incident.md").read_text("utf-8")


def test_edge_22_the_journal_wins_over_the_accounts(tmp_path: Path) -> None:
    """A database that was lost is made again from the journal, so that a shared cap still knows what was spent."""
    world = World.of(tmp_path).configured("approval: always\nbudget: {day: 50}\n")
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        assert said.code == 2, said
        spent = state(world).ledger.spent
        for path in world.state.glob("accounts.db*"):
            path.unlink()
        said = world.resume(said.result["session"], "--approve", said.result["plan_digest"], vendors=vendors)
        assert is_mended(world, said), said
    assert spent > 0
    assert booked(world) == state(world).ledger.spent > spent


def booked(world: World) -> int:
    """Micro-dollars in the account of the repository's day."""
    with closing(sqlite3.connect(world.state / "accounts.db")) as database:
        found = database.execute("select held from accounts where account like 'day:%' and unit = 'money'").fetchall()
    (amount,) = found[0]
    return int(amount)


def remembered(world: World, days: Mapping[int, int], **changes: Any) -> None:
    """The finished run that is remembered was made so many times (`days`: by days ago) with other figures."""
    today = datetime.now(UTC).date()
    with closing(sqlite3.connect(world.state / "accounts.db")) as database, database:
        repo, value = database.execute("select repo, value from memories where kind = 'run'").fetchone()
        database.execute("delete from memories where kind = 'run'")
        for ago, factor in days.items():
            run = json.loads(value) | changes | {"day": str(today - timedelta(days=ago))}
            run["uses"] = [use | {"tokens": use["tokens"] * factor} for use in run["uses"]]
            database.execute(
                "insert into memories (repo, kind, key, value) values (?, 'run', ?, ?)", (repo, f"run-{ago}", json.dumps(run))
            )


def test_edge_23_a_week_that_drifts_is_told(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    with serve(happy()) as vendors:
        assert is_mended(world, world.run(ISSUE, vendors=vendors))
    remembered(world, {1: 2, 2: 2, 3: 2, 8: 2, 9: 2, 10: 2})
    assert told(world, "baseline", str(world.repository))["alerts"] == []
    remembered(world, {1: 3, 2: 3, 3: 3, 8: 2, 9: 2, 10: 2})
    (alert,) = told(world, "baseline", str(world.repository))["alerts"]
    assert alert.startswith("Runs of the last seven days used ")
    assert f"# {alert}" in world.ostler("budget", "baseline", str(world.repository)).out


def test_failure_6_too_many_critical_tasks_are_told(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    with serve(happy()) as vendors:
        assert is_mended(world, world.run(ISSUE, vendors=vendors))
    remembered(world, dict.fromkeys(range(20, 30), 1), importance="critical")
    (alert,) = told(world, "baseline", str(world.repository))["alerts"]
    assert alert.startswith("100% of the runs were critical")


def test_failure_6_critical_work_is_approved_by_a_person_and_stopped_later(tmp_path: Path) -> None:
    """At 140 % of its limits, where other work waits for a person, approved critical work goes on and says so."""
    rules = [*framing(), *happy()]
    first = World.of(tmp_path / "first").configured("budget: {mode: observe}\n")
    with serve(rules) as vendors:
        said = first.run(CRITICAL, vendors=vendors)
        assert said.code == 2, said
        said = first.resume(said.result["session"], "--approve", said.result["plan_digest"], vendors=vendors)
        assert is_mended(first, said), said
    found = told(first, "show", said.result["session"])
    assert found["importance"] == "critical"
    world = World.of(tmp_path / "second").configured(limited(found["rows"], 1.4))
    with serve(rules) as vendors:
        said = world.run(CRITICAL, "--approve", vendors=vendors)
    assert is_mended(world, said), said
    stands = told(world, "show", said.result["session"])["standing"]
    assert 120 < stands["cumulative_percent"] <= 150
    assert any("critical work goes on" in reason for reason in stands["reasons"])


def test_failure_2_thresholds_can_be_loosened_and_false_breaches_suggest_it(tmp_path: Path) -> None:
    """A run that the stop-loss would hold goes through under thresholds that are wide enough."""
    world = World.of(tmp_path).configured(
        "budget:\n  multiplier: 0.005\n  thresholds: {exceeded: 99, stop_loss: 99, hard_cap_factor: 100}\n"
    )
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
    assert is_mended(world, said), said
    session = said.result["session"]
    assert any("PLAN used " in text for text in told(world, "explain", session)["breaches"])
    assert world.ostler("budget", "false-positive", session, "PLAN", "plans are long here").code == 0
    (alert,) = told(world, "baseline", str(world.repository))["alerts"]
    assert "raise `budget.thresholds.exceeded` to 2.0 and `budget.thresholds.stop_loss` to 1.5" in alert


def test_failure_4_a_damaged_database_stops_and_the_doctor_says_what_to_do(tmp_path: Path) -> None:
    world = World.of(tmp_path).configured("budget: {day: 50}\n")
    world.state.mkdir()
    (world.state / "accounts.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        assert vendors.journal() == []
        doctor = world.ostler("doctor", str(world.repository), "--json", vendors=vendors)
    assert said.code == 5, said
    (memory,) = (item for item in json.loads(doctor.out) if item["name"] == "memory")
    assert memory["state"] == "bad"
    assert "accounts.db" in memory["detail"]


def test_failure_8_a_secret_in_a_ticket_is_in_no_report(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    with serve([rule("# Phase PLAN: draft", text="no plan", times=3)]) as vendors:
        said = world.run(f"{ISSUE}\n\nMy token is {SECRET}", vendors=vendors)
    folder = world.folder(said)
    reports = [*folder.glob("runs/*/*.md"), *folder.glob("runs/*/evidence/*"), folder / "report.md", folder / "page.html"]
    assert len(reports) > 3
    assert [path.name for path in reports if SECRET in path.read_text("utf-8")] == []
