"""Money: a cap is never passed, a pause loses nothing, and what went wrong on the wire is paid for at most once and in full."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import genai_prices
import pytest

from bot.config import Models
from bot.core.budget import MICRO, Ledger
from bot.core.events import CallFailed
from bot.loop.driver import fold
from tests.rooms.test_config import WRONG_PRICES
from tests.world.world import BOTH, CODE, ISSUE, Rule, Said, Vendors, World, happy, rule, serve

pytestmark = pytest.mark.sampled

MENDED = CODE.replace("left - right", "left + right")


def bill(vendors: Vendors) -> float:
    """All that the stand-in asked for, in dollars, by genai_prices' own reckoning."""
    total = 0.0
    for entry in vendors.journal():
        usage = genai_prices.Usage(
            input_tokens=entry["input_tokens"],
            output_tokens=entry["output_tokens"],
            cache_read_tokens=entry["cache_read"],
            cache_write_tokens=entry["cache_write"] + entry["cache_write_long"],
        )
        total += float(genai_prices.calc_price(usage, entry["model"], provider_id=entry["vendor"]).total_price)
    return total


def ledger(world: World) -> Ledger:
    run, _, _ = fold(world.records())
    assert run is not None
    return run.ledger


def is_paused(said: Said) -> bool:
    return said.code == 3 and said.result["run_state"] == "GATE" and said.result["branch"] is None


def is_mended(world: World, said: Said) -> bool:
    return said.code == 0 and world.git("show", f"{said.result['branch']}:calc.py") == MENDED.rstrip()


def needed(said: Said) -> str:
    """The cap that a paused run asks for."""
    found = re.search(r"raise the cap to \$([\d.]+) or more to go on", said.result["outcome"])
    assert found, said
    return found[1]


def test_a_pause_says_what_it_needs_and_loses_nothing(tmp_path: Path) -> None:
    """Given exactly what it asks for, a run gets past the call it stood before, until it is done."""
    world = World.of(tmp_path)
    before = world.untouched()
    with serve(happy()) as vendors:
        said = world.run(ISSUE, "--max-cost", "0.0005", vendors=vendors)
        pauses, cap = 0, 0.0005
        while is_paused(said):
            assert bill(vendors) <= ledger(world).spent / MICRO <= cap
            asked = len(vendors.journal())
            assert world.resume(said.result["session"], vendors=vendors).result == said.result
            for low in (cap, cap / 2):
                refused = world.resume(said.result["session"], "--max-cost", f"{low:.4f}", vendors=vendors)
                assert refused.code == 1
                assert "--max-cost has to be more than the" in refused.err
            assert len(vendors.journal()) == asked
            cap = float(needed(said))
            said = world.resume(said.result["session"], "--max-cost", needed(said), vendors=vendors)
            assert len(vendors.journal()) > asked, said
            pauses += 1
        assert is_mended(world, said), said
        assert pauses >= 1
        assert len(vendors.journal()) == said.result["calls"] == 5
        assert bill(vendors) <= said.result["cost_usd"] <= cap
    assert world.untouched() == before
    assert f"of ${cap:.2f}" in (world.folder() / "report.md").read_text("utf-8")


