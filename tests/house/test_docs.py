"""What is written twice is compared: commands, keys, variables, exit codes, figures, links, generated pages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bot.cli.docs import documents
from bot.cli.main import app
from bot.config import RepoConfig, Settings, parse_config
from bot.core.budget import Grant, Ledger, Shortfall, Usage, dollars
from bot.core.follow_up import SUGGESTION
from bot.core.machines import RunState
from bot.core.phases import KINDS, Kind
from bot.core.policy import MAX_CHANGESET_BYTES, MAX_FILES, PUT_BACK, REFUSED_PATHS
from bot.core.strategy import Settings as RunSettings
from bot.core.strategy import compile_strategy
from bot.core.summary import EXIT_CODES
from bot.core.ticket import MAX_BYTES, freeze
from bot.core.triage_fixers import fixers_for
from bot.llm.prices import rates
from bot.workspace import probes
from bot.workspace.context import MAX_EXCERPTS, MAX_GUIDE, MAX_LISTED
from bot.workspace.fixers import FIXERS
from bot.workspace.tiers import TIERS
from tests.house.tree import ROOT, modules

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
MAX_IMAGE = 300_000
FORBIDDEN = (
    r"\bTODO\b",
    r"\bFIXME\b",
    r"(?i)\bplaceholder\b",
    r"(?i)lorem ipsum",
    r"(?<![\w.~/-])/(?:root|home|work|opt|mnt)/",
    r"(?i)\b(?:pypi|registry|mirror)[\w-]*\.(?!org\b)[a-z]{2,}",
)
"""Left-overs, and places that only exist on the machine a page was written on."""

README = (ROOT / "README.md").read_text("utf-8")
CONFIGURATION = (DOCS / "configuration.md").read_text("utf-8")
MONEY = (DOCS / "money.md").read_text("utf-8")
GITHUB = (DOCS / "github.md").read_text("utf-8")


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the tables between `heading` and the next heading, without header and ruler."""
    lines = [line for line in part(text, heading).splitlines() if line.startswith("|")]
    assert len(lines) > 2, f"no table under {heading}"
    return [cells(line) for line in lines[2:]]


def part(text: str, heading: str) -> str:
    """What stands between `heading` and the next heading; comments of code blocks are none."""
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"no heading {heading}"
    return re.split(r"(?m)^#{2,4} ", rest, maxsplit=1)[0]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def table(text: str, heading: str, first: str) -> list[list[str]]:
    """The rows of the table under `heading` whose first column is named `first`, also where it belongs to a list."""
    lines = [line.strip() for line in part(text, heading).splitlines()]
    start = next((number for number, line in enumerate(lines) if line.startswith(f"| {first} |")), None)
    assert start is not None, f"no table of {first} under {heading}"
    end = next(number for number in range(start, len(lines) + 1) if number == len(lines) or not lines[number].startswith("|"))
    return [cells(line) for line in lines[start + 2 : end]]


# --- every page -------------------------------------------------------------------------------------------------------


