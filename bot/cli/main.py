"""The terminal door: reads the command line and leaves the rest to one module per command, imported when it is called.

The only broad catch is here: what a person can mend is one sentence on standard error, a traceback is only for a bug.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bot.core.errors import OstlerError, UserError
from bot.core.paths import printable

INTERRUPTED = 130
KEPT = "Interrupted. Nothing is lost: `ostler sessions list` names the session, `ostler resume` goes on."

app = typer.Typer(
    help="Turns an issue into a proven, audited branch, inside a budget. Start with `ostler demo`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
sessions_app = typer.Typer(help="The runs of this machine.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(sessions_app, name="sessions")
budget_app = typer.Typer(help="What runs used, cost and may use.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(budget_app, name="budget")
github_app = typer.Typer(help="The GitHub App itself.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(github_app, name="app")

Json = Annotated[bool, typer.Option("--json", help="Print JSON: the result is the last line of standard output.")]
Session = Annotated[str, typer.Argument(help="A session's id, or its name for the newest of that name.")]
Checkout = Annotated[Path, typer.Argument(help="A git checkout.")]
Approve = Annotated[str | None, typer.Option(help="Approve the contract with this digest.", metavar="DIGEST")]
MaxCost = Annotated[float | None, typer.Option(help="Most that the run may cost, in dollars.", metavar="DOLLARS")]


@app.command()
def run(
    path: Annotated[Path, typer.Argument(help="A clean git checkout.")],
    issue: Annotated[
        str, typer.Option(help="What to do: a text, a file that holds it, or - for standard input.", metavar="TEXT|FILE|-")
    ],
    max_cost: MaxCost = None,
    approve: Annotated[bool, typer.Option("--approve", help="Approve the plan beforehand, whatever the rule says.")] = False,
    session: Annotated[str | None, typer.Option(help="Name of the session.", metavar="NAME")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="A label of the issue, for what it is worth (`routing.labels`).", metavar="LABEL")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the strategy and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Plan, build, prove and audit a change of the checkout at PATH; leaves a branch, a patch and a report."""
    from bot.cli.run import run as door

    labels = tuple(label or ())
    _end(door(path, issue, max_cost=max_cost, approve=approve, session=session, labels=labels, dry_run=dry_run, as_json=as_json))


