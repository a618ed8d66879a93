"""What an import drags in, seen from a fresh interpreter: `lint-imports` knows the direct imports, this sees the rest."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.house.tree import ROOT, modules

IO = {
    "_socket",
    "asyncio",
    "concurrent",
    "ctypes",
    "http",
    "logging",
    "multiprocessing",
    "pathlib",
    "random",
    "secrets",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "urllib.request",
}
SLOW = {"anthropic", "openai", "genai_prices", "rapidfuzz"}


def imported_by(flags: str, *names: str) -> set[str]:
    """What a fresh interpreter holds after importing `names`, less what it held before."""
    code = "\n".join(
        [
            "import sys",
            f"sys.path.insert(0, {str(ROOT)!r})",
            "before = set(sys.modules)",
            *(f"import {name}" for name in names),
            "print(*sorted(set(sys.modules) - before))",
        ]
    )
    done = subprocess.run([sys.executable, *flags.split(), "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert set(names) <= loaded
    return loaded


@pytest.mark.parametrize("name", [name for name in modules() if name.startswith("bot.core")])
def test_core_module_drags_in_nothing_that_acts(name: str) -> None:
    """-S hides the installed packages too, so a core module that needs one doesn't even import."""
    assert imported_by("-I -S", name) & IO == set()


def test_the_core_exists() -> None:
    assert len([name for name in modules() if name.startswith("bot.core.")]) > 3


def test_no_module_imports_a_slow_package_before_it_is_used() -> None:
    loaded = imported_by("-I", *modules())
    assert {name.partition(".")[0] for name in loaded} & SLOW == set()
