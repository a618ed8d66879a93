"""What the pages say about GitHub is compared with workflows, action, App and core."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import yaml
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from bot.action.settings import ActionSettings
from bot.config import RepoConfig
from bot.core.board import BOARD_LABEL
from bot.core.budget import Usage, cost, dollars
from bot.core.jobs import Job
from bot.core.session import LABEL, STATE_LABELS, STOP_LABEL, SessionState
from bot.core.settling import ADD, FIX, MAX_RESTARTS, RETRY, STOP
from bot.core.strategy import Settings as RunSettings
from bot.core.strategy import compile_strategy
from bot.core.ticket import freeze
from bot.core.triggers import OPEN_TO_ALL, PERSONS_VERBS, SYNONYMS
from bot.github.manifest import EVENTS, PERMISSIONS, WEBHOOK
from bot.llm.prices import TABLE_DATED, rates
from bot.web import figures
from bot.web.settings import NEEDED, SHORTEST_KEY, SHORTEST_SECRET, AppSettings
from tests.house.test_docs import DOCS, PAGES, README, part, rows, table
from tests.house.test_ratchet import IMPROVE, KEYS, STATE_KEY, TABLE, UNTRUSTED
from tests.house.tree import ROOT

GITHUB = (DOCS / "github.md").read_text("utf-8")
ARCHITECTURE = (DOCS / "architecture.md").read_text("utf-8")
JOBS: dict[str, Any] = yaml.safe_load((ROOT / IMPROVE).read_text("utf-8"))["jobs"]


def test_the_workflows_to_copy_are_the_files() -> None:
    """Whatever page shows a workflow shows one of the files that are linted and run by the tests."""
    files = {path.name: path.read_text("utf-8").strip() for path in (DOCS / "workflows").glob("*.yml")}
    shown = [block.strip() for page in PAGES for block in re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)]
    workflows = [block for block in shown if "\njobs:" in block]
    assert all(block in files.values() for block in workflows)
    assert {files["standalone.yml"], files["app.yml"]} <= set(workflows)
    assert all(f"docs/workflows/{name}" in README for name in files)


def test_the_jobs_are_those_of_the_workflow_and_hold_what_is_said() -> None:
    said = {row[0].strip("`"): row[2] for row in table(README, "## How a session goes", "job")}
    assert list(said) == [str(job) for job in Job] == list(JOBS)
    for name, holds in said.items():
        held = TABLE[name]
        assert ("models' keys" in holds) == (held.secrets == KEYS)
        assert ("key that signs" in holds) == (held.secrets == STATE_KEY)
        assert ("checkout" in holds) == held.checkout
        assert ("token that may write" in holds) == (held.token and writes(name))


def writes(job: str) -> bool:
    return any(level == "write" for scope, level in TABLE[job].permissions.items() if scope != "id-token")


def test_the_permissions_are_those_of_the_workflow_each_with_a_reason() -> None:
    found = rows(README, "## Permissions")
    said = [(job.strip("`"), held.strip("`")) for job, held, _ in found]
    meant = [
        (name, held)
        for name, job in JOBS.items()
        for held in ([f"{scope}: {level}" for scope, level in job["permissions"].items()] or ["none"])
    ]
    assert said == meant
    assert all(len(why) > 15 for *_, why in found)


def test_the_environments_hold_what_the_jobs_take_from_them() -> None:
    said = {
        row[0].strip("`"): set(re.findall(r"`([A-Z_]+)`", row[1]))
        for row in table(README, "## Set-up without an App", "environment")
    }
    meant = {held.environment: set(held.secrets) for held in TABLE.values() if held.environment}
    assert said == meant
    assert f"{SHORTEST_KEY} characters" in part(README, "## Set-up without an App")


def test_the_apps_permissions_and_events_are_those_it_uses() -> None:
    levels = {"Read and write": "write", "Read-only": "read"}
    found = table(README, "## Set-up with an App", "permission")
    assert {name.lower().replace(" ", "_"): levels[level] for name, level, _ in found} == PERMISSIONS
    assert all(why for *_, why in found)
    (line,) = (line for line in README.splitlines() if "Events to tick:" in line)
    ticked = {name.lower().replace(" ", "_") for name in re.findall(r"\*([^*]+)\*", line.partition(". ")[0])}
    assert ticked == set(EVENTS) == set(re.findall(r'case "([a-z_]+)", ', (ROOT / "bot/web/intake.py").read_text("utf-8")))


def of_app(field: FieldInfo, name: str) -> str:
    if name in NEEDED:
        return "required"
    empty = field.default in (None, "") or field.default == SecretStr("")
    return "not set" if empty else f"`{field.default}`"


def test_every_setting_of_the_app_is_documented_with_its_default() -> None:
    said = {row[0].strip("`"): row[1] for row in rows(GITHUB, "## Settings of the App")}
    assert said == {f"OSTLER_{name.upper()}": of_app(field, name) for name, field in AppSettings.model_fields.items()}
    for amount in (SHORTEST_SECRET, SHORTEST_KEY):
        assert f"{amount} characters or more" in part(GITHUB, "## Settings of the App")
    short = {row[0].strip("`") for row in table(README, "## Set-up with an App", "variable")}
    assert short == {f"OSTLER_{name.upper()}" for name in NEEDED} | {"OSTLER_DATABASE_URL"}


def test_the_apps_addresses_are_those_of_its_door() -> None:
    door = (ROOT / "bot/web/app.py").read_text("utf-8")
    said = [row[0].strip("`") for row in rows(GITHUB, "## Addresses of the App")]
    assert "for path in figures.ANSWERS" in door
    assert "Route(WEBHOOK, " in door
    assert sorted(said) == sorted([*re.findall(r'Route\("([^"]+)"', door), *figures.ANSWERS, WEBHOOK])
    assert f"{WEBHOOK}`" in part(README, "## Set-up with an App")


def test_the_image_is_started_as_it_is_made() -> None:
    dockerfile, said = (ROOT / "Dockerfile").read_text("utf-8"), part(README, "## Set-up with an App")
    (volume,) = re.findall(r'VOLUME \["([^"]+)"\]', dockerfile)
    (port,) = re.findall(r"EXPOSE (\d+)", dockerfile)
    assert f":{volume} " in said
    assert f":{port} ostler" in said


def test_every_variable_of_a_machine_is_documented() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    (step,) = (step for step in action["runs"]["steps"] if step.get("id") == "ostler")
    ours = {f"OSTLER_{name.upper()}": field for name, field in ActionSettings.model_fields.items() if not field.validation_alias}
    ours.pop("OSTLER_ONE_MACHINE")  # what `job: all` tells its own parts
    meant = {f"`{name}`": f"`{field.default}`" for name, field in ours.items() if name not in step["env"]}
    said = {row[0]: row[1] for row in rows(GITHUB, "### Variables of the machine")}
    assert said == meant | {"`OSTLER_PYTHON`": "not set"}


def test_the_states_fields_are_those_of_the_code() -> None:
    said = [name for fields, _ in rows(GITHUB, "### Signed state") for name in re.findall(r"`(\w+)`", fields)]
    assert sorted(said) == sorted(SessionState.__dataclass_fields__)


def test_commands_on_an_issue_are_those_that_are_understood() -> None:
    found = table(README, "## On an issue", "what")
    said = {row[0].partition("/ostler ")[2].strip("`").split()[0]: row[1] for row in found if "/ostler " in row[0]}
    assert sorted(said) == sorted([*PERSONS_VERBS, *SYNONYMS])
    assert {verb for verb, who in said.items() if who == "everybody"} == set(OPEN_TO_ALL)
    labels = {row[0].removeprefix("label ").strip("`"): row[1] for row in found if row[0].startswith("label ")}
    assert labels.keys() == {LABEL, STOP_LABEL, BOARD_LABEL}
    assert all(f"**{button.label}**" in part(README, "## On an issue") for button in (ADD, FIX, STOP, RETRY))


def test_state_labels_are_those_that_are_set() -> None:
    assert [row[0].strip("`") for row in table(README, "## On an issue", "label")] == list(STATE_LABELS)


def test_the_split_of_trust_is_that_of_the_ratchet() -> None:
    said = {name: row[1:] for row in rows(ARCHITECTURE, "### The trust split") for name in re.findall(r"`(\w+)`", row[0])}
    assert said.keys() == TABLE.keys()
    for name, (has_keys, untrusted, may_write) in said.items():
        assert has_keys == ("yes" if TABLE[name].secrets == KEYS else "no")
        assert (untrusted != "no") == (name in UNTRUSTED)
        assert may_write == ("yes" if writes(name) else "no")


def test_what_is_said_about_recovery_is_so() -> None:
    broken = part(README, "## When something breaks")
    assert f"at most {MAX_RESTARTS} without progress" in broken
    assert f"At most {MAX_RESTARTS} workflow runs" in GITHUB
    (days,) = set(re.findall(r"retention-days: (\d+)", (ROOT / "action.yml").read_text("utf-8")))
    assert set(re.findall(r"(\d+) days", README)) == {days}


MINUTE = Decimal("0.006")
"""Dollars for a minute of GitHub's Linux runner with two cores, since 2026."""


