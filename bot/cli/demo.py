"""`ostler demo`: the local loop on an example repository with a real bug and a real suite. Only the models are scripted.

The demo does not believe the run it shows: at the end it takes the branch and runs the example's tests itself, with the change
and with its sources put back.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape

from bot.core.errors import BadInput
from bot.demo.vendors import Vendors, serve

HERE = Path(__file__).resolve().parent.parent / "demo"
EXAMPLE, ISSUE, SCRIPT = HERE / "example", HERE / "issue.md", HERE / "script.json"
SECONDS = 300.0
SOURCES = "purse"
INTRODUCTION = (
    "[bold]Ostler's local loop on an example repository.[/bold] No key, no network: both vendors' models are "
    "[bold]scripted[/bold] by a server on this machine; git, sandbox, tests, budget and journal are real.\n"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a demo happens."""

    folder: Path

    @property
    def repository(self) -> Path:
        return self.folder / "purse"

    @property
    def state(self) -> Path:
        return self.folder / "state"


def demo(*, script: Path | None, folder: Path | None) -> int:
    """Run the demo; 0 only if the branch is there, audited, and its tests went from red to green."""
    rules = _script(script or SCRIPT)
    place = Place(_folder(folder))
    console = Console(highlight=False)
    console.print(INTRODUCTION)
    _make_repository(place.repository)
    console.print(escape(f"$ ostler run {place.repository} --issue {ISSUE.name} --max-cost 1"), style="cyan", soft_wrap=True)
    with serve(rules) as stage:
        code = _run(place, stage)
        asked = stage.journal()
    found = _result(place)
    if found is None:
        console.print("The demo failed: the run left no result.", style="bold red")
        return 1
    result, session = found
    console.print()
    console.print(Markdown((session / "report.md").read_text("utf-8")))
    problems = [f"the run ended with exit code {code}: {result['outcome']}"] if code else []
    problems = problems or _disbelieve(place, result)
    billed = sum(1 for entry in asked if entry["status"] == 200)
    if not problems and billed != result["calls"]:
        problems = [f"the scripted vendors answered {billed} calls and the ledger holds {result['calls']}"]
    console.print()
    if problems:
        for problem in problems:
            console.print(escape(f"The demo failed: {problem}"), style="bold red", soft_wrap=True)
        console.print(escape(f"  page     {session / 'page.html'}"), soft_wrap=True)
        return code or 1
    console.print(
        "Checked again by the demo: the example's tests pass on the branch, and fail when its sources are put back.",
        style="green",
    )
    for name, value in (
        ("page", session / "page.html"),
        ("report", session / "report.md"),
        ("journal", session / "journal.jsonl"),
    ):
        console.print(escape(f"  {name:<8} {value}"), soft_wrap=True)
    console.print(escape(f"  branch   git -C {place.repository} show {result['branch']}"), soft_wrap=True)
    console.print("Scripted run: no model was asked, and the cost is what these answers would have cost.", style="italic")
    return 0


def _script(path: Path) -> list[dict[str, Any]]:
    try:
        rules = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} is no script: {error}.") from error
    if not isinstance(rules, list):
        raise BadInput(f"{path} is no script: a list of rules is expected.")
    return rules


def _folder(wanted: Path | None) -> Path:
    """A new folder for the demo's files; it stays, so that the page can be read."""
    if wanted is None:
        return Path(tempfile.mkdtemp(prefix="ostler-demo-"))
    if wanted.exists() and any(wanted.iterdir()):
        raise BadInput(f"{wanted} is not empty: name a new folder.")
    wanted.mkdir(parents=True, exist_ok=True)
    return wanted.absolute()


def _environment(extra: dict[str, str]) -> dict[str, str]:
    """Nothing of the caller's that could change what is shown: no keys, no addresses, no git settings."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "LANG", "LC_ALL", "TERM", "COLUMNS", "TMPDIR", "NO_COLOR")
        if name in os.environ
    }
    return {**kept, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", **extra}


def _git(folder: Path, *args: str) -> None:
    identity = ("-c", "user.name=Example", "-c", "user.email=example@example.invalid")
    subprocess.run(["git", *identity, "-C", str(folder), *args], check=True, env=_environment({}), stdout=subprocess.DEVNULL)


def _make_repository(folder: Path) -> None:
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
    _git(folder, "init", "--quiet", "--initial-branch=main")
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--message=Amounts of money, in cents")


def _run(place: Place, stage: Vendors) -> int:
    """The real command in a process of its own."""
    command = [sys.executable, "-I", "-m", "bot", "run", str(place.repository), "--issue", str(ISSUE), "--max-cost", "1"]
    environment = _environment(
        {
            "OSTLER_STATE_DIR": str(place.state),
            "OSTLER_ANTHROPIC_BASE_URL": stage.anthropic_url,
            "OSTLER_OPENAI_BASE_URL": stage.openai_url,
            "OSTLER_ANTHROPIC_API_KEY": "scripted",
            "OSTLER_OPENAI_API_KEY": "scripted",
        }
    )
    return subprocess.run(command, env=environment, check=False, timeout=SECONDS, cwd=place.folder).returncode


def _result(place: Place) -> tuple[dict[str, Any], Path] | None:
    """The run's own last word and its folder."""
    states = sorted((place.state / "sessions").glob("*/state.json")) if place.state.is_dir() else []
    return (json.loads(states[-1].read_text("utf-8")), states[-1].parent) if states else None


def _disbelieve(place: Place, result: dict[str, Any]) -> list[str]:
    """What is wrong with the result, by the demo's own look at it."""
    problems = []
    if result["run_state"] != "DONE_SUCCESS" or not result["branch"]:
        problems.append(f"no branch was delivered ({result['run_state']})")
    if result["checks"].get("fail_before_pass_after") != "pass":
        problems.append("there is no test that fails before and passes after")
    if problems:
        return problems
    again = place.folder / "again"
    _git(place.repository, "worktree", "add", "--quiet", "--detach", str(again), str(result["branch"]))
    if _tests(again) != 0:
        problems.append("the example's tests do not pass on the branch")
    _git(again, "checkout", "--quiet", str(result["base_sha"]), "--", SOURCES)
    if _tests(again) == 0:
        problems.append("the new tests pass without the fix too")
    _git(place.repository, "worktree", "remove", "--force", str(again))
    return problems


def _tests(folder: Path) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = _environment({"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"})
    return subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, timeout=SECONDS).returncode
