"""`ostler run` and `ostler resume`: from a checkout and a text to a driven run, and what is left to say at its end."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from bot.cli.terminal import asker, watcher
from bot.config import CONFIG_PATH, RepoConfig, Settings, load_settings, micro, parse_config, run_settings
from bot.core.budget import dollars
from bot.core.effects import AskPerson
from bot.core.errors import BadInput, SetupError
from bot.core.events import Answered, BudgetRaised, OverrunAccepted, Resumed, RunRequested, StopRequested
from bot.core.experience import frozen
from bot.core.paths import printable
from bot.core.policy import redact
from bot.core.reports import Profile
from bot.core.run import Run, Waiting, short
from bot.core.strategy import Settings as RunSettings
from bot.core.strategy import compile_strategy
from bot.core.summary import exit_code, line, status, way_on
from bot.core.ticket import Ticket, freeze
from bot.core.triage_fixers import fixers_for
from bot.llm.prices import stale
from bot.loop.driver import Driver
from bot.loop.projections import headline, project
from bot.rooms import experience_of, models, pricing, remember, rooms, sessions, utc_now, warm
from bot.store.journal import Journal
from bot.store.session import SessionFolder
from bot.workspace.checkout import Checkout
from bot.workspace.search import read_at
from bot.workspace.workplace import Workplace, look

DIRTY_SHOWN = 3
DOOR = "the command line"


def run(
    path: Path, issue: str, *, max_cost: float | None, approve: bool, session: str | None, labels: Sequence[str], dry_run: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Start a run. Everything that can be refused is refused before anything is made."""
    ticket = freeze(*issue_text(issue))
    environment = load_settings()
    if path.is_file():
        raise BadInput(f"{path} is a file: name the folder of the checkout.")
    checkout = Checkout.open(path)
    config = repo_config(checkout)
    settings = run_settings(
        environment,
        config,
        max_cost,
        preapproved_by="--approve on the command line" if approve else "",
        labels=tuple(labels),
        experience=frozen(experience_of(environment, str(checkout.root))),
        price=pricing(config),
    )
    refuse_early(ticket, settings, config)
    models(environment)  # so that a key that cannot be one is refused before there is a session
    if dry_run:
        return show_strategy(ticket, settings, look(checkout, settings), as_json=as_json)
    if changed := checkout.dirty():
        named = ", ".join(changed[:DIRTY_SHOWN]) + (" and more" if len(changed) > DIRTY_SHOWN else "")
        raise SetupError(f"The checkout has changes that are not committed ({named}): commit, stash or ignore them first.")
    folder = sessions(environment).create(
        slug(ticket.title) if session is None else session,
        at=utc_now(),
        repository=str(checkout.root),
        goal=ticket.title,
        exclusive=session is not None,
    )
    if not fixers_for(ticket.title, ticket.body):
        warm(settings.models[0].vendor)
        warn_of_old_prices(settings, config)
    nonce, base_branch = secrets.token_hex(6), checkout.branch or ""
    request = RunRequested(folder.id, "run-01", ticket, checkout.head, settings, nonce, base_branch=base_branch)
    journal = Journal(folder.journal_path, utc_now)
    room = rooms(folder, checkout, environment, config, None if as_json else asker())
    driver = Driver(journal, room.perform, room.here, [watcher(quiet=as_json)])
    driver.feed(request)
    return finish(environment, folder, driver, room.place, as_json=as_json)


@dataclass(frozen=True, slots=True)
class Said:
    """What a person says for what a run waits for. `reason` goes with more money and with an accepted overrun."""

    approve: str | None = None
    max_cost: float | None = None
    accept_overrun: str | None = None
    reason: str = ""


def resume(name: str, said: Said, *, stop: bool, as_json: bool) -> int:
    """Go on with a run from its journal."""
    environment = load_settings()
    folder = sessions(environment).find(name)
    journal = Journal(folder.journal_path, utc_now)
    if not journal.records:
        folder.update(status="failed", outcome="ended before its run began")
        raise SetupError(f"The session {folder.id} ended before its run began: start it again with `ostler run`.")
    checkout = Checkout.open(Path(folder.metadata().repository))
    room = rooms(folder, checkout, environment, repo_config(checkout), None if as_json else asker())
    driver = Driver(journal, room.perform, room.here, [watcher(quiet=as_json)])
    state = driver.run
    if state.over and folder.metadata().status == status(state):
        raise BadInput(f"The run is over ({state.state}): start a new one with `ostler run`.")
    if state.over:  # it was killed before its pages were written
        room.place.reopen(state)
    elif stop:
        room.place.reopen(state)
        driver.feed(StopRequested(DOOR))
    else:
        refuse_without_keys(state, environment)
        if state.strategy and state.strategy.choices:
            warm((state.call.choice if state.call else state.strategy.choices[0]).model.vendor)
        room.place.reopen(state)
        answer(driver, said)
        driver.recover()
        if differed := room.purse.follow(driver.run):
            print(f"ostler: {differed} bookings of this run were set to what its journal says", file=sys.stderr)
    return finish(environment, folder, driver, room.place, as_json=as_json)