def test_the_worked_example_is_right() -> None:
    """Tokens are assumed; what they cost is computed as the ledger does it, call by call."""
    *lines, total = table(README, "## Costs", "role")
    sums = [0, 0]
    for role, *amounts, small, risky in lines:
        calls, sent, cached, output = (int(amount.replace(",", "")) for amount in amounts)
        for number, said in enumerate((small, risky)):
            vendor, model = chosen(
                role, "parse crashes on empty input" if number == 0 else "the migration of the database loses data"
            )
            usage = Usage(input=sent // calls, cache_read=cached // calls, output=output // calls)
            bill = calls * cost(rates(vendor, model), usage)
            assert said == f"`{model}` {dollars(bill)}"
            sums[number] += bill
    assert total[-2:] == [dollars(amount) for amount in sums]
    assert f"bundled prices of {TABLE_DATED}" in README


def chosen(role: str, ticket: str) -> tuple[str, str]:
    """Vendor and model of a role, by the defaults and with both keys."""
    models = RepoConfig().models.available(("anthropic", "openai"))
    plan = compile_strategy(freeze(ticket, "a test"), RunSettings(1, 1, models))
    (choice,) = (choice for choice in plan.choices if choice.role.replace("_", " ") == role)
    return choice.model.vendor, choice.model.model


def test_the_minutes_of_the_example_are_right() -> None:
    said = part(README, "## Costs")
    assert f"${MINUTE}" in said
    three, five, others = 2 * 3, 5, len(Job) - 3
    for minutes in (three + five + others, len(Job)):
        assert f"{minutes} minutes or {dollars(int(minutes * MINUTE * 1_000_000))}" in said
    assert f"two jobs, or {dollars(int(2 * MINUTE * 1_000_000))}" in said


# --- security ---------------------------------------------------------------------------------------------------------


def test_every_promise_names_what_shows_it() -> None:
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    found = [line for line in part(text, "## What holds now").splitlines() if line.startswith("| ")]
    promises = [line for line in found if not line.startswith(("| promise |", "| threat |"))]
    assert len(promises) > 25
    assert [line for line in promises if not re.search(r"\]\(tests/[\w/]+\.py\) ?(?:\||,)", line)] == []
