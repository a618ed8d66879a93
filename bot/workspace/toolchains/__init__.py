"""What a tree is written in, and how its checks and tests are run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bot.core.errors import SetupError
from bot.core.reports import AS_DETECTED, Commands
from bot.workspace.sandbox import Sandbox
from bot.workspace.toolchains import generic, profile
from bot.workspace.toolchains.generic import generic_toolchain, make_kind
from bot.workspace.toolchains.modules import SOURCES
from bot.workspace.toolchains.node import node_toolchain
from bot.workspace.toolchains.node_profile import NodeFacts
from bot.workspace.toolchains.python import Surroundings, python_toolchain
from bot.workspace.toolchains.toolchain import Toolchain

__all__ = ["Surroundings", "Toolchain", "detect"]

BARE = Surroundings()
NOTHING = "no Python, package.json, go.mod, Cargo.toml, pom.xml or Gradle file at the root"


def detect(
    tree: Path,
    files: Sequence[str],
    checkout_root: Path,
    *,
    box: Sandbox,
    commands: Commands = AS_DETECTED,
    around: Surroundings = BARE,
) -> Toolchain:
    """Look at a tree (`files` as git lists them) and choose how to check it; the profile says what was chosen and why.

    Where several languages are there, the one with most source files is taken and the others are named.

    Raises:
        SetupError: the configured toolchain does not fit the tree, or no Python interpreter can run the tests of a Python tree.
    """
    known, at = frozenset(files), checkout_root.absolute()
    counts = _candidates(known)
    kind, made = make_kind(tree, known)
    if commands.toolchain and commands.toolchain not in (*counts, *(("make",) if kind else ())):
        there = ", ".join(counts) or "none that it knows"
        raise SetupError(
            f"verify.toolchain is {commands.toolchain}, but the root shows {there}, and {made}: name one that is there"
        )
    ordered = sorted(counts, key=lambda name: (name != commands.toolchain, -counts[name][0]))
    taken = ordered[0] if ordered and commands.toolchain != "make" else ""
    why = tuple(_reason(name, taken, counts, commands.toolchain) for name in ordered)
    if taken == "python":
        return python_toolchain(box, profile.Facts.read(tree, files), at, commands, why, around)
    if taken == "node":
        return node_toolchain(box, NodeFacts.read(tree, files, at), at, commands, why, around.env.get("PATH", ""))
    if taken:
        return generic_toolchain(generic.KINDS[taken], why, known, at, commands, around.env, box.scratch.folder / taken)
    make = f"make, because {'verify.toolchain says so and ' * bool(why)}{made}" if kind else f"{NOTHING}; {made}"
    return generic_toolchain(kind, (make, *why), known, at, commands, around.env, box.scratch.folder / "make")


def _candidates(files: frozenset[str]) -> dict[str, tuple[int, str]]:
    """Every language that the tree shows at its root, with its number of source files and what shows it; Python first."""
    found: dict[str, tuple[int, str]] = {}
    if python := sum(name.endswith(".py") for name in files):
        found["python"] = (python, next((name for name in profile.PROJECT_FILES if name in files), ".py files"))
    if "package.json" in files:
        found["node"] = (sum(name.endswith(SOURCES) for name in files), "package.json")
    for name, markers in generic.MARKERS.items():
        if marker := next((each for each in markers if each in files), ""):
            found[name] = (sum(path.endswith(generic.ENDS[name]) for path in files), marker)
    return found


def _reason(name: str, taken: str, counts: dict[str, tuple[int, str]], setting: str) -> str:
    count, shown = counts[name]
    said = f"{shown} and {count} source file{'' if count == 1 else 's'}"
    if name != taken:
        return f"not {name}, though there are {said}" + ("" if setting else f": `verify.toolchain: {name}` would take it")
    if setting:
        return f"{name}, because verify.toolchain says so; there are {said}"
    return f"{name}, because there are {said}" + (", more than of any other language" if len(counts) > 1 else "")
