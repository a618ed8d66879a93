"""An auditor's check, tried out on one copy of a tree in the sandbox: no network, no key, bounded time and output."""

from __future__ import annotations

import os
from pathlib import Path

from bot.core.answers import AuditCheck
from bot.core.errors import BadInput, PolicyError
from bot.core.policy import is_test, redact
from bot.core.reports import Check, CheckOutcome
from bot.workspace.files import Beneath
from bot.workspace.sandbox import Sandbox
from bot.workspace.toolchains import Toolchain
from bot.workspace.toolchains.toolchain import SHELL_CANNOT, last_line

TEST_FILE = "test_ostler_audit_check.py"
DETAIL = 300
NAME = "audit check"


def try_check(check: AuditCheck, folder: Path, box: Sandbox, toolchain: Toolchain, seconds: float) -> Check:
    """What `check` says of the copy in `folder`, which it may leave in any state.

    Neutral where it says nothing: it did not end by itself, a program is not there, its test file could not be collected.
    """
    if check.kind == "command":
        return _command(check.body, folder, box, toolchain, seconds)
    return _test(check.body, folder, box, toolchain, seconds)


def _command(body: str, folder: Path, box: Sandbox, toolchain: Toolchain, seconds: float) -> Check:
    argv = ("/bin/sh", "-c", body)
    ran = toolchain.place.run(box, folder, argv, seconds)
    if not ran.ended:
        return _made("neutral", f"the command did not end by itself: {ran.how}", argv, ran.exit, ran.seconds)
    if ran.exit in SHELL_CANNOT:
        return _made("neutral", f"the command cannot run: {last_line(ran.text) or ran.how}", argv, ran.exit, ran.seconds)
    said = last_line(ran.text)
    return _made("fail" if ran.exit else "pass", f"{ran.how}{': ' + said if said else ''}", argv, ran.exit, ran.seconds)


def _test(body: str, folder: Path, box: Sandbox, toolchain: Toolchain, seconds: float) -> Check:
    """The body as a file of its own beside the tests that are there, so that their fixtures are its fixtures."""
    if toolchain.profile.language != "python" or toolchain.profile.test_runner not in ("pytest", "unittest"):
        return _made("neutral", "a test needs pytest or unittest, and here is neither: only a command can be run")
    path = f"{_tests_folder(folder)}{TEST_FILE}"
    try:
        Beneath(folder).write(path, body.encode())
    except (PolicyError, BadInput) as error:
        return _made("neutral", f"the test cannot be written: {error}")
    ran = toolchain.run_tests(box, folder, selection=(path,), seconds=seconds)
    outcome: CheckOutcome = ran.outcome if ran.outcome in ("pass", "fail") else "neutral"
    first = next((case for case in ran.failing if case.message), None)
    said = f"{ran.reason}: {first.message}" if first and outcome == "fail" else ran.reason
    return _made(outcome, said, ran.command, ran.exit, ran.seconds)


def _tests_folder(folder: Path) -> str:
    """The folder of the first test file, ending in `/`; the root has no name."""
    found = []
    for above, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not (Path(above) / name).is_symlink())
        at = Path(above).relative_to(folder).as_posix()
        prefix = "" if at == "." else f"{at}/"
        found += [prefix for name in names if name.endswith(".py") and is_test(f"{prefix}{name}")]
    return min(found, key=lambda prefix: (prefix.count("/"), prefix), default="")


def _made(outcome: CheckOutcome, said: str, argv: tuple[str, ...] = (), code: int | None = None, seconds: float = 0.0) -> Check:
    return Check(NAME, outcome, redact(" ".join(said.split()))[:DETAIL], argv, code, seconds)
