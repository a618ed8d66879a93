"""What tests of several rooms need: databases, a SQLite file or a real Postgres, empty for each test; a sandbox."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.store.database import Database
from bot.workspace.sandbox import Sandbox

_numbers = count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a Postgres of this test run. Root's Postgres runs as another user, who can't go into pytest's folders."""
    with tempfile.TemporaryDirectory(prefix="ostler-postgres-") as folder, pytest.MonkeyPatch.context() as patch:
        private, data = Path(folder) / "runtime", Path(folder) / "data"
        private.mkdir(mode=0o700)
        patch.setenv("XDG_RUNTIME_DIR", str(private))
        Path(folder).chmod(0o755)
        try:
            from pgserver.postgres_server import get_server

            server = get_server(data)
        except (ImportError, OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as error:
            pytest.skip(f"Postgres does not start here: {error}")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/ostler.db"
    whole = request.getfixturevalue("postgres")
    name = f"test_{next(_numbers)}"
    engine = sa.create_engine(sa.make_url(whole).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"create database {name}"))
    engine.dispose()
    return sa.make_url(whole).set(database=name).render_as_string(hide_password=False)


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