def refuse_without_keys(state: Run, environment: Settings) -> None:
    """
    Raises:
        SetupError: a key that the run began with is gone. Going on would end the run for good.
    """
    wanted = {choice.model.vendor for choice in state.strategy.choices} if state.strategy else set()
    if missing := sorted(wanted - set(environment.vendors)):
        raise SetupError(f"The run needs a model of {missing[0]} and its key is not set: set {missing[0].upper()}_API_KEY.")


def answer(driver: Driver, said: Said) -> None:
    """Feed what the person says, if it fits what the run waits for. Who resumes a run that a shared cap stopped has it looked at
    again.

    Raises:
        BadInput: the run waits for something else.
    """
    waiting = driver.run.waiting
    if said.approve is not None:
        _approve(driver, waiting, said.approve)
    if said.max_cost is not None:
        _raise(driver, waiting, micro(said.max_cost, "--max-cost"), said.reason)
    if said.accept_overrun is not None:
        _accept(driver, waiting, said.accept_overrun)
    elif waiting is not None and waiting.what == "shared":
        driver.feed(Resumed(DOOR))


def _approve(driver: Driver, waiting: Waiting | None, digest: str) -> None:
    if waiting is None or waiting.what != "approval":
        raise BadInput("The run does not wait for approval.")
    if len(digest) < len(short(waiting.digest)) or not waiting.digest.startswith(digest.lower()):
        raise BadInput(f"{digest!r} is not the digest of this plan: it is {short(waiting.digest)}.")
    driver.answer(Answered(waiting.digest, "approved", DOOR), AskPerson)


def _raise(driver: Driver, waiting: Waiting | None, cap: int, reason: str) -> None:
    if waiting is None or waiting.what != "budget":
        raise BadInput("The run does not wait for money.")
    if cap <= driver.run.ledger.run_cap:
        raise BadInput(f"--max-cost has to be more than the {dollars(driver.run.ledger.run_cap)} there were.")
    driver.feed(BudgetRaised(cap, DOOR, reason))


def _accept(driver: Driver, waiting: Waiting | None, why: str) -> None:
    if waiting is None or waiting.what != "overrun":
        raise BadInput("The run does not wait for an overrun to be accepted.")
    if not why.strip():
        raise BadInput("--accept-overrun needs a reason: it stands in the budget report.")
    driver.feed(OverrunAccepted(DOOR, why))


def finish(environment: Settings, folder: SessionFolder, driver: Driver, workplace: Workplace, *, as_json: bool) -> int:
    """Drive to the end or to a gate, write what people read, and say how it stands."""
    state = driver.drive()
    seconds = (datetime.now(UTC) - datetime.fromisoformat(folder.metadata().started_at)).total_seconds()
    patch, change = b"", state.changeset
    if change and change.files:
        patch = workplace.worktree.patch(workplace.worktree.tree_of(change.base_sha), change.tree)
    for problem in project(folder, state, patch=patch, at=utc_now(), seconds=seconds):
        print(f"ostler: {problem}", file=sys.stderr)
    if state.over:
        remember(environment, folder.metadata().repository, state)
    if as_json:
        print(json.dumps(line(state)))
    else:
        tell(folder, state, seconds)
    return exit_code(state)


