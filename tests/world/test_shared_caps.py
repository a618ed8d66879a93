"""What sessions of one App share: caps, so that what one may spend no other can and whoever waits goes on when there is room; and
what earlier runs cost."""

from __future__ import annotations

import json
import urllib.request
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.core.budget import Cap
from bot.core.events import AllowanceGiven, Resumed
from bot.core.experience import RunCost
from bot.store.accounts import Accounts
from bot.store.database import Database
from tests.world.test_money import bill
from tests.world.town import Json, Town, town

pytestmark = pytest.mark.sampled

TOKEN = "a-token-for-the-figures-of-one-stand-in-only"
SWEEPS = {"OSTLER_SWEEP_MINUTES": "0.02"}
ANOTHER = "allowance/issue-999-00000000_20261121_113431/1"


def day(there: Town, most: int) -> tuple[Cap, ...]:
    return (Cap("day", f"day:{there.hub.found(there.name).id}:{datetime.now(UTC):%Y-%m-%d}", most),)


def database(there: Town) -> Database:
    return Database.open(f"sqlite:///{there.scene.database}")


def test_a_session_waits_while_another_has_the_days_money_and_goes_on_by_itself(tmp_path: Path) -> None:
    config = "approval: never\nbudget: {money: 0.5, day: 0.52}\n"
    with town(tmp_path, "app", config=config, app_env=SWEEPS) as there, closing(database(there)) as opened:
        book = Accounts(opened)
        assert book.reserve(ANOTHER, day(there, 520_000), money=490_000, tokens=0, at=0.0) is None
        number = there.ask()
        there.settle()
        told = there.story(number)
        assert (told.state["standing"], told.state["waits"], told.state["needs"]) == ("waiting", "shared", 50_000)
        assert told.check["output"]["title"].startswith("Waits for room: the day cap leaves $0.03 for all sessions")
        assert told.check["conclusion"] == "action_required"
        assert [name for name, end in there.jobs(there.runs()[0]["id"]).items() if end == "success"] == ["gate"]
        assert there.scene.vendors.journal() == []

        book.bill(ANOTHER.rpartition("/")[0], 20_000, ANOTHER, day(there, 520_000), 0.0)
        there.until(lambda: there.story(number).state["standing"] != "waiting")
        there.settle()
        told = there.expect_one(number)
        given = [record.item for record in there.records(number) if isinstance(record.item, AllowanceGiven)]
        assert given == [AllowanceGiven(500_000, "day")]
        assert book.left(day(there, 520_000))["money"][1] == 500_000 - told.state["spent"] < 500_000


def test_a_plan_quotes_what_earlier_runs_of_the_repository_cost_and_its_run_is_remembered(tmp_path: Path) -> None:
    """Without an App, and before three runs are finished, it is not known: the snapshots of conversations say so."""
    with town(tmp_path, "app", config="approval: always\n") as there, closing(database(there)) as opened:
        book, repo = Accounts(opened), str(there.hub.found(there.name).id)
        for number in range(3):
            book.remember_run(repo, f"earlier-{number}", RunCost("unspecified", "Small", "medium", 200_000 + number))
        number = there.ask()
        there.settle()
        (plan,) = there.story(number).plan
        assert "The whole is expected to cost $0.20" in plan["body"]
        assert "3 runs" in plan["body"]
        there.press(number, f"approve-{there.digest(number)}")
        there.settle()
        spent = there.expect_one(number).state["spent"]
        known = book.experience(repo)
        assert [run.cost for run in known.runs] == [200_000, 200_001, 200_002, spent]
        assert [(outcome.ok, outcome.attempt) for outcome in known.outcomes] == [(True, 1)]


def figures(there: Town, path: str) -> Json:
    request = urllib.request.Request(f"{there.scene.app_url}{path}", headers={"authorization": f"Bearer {TOKEN}"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - an address of ours
        said: Json = json.load(answer)
    return said


def test_a_run_that_used_its_allowance_waits_with_its_work_kept_and_is_accounted_for(tmp_path: Path) -> None:
    config = "approval: never\nbudget: {money: 0.12, day: 0.012}\n"
    with town(tmp_path, "app", config=config, app_env={"OSTLER_API_TOKEN": TOKEN}) as there:
        number = there.ask()
        there.settle()
        told = there.story(number)
        assert (told.state["standing"], told.state["waits"]) == ("waiting", "shared")
        assert told.state["outcome"].startswith("The day cap leaves $")
        assert told.state["needs"] > 0
        assert round(bill(there.scene.vendors) * 1_000_000) <= told.state["spent"] <= 12_000

        there.say(number, "/ostler budget +2 more")
        there.settle()
        assert "A cap that sessions share is in the way" in there.story(number).replies[0]["body"]
        there.push({".github/ostler.yml": "approval: never\nbudget: {money: 0.12, day: 3}\n"})
        there.say(number, "/ostler retry")
        there.settle()
        spent = there.expect_one(number).state["spent"]
        assert any(isinstance(record.item, Resumed) for record in there.records(number))

        (run,) = figures(there, "/api/reports/budget_analysis")["runs"]
        assert (run["spent"], run["limit"], run["left"]) == (spent, 120_000, 120_000 - spent)
        said = figures(there, "/api/metrics/costs?days=2")
        assert said["total"]["amount"] == spent == sum(row["amount"] for row in said["by_role"])
        assert {row["phase"] for row in said["by_phase"]} == {"PLAN", "IMPLEMENT", "REVIEW"}
        assert figures(there, "/api/dashboard/usage?period=month")["caps"][0]["left"] == 3_000_000 - spent
