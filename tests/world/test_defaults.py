"""Defaults for many repositories: an owner's from its `.github` repository, and the App's, beneath what the repository says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from bot.core.events import RunRequested
from bot.github.manifest import PERMISSIONS
from tests.world.town import Setup, Town, town

pytestmark = pytest.mark.sampled

ASKS = "approval: always\n"
CALLER = ".github/workflows/ostler.yml"


def owned(there: Town, files: Mapping[str, str], *, private: bool = False) -> str:
    """Give the owner a `.github` repository; its first commit."""
    home = f"{there.name.partition('/')[0]}/.github"
    made = there.hub.repository(home, files, {"ada": "admin"}, private=private)
    if private and there.scene.credentials:
        there.hub.install(there.scene.credentials, home, PERMISSIONS)
    return there.hub.bare(made).resolve("main") or ""


def test_the_owners_defaults_hold_beneath_the_repositorys_configuration(tmp_path: Path) -> None:
    config = "budget: {money: 5}\nloop: {max_turns: 30}\n"
    with town(tmp_path, "alone", config=config) as there:
        defaults = f"{ASKS}budget: {{money: 1.5}}\npaths: {{deny: [secret/*]}}\nloop: {{max_turns: 20}}\n"
        commit = owned(there, {"ostler.yml": defaults, ".github/ostler.yml": "this: is another file\n"})
        number = there.ask()
        there.settle()
        (plan,) = there.story(number).plan
        assert f"`acme/.github/ostler.yml` at `{commit[:12]}`: `approval`, `budget.money`, `paths.deny`\n" in plan["body"]
        assert "`.github/ostler.yml` at `" in plan["body"]
        assert "The run may cost $1.50 at most" in plan["body"]
        (begun,) = (record.item for record in there.records(number) if isinstance(record.item, RunRequested))
        settings = begun.settings
        assert (settings.denied_paths, settings.max_cost, settings.max_turns) == (("secret/*",), 1_500_000, 30)
        assert there.hub.errors == []


def test_the_workflows_max_cost_stays_within_the_owners(tmp_path: Path) -> None:
    with town(tmp_path, "alone") as there:
        raw = there.hub.bare(there.hub.found(there.name)).file("main", CALLER)
        text = (raw or b"").decode()
        assert "    with:\n" in text
        there.push({CALLER: text.replace("    with:\n", "    with:\n      max_cost: '7'\n")})
        owned(there, {"ostler.yml": f"{ASKS}budget: {{money: 1.5}}\n"})
        number = there.ask()
        there.settle()
        assert "The run may cost $1.50 at most" in there.story(number).plan[0]["body"]


BROKEN = "approval: sometimes\n"


@pytest.mark.parametrize("setup", ["app", "alone"])
def test_broken_defaults_stop_the_session_and_say_where(tmp_path: Path, setup: Setup) -> None:
    with town(tmp_path, setup, config="approval: never\n") as there:
        owned(there, {"ostler.yml": BROKEN})
        number = there.ask()
        there.settle()
        told = there.story(number)
        assert "acme/.github/ostler.yml, line 1: approval: " in told.status[0]["body"].lower()
        assert there.scene.vendors.journal() == []
        assert told.pulls == []


def test_the_apps_defaults_lie_undermost_and_it_reads_private_ones_of_owners(tmp_path: Path) -> None:
    shared = tmp_path / "defaults.yml"
    shared.write_text(f"{ASKS}budget: {{money: 1.25}}\nquality: strict\n")
    with town(tmp_path, "app", config="quality: lenient\n", app_env={"OSTLER_DEFAULTS": str(shared)}) as there:
        commit = owned(there, {"ostler.yml": "budget: {money: 3, day: 9}\n"}, private=True)
        number = there.ask()
        there.settle()
        told = there.story(number)
        body = told.plan[0]["body"]
        assert "- `the App's defaults`: `approval`, `budget.money`\n" in body
        assert f"- `acme/.github/ostler.yml` at `{commit[:12]}`: `budget.money`, `budget.day`\n" in body
        assert "The run may cost $1.25 at most" in body
        there.press(number, f"approve-{there.digest(number)}")
        there.settle()
        there.expect_one(number)
