"""Node and the packages that `make node-packages` installs, as package-lock.json beside this file names them.

Where Node or the registry is not to be had, the tests that need them are skipped with the reason; `pytest -ra` prints it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("NODE_PACKAGES") or Path(__file__).resolve().parents[2] / ".cache/node-packages")


def _missing() -> str:
    if shutil.which("node") is None:
        return "Node is not installed: the Node toolchain was not tested with the real tools"
    if not (FOLDER / "node_modules/vitest/package.json").is_file():
        return "`make node-packages` has not installed vitest and friends: the Node toolchain was not tested with the real tools"
    return ""


MISSING = _missing()
needs_packages = pytest.mark.skipif(bool(MISSING), reason=MISSING)


PAYLOADS = FOLDER / "node_modules/@octokit/webhooks-examples/api.github.com/index.json"
needs_payloads = pytest.mark.skipif(
    not PAYLOADS.is_file(), reason="`make node-packages` has not installed recorded webhooks: the App was not tested with them"
)


def recorded() -> list[tuple[str, bytes]]:
    """What GitHub has sent to others: events and bodies."""
    told = json.loads(PAYLOADS.read_text("utf-8"))
    return [(event["name"], json.dumps(example).encode()) for event in told for example in event["examples"]]


def installed_in(checkout: Path) -> Path:
    """Give a checkout a node_modules of its own, of hard links. Answers with the checkout."""
    subprocess.run(["cp", "-al", str(FOLDER / "node_modules"), str(checkout)], check=True)
    return checkout
