"""A repository's dashboard: an issue that a person labelled `ostler:dashboard`, whose text the App keeps up to date.

The label is the truth of which issue it is, and the text of whether the repository is paused, so both outlive the database. A
tick counts by who set it, as the event tells: the same people may tick who may command.
"""

from __future__ import annotations

import hashlib

from bot.core.board import BOARD_LABEL, MARK, PAUSE, Box, board, boxes
from bot.core.triggers import Actor, Asked, Verb, may_write
from bot.github import comments, facts
from bot.github.client import repeatable
from bot.github.webhook import Delivery
from bot.loop.comments import dashboard, refusal
from bot.store.boards import Drawn
from bot.telemetry import Asked as AskedFact
from bot.web import asking
from bot.web.office import Office, Place

OCCUPIED = f"A dashboard needs an issue without a text: open an empty one, and put the label `{BOARD_LABEL}` on that."
VERBS: dict[str, Verb] = {"approve": "approve", "budget": "budget", "retry": "retry"}
MORE = "+2 on the dashboard"


def look(office: Office, place: Place, issue: int, *, swept: bool = False) -> None:
    """Make the issue the repository's dashboard if its label says so and was set by somebody who may write; else it is none. Of
    several the one that was labelled last is it; the sweep, which does not know which, takes none the place."""
    client = office.access.client(place.name, place.installation)
    told = facts.issue(client, issue, BOARD_LABEL)
    known = office.boards.get(place.id)
    if told.labelled is None or not told.open:
        office.boards.drop(place.id, issue)
        return
    same = known and (known.repo, known.installation) == (place.name, place.installation)
    if not may_write(told.labelled.actor) or (known and (same if known.issue == issue else swept)):
        return
    if told.body.strip() and not told.body.startswith(MARK):
        comments.put(client, issue, "dashboard", f"issue-{issue}", office.access.bot, refusal(OCCUPIED))
        return
    paused = boxes(told.body).get(Box(PAUSE), False)
    by = (known.paused_by if known else "") or ("somebody" if paused else "")
    office.boards.adopt(Drawn(place.id, place.name, place.installation, issue, by), office.clock())
    office.telemetry.tell(AskedFact("dashboard", place.name, issue, told.labelled.actor.login, "done"))


def draw(office: Office, drawn: Drawn) -> None:
    """Put the text of a dashboard on GitHub where it is not what GitHub shows."""
    rows = office.runs.of_repository(drawn.repo_id)
    text = dashboard(board([(row.state, row.title) for row in rows], drawn.paused_by), office.runs.note(drawn.repo_id))
    digest = hashlib.sha256(text.encode()).hexdigest()
    if digest != drawn.shown:
        client = office.access.client(drawn.repo, drawn.installation)
        repeatable(lambda: client.patch(f"issues/{drawn.issue}", {"body": text}), clock=client.clock)
    office.boards.drawn(drawn, digest)


def ticked(office: Office, place: Place, delivery: Delivery) -> None:
    """Do what was ticked, and draw the text anew: a tick that did something, or could not, is not left standing."""
    known = office.boards.get(place.id)
    if known is None or known.issue != delivery.issue:
        return
    client = office.access.client(place.name, place.installation)
    who = facts.actor(client, {"login": delivery.sender.login, "id": delivery.sender.id, "type": delivery.sender.type})
    for box, tick in delivery.ticks:
        _do(office, place, box, who, tick=tick)
    office.boards.touched(place.id, office.clock())


def _do(office: Office, place: Place, box: Box, who: Actor, *, tick: bool) -> None:
    if box.act == PAUSE:
        may = may_write(who)
        if may:
            office.boards.pause(place.id, who.login if tick else "")
        office.telemetry.tell(AskedFact(PAUSE if tick else "go on", place.name, 0, who.login, "done" if may else "may not"))
        return
    if box.act == "next":
        if may_write(who):
            office.queue.first(box.session, place.id, office.clock())
        return
    argument = {"approve": box.digest, "budget": MORE}.get(box.act, "")
    asking.ticked(office, place, box.session, box.seq, Asked(VERBS[box.act], argument, who))
