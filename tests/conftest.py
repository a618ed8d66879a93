"""What every test stands on: no network beyond this machine, no keys or settings of the caller, a state folder of its own; and a
Postgres for those that ask for one."""

from __future__ import annotations

import ipaddress
import itertools
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.sampling import leave_out

# A busy machine is slow, and no test is about how fast it is.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

_LEAKS = ("ANTHROPIC_", "OPENAI_", "GITHUB_", "GH_", "RUNNER_", "ACTIONS_", "OSTLER_", "GIT_")
_LEAK_ENDS = ("_PROXY", "_API_KEY", "_TOKEN")

_patch = pytest.MonkeyPatch()
_attempts: list[str] = []
_numbers = itertools.count()


class ForbiddenConnection(AssertionError):
    """A test tried to reach another machine."""


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as under nohup: what tests start would ignore it as well
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in list(os.environ):
        if name.upper().startswith(_LEAKS) or name.upper().endswith(_LEAK_ENDS):
            _patch.delenv(name)
    _patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    _patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("connect", "connect_ex"):
        _patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name), 0))
    _patch.setattr(socket.socket, "sendto", _guarded(socket.socket.sendto, -1))
    _patch.setattr(socket, "getaddrinfo", _guarded_lookup(socket.getaddrinfo))


def pytest_unconfigure() -> None:
    _patch.undo()


@pytest.hookimpl(tryfirst=True)  # before words of the command line take tests out, so that they don't change the sample
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    leave_out(items, {Path(name.partition("::")[0]).resolve() for name in config.args if ".py" in name})


def _guarded(original: Callable[..., Any], position: int) -> Callable[..., Any]:
    """The method of a socket whose argument at `position` is the address to reach."""

    def method(self: socket.socket, *args: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _refuse_other_machines(args[position][0])
        return original(self, *args)

    return method


def _guarded_lookup(original: Callable[..., Any]) -> Callable[..., Any]:
    def lookup(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host is not None:
            _refuse_other_machines(host)
        return original(host, *args, **kwargs)

    return lookup


def _refuse_other_machines(host: str | bytes) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name in ("", "localhost"):
        return
    try:
        if ipaddress.ip_address(name).is_loopback:
            return
    except ValueError:
        pass  # a name: only localhost is ours
    _attempts.append(name)
    raise ForbiddenConnection(f"a test tried to reach {name}: tests talk to this machine only")


@pytest.fixture
def forbidden_connections() -> list[str]:
    """Hosts that this test tried to reach; whoever expects some takes them out."""
    return _attempts


@pytest.fixture(autouse=True)
def _no_other_machine() -> Iterator[None]:
    """Fails a test whose attempt was refused and then swallowed by the code under test."""
    _attempts.clear()
    yield
    assert not _attempts, f"tried to reach {', '.join(_attempts)}"


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTLER_STATE_DIR", str(tmp_path_factory.getbasetemp() / f"state-{next(_numbers)}"))


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


@pytest.fixture
def on_postgres(postgres: str) -> str:
    """The address of an empty database of a real Postgres."""
    import sqlalchemy as sa  # here, as it takes a third of a second that most tests do not need

    whole, name = sa.make_url(postgres), f"test_{next(_numbers)}"
    engine = sa.create_engine(whole.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"create database {name}"))
    engine.dispose()
    return whole.set(database=name).render_as_string(hide_password=False)