def test_the_pages_are_there() -> None:
    wanted = {"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/architecture.md", "docs/states.md"}
    assert wanted <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{name}: {target}"
        assert found.is_relative_to(ROOT), f"{name}: {target}"
        if anchor:
            assert anchor in anchors(found), f"{name}: {target}"


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"(?m)^#+ (.+)$", page.read_text("utf-8"))
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_over_and_no_machine_shows(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert [found[0] for pattern in FORBIDDEN if (found := re.search(pattern, text))] == []


@pytest.mark.parametrize("name", NAMES)
def test_named_files_and_modules_exist(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    for path in re.findall(r"`((?:bot|tests|templates|docs)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), f"{name}: {path}"


def test_images_are_shown_small_and_described() -> None:
    pages = ((page, page.read_text("utf-8")) for page in PAGES)
    shown = {(page.parent / path).resolve() for page, text in pages for _, path in re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", text)}
    kept = set((DOCS / "img").iterdir())
    assert shown == kept
    for image in kept:
        assert image.read_bytes().startswith(b"\x89PNG\r\n")
        assert image.stat().st_size < MAX_IMAGE


# --- commands and exit codes ------------------------------------------------------------------------------------------


def commands(command: Any, name: str = "ostler") -> Iterator[tuple[str, list[str]]]:
    """Every command with its options; `typer` keeps its own classes, so this goes by what they have."""
    inner: dict[str, Any] = getattr(command, "commands", {})
    if not inner:
        yield name, [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
    for word, each in inner.items():
        yield from commands(each, f"{name} {word}")


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_there_are_commands() -> None:
    assert {"ostler run", "ostler resume", "ostler sessions list"} <= COMMANDS.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_explained(command: str) -> None:
    row = next((cells for cells in rows(README, "## Commands") if command in cells[0]), None)
    assert row, f"{command} is not in README.md"
    explained = " ".join(row) + README.partition("`doctor` take `--json`")[1] * (command != "ostler docs")
    assert [option for option in COMMANDS[command] if option not in explained] == []


def test_no_command_or_option_is_explained_that_is_not_there() -> None:
    table = " ".join(" ".join(cells) for cells in rows(README, "## Commands"))
    said = set(re.findall(r"ostler ((?:(?:sessions|budget|app) )?[a-z-]+)", table))
    assert said == {name.removeprefix("ostler ") for name in COMMANDS}
    assert set(re.findall(r"--[a-z-]+", table)) <= {option for options in COMMANDS.values() for option in options}


def test_json_is_promised_where_it_is_taken() -> None:
    sentence = next(line for line in README.splitlines() if "take `--json`" in line).partition(" take ")[0]
    promised = {f"ostler {name}" for name in re.findall(r"`([a-z -]+)`", sentence)}
    assert promised == {name for name, options in COMMANDS.items() if "--json" in options}


def test_exit_codes_are_those_of_the_code() -> None:
    said = {int(code): set(re.findall(r"`([A-Z_]+)`", states)) for code, _, states in rows(README, "### Exit codes")}
    meant: dict[int, set[str]] = {1: set(), 2: {"GATE"}, 3: {"GATE"}, 130: set()}
    for state, code in EXIT_CODES.items():
        meant.setdefault(code, set()).add(str(state))
    assert said == meant
    assert set(EXIT_CODES) == {state for state in RunState if state.startswith("DONE_")}


# --- configuration ----------------------------------------------------------------------------------------------------


def keys(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, str]]:
    """Every key below `model` with its default, as the page writes it."""
    for name, field in model.model_fields.items():
        yield from described(field, field.default, f"{before}{field.alias or name}")


def described(field: FieldInfo, value: Any, name: str) -> Iterator[tuple[str, str]]:
    """The key `name`, whose value is `value`, and the keys below it: of one part, of a list of parts, of parts by name."""
    if isinstance(value, BaseModel):
        for inner, below in type(value).model_fields.items():
            yield from described(below, getattr(value, inner), f"{name}.{inner}")
        return
    part = next((kind for kind in get_args(field.annotation) if is_model(kind)), None)
    kind = get_origin(field.annotation)
    if part is None or kind in (tuple, dict):
        yield name, "required" if value is PydanticUndefined else shown(value)
    if part is not None:
        yield from keys(part, name + ("[]." if kind is tuple else ".<name>." if kind is dict else "."))


def is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Decimal | int | str) and not isinstance(value, bool) and value != "":
        return str(value)
    return json.dumps(value)


def test_every_key_is_documented_with_its_default() -> None:
    said = {cells[0].strip("`"): cells[1].strip("`") for cells in rows(CONFIGURATION, "## `.github/ostler.yml`")}
    assert said == dict(keys(RepoConfig))


def test_limits_of_keys_are_those_of_the_code() -> None:
    said = {cells[0].strip("`"): cells[2] for cells in rows(CONFIGURATION, "## `.github/ostler.yml`")}
    for model, prefix in ((RepoConfig.model_fields["verify"], "verify"), (RepoConfig.model_fields["loop"], "loop")):
        for name, field in type(model.default).model_fields.items():
            low, high = limits(field)
            assert low is None or f"{low} to {high}" in said[f"{prefix}.{name}"]


def limits(field: FieldInfo) -> tuple[int | None, int | None]:
    found = {key: getattr(rule, key) for rule in field.metadata for key in ("ge", "le") if hasattr(rule, key)}
    return found.get("ge"), found.get("le")


def variables() -> Iterator[tuple[str, str]]:
    prefix = str(Settings.model_config["env_prefix"])
    for name, field in Settings.model_fields.items():
        choices: Any = field.validation_alias
        names = list(choices.choices) if choices else [f"{prefix}{name.upper()}"]
        yield " or ".join(f"`{each}`" for each in names), "not set" if field.default is None else f"`{json.dumps(field.default)}`"


def test_every_variable_is_documented_with_its_default() -> None:
    assert {cells[0]: cells[1] for cells in rows(CONFIGURATION, "## Environment")} == dict(variables())


def test_the_example_in_the_readme_is_a_configuration() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", part(README, "## Configuration"), re.DOTALL)
    assert parse_config(example.encode()).paths.deny == ("migrations/*",)


# --- generated pages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", documents())
def test_generated_pages_are_in_step(name: str) -> None:
    assert (ROOT / name).read_text("utf-8") == documents()[name], "run `make docs`"


def test_made_parts_are_there_and_not_empty() -> None:
    for page, names in ((README, {"caller-alone", "caller-app", "permissions"}), (GITHUB, {"action-inputs", "action-outputs"})):
        made = dict(re.findall(r"<!-- made: ([a-z-]+) -->\n(.*?)\n<!-- end -->", page, re.DOTALL))
        assert made.keys() == names
        assert all(len(text.splitlines()) > 5 for text in made.values())


# --- what the pages claim ---------------------------------------------------------------------------------------------


def test_the_tickets_named_are_the_fixers_named() -> None:
    table = [cells for cells in rows(README, "## On your own checkout") if cells[0].startswith('"')]
    for ticket, fixer, _ in table:
        assert [call.name for call in fixers_for(ticket.strip('"'), "")] == [fixer.strip("`")], ticket
    assert {fixer.strip("`") for _, fixer, _ in table} == FIXERS.keys() - {PUT_BACK, SUGGESTION}


def test_tiers_and_probes_are_those_of_the_code() -> None:
    text = (DOCS / "sandbox.md").read_text("utf-8")
    assert [cells[0].strip("`") for cells in rows(text, "## Tiers")] == list(TIERS)
    source = Path(probes.__file__).read_text("utf-8")
    said = {name for cells in rows(text, "## Probes") for name in re.findall(r"`([a-z-]+)`", cells[0])}
    known = set(re.findall(r'(?:refused|append|Probe)\(+\s*"([a-z-]+)"', source)) - {"start"}
    assert said == known


def test_limits_in_the_readme_are_those_of_the_code() -> None:
    limits_said = README.partition("## Limits")[2]
    for amount in (MAX_FILES, MAX_CHANGESET_BYTES, MAX_BYTES):
        assert f"{amount:,} " in limits_said
    leaves = README.partition("## What leaves the machine")[2]
    for amount in (MAX_LISTED, MAX_GUIDE, MAX_EXCERPTS):
        assert f"{amount:,} " in leaves


def test_every_file_that_is_never_changed_is_named() -> None:
    never = README.partition("## What it never does")[2].partition("\n## ")[0].casefold()
    names = {path.removeprefix("*/").removesuffix("/*").removesuffix("*").replace(".yaml", ".yml") for path in REFUSED_PATHS}
    assert [name for name in sorted(names) if name not in never] == []


def a_ledger(run_cap: int) -> Ledger:
    """The ledger of a run that asks models, under `run_cap` micro-dollars."""
    models = RepoConfig().models.available(("anthropic", "openai"))
    return compile_strategy(freeze("parse crashes on empty input", "a test"), RunSettings(run_cap, run_cap, models)).ledger()


def test_the_sums_in_the_money_page_are_the_codes() -> None:
    price, draft = rates("anthropic", "claude-sonnet-5-5"), KINDS[Kind.PLAN].stages[0]
    tier = price.tiers[0]
    for amount in (tier.input, tier.output, tier.cache_write_long):
        assert dollars(amount) in MONEY
    for cap, share, reserved, granted in rows(MONEY, "## With numbers"):
        ledger = a_ledger(int(Decimal(cap.strip("$")) * 1_000_000))
        assert dollars(dict(ledger.phase_caps)[Kind.PLAN]) == share
        after, answer = ledger.reserve(
            "c1", Kind.PLAN, "p01", price, input_bound=10_000, output_wanted=draft.output, output_floor=draft.floor
        )
        if isinstance(answer, Shortfall):
            assert (answer.needed, granted) == (60_000, "0")
            assert reserved.startswith("nothing")
            continue
        assert isinstance(answer, Grant)
        assert (dollars(answer.amount), f"{answer.max_output:,}") == (reserved, granted)
        usage = Usage(input=1_000, output=1_500, cache_write=4_000)
        bill = after.settle("c1", role="planner", rates=price, usage=usage).spent
        assert f"bill is {dollars(bill)}" in MONEY


def test_shares_and_the_reserve_are_as_the_money_page_says() -> None:
    ledger = a_ledger(1_000_000)
    assert f"{ledger.finish_reserve * 100 // ledger.run_cap} % of the run's cap" in MONEY
    assert f"{KINDS[Kind.PLAN].share} % of the run" in MONEY


def test_the_architecture_names_every_room_and_every_module_of_the_core() -> None:
    text = (DOCS / "architecture.md").read_text("utf-8")
    rooms = {"/".join(name.split(".")[:2]) for name in modules() if name.count(".")}
    assert [room for room in sorted(rooms) if room not in text] == []
    core = [name.rpartition(".")[2] for name in modules() if name.startswith("bot.core.")]
    assert [name for name in core if f"[{name}.py]" not in text] == []


def test_every_edge_case_of_budgets_names_tests_that_are_there() -> None:
    text = (DOCS / "money.md").read_text("utf-8")
    there = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)\(", path.read_text("utf-8"))
    }
    rows = [row for row in map(cells, part(text, "## Edge cases").splitlines()) if row and row[0][:1] in "F123456789"]
    assert [row[0].split()[0] for row in rows] == [*map(str, range(1, 24)), *(f"F{number}" for number in range(1, 9))]
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row[2])
        assert named, row[0]
        assert [name for name in named if name not in there] == [], row[0]