def tell(folder: SessionFolder, state: Run, seconds: float) -> None:
    """The closing lines for a person."""
    console = Console(highlight=False)
    if note := state.request.settings.note:
        console.print(escape(note), style="italic")
    console.print(
        escape(printable(redact(headline(state, seconds)))),
        style="bold green" if state.state == "DONE_SUCCESS" else "bold yellow",
    )
    if state.branch:
        console.print(escape(f"  branch   {state.branch} ({state.head_sha[:12]})"), soft_wrap=True)
    console.print(
        escape(f"  cost     {dollars(state.ledger.spent)} of {dollars(state.ledger.run_cap)}, {state.ledger.calls} calls")
    )
    console.print(escape(f"  report   {folder.path / 'report.md'}"), soft_wrap=True)
    console.print(escape(f"  page     {folder.path / 'page.html'}"), soft_wrap=True)
    if state.waiting:
        console.print(escape(f"  go on    ostler resume {folder.id} {way_on(state)}".rstrip()), soft_wrap=True)


def issue_text(issue: str) -> tuple[str, str]:
    """The text of `--issue` and where it came from.

    Raises:
        BadInput: a file that is not there or not text.
    """
    if issue == "-":
        return _decoded(sys.stdin.buffer.read(), "standard input"), "standard input"
    single = "\n" not in issue and len(issue) < 1_000
    if single and os.path.isdir(issue):
        raise BadInput(f"{issue} is a folder: name a file that holds the issue, or give its text.")
    if single and os.path.isfile(issue):  # not Path's: that one raises where a text is longer than any file's name
        return _decoded(_file(Path(issue)), issue), Path(issue).name
    if single and re.fullmatch(r"\S+\.(?:md|txt|markdown|rst)", issue):
        raise BadInput(f"There is no file {issue}: name a file that holds the issue, or give its text.")
    return issue, "the command line"


def _file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): mend its permissions, or give the issue's text.") from error


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{where} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from error


def repo_config(checkout: Checkout) -> RepoConfig:
    """The configuration at the head commit: never the one in the working tree, which a branch under review could change."""
    return parse_config(read_at(checkout, CONFIG_PATH))


def refuse_early(ticket: Ticket, settings: RunSettings, config: RepoConfig) -> None:
    """
    Raises:
        SetupError: a model is needed and there is no key, or no price for one that may be asked.
        BadInput: the goal is too vague to plan.
    """
    if fixers_for(ticket.title, ticket.body):
        return
    if not settings.models:
        raise SetupError(
            "This issue needs a model and no key is set: set ANTHROPIC_API_KEY or OPENAI_API_KEY (both give a second opinion). "
            'Without a key Ostler does what its fixers can, for example --issue "Remove unused imports".'
        )
    if compile_strategy(ticket, settings).triage.vague:
        raise BadInput(f"{ticket.title!r} is too vague to plan: say what should be different afterwards, and where.")
    price = pricing(config)
    for model in settings.models:
        price(model.vendor, model.model)


def warn_of_old_prices(settings: RunSettings, config: RepoConfig) -> None:
    """Say that the bundled table is old, where a model of the run is billed by it."""
    own = {price.model for price in config.prices}
    old = stale(datetime.now(UTC).date())
    if old and any(model.model not in own for model in settings.models):
        print(f"ostler: {old}.", file=sys.stderr)


def show_strategy(ticket: Ticket, settings: RunSettings, profile: Profile, *, as_json: bool) -> int:
    """Print what a run would do, and with which commands the result would be checked."""
    strategy = compile_strategy(ticket, settings)
    if as_json:
        from dataclasses import asdict  # noqa: PLC0415

        print(json.dumps({"digest": strategy.digest, **asdict(strategy), "toolchain": asdict(profile)}))
        return 0
    console, seen = Console(highlight=False), strategy.triage
    console.print(
        escape(f"{strategy.profile} run, strategy {short(strategy.digest)}, at most {dollars(strategy.run_cap)}"), style="bold"
    )
    console.print(escape(f"{seen.scope} {seen.label}, {seen.importance} importance, {seen.risk} risk, complexity {seen.score}"))
    for choice in strategy.choices:
        console.print(escape(f"  {choice.role:<14} {choice.model.model:<20} {choice.reason}"), soft_wrap=True)
    for plan in strategy.phases:
        console.print(escape(f"  {plan.tier:<14} {plan.kind:<20} {'skipped: ' + plan.skip if plan.skip else ''}"), soft_wrap=True)
    console.print(escape(f"{profile.language}: {'; '.join(profile.why)}"), soft_wrap=True)
    for stage in profile.stages:
        console.print(escape(f"  {stage.name:<14} {stage.command or 'no command'} ({stage.reason})"), soft_wrap=True)
    return 0


def slug(title: str) -> str:
    """A session name made of a title."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].strip("-") or "run"
