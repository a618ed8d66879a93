"""`ostler rollback`: takes back what a session delivered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bot.config import load_settings
from bot.core.errors import BadInput
from bot.core.paths import printable
from bot.loop.driver import fold
from bot.rooms import sessions, utc_now
from bot.store.journal import read_records
from bot.workspace.checkout import Checkout
from bot.workspace.rollback import Delivery, Point, Rollback


def rollback(name: str, *, to: int | None, paths: tuple[str, ...], hard: bool, as_json: bool) -> int:
    """Put the session's branch, or `paths` of it, back to a point; where it is merged, make the branch that reverts it."""
    here = _of(name)
    delivery = here.delivery
    if here.merged and to is None and not paths:
        branch, commit = here.revert(utc_now())
        return _say(
            f"{delivery.branch} is merged. {branch} takes it back: look at it, then merge it.",
            {"session": delivery.session, "branch": branch, "commit": commit, "reverts": delivery.head},
            as_json,
        )
    point = here.point(to or 0)
    if paths:
        if hard:
            raise BadInput("--hard puts the whole branch back and --path single files: give one of them.")
        commit, kept = here.restore(point, paths, utc_now())
        told = f"{', '.join(paths)}: as at point {point.number} ({point.commit[:12]}), in a new commit on {delivery.branch}."
    else:
        commit, kept = point.commit, here.back(point, hard=hard)
        told = f"{delivery.branch} is back at point {point.number} ({point.commit[:12]})."
    undo = f" `ostler rollback {delivery.session} --to {kept}` undoes it."
    result = {"session": delivery.session, "branch": delivery.branch, "commit": commit, "point": point.number, "kept_as": kept}
    return _say(told + undo, result, as_json)


def list_points(name: str, *, as_json: bool) -> int:
    """The points that the session's branch can be put back to."""
    here = _of(name)
    points = here.points()
    if as_json:
        print(json.dumps([_plain(point) for point in points]))
        return 0
    table = Table(box=None, pad_edge=False)
    for column in ("Point", "Commit", "Date", "What"):
        table.add_column(column, no_wrap=True, justify="right" if column == "Point" else "left")
    for point in points:
        what = "before the session" if not point.number else point.subject
        table.add_row(str(point.number), point.commit[:12], point.when[:16].replace("T", " "), printable(what))
    Console(highlight=False).print(table)
    return 0


def prune(name: str, keep: int, *, as_json: bool) -> int:
    """Forget old points."""
    here = _of(name)
    gone = here.prune(keep)
    return _say(f"{gone} rollback points forgotten.", {"session": here.delivery.session, "pruned": gone}, as_json)


def _of(name: str) -> Rollback:
    folder = sessions(load_settings()).find(name)
    run, _, _ = fold(read_records(folder.journal_path))
    if run is None or not run.branch or not run.head_sha:
        raise BadInput(f"{folder.id} delivered no branch: there is nothing to roll back.")
    delivery = Delivery(folder.id, run.branch, run.base_sha, run.head_sha)
    return Rollback(Checkout.open(Path(folder.metadata().repository)), delivery)


def _plain(point: Point) -> dict[str, Any]:
    return {"point": point.number, "commit": point.commit, "at": point.when, "subject": point.subject}


def _say(sentence: str, result: dict[str, Any], as_json: bool) -> int:
    print(json.dumps(result) if as_json else sentence)
    return 0
