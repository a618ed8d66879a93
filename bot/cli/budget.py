"""`ostler budget`: what a session used and why, what runs like it cost, what models would cost, and limits made anew from what
was used."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bot.cli.run import repo_config
from bot.config import VENDORS, load_settings, micro
from bot.core import forecast
from bot.core.budget import dollars
from bot.core.budget_report import enforcement
from bot.core.errors import BadInput, SetupError
from bot.core.limits import MODES
from bot.core.observed import alerts, indicators, rebase
from bot.core.phases import Kind
from bot.core.run import Run
from bot.core.spending import standing_of
from bot.core.summary import budget_line, budget_of, quote
from bot.core.switching import HORIZON, continue_cost, switch_turns
from bot.loop.driver import fold
from bot.render import say
from bot.rooms import experience_of, pricing, sessions
from bot.store.journal import read_records
from bot.store.session import SessionFolder
from bot.workspace.checkout import Checkout

STOP_LOSS = "stop-loss"
"""What a mark can be about, besides a kind of phase."""


def show(name: str, *, as_json: bool) -> int:
    """The budget report of a session, made from its journal."""
    _, run = _run(name)
    found = budget_of(run)
    print(json.dumps(enforcement(found)) if as_json else say("reports/budget_report.md.j2", report=found))
    return 0


def explain(name: str, *, as_json: bool) -> int:
    """Why each model was chosen, how the run stands, and what each breach likely came from."""
    _, run = _run(name)
    found, stands = budget_of(run), standing_of(run)
    chosen = [(str(phase.kind), phase.id, phase.choice) for phase in run.phases if phase.choice]
    chosen += [("", "", choice) for choice in run.compiled.choices]
    rows = [
        {"kind": kind, "phase": phase, "role": str(choice.role), "model": choice.model.model, "reason": choice.reason}
        for kind, phase, choice in chosen
    ]
    if as_json:
        print(json.dumps({"choices": rows, "standing": asdict(stands), "breaches": found.breaches, "warnings": found.warnings}))
        return 0
    console = Console(highlight=False)
    console.print(escape(budget_line(run)), style="bold")
    console.print(escape(stands.text))
    for row in rows:
        where = f"{row['kind']} {row['phase']}".strip() or "begun with"
        console.print(escape(f"  {where:<16} {row['role']:<14} {row['model']:<20} {row['reason']}"), soft_wrap=True)
    for line in (*found.breaches, *found.warnings):
        console.print(escape(f"  {line}"), soft_wrap=True)
    return 0


def show_forecast(path: Path, session: str | None, *, as_json: bool) -> int:
    """What a run costs here: of `session` with what it spent, else of any run of the checkout."""
    settings = load_settings()
    if session is not None:
        _, run = _run(session)
        found = quote(run)
    else:
        checkout = Checkout.open(path)
        costs = [one.cost for one in experience_of(settings, str(checkout.root)).runs]
        found = forecast.forecast(costs, spent=0, cap=micro(repo_config(checkout).budget.money, "budget.money"))
    print(json.dumps(asdict(found)) if as_json else f"Expected to cost {found.text}")
    return 0


def baseline(path: Path, *, as_json: bool) -> int:
    """New base limits from what the runs of the checkout used, as the lines for its configuration."""
    settings, checkout = load_settings(), Checkout.open(path)
    rules, runs = repo_config(checkout).rules(), experience_of(settings, str(checkout.root)).runs
    found = rebase(runs, rules)
    folders = _folders(str(checkout.root))
    marks = [mark for folder in folders for mark in folder.metadata().false_breaches]
    breaches = sum(len(_breached(folder)) for folder in folders)
    figures = indicators(runs, rules, breaches=breaches, false_breaches=len(marks))
    warned = alerts(runs, figures, rules, datetime.now(UTC).date())
    if as_json:
        rows = {row.kind: {"tokens": row.base.tokens, "seconds": row.base.seconds, "runs": row.n} for row in found}
        print(json.dumps({"kinds": rows, "indicators": asdict(figures), "alerts": warned}))
        return 0
    print(f"# {len(runs)} finished runs; for {checkout.root}/.github/ostler.yml\nkinds:")
    for row in found:
        print(f"  {row.kind}: {{tokens: {row.base.tokens}, seconds: {row.base.seconds}}}  # {row.text}")
    parts = (("within limits", figures.within), ("stopped", figures.stopped), ("breaches called false", figures.false_positives))
    print("# " + "; ".join(f"{name}: {'not measured' if value is None else f'{value}%'}" for name, value in parts))
    for alert in warned:
        print(f"# {alert}")
    return 0


def false_positive(name: str, what: str, why: str) -> int:
    """Mark a breach of a session as one that should not have been."""
    folder, _ = _run(name)
    if what not in (STOP_LOSS, *map(str, Kind)):
        raise BadInput(f"{what!r} is no kind of phase: use {', '.join(Kind)} or {STOP_LOSS}.")
    breached = _breached(folder)
    if what not in breached:
        told = f"it was over {', '.join(breached)}" if breached else "none of its limits was passed"
        raise BadInput(f"The session {folder.id} has no breach of {what}: {told}.")
    if not why.strip():
        raise BadInput("Say why the breach is false: it is counted, and read when limits are set.")
    kept = [mark for mark in folder.metadata().false_breaches if mark[0] != what]
    folder.update(false_breaches=(*kept, (what, why)))
    print(f"Marked: the breach of {what} in {folder.id} is false ({why}). `ostler budget baseline` counts it.")
    print(f"A limit of its own: `budget.overrides` with kind {what}." if what != STOP_LOSS else f"Modes: {', '.join(MODES)}.")
    return 0


def simulate(path: Path, *, turns: int, context: int, per_turn: int, output: int, as_json: bool) -> int:
    """What a build of so many turns costs on each model, and from when on another would be cheaper to go on with."""
    if not (1 <= turns <= 1_000 and 1 <= context <= 2_000_000 and 0 <= per_turn <= 100_000 and 0 <= output <= 100_000):
        raise BadInput("A build has 1 to 1,000 turns, 1 to 2,000,000 tokens of context and up to 100,000 tokens a turn.")
    config = repo_config(Checkout.open(path))
    price = pricing(config)
    models = [(model, price(model.vendor, model.model)) for model in config.models.available(VENDORS)]
    rows = [
        {
            "model": model.model,
            "class": str(model.model_class),
            "cost": continue_cost(rates, context=context, per_turn=per_turn, output=output, turns=turns),
            "cheaper_after": switch_turns(rates, models[0][1], context=context, per_turn=per_turn, output=output),
        }
        for model, rates in models
    ]
    if as_json:
        print(json.dumps(rows))
    else:
        _print_costs(rows, turns)
    return 0


def _print_costs(rows: Sequence[Mapping[str, Any]], turns: int) -> None:
    """The first model is the one that the others are compared with."""
    table = Table(box=None, pad_edge=False)
    for column in ("Model", "Class", f"{turns} turns", f"Going on with {rows[0]['model']} pays"):
        table.add_column(column, no_wrap=True, justify="right" if column.endswith("turns") else "left")
    for row in rows:
        after = row["cheaper_after"]
        pays = "" if row is rows[0] else f"not within {HORIZON} turns" if after is None else f"with {after} or more turns to come"
        table.add_row(row["model"], row["class"], dollars(row["cost"]), pays)
    Console(highlight=False).print(table)


def _run(name: str) -> tuple[SessionFolder, Run]:
    folder = sessions(load_settings()).find(name)
    run, _, _ = fold(read_records(folder.journal_path))
    if run is None or run.strategy is None:
        raise SetupError(f"The session {folder.id} ended before it had a budget.")
    return folder, run


def _folders(repo: str) -> Sequence[SessionFolder]:
    """The sessions of a checkout; one that is damaged is named and left out."""
    found = []
    for folder in sessions(load_settings()).newest():
        try:
            if folder.metadata().repository == repo:
                found.append(folder)
        except SetupError as error:
            print(f"ostler: {error}", file=sys.stderr)
    return found


def _breached(folder: SessionFolder) -> list[str]:
    """The kinds over their limits, and the stop-loss where it struck."""
    run, _, _ = fold(read_records(folder.journal_path))
    if run is None or run.strategy is None:
        return []
    over = [row.kind for row in budget_of(run).rows if row.status in ("warning", "exceeded")]
    stopped = bool(run.granted) or (run.waiting is not None and run.waiting.what == "overrun")
    return [*over, *((STOP_LOSS,) if stopped else ())]
