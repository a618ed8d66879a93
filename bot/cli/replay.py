"""`ostler replay`: the journal read again, step by step, or done again in a fresh worktree with the recorded answers."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from bot.cli.run import repo_config
from bot.config import load_settings
from bot.core.effects import AskPerson, Deliver, Effect, SendCall
from bot.core.errors import SetupError
from bot.core.events import (
    Answered,
    BaseMoved,
    BudgetRaised,
    CallFailed,
    Event,
    ModelReplied,
    OverrunAccepted,
    RoomFailed,
    RunRequested,
)
from bot.core.run import Run
from bot.core.summary import line
from bot.llm.model import Model, Reply
from bot.llm.scripted import ScriptedModel
from bot.loop.driver import Driver, fold
from bot.loop.perform import Rooms
from bot.rooms import alone, pricing, sessions, to_branch, utc_now
from bot.store.journal import Journal, Record, read_records
from bot.workspace.checkout import Checkout
from bot.workspace.workplace import Workplace


def replay(name: str, *, execute: bool, as_json: bool) -> int:
    """Check hashes and decisions of a session; with `execute` also that the same answers lead to the same files."""
    folder = sessions(load_settings()).find(name)
    records = read_records(folder.journal_path)
    run, _, pending = fold(records)
    if run is None:
        raise SetupError(f"{folder.id} ended before its run began: there is nothing to replay.")
    again = _execute(records, run, Path(folder.metadata().repository)) if execute else None
    same = None if again is None else again.tree == run.tree
    if as_json:
        print(json.dumps({**line(run), "records": len(records), "pending": len(pending), "executed": execute, "same_tree": same}))
    else:
        _tell(records, run, again)
    return 1 if same is False else 0


def _tell(records: Sequence[Record], run: Run, again: Run | None) -> None:
    console = Console(highlight=False)
    for record in records:
        if record.type == "event":
            console.print(escape(f"{record.seq:>4}  {record.at[11:19]}  {type(record.item).__name__}"))
    console.print(escape(f"{len(records)} records, every hash and every decision as recorded; state {run.state}"), style="bold")
    if again and again.tree == run.tree:
        console.print("Done again with the recorded answers, at no cost: the same files.", style="green")
    elif again:
        console.print(
            f"Done again with the recorded answers: other files, {again.tree[:12]} instead of {run.tree[:12]}.", style="bold red"
        )


def _execute(records: Sequence[Record], run: Run, repository: Path) -> Run:
    """The run once more, its models played from the journal."""
    checkout = Checkout.open(repository)
    request = next(record.item for record in records if isinstance(record.item, RunRequested))
    with tempfile.TemporaryDirectory(prefix="ostler-replay-") as made:
        place = Path(made)
        journal = Journal(place / "journal.jsonl", utc_now)

        def ask(_: Run, effect: AskPerson) -> Answered | None:
            return Answered(effect.digest, "approved", run.approved_by) if run.approved_by else None

        workplace = Workplace(place, checkout, deliver_to_checkout=False)
        config = repo_config(checkout)
        rooms = Rooms(
            pricing(config), alone(config), workplace, _models(records), ask, to_branch(workplace), sleep=lambda _: None
        )
        left = Counter(_answered(records))
        tips = iter([record.item.base_sha for record in records if isinstance(record.item, BaseMoved)])

        def perform(state: Run, effect: Effect) -> Event | None:
            left[type(effect)] -= 1
            if isinstance(effect, Deliver) and (tip := next(tips, None)):
                return workplace.move(state, tip)
            return rooms.perform(state, effect) if left[type(effect)] >= 0 else None  # the record ends here

        driver = Driver(journal, perform, rooms.here)
        driver.feed(request)
        again = driver.drive()
        for word in (record.item for record in records if isinstance(record.item, (BudgetRaised, OverrunAccepted))):
            if _fits(word, again):
                driver.feed(word)
                again = driver.drive()
        return again


def _fits(word: BudgetRaised | OverrunAccepted, run: Run) -> bool:
    """Whether what a person said then is what the run waits for now."""
    what = run.waiting.what if run.waiting else ""
    if isinstance(word, OverrunAccepted):
        return what == "overrun"
    return what == "budget" and word.max_cost > run.ledger.run_cap


def _answered(records: Sequence[Record]) -> Iterator[type[Event | Effect]]:
    """The kinds of the effects that came to something, each as often as it did."""
    for record in records:
        if record.of is not None and not isinstance(record.item, (CallFailed, RoomFailed)):
            yield type(records[record.of].item)


def _models(records: Sequence[Record]) -> dict[str, Model]:
    """A scripted model for each vendor, with the recorded replies in order."""
    asked: dict[str, SendCall] = {record.item.call: record.item for record in records if isinstance(record.item, SendCall)}
    scripts: dict[str, list[tuple[str, Reply]]] = {}
    for record in records:
        if isinstance(record.item, ModelReplied):
            reply, model = record.item, asked[record.item.call].model
            scripts.setdefault(model.vendor, []).append((model.model, Reply(reply.model, reply.blocks, reply.stop, reply.usage)))
    return {vendor: ScriptedModel(script, vendor) for vendor, script in scripts.items()}