@app.command()
def resume(
    session: Session,
    approve: Approve = None,
    max_cost: MaxCost = None,
    accept_overrun: Annotated[
        str | None, typer.Option(help="Let the run use its limits once more, and say why.", metavar="WHY")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why the cap is raised; it stands in the budget report.", metavar="WHY")] = "",
    stop: Annotated[bool, typer.Option("--stop", help="End the run instead.")] = False,
    as_json: Json = False,
) -> None:
    """Go on with a run that was killed, or that waits for approval, money or room under a shared cap."""
    from bot.cli.run import Said
    from bot.cli.run import resume as door

    _end(door(session, Said(approve, max_cost, accept_overrun, reason), stop=stop, as_json=as_json))


@app.command()
def replay(
    session: Session,
    execute: Annotated[
        bool, typer.Option("--execute", help="Do it all again in a fresh worktree, with the recorded answers.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read a session's journal again, check it, and show what happened; costs nothing."""
    from bot.cli.replay import replay as door

    _end(door(session, execute=execute, as_json=as_json))


@app.command()
def rollback(
    session: Session,
    to: Annotated[int | None, typer.Option(help="The point to go back to; 0 is before the session.", min=0)] = None,
    path: Annotated[
        list[str] | None, typer.Option(help="Only this file or folder, in a new commit; may be given again.", metavar="PATH")
    ] = None,
    hard: Annotated[bool, typer.Option("--hard", help="Files follow where the checkout is on the branch.")] = False,
    list_points: Annotated[bool, typer.Option("--list", help="Only list the points.")] = False,
    prune: Annotated[int | None, typer.Option(help="Only forget all points but the newest KEEP.", metavar="KEEP", min=0)] = None,
    as_json: Json = False,
) -> None:
    """Take back what a session delivered: its branch, files of it, or, once merged, by a branch that reverts it."""
    from bot.cli import rollback as door

    if list_points:
        _end(door.list_points(session, as_json=as_json))
    if prune is not None:
        _end(door.prune(session, prune, as_json=as_json))
    _end(door.rollback(session, to=to, paths=tuple(path or ()), hard=hard, as_json=as_json))


@sessions_app.command("list")
def sessions_list(as_json: Json = False) -> None:
    """All sessions, newest first."""
    from bot.cli.sessions import list_sessions as door

    _end(door(as_json=as_json))


@sessions_app.command("show")
def sessions_show(session: Session, as_json: Json = False) -> None:
    """One session: its state, phases, cost and files."""
    from bot.cli.sessions import show as door

    _end(door(session, as_json=as_json))


@budget_app.command("show")
def budget_show(session: Session, as_json: Json = False) -> None:
    """The budget report of a session: phases against limits, money, breaches with their causes."""
    from bot.cli.budget import show as door

    _end(door(session, as_json=as_json))


@budget_app.command("explain")
def budget_explain(session: Session, as_json: Json = False) -> None:
    """Why each model was chosen, and what each breach likely came from."""
    from bot.cli.budget import explain as door

    _end(door(session, as_json=as_json))


@budget_app.command("forecast")
def budget_forecast(
    path: Checkout = Path("."),
    session: Annotated[str | None, typer.Option(help="Of this session, with what it has spent.", metavar="NAME")] = None,
    as_json: Json = False,
) -> None:
    """What a run here costs, as a range from the runs before it."""
    from bot.cli.budget import show_forecast as door

    _end(door(path, session, as_json=as_json))


@budget_app.command("baseline")
def budget_baseline(path: Checkout = Path("."), as_json: Json = False) -> None:
    """New limits of phases from what the runs here used, as lines for .github/ostler.yml."""
    from bot.cli.budget import baseline as door

    _end(door(path, as_json=as_json))


@budget_app.command("simulate")
def budget_simulate(
    path: Checkout = Path("."),
    turns: Annotated[int, typer.Option(help="Calls of one build.")] = 30,
    context: Annotated[int, typer.Option(help="Tokens of its first prompt.")] = 12_000,
    per_turn: Annotated[int, typer.Option(help="Tokens that each call adds.")] = 2_800,
    output: Annotated[int, typer.Option(help="Tokens that each call writes.")] = 800,
    as_json: Json = False,
) -> None:
    """What a build would cost on each model; nothing is called."""
    from bot.cli.budget import simulate as door

    _end(door(path, turns=turns, context=context, per_turn=per_turn, output=output, as_json=as_json))


@budget_app.command("false-positive")
def budget_false_positive(
    session: Session,
    what: Annotated[str, typer.Argument(help="The kind of phase whose limit was passed, or stop-loss.")],
    why: Annotated[str, typer.Argument(help="Why it was right to pass it.")],
) -> None:
    """Mark a breach as one that should not have been; the marks are counted."""
    from bot.cli.budget import false_positive as door

    _end(door(session, what, why))


@app.command()
def doctor(path: Annotated[Path, typer.Argument(help="A checkout to look at.")] = Path("."), as_json: Json = False) -> None:
    """Check keys, configuration, sandbox and tools, and say how to mend what is amiss."""
    from bot.cli.doctor import doctor as door

    _end(door(path, as_json=as_json))


@app.command()
def demo(
    script: Annotated[Path | None, typer.Option(help="Another script for the scripted models.", metavar="FILE")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="A new folder for what the demo makes; by default a temporary one.", metavar="DIR")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the stand-in GitHub and the App up at the end, until Ctrl-C.")
    ] = False,
) -> None:
    """A labelled issue becomes an audited pull request: GitHub is a stand-in, models are scripted, all else is real."""
    from bot.cli.demo import demo as door

    _end(door(script=script, folder=folder, keep=keep))


@app.command()
def serve(
    env_file: Annotated[
        Path | None, typer.Option(help="A file of OSTLER_* lines, as `ostler app create` writes it; variables that are set win.")
    ] = None,
) -> None:
    """The GitHub App: hears labels and commands, decides order, starts Actions jobs. Its settings are OSTLER_* variables."""
    from bot.web.app import serve as door
    from bot.web.settings import load_app_settings

    _end(door(load_app_settings(env_file)))


@app.command()
def queue(
    env_file: Annotated[
        Path | None, typer.Option(help="A file of OSTLER_* lines, as the App has it; variables that are set win.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The App's queue: what works, who waits and why. Asks the App at OSTLER_PUBLIC_URL, with its OSTLER_API_TOKEN."""
    from bot.cli.queue import show as door

    _end(door(env_file, as_json=as_json))


@github_app.command("create")
def app_create(
    url: Annotated[
        str,
        typer.Option(help="The address under which GitHub reaches the App, such as https://ostler.example.com.", metavar="URL"),
    ],
    home: Annotated[
        str, typer.Option(help="The repository that holds Ostler, best with its commit.", metavar="OWNER/REPO[@COMMIT]")
    ],
    org: Annotated[str, typer.Option(help="The organisation that the App shall belong to; by default you.", metavar="NAME")] = "",
    name: Annotated[str, typer.Option(help="The App's name; GitHub wants one that nobody has.")] = "ostler",
    out: Annotated[Path, typer.Option(help="The new file for settings and secrets.", metavar="FILE")] = Path("ostler.env"),
    github: Annotated[
        str, typer.Option(help="GitHub's address; another one for an Enterprise Server.", metavar="URL")
    ] = "https://github.com",
    port: Annotated[
        int, typer.Option(help="Where the page for the browser is, on this machine; 0 is any.", min=0, max=65535)
    ] = 0,
    as_json: Json = False,
) -> None:
    """Register the App at GitHub, in a browser, and write the settings that `serve` needs."""
    from bot.cli.app import Wanted
    from bot.cli.app import create as door

    _end(door(Wanted(url, home, name, org, github), out, port, as_json=as_json))


@app.command()
def docs(check: Annotated[bool, typer.Option("--check", help="Only say whether they are in step.")] = False) -> None:
    """Write the parts of docs/ that are made from the code."""
    from bot.cli.docs import docs as door

    _end(door(check=check))


def _end(code: int) -> None:
    raise typer.Exit(code)


def main() -> None:
    """Run the command line and exit with its code."""
    as_json = "--json" in sys.argv
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # what typer makes of Ctrl-C
            code = _refuse(KEPT, INTERRUPTED, as_json=as_json)
    except UserError as error:
        code = _refuse(str(error), error.exit_code, as_json=as_json)
    except typer.TyperException as error:
        code = _refuse(
            f"{_ended(error.format_message().replace('?.', '?'))} `ostler --help` shows what there is.", 1, as_json=as_json
        )
    except (KeyboardInterrupt, typer.Abort):
        code = _refuse(KEPT, INTERRUPTED, as_json=as_json)
    except OstlerError as error:
        code = _refuse(str(error), error.exit_code, as_json=as_json)
        raise
    finally:
        sys.stdout.flush()
    sys.exit(code if isinstance(code, int) else 0)


def _refuse(sentence: str, code: int, *, as_json: bool) -> int:
    """One sentence on standard error; with --json also as the last line of standard output."""
    sentence = _ended(printable(" ".join(sentence.split())))
    print(f"ostler: {sentence}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": sentence, "exit_code": code}))
    return code


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "?", "!")) else f"{sentence}."