def test_the_plain_text_says_how_to_go_on(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    with serve(happy()) as vendors:
        said = world.ostler("run", str(world.repository), "--issue", ISSUE, "--max-cost", "0.01", vendors=vendors)
    assert said.code == 3
    (line,) = (line.strip() for line in said.out.splitlines() if "go on" in line)
    command = re.fullmatch(r"go on +ostler resume (\S+) --max-cost ([\d.]+)", line)
    assert command, line
    assert command[1] == world.folder().name
    with serve(happy()) as vendors:
        said = world.ostler("resume", command[1], "--max-cost", "2", "--json", vendors=vendors)
        assert is_mended(world, said), said


def test_a_paused_run_that_is_stopped_is_out_of_budget(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    with serve(happy()) as vendors:
        said = world.run(ISSUE, "--max-cost", "0.0005", vendors=vendors)
        assert is_paused(said), said
        said = world.resume(said.result["session"], "--stop", vendors=vendors)
        assert said.code == 3
        assert said.result["run_state"] == "DONE_FAILED_BUDGET_EXHAUSTED"
        assert vendors.journal() == []
    assert world.branches() == ["main"]


def test_money_is_only_taken_by_a_run_that_waits_for_it(tmp_path: Path) -> None:
    world = World.of(tmp_path).configured("approval: always\n")
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        assert said.code == 2
        refused = world.resume(said.result["session"], "--max-cost", "9", vendors=vendors)
    assert refused.code == 1
    assert refused.err == "ostler: The run does not wait for money.\n"


@pytest.mark.parametrize("caps", [(0.0005, 0.2, 0.3), (0.005, 0.15, 0.4), (0.02, 0.1, 0.25), (0.05, 0.175, 0.6)], ids=str)
def test_the_bill_stays_under_any_cap(tmp_path: Path, caps: Sequence[float]) -> None:
    for cap in caps:
        world = World.of(tmp_path / str(cap))
        with serve(happy()) as vendors:
            said = world.run(ISSUE, "--max-cost", str(cap), vendors=vendors)
            assert is_paused(said) or is_mended(world, said), said
            assert bill(vendors) <= said.result["cost_usd"] + 1e-9 <= cap
            assert len(vendors.journal()) == said.result["calls"]


def test_a_call_cap_holds_too(tmp_path: Path) -> None:
    """No single call may cost more than `budget.call`, however much the run has left."""
    world = World.of(tmp_path).configured("budget: {money: 5, call: 0.001}\n")
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        assert is_paused(said), said
        assert said.result["outcome"].startswith("The call cap leaves $0.0010")
        assert vendors.journal() == []


# --- prices -----------------------------------------------------------------------------------------------------------


def test_a_model_without_a_price_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    invented = "{fast: claude-invented-1, balanced: claude-sonnet-5-5, advanced: claude-opus-5-5}"
    world = World.of(tmp_path).configured(f"models:\n  anthropic: {invented}\n")
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        assert said.code == 5
        assert "no price is known for model claude-invented-1 of anthropic" in said.err
        assert world.folders() == []
        prices = "{model: claude-invented-1, dated: '2026-11-01', input: 1, output: 2}"
        world.configured(f"models:\n  anthropic: {invented}\nprices: [{prices}]\n")
        assert vendors.journal() == []
        said = world.run(ISSUE, vendors=vendors)
        assert "anthropic knows no such model" in said.result["outcome"]


def test_prices_that_cannot_be_true_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    with serve(happy()) as vendors:
        for name, (raw, line, key) in WRONG_PRICES.items():
            said = world.configured(raw.decode()).run(ISSUE, vendors=vendors)
            assert said.code == 5, name
            assert said.err.startswith(f"ostler: .github/ostler.yml, line {line}: {key}: "), name
            assert said.err.count("\n") == 1, name
        assert vendors.journal() == []
    assert world.folders() == []
    assert world.branches() == ["main"]


FREE_MODELS = "prices:\n" + "".join(
    f"  - {{model: {each.model}, dated: 2026-11-01, input: 0, output: 0, free: true}}\n" for each in Models().available(BOTH)
)


def test_a_free_model_leaves_the_money_alone(tmp_path: Path) -> None:
    """Such as one on a machine of one's own: every call is booked, and costs nothing."""
    world = World.of(tmp_path).configured(f"{FREE_MODELS}budget: {{money: 0.000001}}\n")
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        assert is_mended(world, said), said
        assert said.result["cost_usd"] == 0
        assert len(vendors.journal()) == said.result["calls"] == 5


def test_an_old_price_table_is_said_once_and_stops_nothing(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    aged = "import bot.llm.prices; bot.llm.prices.TABLE_DATED = '2026-01-02'; from bot.cli.main import main; main()"
    ostler = [sys.executable, "-I", "-c", aged]
    with serve(happy()) as vendors:
        said = world.process([*ostler, "run", str(world.repository), "--issue", ISSUE], vendors=vendors)
        assert said.code == 0, said
        assert said.err.count("the price table is of 2026-01-02, ") == 1
        world.configured(FREE_MODELS)  # now no price is from the table
        said = world.process([*ostler, "run", str(world.repository), "--issue", ISSUE], vendors=vendors)
        assert said.code == 0, said
        assert "price table" not in said.err
    doctor = world.process([*ostler, "doctor", str(world.repository), "--json"])
    (item,) = (item for item in json.loads(doctor.out) if item["name"] == "prices")
    assert (doctor.code, item["state"]) == (0, "warn")
    assert item["detail"].startswith("the price table is of 2026-01-02, ")


DEAR = (
    "prices:\n  - {model: gpt-6.1-terra, dated: '2026-11-01', input: 100, output: 200, cache_write: 300}\nbudget: {money: 90}\n"
)


def test_the_repositorys_own_price_is_charged(tmp_path: Path) -> None:
    """And where it makes the auditor dear, the run pauses before the audit with all its work kept."""
    world = World.of(tmp_path).configured(DEAR)
    with serve(happy()) as vendors:
        said = world.run(ISSUE, "--max-cost", "6", vendors=vendors)
        pauses = 0
        while is_paused(said):
            pauses += 1
            asked = len(vendors.journal())
            said = world.resume(said.result["session"], "--max-cost", needed(said), vendors=vendors)
            assert len(vendors.journal()) > asked, said
        assert is_mended(world, said), said
        assert pauses >= 1
        assert len(vendors.journal()) == said.result["calls"] == 5
        used = vendors.totals()["gpt-6.1-terra"]
        own = sum(charge.amount for charge in ledger(world).charges if charge.model == "gpt-6.1-terra")
    assert own == used["input"] * 100 + used["cache_read"] * 100 + used["cache_write"] * 300 + used["output"] * 200


# --- the wire ---------------------------------------------------------------------------------------------------------


FREE: Sequence[dict[str, Any]] = (
    {"status": 503},
    {"status": 429, "headers": {"retry-after": "0.1"}},
    {"status": 529, "headers": {"retry-after-ms": "100"}},
)
"""The vendor says that it did nothing: tried again, and nothing is charged."""
LOST: Sequence[dict[str, Any]] = (
    {"text": "half of an answer and then nothing", "cut": True},
    {"text": "{}", "garbage": True},
    {"status": 500, "headers": {"retry-after": "0"}},
)
"""It may have done the work: tried again, and the whole reservation is spent."""
DRAFT, REVIEW = "# Phase PLAN: draft", "# Phase PLAN: review"


def troubled(faults: Sequence[dict[str, Any]]) -> list[Rule]:
    """Both vendors make each of `faults` once, the one in the draft of the plan, the other in its review."""
    return [*(rule(phase, times=1, **fault) for phase in (DRAFT, REVIEW) for fault in faults), *happy()]


def failures(world: World) -> list[tuple[str, str]]:
    return [(record.item.error, record.item.billed) for record in world.records() if isinstance(record.item, CallFailed)]


def test_refusals_that_pass_cost_nothing(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    with serve(troubled(FREE)) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        assert is_mended(world, said), said
        assert failures(world) == [("transient_api", "no"), ("rate_limited", "no"), ("transient_api", "no")] * 2
        assert said.result["calls"] == 5
        assert len(vendors.journal()) == 5 + 6
        assert bill(vendors) == pytest.approx(said.result["cost_usd"], abs=5 / MICRO)


@pytest.mark.parametrize("streaming", ["true", "false"], ids=["streaming", "at once"])
def test_answers_that_were_lost_are_paid_in_full(tmp_path: Path, streaming: str) -> None:
    world = World.of(tmp_path, OSTLER_STREAMING=streaming)
    with serve(troubled(LOST)) as vendors:
        said = world.run(ISSUE, "--max-cost", "9", vendors=vendors)
        assert is_mended(world, said), said
        assert failures(world) == [("transient_api", "unknown")] * 6
        assert [charge.lost for charge in ledger(world).charges] == [True, True, True, False] * 2 + [False] * 3
        assert said.result["calls"] == len(vendors.journal()) == 5 + 6
        assert bill(vendors) < said.result["cost_usd"] <= 9


def failing(reply: dict[str, Any]) -> list[Rule]:
    return [rule("# Phase PLAN: draft", **reply), *happy()]


def test_a_fault_that_stays_ends_the_run(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    with serve(failing({"status": 429, "headers": {"retry-after": "0"}})) as vendors:
        said = world.run(ISSUE, vendors=vendors, keys=("anthropic",))
        assert len(vendors.journal()) == 5
    assert said.code == 5
    assert said.result["run_state"] == "DONE_FAILED_ENVIRONMENT"
    assert "429" in said.result["outcome"]
    assert said.result["cost_usd"] == 0


def test_lost_calls_never_lead_past_the_cap(tmp_path: Path) -> None:
    """Each cut stream costs a whole reservation, so the run stops asking long before five tries are used up."""
    world = World.of(tmp_path)
    with serve(failing({"text": "half", "cut": True})) as vendors:
        said = world.run(ISSUE, "--max-cost", "0.05", vendors=vendors)
        assert is_paused(said) or said.code == 5, said
        assert 1 <= len(vendors.journal()) <= 5
        assert bill(vendors) <= said.result["cost_usd"] <= 0.05


@pytest.mark.parametrize(("status", "says"), [(401, "key"), (403, "key"), (404, "check the model id")])
def test_a_key_that_does_not_work_is_said_without_it(tmp_path: Path, status: int, says: str) -> None:
    world = World.of(tmp_path)
    with serve(failing({"status": status, "body": "no: scripted-anthropic is not known"})) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        assert len(vendors.journal()) == 1
    assert said.code == 5
    assert says in said.result["outcome"]
    everything = (
        said.out
        + said.err
        + "".join(
            path.read_text("utf-8", "replace") for path in world.folder().rglob("*") if path.is_file() and "git" not in path.parts
        )
    )
    assert "scripted-anthropic" not in everything


def test_an_answer_without_a_bill_is_estimated(tmp_path: Path) -> None:
    rules = [{**line, "reply": {**line["reply"], "usage": False}} if "draft" in str(line["when"]) else line for line in happy()]
    world = World.of(tmp_path)
    with serve(rules) as vendors:
        said = world.run(ISSUE, vendors=vendors)
        assert is_mended(world, said), said
    assert [charge.usage.estimated for charge in ledger(world).charges] == [True, False, False, False, False]
    assert said.result["cost_usd"] > 0
