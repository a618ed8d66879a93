"""Several instances of the App on one Postgres: killed at their statements, nothing is lost and nothing is done twice."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from zlib import crc32

import pytest

from bot.store.database import Database
from bot.store.queue import Queue
from tests.sampling import whole
from tests.world.instances import Killer, Statement, two_apps
from tests.world.test_kill_jobs import PLAIN
from tests.world.town import FIXER_BODY, FIXER_TITLE, town
from tests.world.trouble import one_of_each

pytestmark = pytest.mark.sampled

PARTS = 6
"""All statements at once would take longer than one test may."""


def at_writes() -> Killer:
    """At the first change of each table."""
    seen: set[str] = set()

    def which(statement: Statement) -> bool:
        words = statement.text.lower().split()
        kind = {"insert": " ".join(words[:3]), "update": " ".join(words[:2])}.get(words[0] if words else "", "")
        if not kind or kind in seen:
            return False
        seen.add(kind)
        return True

    return Killer(which)


def nothing_is_lost_and_nothing_twice(folder: Path, address: str, killer: Killer, *, most: int) -> None:
    """Sessions, one after the other, until the instance lives through a whole one."""
    with town(folder, "app", PLAIN) as there, two_apps(there, address, killer) as pair:
        for number in range(1, most + 1):
            pair.settle()
            known = len(killer.deaths)
            issue = there.ask(FIXER_TITLE, FIXER_BODY)
            pair.settle()
            one_of_each(there, issue)
            with closing(Database.open(address)) as database:
                assert Queue(database).lanes() == {"resting": number}
            if known == len(killer.deaths):
                break
    for statement, kind in killer.deaths.items():
        print(kind, " ".join(statement.text.split())[:90])


def test_an_instance_dies_at_each_kind_of_write_and_another_goes_on(tmp_path: Path, on_postgres: str) -> None:
    killer = at_writes()
    nothing_is_lost_and_nothing_twice(tmp_path, on_postgres, killer, most=1)
    assert len(killer.deaths) >= 4


@whole
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", ["before", "after"])
def test_an_instance_dies_at_every_statement_and_another_goes_on(tmp_path: Path, on_postgres: str, kind: str, part: int) -> None:
    """At each with each that came before it on the same connection: the last session is done by an instance that has died at
    all that it asks of Postgres, from its start on."""
    killer = Killer(lambda one: crc32(f"{one.before};{one.text}".encode()) % PARTS == part, (kind,))
    nothing_is_lost_and_nothing_twice(tmp_path, on_postgres, killer, most=12)
    assert len(killer.deaths) >= 5
