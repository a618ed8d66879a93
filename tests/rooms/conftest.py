"""What tests of several rooms need: databases, a SQLite file or a real Postgres, empty for each test; a sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.store.database import Database
from bot.workspace.sandbox import Sandbox


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/ostler.db"
    return str(request.getfixturevalue("on_postgres"))


@pytest.fixture
def database(address: str) -> Iterator[Database]:
    made = Database.open(address)
    yield made
    made.close()


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """The sandbox that this machine has, for all tests of a file."""
    made = Sandbox(tmp_path_factory.mktemp("box"))
    report = made.probe()
    assert report.full, report.advice
    return made
