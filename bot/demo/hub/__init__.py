"""A GitHub of one's own on loopback, stricter than the real one, for `ostler demo` and the tests.

    with serve(folder) as hub:
        hub.repository("ada/shop", {"README.md": "hello"}, {"grace": "write"})
        hub.person("grace").open_issue("ada/shop", "Title", "Body")

Addresses are those of a GitHub Enterprise Server: {url}/api/v3, {url}/api/graphql, {url}/{owner}/{name}.git.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bot.demo.hub import (
    artifacts,
    graphql,
    manifests,
    pages,
    rest_actions,
    rest_apps,
    rest_checks,
    rest_comments,
    rest_contents,
    rest_git,
    rest_issues,
    rest_pulls,
    rest_repos,
    rest_reviews,
    workflows,
)
from bot.demo.hub.faults import Fault
from bot.demo.hub.hub import AppCredentials, Hub
from bot.demo.hub.server import listening
from bot.demo.hub.state import LogEntry
from bot.demo.runner.platform import Machine

__all__ = ["AppCredentials", "Fault", "Hub", "LogEntry", "Machine", "serve"]

MODULES = (
    rest_apps,
    rest_repos,
    rest_issues,
    rest_comments,
    rest_checks,
    rest_pulls,
    rest_reviews,
    rest_contents,
    rest_git,
    rest_actions,
    artifacts,
    graphql,
    manifests,
    pages,
)
"""Their routes are tried in this order."""


@contextmanager
def serve(folder: Path, port: int = 0, machine: Machine | None = None) -> Iterator[Hub]:
    """Run the stand-in on 127.0.0.1; port 0 takes a free one. Repositories are kept in `folder`/repos. OSError: port taken.

    With a `machine`, workflow runs are carried out on it; without one they stay queued.
    """
    with listening(folder, port) as (hub, door), door.open([route for module in MODULES for route in module.routes(hub)]):
        if machine is None:
            yield hub
            return
        with workflows.running(hub, machine):
            yield hub
